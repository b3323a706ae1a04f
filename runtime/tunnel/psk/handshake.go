package psk

import (
	"crypto/subtle"
	"errors"
	"slices"

	"github.com/imdlua/imdlua/runtime/link"
)

// handshake is the state of one side until it has the connection keys.
type handshake struct {
	conn   *Conn
	cfg    *Config
	suites []*suite

	pending    []byte // bytes of handshake messages that have not been used
	transcript []byte
	master     []byte
	in         protector // protection of the peer's records after its ChangeCipherSpec
	out        protector
}

// message returns the body of the next handshake message, which must be of one of the
// types.
func (h *handshake) message(types ...byte) (byte, []byte, error) {
	for {
		if len(h.pending) >= messageHeader {
			typ := h.pending[0]
			n := int(h.pending[1])<<16 | int(h.pending[2])<<8 | int(h.pending[3])
			if !slices.Contains(types, typ) {
				return 0, nil, bad(AlertUnexpectedMessage, "handshake message of type %d", typ)
			}
			if n > maxMessage {
				return 0, nil, bad(AlertDecodeError, "handshake message of %d bytes", n)
			}
			if len(h.pending) >= messageHeader+n {
				m := h.pending[:messageHeader+n]
				h.pending = h.pending[messageHeader+n:]
				if typ != messageFinished { // Finished is checked against the transcript before it
					h.transcript = append(h.transcript, m...)
				}
				return typ, m[messageHeader:], nil
			}
		}
		body, err := h.record(recordHandshake)
		if err != nil {
			return 0, nil, err
		}
		if len(body) == 0 {
			return 0, nil, bad(AlertUnexpectedMessage, "empty handshake record")
		}
		h.pending = append(h.pending, body...)
	}
}

// record reads a record, which must be of the type.
func (h *handshake) record(want byte) ([]byte, error) {
	for range maxIdleRecords {
		typ, body, err := h.conn.in.next(h.conn.conn)
		switch {
		case err != nil:
			return nil, err
		case typ == want:
			return body, nil
		case typ != recordAlert:
			return nil, bad(AlertUnexpectedMessage, "record of type %d in the handshake", typ)
		}
		if err := readAlert(body); err != nil {
			return nil, err
		}
	}
	return nil, bad(AlertUnexpectedMessage, "too many alerts")
}

// changeCipher reads the peer's ChangeCipherSpec. It fails if a message was read in
// part.
func (h *handshake) changeCipher() error {
	if len(h.pending) > 0 {
		return bad(AlertUnexpectedMessage, "message across the change of keys")
	}
	body, err := h.record(recordChangeCipher)
	if err != nil {
		return err
	}
	if len(body) != 1 || body[0] != 1 {
		return bad(AlertDecodeError, "change cipher spec of %d bytes", len(body))
	}
	h.conn.in.cipher, h.conn.in.seq = h.in, 0
	return nil
}

// finished reads the peer's Finished.
func (h *handshake) finished(label string) error {
	want := h.conn.suite.finished(h.master, label, h.transcript)
	_, got, err := h.message(messageFinished)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return bad(AlertDecryptError, "finished does not match")
	}
	if len(h.pending) > 0 {
		return bad(AlertUnexpectedMessage, "handshake message after finished")
	}
	h.transcript = appendMessage(h.transcript, messageFinished,
		func(b []byte) []byte { return append(b, got...) })
	return nil
}

// flight collects records for one write.
type flight struct {
	h   *handshake
	b   []byte
	err error
}

func (f *flight) record(typ byte, p []byte) {
	if f.err == nil {
		f.b, f.err = f.h.conn.out.append(f.b, typ, p)
	}
}

// message adds a handshake message in a record of its own.
func (f *flight) message(m []byte) {
	f.h.transcript = append(f.h.transcript, m...)
	f.record(recordHandshake, m)
}

// finish adds ChangeCipherSpec and Finished.
func (f *flight) finish(label string) {
	f.record(recordChangeCipher, []byte{1})
	f.h.conn.out.cipher, f.h.conn.out.seq = f.h.out, 0
	sum := f.h.conn.suite.finished(f.h.master, label, f.h.transcript)
	f.message(
		appendMessage(nil, messageFinished, func(b []byte) []byte { return append(b, sum...) }),
	)
}

func (f *flight) send() error {
	if f.err != nil {
		return f.err
	}
	_, err := f.h.conn.conn.Write(f.b)
	return err
}

const (
	clientFinished = "client finished"
	serverFinished = "server finished"
)

// keys returns the connection keys.
func (h *handshake) keys(clientRandom, serverRandom []byte) (client, server protector, err error) {
	s := h.conn.suite
	h.master = s.masterSecret(h.cfg.Key, clientRandom, serverRandom)
	return s.protectors(s.keyBlock(h.master, clientRandom, serverRandom), h.cfg.Rand)
}

func (h *handshake) newRandom() []byte {
	b := make([]byte, randomLen)
	link.Fill(h.cfg.Rand, b)
	return b
}

func (h *handshake) client() error {
	random := h.newRandom()
	f := &flight{h: h}
	f.message(appendClientHello(nil, random, h.suites))
	if err := f.send(); err != nil {
		return err
	}
	hello, err := h.serverHello()
	if err != nil {
		return err
	}
	h.out, h.in, err = h.keys(random, hello.random)
	if err != nil {
		return err
	}
	f = &flight{h: h}
	f.message(appendIdentity(nil, h.cfg.Identity))
	f.finish(clientFinished)
	if err := f.send(); err != nil {
		return err
	}
	if err := h.changeCipher(); err != nil {
		return err
	}
	h.conn.ident = h.cfg.Identity
	return h.finished(serverFinished)
}

// serverHello reads the first messages of the server.
func (h *handshake) serverHello() (*serverHello, error) {
	_, b, err := h.message(messageServerHello)
	if err != nil {
		return nil, err
	}
	hello, err := parseServerHello(b)
	if err != nil {
		return nil, err
	}
	hello.random = slices.Clone(hello.random)
	if hello.version != version {
		return nil, bad(AlertProtocolVersion, "server chose version %04x", hello.version)
	}
	for _, s := range h.suites {
		if s.id == hello.suite {
			h.conn.suite = s
		}
	}
	if h.conn.suite == nil || hello.compression != 0 {
		return nil, bad(AlertIllegalParameter, "server chose %v, which was not offered",
			hello.suite)
	}
	// A server may send a hint about the identity that it expects. This client does not
	// choose its key by a hint.
	typ, b, err := h.message(messageServerKeyExchange, messageServerHelloDone)
	if err == nil && typ == messageServerKeyExchange {
		_, err = parseIdentity(b)
		if err != nil {
			return nil, bad(AlertDecodeError, "server key exchange: %w", errShort)
		}
		_, b, err = h.message(messageServerHelloDone)
	}
	if err != nil {
		return nil, err
	}
	if len(b) > 0 {
		return nil, bad(AlertDecodeError, "server hello done of %d bytes", len(b))
	}
	return hello, nil
}

func (h *handshake) server() error {
	_, b, err := h.message(messageClientHello)
	if err != nil {
		return err
	}
	hello, err := parseClientHello(b)
	if err != nil {
		return err
	}
	if err := h.choose(hello); err != nil {
		return err
	}
	clientRandom, random := slices.Clone(hello.random), h.newRandom()
	f := &flight{h: h}
	f.message(appendServerHello(nil, random, h.conn.suite, hello.renegotiation))
	f.message([]byte{messageServerHelloDone, 0, 0, 0})
	if err := f.send(); err != nil {
		return err
	}
	_, b, err = h.message(messageClientKeyExchange)
	if err != nil {
		return err
	}
	h.conn.ident, err = parseIdentity(b)
	if err != nil {
		return err
	}
	if h.cfg.CheckIdentity != nil && !h.cfg.CheckIdentity(h.conn.ident) {
		return &violation{AlertUnknownPSKIdentity, ErrIdentity}
	}
	h.in, h.out, err = h.keys(clientRandom, random)
	if err != nil {
		return err
	}
	if err := h.changeCipher(); err != nil {
		return err
	}
	if err := h.finished(clientFinished); err != nil {
		return err
	}
	f = &flight{h: h}
	f.finish(serverFinished)
	return f.send()
}

// choose selects the suite.
func (h *handshake) choose(hello *clientHello) error {
	if hello.version < version {
		return bad(AlertProtocolVersion, "client offers version %04x", hello.version)
	}
	if !hello.plain {
		return &violation{AlertIllegalParameter, errors.New("client wants compression")}
	}
	for _, s := range h.suites {
		if slices.Contains(hello.suites, s.id) {
			h.conn.suite = s
			return nil
		}
	}
	return &violation{AlertHandshakeFailure, errors.New("client offers none of the suites")}
}
