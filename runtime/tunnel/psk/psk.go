// Package psk is TLS 1.2 with a pre-shared key. Devices with iOS 17 and later use it on
// the TCP listener of a tunnel. The key is the one in the host's createListener request
// on the remote pairing channel. There are no certificates. crypto/tls has no suites
// with a pre-shared key and cannot be used.
//
//	ClientHello (suites, 00ff)                    ->
//	                                              <- ServerHello, ServerHelloDone
//	ClientKeyExchange (identity),
//	ChangeCipherSpec, Finished                    ->
//	                                              <- ChangeCipherSpec, Finished
//	application data                             <->
//	close_notify
//
// It has three suites (RFC 4279, RFC 5487), best first:
//
//	00a9  TLS_PSK_WITH_AES_256_GCM_SHA384   go-ios offers this one alone
//	00af  TLS_PSK_WITH_AES_256_CBC_SHA384
//	008c  TLS_PSK_WITH_AES_128_CBC_SHA
//
// Everything else is refused with an alert: other versions, resumption, tickets,
// renegotiation, compression and certificates. The suites have no forward secrecy, so a
// key must be used for one tunnel only and then be discarded.
package psk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// MaxKey is the length of the longest pre-shared key. Hosts use 32 or 64 bytes.
	MaxKey = 1024
	// MaxIdentity is the length of the longest identity.
	MaxIdentity = 1024

	// handshakeTimeout bounds a handshake whose context has no deadline.
	handshakeTimeout = 30 * time.Second
	// alertTimeout bounds sending an alert to a peer that does not read.
	alertTimeout = time.Second
)

var (
	// ErrKey is the cause of an Error if Config has no key, or one that is longer than
	// MaxKey.
	ErrKey = errors.New("key is missing or too long")
	// ErrIdentity is the cause of an Error if the server does not accept the client's
	// identity.
	ErrIdentity = errors.New("identity is not known")
)

// Config configures a session. The key is never logged or printed.
type Config struct {
	// Key is the pre-shared key, 1 to MaxKey bytes.
	Key []byte `json:"-"`
	// Identity is the identity that a client sends. Most hosts leave it empty.
	Identity string
	// CheckIdentity reports whether a server accepts the client's identity. If it is
	// nil, every identity is accepted, as devices do.
	CheckIdentity func(identity string) bool `json:"-"`
	// Suites are the allowed suites, best first; nil means all three. The server's
	// order decides.
	Suites []Suite
	// Rand is the source of random bytes; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader `json:"-"`
}

// String omits the key.
func (c Config) String() string { return fmt.Sprintf("psk config (identity %q)", c.Identity) }

// Format prints String for every verb, so that no verb prints the key.
func (c Config) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

