// Package remotepair is the remote pairing of iOS 17 and later. By it a host becomes
// trusted for tunnels, independently of lockdown's pairing, and asks for the listener
// of a tunnel. It consists of HomeKit's pair-setup and pair-verify, carried as events
// in nested dictionaries, followed by an encrypted channel of JSON requests.
//
// The same messages are sent as XPC (on the untrusted tunnel service of RSD, see
// NewXPC) and as JSON in RPPairing frames over TCP (see NewStream). The exchange with a
// host that the device does not know:
//
//	h0 request handshake                     d0 response handshake
//	h1 event pairingData verify M1           d1 event pairingData verify M2
//	h2 event pairingData verify M3           d2 event pairingData verify M4, Error 4
//	h3 event pairVerifyFailed                (no answer)
//	h4 event pairingData setup M1            d3 event awaitingUserConsent
//	                                         d4 event pairingData setup M2 (the user agreed)
//	h5 event pairingData setup M3            d5 event pairingData setup M4
//	h6 event pairingData setup M5            d6 event pairingData setup M6
//	h7 encrypted createRemoteUnlockKey       d7 encrypted response
//	h8 encrypted createListener tcp          d8 encrypted response {port, devicePublicKey}
//
// If the device knows the host, the channel is encrypted after d2. A failed verify is
// the usual first step of a setup, and not an error of the connection.
//
// pair-verify is X25519 with Ed25519 signatures. pair-setup is SRP-6a (3072 bits,
// SHA-512) with a PIN, which is 000000 if the device shows a dialog instead. iOS 27
// added the other direction, in which the device connects to a host. This package has
// neither side of it.
package remotepair

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
)

const (
	// Service is the name of the XPC service in RSD's list.
	Service = "com.apple.internal.dt.coredevice.untrusted.tunnelservice"
	// LockdownService speaks RPPairing frames behind lockdownd.
	LockdownService = "com.apple.dt.remotepairingdeviced.lockdown"
	// DefaultPort is the usual port of the TCP transport. Bonjour (_remotepairing._tcp)
	// has the actual one.
	DefaultPort = 49152

	// hostWireVersion is what hosts send since iOS 17. No device checks it.
	hostWireVersion = 19
	// maxEncrypted bounds a message of the encrypted channel.
	maxEncrypted = 1 << 20
)

// Kinds of Content.
type kind int

const (
	kindRequest  kind = iota // {"request": {"_0": {NAME: ARGS}}}
	kindResponse             // {"response": {"_1": {NAME: ARGS}, "forRequestIdentifier": N}}
	kindEvent                // {"event": {"_0": {NAME: ARGS}}}
)

// Names of requests and events.
const (
	nameHandshake     = "handshake"
	nameCreateListen  = "createListener"
	nameUnlockKey     = "createRemoteUnlockKey"
	nameErrorExtended = "errorExtended"
	namePairingData   = "pairingData"
	nameConsent       = "awaitingUserConsent"
	nameRejected      = "pairingRejectedWithError"
	nameVerifyFailed  = "pairVerifyFailed"

	kindSetup  = "setupManualPairing"
	kindVerify = "verifyManualPairing"
)

// Message is one message of the control channel, either in clear text or encrypted.
type Message struct {
	Sequence  uint64 // each side counts its own messages
	Device    bool   // whether the device sent it
	content   *content
	encrypted []byte
}

// content is a request, a response or an event.
type content struct {
	kind kind
	name string
	args plist.Dict
	to   uint64 // of a response: Sequence of its request
}

// String returns the name of the message and nothing of its content.
func (m *Message) String() string {
	switch {
	case m == nil:
		return "no message"
	case m.content == nil:
		return fmt.Sprintf("#%d encrypted, %d bytes", m.Sequence, len(m.encrypted))
	}
	return fmt.Sprintf("#%d %s %s", m.Sequence,
		[...]string{"request", "response", "event"}[m.content.kind], m.content.name)
}

// Format prints String for every verb.
func (m *Message) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, m.String()) }

var errShape = errors.New("message is not one of the control channel")

const (
	byHost   = "host"
	byDevice = "device"
)

