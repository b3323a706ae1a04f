package lockdown

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// callTimeout bounds a call whose context has no deadline.
const callTimeout = 30 * time.Second

// Options of a Client. The zero value works.
type Options struct {
	// Label is the name of the program, which the device logs; "" means "imdlua".
	Label string
	// Logger logs every exchange at debug level. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// Client is a connection to lockdownd. Its methods may be called concurrently; their
// requests are sent one after the other. Each call ends with its context, or after 30
// seconds if that has no deadline. After a call that was interrupted, requests and
// answers on the connection no longer match, so that later calls fail with an error
// that matches net.ErrClosed.
type Client struct {
	label string
	log   *slog.Logger
	base  net.Conn // the argument of New; closing it closes all layers above

	turn    chan struct{} // has a token while no call is in progress
	conn    *link.PlistConn
	session string        // SessionID; "" without a session
	tls     *link.TLSConn // nil without a session
	broken  error         // the reason why the connection cannot be used any more

	closeOnce sync.Once
	closeErr  error
}

// New returns a client for a connection to port 62078, or to lockdownd's service in a
// tunnel after its check-in. The client closes c.
func New(c net.Conn, o Options) *Client {
	if o.Label == "" {
		o.Label = "imdlua"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	cl := &Client{
		label: o.Label, log: o.Logger.With("layer", "lockdown"), base: c,
		turn: make(chan struct{}, 1),
	}
	cl.conn = &link.PlistConn{Conn: c, Max: link.MaxLockdownFrame}
	cl.turn <- struct{}{}
	return cl
}

// Close closes the connection without sending Goodbye. Calls in progress end.
func (c *Client) Close() error {
	c.closeOnce.Do(func() { c.closeErr = c.base.Close() })
	return c.closeErr
}

// QueryType returns the type of the daemon that answers: DeviceType on a running
// system, "com.apple.mobile.restored" in restore mode.
func (c *Client) QueryType(ctx context.Context) (string, error) {
	d, err := c.Call(ctx, reqQueryType, nil)
	if err != nil {
		return "", err
	}
	t, ok := d.String("Type")
	if !ok {
		return "", badReply(reqQueryType, "", "Type is %s", plist.TypeName(d["Type"]))
	}
	return t, nil
}

// Get returns one value. Domain "" is the default domain. Key "" returns the whole
// domain; see Domain. The error is ErrMissingValue if the device does not have the key,
// and ErrGetProhibited if only paired hosts may read it.
func (c *Client) Get(ctx context.Context, domain, key string) (any, error) {
	d, err := c.Call(ctx, reqGetValue, valueArgs(domain, key))
	if err != nil {
		return nil, err
	}
	v, ok := d["Value"]
	if !ok {
		return nil, badReply(reqGetValue, valueName(domain, key), "no Value")
	}
	return v, nil
}

// Domain returns the values of a domain that the device sends when it is asked for the
// whole domain.
func (c *Client) Domain(ctx context.Context, domain string) (plist.Dict, error) {
	v, err := c.Get(ctx, domain, "")
	if err != nil {
		return nil, err
	}
	d, ok := v.(plist.Dict)
	if !ok {
		return nil, badReply(reqGetValue, domain, "Value is %s, want a dictionary",
			plist.TypeName(v))
	}
	return d, nil
}

// Set changes a value. For most values the error is ErrImmutableValue.
func (c *Client) Set(ctx context.Context, domain, key string, v any) error {
	args := valueArgs(domain, key)
	args["Value"] = v
	_, err := c.Call(ctx, reqSetValue, args)
	return err
}

// Remove removes a value.
func (c *Client) Remove(ctx context.Context, domain, key string) error {
	_, err := c.Call(ctx, reqRemoveValue, valueArgs(domain, key))
	return err
}

func valueArgs(domain, key string) plist.Dict {
	d := plist.Dict{}
	if domain != "" {
		d["Domain"] = domain
	}
	if key != "" {
		d["Key"] = key
	}
	return d
}

// StartSession proves the identity of this host, checks that the device is the one that
// was paired, and encrypts the connection. ErrWrongKey means that it is another device,
// or that it has been erased since. ErrPlainSession means that the device asks for a
// session in plain text, as devices did before iOS 5. The connection is closed in both
// cases. ErrInvalidHostID means that the pairing has been removed. Some versions show
// this only by breaking the handshake off; the error is then ErrTLS, and the connection
// is closed.
func (c *Client) StartSession(ctx context.Context, id Identity) error {
	ctx, done, err := c.begin(ctx, reqStartSession, id.HostID)
	if err != nil {
		return err
	}
	defer done()
	args := plist.Dict{"HostID": id.HostID}
	if id.SystemBUID != "" {
		args["SystemBUID"] = id.SystemBUID
	}
	d, err := c.exchange(ctx, reqStartSession, args)
	if err != nil {
		return err
	}
	session, ok := d.String("SessionID")
	if !ok || session == "" {
		// The device now waits for a handshake that does not come.
		c.broken = badReply(reqStartSession, id.HostID, "SessionID is %s",
			plist.TypeName(d["SessionID"]))
		return c.broken
	}
	encrypt, _ := d.Bool("EnableSessionSSL")
	if !encrypt {
		c.broken = &Error{Op: reqStartSession, Subject: id.HostID, Err: ErrPlainSession}
		c.base.Close()
		return c.broken
	}
	t, err := link.ClientTLS(ctx, c.conn.Conn, clientTLS(id, false))
	if err != nil {
		c.broken = &Error{Op: reqStartSession, Subject: id.HostID, Err: handshakeError(err)}
		return c.broken
	}
	c.tls, c.conn.Conn = t, t
	c.log.Debug("session encrypted", "version", tls.VersionName(t.ConnectionState().Version))
	c.session = session
	return nil
}

// StopSession ends the session. The connection continues in plain text, and another
// session may be started on it.
func (c *Client) StopSession(ctx context.Context) error {
	ctx, done, err := c.begin(ctx, reqStopSession, "")
	if err != nil {
		return err
	}
	defer done()
	if c.session == "" {
		return &Error{Op: reqStopSession, Code: ErrSessionInactive}
	}
	if _, err := c.exchange(ctx, reqStopSession, plist.Dict{"SessionID": c.session}); err != nil {
		return err
	}
	c.session = ""
	raw, err := c.tls.HandBack(ctx)
	if err != nil {
		err = &Error{Op: reqStopSession, Err: fmt.Errorf("ending tls: %w", err)}
		c.broken = err
		return err
	}
	c.tls, c.conn.Conn = nil, raw
	return nil
}

// Endpoint is the port on which a started service waits for one connection.
type Endpoint struct {
	Service string
	Port    uint16
	TLS     bool // the service begins with a TLS handshake; see ServiceTLS
}

// StartService starts a service. The endpoint stays valid after this connection is
// closed. escrow is the EscrowBag of the pair record, with which services start on a
// locked device. It may be nil.
func (c *Client) StartService(ctx context.Context, name string, escrow []byte) (Endpoint, error) {
	args := plist.Dict{"Service": name}
	if len(escrow) > 0 {
		args["EscrowBag"] = escrow
	}
	d, err := c.Call(ctx, reqStartService, args)
	if err != nil {
		return Endpoint{}, err
	}
	port, ok := d.Int("Port")
	if !ok || port < 1 || port > 65535 {
		return Endpoint{}, badReply(reqStartService, name, "Port is %s",
			link.Clip(fmt.Sprint(d["Port"])))
	}
	e := Endpoint{Service: name, Port: uint16(port)}
	e.TLS, _ = d.Bool("EnableServiceSSL")
	return e, nil
}

// PairOptions are the options of Pair.
type PairOptions struct {
	// HostName is the name of this computer in the Trust dialog. It may be "".
	HostName string
	// SupervisorCertificate, in DER, pairs with a supervised device without a dialog.
	// The device refuses with ErrMCChallengeRequired, and the error has its Challenge.
	SupervisorCertificate []byte
	// ChallengeResponse is the challenge in a signed PKCS #7 envelope. It is sent in a
	// second Pair on the same connection.
	ChallengeResponse []byte
}

// PairResult is what the device sends to a host that it trusts.
type PairResult struct {
	// EscrowBag is stored in the pair record. It is nil if the device is locked or has
	// none.
	EscrowBag []byte
}

// Pair sends one request. While the device shows its dialog, the error is
// ErrPairingDialogResponsePending; call Pair again with the same record. Private keys
// in the record are not sent.
func (c *Client) Pair(ctx context.Context, record plist.Dict, o PairOptions) (PairResult, error) {
	options := plist.Dict{"ExtendedPairingErrors": true}
	if len(o.SupervisorCertificate) > 0 {
		options["SupervisorCertificate"] = o.SupervisorCertificate
	}
	if len(o.ChallengeResponse) > 0 {
		options["ChallengeResponse"] = o.ChallengeResponse
	}
	args := recordArgs(record)
	args["PairingOptions"] = options
	if o.HostName != "" {
		args["HostName"] = o.HostName
	}
	d, err := c.Call(ctx, reqPair, args)
	if err != nil {
		return PairResult{}, err
	}
	bag, _ := d.Data("EscrowBag")
	return PairResult{EscrowBag: bag}, nil
}

// ValidatePair makes a host trusted that was paired before. Only devices before iOS 7
// require it before StartSession.
func (c *Client) ValidatePair(ctx context.Context, record plist.Dict) error {
	_, err := c.Call(ctx, reqValidatePair, recordArgs(record))
	return err
}

// Unpair makes the device forget the record's host. Only HostID is required.
func (c *Client) Unpair(ctx context.Context, record plist.Dict) error {
	_, err := c.Call(ctx, reqUnpair, recordArgs(record))
	return err
}

func recordArgs(record plist.Dict) plist.Dict {
	return plist.Dict{"PairRecord": publicRecord(record), "ProtocolVersion": protocolVersion}
}

// ResetPairing makes the device forget all hosts.
func (c *Client) ResetPairing(ctx context.Context) error {
	_, err := c.Call(ctx, reqResetPairing, plist.Dict{"FullReset": true})
	return err
}

// EnterRecovery restarts the device into recovery mode.
func (c *Client) EnterRecovery(ctx context.Context) error {
	_, err := c.Call(ctx, reqEnterRecovery, nil)
	return err
}

// Goodbye tells the device that the host leaves. The device closes the connection.
func (c *Client) Goodbye(ctx context.Context) error {
	_, err := c.Call(ctx, reqGoodbye, nil)
	return err
}

// Call sends any request with args, Request and Label, and returns the complete answer.
// It must not be used for StartSession and StopSession, which change the connection.
func (c *Client) Call(ctx context.Context, request string, args plist.Dict) (plist.Dict, error) {
	ctx, done, err := c.begin(ctx, request, subjectOf(args))
	if err != nil {
		return nil, err
	}
	defer done()
	return c.exchange(ctx, request, args)
}

// begin waits until no other call is in progress and bounds the call.
func (c *Client) begin(ctx context.Context, op, subject string) (context.Context, func(), error) {
	ctx, cancel := link.WithDefault(ctx, callTimeout)
	select {
	case <-c.turn:
	case <-ctx.Done():
		cancel()
		return nil, nil, &Error{Op: op, Subject: subject, Err: context.Cause(ctx)}
	}
	done := func() {
		cancel()
		c.turn <- struct{}{}
	}
	err := ctx.Err()
	if err == nil && c.broken != nil {
		err = fmt.Errorf("%w after an earlier failure: %w", net.ErrClosed, c.broken)
	}
	if err != nil {
		done()
		return nil, nil, &Error{Op: op, Subject: subject, Err: err}
	}
	return ctx, done, nil
}

// exchange sends a request and reads its answer. The caller has called begin.
func (c *Client) exchange(ctx context.Context, op string, args plist.Dict) (plist.Dict, error) {
	subject := subjectOf(args)
	req := plist.Dict{"Request": op, "Label": c.label}
	for k, v := range args {
		req[k] = v
	}
	var reply plist.Dict
	if err := c.conn.Call(ctx, req, &reply); err != nil {
		e := &Error{Op: op, Subject: subject, Err: err}
		// A request that cannot be encoded has not been sent.
		var bad *plist.Error
		if !errors.As(err, &bad) || bad.Op != "encode" {
			c.broken = e
		}
		c.log.Debug("no answer", "request", op, "subject", subject, "err", err)
		return nil, e
	}
	err := checkReply(op, subject, args, reply)
	var e *Error
	if errors.As(err, &e) {
		c.log.Debug("refused", "request", op, "subject", subject, "code", string(e.Code))
		if e.Code == ErrInvalidResponse && e.Err != nil {
			c.broken = e
		}
		return nil, err
	}
	c.log.Debug("answered", "request", op, "subject", subject)
	return reply, nil
}

// subjectOf returns what a request is about, for errors.
func subjectOf(args plist.Dict) string {
	for _, k := range []string{"Service", "HostID"} {
		if s, ok := args.String(k); ok {
			return s
		}
	}
	if r, ok := args.Dict("PairRecord"); ok {
		s, _ := r.String("HostID")
		return s
	}
	domain, _ := args.String("Domain")
	key, _ := args.String("Key")
	return valueName(domain, key)
}

var _ io.Closer = (*Client)(nil)