func (c *Config) suites() ([]*suite, error) {
	if len(c.Key) == 0 || len(c.Key) > MaxKey {
		return nil, ErrKey
	}
	if len(c.Identity) > MaxIdentity {
		return nil, errors.New("identity is too long")
	}
	ids := c.Suites
	if ids == nil {
		ids = []Suite{AES256GCMSHA384, AES256CBCSHA384, AES128CBCSHA}
	}
	var list []*suite
	for _, id := range ids {
		s := suiteByID(id)
		if s == nil {
			return nil, fmt.Errorf("suite %v is not supported", id)
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, errors.New("no suites")
	}
	return list, nil
}

// Error describes a handshake, read or write that failed.
type Error struct {
	Op    string // "client handshake", "server handshake", "read" or "write"
	Alert Alert  // as sent by the peer or to the peer
	Err   error
}

func (e *Error) Error() string { return "psk: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause: a RemoteAlert, an error of the connection below, or what is
// wrong with the peer's bytes.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether a deadline ended the operation. It implements net.Error.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary implements net.Error.
func (e *Error) Temporary() bool { return false }

// Conn is a TLS session over a connection. One goroutine may read while another writes.
// A read that was ended by its deadline may be repeated. A write may not, because a
// part of a record may have been sent: all further writes fail.
type Conn struct {
	conn  net.Conn
	suite *suite
	ident string

	in  inbound
	out outbound

	closeOnce sync.Once
	closeErr  error
}

// Client performs the client's handshake on c. On error c is closed.
func Client(ctx context.Context, c net.Conn, cfg *Config) (*Conn, error) {
	return start(ctx, c, cfg, "client handshake", (*handshake).client)
}

// Server performs the server's handshake on c. On error c is closed.
func Server(ctx context.Context, c net.Conn, cfg *Config) (*Conn, error) {
	return start(ctx, c, cfg, "server handshake", (*handshake).server)
}

func start(
	ctx context.Context, c net.Conn, cfg *Config, op string, run func(*handshake) error,
) (*Conn, error) {
	suites, err := cfg.suites()
	if err != nil {
		c.Close()
		return nil, &Error{Op: op, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	t := &Conn{conn: c}
	h := &handshake{conn: t, cfg: cfg, suites: suites}
	release := link.Guard(ctx, c)
	err = release(run(h))
	if err == nil {
		return t, nil
	}
	e := &Error{Op: op, Err: err}
	var bad *violation
	var remote RemoteAlert
	switch {
	case errors.As(err, &bad):
		e.Alert = bad.alert
		t.lastWords(bad.alert)
	case errors.As(err, &remote):
		e.Alert = Alert(remote)
	case err == io.EOF:
		e.Err = io.ErrUnexpectedEOF
	}
	c.Close()
	return nil, e
}

// Suite returns the suite of the session.
func (c *Conn) Suite() Suite { return c.suite.id }

// Identity returns the identity that the client has sent.
func (c *Conn) Identity() string { return c.ident }

// Read reads application data. At the end it returns io.EOF, whether or not the peer
// has sent close_notify, because hosts and devices often do not.
func (c *Conn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for idle := 0; len(c.in.plain) == 0; idle++ {
		if c.in.err != nil {
			return 0, c.in.err
		}
		if idle > maxIdleRecords {
			return 0, c.refuse(
				&violation{AlertUnexpectedMessage, errors.New("too many records without data")},
			)
		}
		if err := c.readData(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in.plain)
	c.in.plain = c.in.plain[n:]
	return n, nil
}

// readData reads the next record. The caller holds in.mu.
func (c *Conn) readData() error {
	typ, body, err := c.in.next(c.conn)
	if err == nil && typ != recordData && typ != recordAlert {
		err = &violation{
			AlertUnexpectedMessage, fmt.Errorf("record of type %d after the handshake", typ),
		}
	}
	if err == nil && typ == recordAlert {
		err = readAlert(body)
	}
	var bad *violation
	switch {
	case err == nil:
		if typ == recordData {
			c.in.plain = body
		}
		return nil
	case err == io.EOF:
		c.in.err = io.EOF
		return io.EOF
	case errors.As(err, &bad):
		return c.refuse(bad)
	}
	e := &Error{Op: "read", Err: err}
	var remote RemoteAlert
	if errors.As(err, &remote) {
		e.Alert = Alert(remote)
	}
	if !e.Timeout() {
		c.in.err = e
	}
	return e
}

// refuse ends the session because of an error of the peer. The caller holds in.mu.
func (c *Conn) refuse(bad *violation) error {
	c.in.err = &Error{Op: "read", Alert: bad.alert, Err: bad}
	c.lastWords(bad.alert)
	return c.in.err
}

// lastWords sends a fatal alert, unless a writer is blocked on the connection.
func (c *Conn) lastWords(a Alert) {
	if !c.out.mu.TryLock() {
		return
	}
	defer c.out.mu.Unlock()
	if c.out.err != nil {
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(alertTimeout))
	_ = c.out.record(c.conn, recordAlert, []byte{alertFatal, byte(a)})
	c.out.err = &Error{Op: "write", Alert: a, Err: net.ErrClosed}
}

// Write writes p, with one record for every 16384 bytes. When not corked, each record
// is one write of the connection below, because devices expect a packet in one record.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	done := 0
	for done < len(p) {
		if c.out.err != nil {
			return done, c.out.err
		}
		n := min(len(p)-done, maxPlain)
		if err := c.out.record(c.conn, recordData, p[done:done+n]); err != nil {
			c.out.err = &Error{Op: "write", Err: err}
			return done, c.out.err
		}
		done += n
	}
	return done, c.failedWrite(len(p))
}

// Cork keeps the records of Write until Uncork, up to maxCorked bytes.
func (c *Conn) Cork() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.corked = true
}

// Uncork writes the kept records in one write.
func (c *Conn) Uncork() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.corked = false
	if c.out.err != nil {
		return c.out.err
	}
	if err := c.out.flush(c.conn); err != nil {
		c.out.err = &Error{Op: "write", Err: err}
		return c.out.err
	}
	return nil
}

// failedWrite returns the result of an empty write.
func (c *Conn) failedWrite(n int) error {
	if n > 0 {
		return nil
	}
	return c.out.err
}

// CloseWrite sends close_notify. Reading remains possible.
func (c *Conn) CloseWrite() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.closeNotify()
}

// closeNotify is CloseWrite for a caller that holds out.mu.
func (c *Conn) closeNotify() error {
	if c.out.err != nil {
		if errors.Is(c.out.err, net.ErrClosed) {
			return nil
		}
		return c.out.err
	}
	err := c.out.record(c.conn, recordAlert, []byte{alertWarning, byte(AlertCloseNotify)})
	c.out.err = &Error{Op: "write", Err: net.ErrClosed}
	if err != nil {
		return &Error{Op: "write", Err: err}
	}
	return nil
}

// Close sends close_notify, unless a writer is blocked, and closes the connection
// below, which ends every read and write.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		if c.out.mu.TryLock() {
			_ = c.conn.SetWriteDeadline(time.Now().Add(alertTimeout))
			_ = c.closeNotify()
			c.out.mu.Unlock()
		}
		c.closeErr = c.conn.Close()
	})
	return c.closeErr
}

// LocalAddr returns that of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns that of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets that of the connection below.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline sets that of the connection below.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline sets that of the connection below. After it has ended a Write, all
// further ones fail.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }
