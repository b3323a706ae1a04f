package psk

import (
	"encoding/binary"
	"errors"
)

// A handshake message: type u8 | length u24 | body.
const (
	messageClientHello       = 1
	messageServerHello       = 2
	messageServerKeyExchange = 12
	messageServerHelloDone   = 14
	messageClientKeyExchange = 16
	messageFinished          = 20

	messageHeader = 4
	// maxMessage is the length of the longest handshake message. A ClientHello of
	// OpenSSL has about 300 bytes.
	maxMessage = 1 << 14

	// signalling is the suite by which a client states that it supports secure
	// renegotiation (RFC 5746). OpenSSL requires the answer to it.
	signalling             = 0x00FF
	extensionRenegotiation = 0xFF01
)

var errShort = errors.New("message is cut short")

// cursor reads the parts of a message. After a read beyond the end, failed is set and
// all further reads are empty.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) take(n int) []byte {
	if c.failed || n > len(c.b) {
		c.failed, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8() int {
	if b := c.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) u16() int {
	if b := c.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

// clientHello: version u16 | random 32 | session u8+ | suites u16+ | compressions u8+ |
// extensions u16+, optional.
type clientHello struct {
	version       int
	random        []byte
	suites        []Suite
	plain         bool // whether the null compression is offered
	renegotiation bool
}

func parseClientHello(b []byte) (*clientHello, error) {
	c := &cursor{b: b}
	h := &clientHello{version: c.u16(), random: c.take(randomLen)}
	c.take(c.u8()) // the session to resume, which is not supported
	list := c.take(c.u16())
	if len(list)%2 != 0 || len(list) == 0 {
		return nil, bad(AlertDecodeError, "client hello: %w", errShort)
	}
	for ; len(list) > 0; list = list[2:] {
		id := Suite(binary.BigEndian.Uint16(list))
		h.renegotiation = h.renegotiation || id == signalling
		h.suites = append(h.suites, id)
	}
	for _, m := range c.take(c.u8()) {
		h.plain = h.plain || m == 0
	}
	renegotiation, err := extensions(c, false)
	if err != nil {
		return nil, err
	}
	h.renegotiation = h.renegotiation || renegotiation == 1
	return h, nil
}

// extensions reads the optional block at the end of a hello, which ends the message. It
// returns the number of renegotiation_info extensions. If strict is true, all others
// are an error.
func extensions(c *cursor, strict bool) (renegotiation int, err error) {
	if len(c.b) == 0 && !c.failed {
		return 0, nil // there is no block, as in the hello of go-ios
	}
	block := &cursor{b: c.take(c.u16())}
	for !block.failed && len(block.b) > 0 {
		typ := block.u16()
		body := block.take(block.u16())
		switch {
		case block.failed:
		case typ != extensionRenegotiation && strict:
			return 0, bad(AlertUnsupportedExtension, "extension %04x was not offered", typ)
		case typ == extensionRenegotiation:
			// The extension has one empty list, because there is no earlier handshake.
			if len(body) != 1 || body[0] != 0 {
				return 0, bad(AlertHandshakeFailure, "renegotiation_info of an earlier handshake")
			}
			renegotiation++
		}
	}
	if c.failed || block.failed || len(c.b) > 0 || renegotiation > 1 {
		return 0, bad(AlertDecodeError, "hello: %w", errShort)
	}
	return renegotiation, nil
}

func appendClientHello(b, random []byte, suites []*suite) []byte {
	return appendMessage(b, messageClientHello, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, version)
		b = append(b, random...)
		b = append(b, 0) // no session
		b = binary.BigEndian.AppendUint16(b, uint16(2*len(suites)+2))
		for _, s := range suites {
			b = binary.BigEndian.AppendUint16(b, uint16(s.id))
		}
		b = binary.BigEndian.AppendUint16(b, signalling)
		return append(b, 1, 0) // no compression
	})
}

// serverHello: version u16 | random 32 | session u8+ | suite u16 |
// compression u8 | extensions u16+, optional.
type serverHello struct {
	version     int
	random      []byte
	suite       Suite
	compression int
}

func parseServerHello(b []byte) (*serverHello, error) {
	c := &cursor{b: b}
	h := &serverHello{version: c.u16(), random: c.take(randomLen)}
	c.take(c.u8()) // the session to resume later, which is not supported
	h.suite = Suite(c.u16())
	h.compression = c.u8()
	// A server may send only the extensions that were asked for. The only one is
	// renegotiation_info, which the signalling suite asks for.
	if _, err := extensions(c, true); err != nil {
		return nil, err
	}
	return h, nil
}

func appendServerHello(b, random []byte, s *suite, renegotiation bool) []byte {
	return appendMessage(b, messageServerHello, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, version)
		b = append(b, random...)
		b = append(b, 0) // no session
		b = binary.BigEndian.AppendUint16(b, uint16(s.id))
		b = append(b, 0) // no compression
		if renegotiation {
			b = append(b, 0, 5, extensionRenegotiation>>8, extensionRenegotiation&0xFF, 0, 1, 0)
		}
		return b
	})
}

// parseIdentity parses the body of a ClientKeyExchange: identity u16+.
func parseIdentity(b []byte) (string, error) {
	c := &cursor{b: b}
	id := c.take(c.u16())
	if c.failed || len(c.b) > 0 {
		return "", bad(AlertDecodeError, "client key exchange: %w", errShort)
	}
	if len(id) > MaxIdentity {
		return "", bad(AlertUnknownPSKIdentity, "identity of %d bytes", len(id))
	}
	return string(id), nil
}

func appendIdentity(b []byte, identity string) []byte {
	return appendMessage(b, messageClientKeyExchange, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, uint16(len(identity)))
		return append(b, identity...)
	})
}

func appendMessage(b []byte, typ byte, body func([]byte) []byte) []byte {
	start := len(b)
	b = body(append(b, typ, 0, 0, 0))
	n := len(b) - start - messageHeader
	b[start+1], b[start+2], b[start+3] = byte(n>>16), byte(n>>8), byte(n)
	return b
}