// tree returns the message as nested dictionaries, binary as []byte.
func (m *Message) tree() plist.Dict {
	by, body := byHost, plist.Dict{}
	if m.Device {
		by = byDevice
	}
	if m.content != nil {
		body["plain"] = plist.Dict{"_0": m.content.tree()}
	} else {
		body["streamEncrypted"] = plist.Dict{"_0": m.encrypted}
	}
	return plist.Dict{"message": body, "originatedBy": by, "sequenceNumber": m.Sequence}
}

func (c *content) tree() plist.Dict {
	args := c.args
	if args == nil {
		args = plist.Dict{}
	}
	named := plist.Dict{c.name: args}
	switch c.kind {
	case kindRequest:
		return plist.Dict{"request": plist.Dict{"_0": named}}
	case kindResponse:
		return plist.Dict{"response": plist.Dict{"_1": named, "forRequestIdentifier": c.to}}
	}
	return plist.Dict{"event": plist.Dict{"_0": named}}
}

// parseMessage decodes nested dictionaries. It does not check sequence numbers: hosts
// begin with 0 or 1, and some do not count encrypted messages.
func parseMessage(d plist.Dict) (*Message, error) {
	m := &Message{}
	m.Sequence, _ = d.Uint("sequenceNumber")
	by, _ := d.String("originatedBy")
	m.Device = by == byDevice
	body, _ := d.Dict("message")
	if sealed, ok := body.Dict("streamEncrypted"); ok {
		b, err := binaryOf(sealed["_0"])
		if err != nil || len(b) > maxEncrypted {
			return nil, errShape
		}
		m.encrypted = b
		return m, nil
	}
	plain, _ := body.Dict("plain")
	inner, ok := plain.Dict("_0")
	if !ok {
		return nil, errShape
	}
	var err error
	m.content, err = parseContent(inner)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func parseContent(d plist.Dict) (*content, error) {
	c := &content{}
	var named plist.Dict
	if r, ok := d.Dict("response"); ok {
		c.kind = kindResponse
		c.to, _ = r.Uint("forRequestIdentifier")
		named, _ = r.Dict("_1")
	} else if r, ok := d.Dict("request"); ok {
		named, _ = r.Dict("_0")
	} else if e, ok := d.Dict("event"); ok {
		c.kind = kindEvent
		named, _ = e.Dict("_0")
	}
	if len(named) != 1 {
		return nil, errShape
	}
	for name, args := range named {
		c.name = name
		c.args, _ = args.(plist.Dict)
	}
	return c, nil
}

// binaryOf returns a binary value, which is data in XPC and base64 in JSON.
func binaryOf(v any) ([]byte, error) {
	switch t := v.(type) {
	case []byte:
		return t, nil
	case string:
		return base64.StdEncoding.DecodeString(t)
	}
	return nil, errShape
}

// pairingEvent returns the event that carries one message of setup or verify. Hosts add
// their name to messages of setup.
func pairingEvent(kind string, list tlv8.List, fresh bool, hostName string) (*content, error) {
	// An empty slice, unlike nil, is not encoded as null in JSON.
	b, err := tlv8.Append([]byte{}, list)
	if err != nil {
		return nil, err
	}
	inner := plist.Dict{"data": b, "kind": kind, "startNewSession": fresh}
	if hostName != "" {
		inner["sendingHost"] = hostName
	}
	return &content{kind: kindEvent, name: namePairingData, args: plist.Dict{"_0": inner}}, nil
}

// pairingData is the content of a pairingData event.
type pairingData struct {
	kind     string
	list     tlv8.List
	fresh    bool // startNewSession
	hostName string
}

func parsePairing(c *content) (*pairingData, error) {
	inner, ok := c.args.Dict("_0")
	if !ok {
		return nil, errShape
	}
	b, err := binaryOf(inner["data"])
	if err != nil {
		return nil, errShape
	}
	p := &pairingData{}
	p.kind, _ = inner.String("kind")
	p.fresh, _ = inner.Bool("startNewSession")
	p.hostName, _ = inner.String("sendingHost")
	p.list, err = tlv8.Decode(b)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// state returns the State item, or 0 if there is none.
func (p *pairingData) state() byte {
	n, _ := p.list.Uint(tlv8.State)
	if n > 6 {
		return 0
	}
	return byte(n)
}
