package remotepair

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/link"
)

// consentTimeout is how long Pair waits for the user by default.
const consentTimeout = 60 * time.Second

// maxUnasked is how many other messages are ignored while a message is awaited.
const maxUnasked = 64

// Options of a Client.
type Options struct {
	// Identity identifies this host; it is required. To use a Record, set the result of
	// its Identity method, because devices know a host by both its name and its key.
	Identity *Identity
	// Record is the host's record of the device, if it has one. Verify then checks that
	// the device is the same.
	Record *Record
	// HostName is the name that the device's dialog shows; "" means the identifier.
	HostName string
	// PIN asks the user for the digits that the device shows. It is not called for
	// iPhones and iPads, which show a dialog. If it is nil, the error is ErrPINNeeded.
	PIN func(ctx context.Context) (string, error)
	// OnConsent is called when the device shows its dialog. The function it returns is
	// called when the device has answered, or when Pair no longer waits for that.
	OnConsent func() (closed func())
	// ConsentTimeout is how long Pair waits for the user; 0 means 60 seconds.
	ConsentTimeout time.Duration
	// Rand is the source of random bytes; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader
	// Logger logs the messages without their secrets. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// DeviceInfo is what a device sends about itself before pairing.
type DeviceInfo struct {
	Name, Model, UDID string
	// Identifier is the name that other programs give to records; it is usually the
	// UDID.
	Identifier                  string
	ECID                        uint64
	WireVersion, MinWireVersion int64
	AllowsPairSetup             bool // pairing is possible
	AllowsPinlessPairing        bool // the device shows a dialog instead of a PIN
	AllowsIncomingTunnels       bool // CreateListener is possible
	Options, Peer               plist.Dict
}

// Client is the host side of a control channel. Its methods may be called from several
// goroutines and wait for each other. If a call is ended by its context before it is
// complete, the channel cannot be used any more, because requests and answers would no
// longer match.
type Client struct {
	t    Transport
	o    Options
	log  *slog.Logger
	bad  link.Skipped
	info DeviceInfo

	busy   chan struct{} // has a token while a call is in progress
	seq    uint64
	tried  bool     // whether Verify has been called
	enc    *channel // nil until Verify or Pair has succeeded
	broken error

	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error
}

// Connect performs the handshake and reads the description of the device. On error t is
// closed.
func Connect(ctx context.Context, t Transport, o Options) (*Client, error) {
	if err := o.Identity.check(); err != nil {
		t.Close()
		return nil, &Error{Op: "connect", Err: err}
	}
	c := &Client{
		t: t, o: o, log: o.Logger, busy: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("layer", "remotepair")
	if o.HostName == "" {
		c.o.HostName = o.Identity.Identifier
	}
	if err := c.handshake(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return c, nil
}

// Device returns the description that the device has sent.
func (c *Client) Device() DeviceInfo { return c.info }

// Close closes the channel. A call in progress fails with net.ErrClosed.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		close(c.closed)
		c.closeErr = c.t.Close()
	})
	return c.closeErr
}

// enter waits until no other call is in progress.
func (c *Client) enter(ctx context.Context, op string) (leave func(), err error) {
	select {
	case c.busy <- struct{}{}:
	case <-c.closed:
		return nil, &Error{Op: op, Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, &Error{Op: op, Err: context.Cause(ctx)}
	}
	leave = func() { <-c.busy }
	select {
	case <-c.closed:
		err = net.ErrClosed
	default:
		err = c.broken
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		leave()
		return nil, &Error{Op: op, Err: err}
	}
	return leave, nil
}

// spoil records that the transport has failed.
func (c *Client) spoil(err error) error {
	select {
	case <-c.closed:
		err = net.ErrClosed
	default:
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	c.broken = fmt.Errorf("channel is broken: %w", err)
	return err
}

func (c *Client) send(ctx context.Context, m *Message) error {
	m.Sequence = c.seq
	c.seq++
	c.log.Debug("send", "message", m)
	if err := c.t.Send(ctx, m); err != nil {
		return c.spoil(err)
	}
	return nil
}

// recv returns the next message for which want is true.
func (c *Client) recv(ctx context.Context, want func(*Message) bool) (*Message, error) {
	for range maxUnasked {
		m, err := c.t.Recv(ctx)
		// A newer device may send messages of another form.
		if errors.Is(err, errShape) {
			c.bad.Add(c.log, "malformed message passed over", "err", err)
			continue
		}
		if err != nil {
			return nil, c.spoil(err)
		}
		c.log.Debug("receive", "message", m)
		if want(m) {
			return m, nil
		}
	}
	return nil, c.spoil(ErrProtocol)
}

func (c *Client) handshake(ctx context.Context) error {
	fail := func(err error) error { return &Error{Op: "handshake", Err: err} }
	req := &Message{content: &content{kind: kindRequest, name: nameHandshake,
		args: plist.Dict{"_0": plist.Dict{
			"hostOptions":         plist.Dict{"attemptPairVerify": true},
			"wireProtocolVersion": int64(hostWireVersion),
		}}}}
	if err := c.send(ctx, req); err != nil {
		return fail(err)
	}
	m, err := c.recv(ctx,
		func(m *Message) bool { return m.content != nil && m.content.kind == kindResponse })
	if err != nil {
		return fail(err)
	}
	if m.content.name == nameErrorExtended {
		d, _ := m.content.args.Dict("_0")
		return peerError("handshake", "", d, nil)
	}
	d, ok := m.content.args.Dict("_0")
	if !ok || m.content.name != nameHandshake {
		return fail(ErrProtocol)
	}
	c.info = parseDeviceInfo(d)
	return nil
}

func parseDeviceInfo(d plist.Dict) DeviceInfo {
	var i DeviceInfo
	i.WireVersion, _ = d.Int("wireProtocolVersion")
	i.MinWireVersion, _ = d.Int("minimumSupportedWireProtocolVersion")
	i.Options, _ = d.Dict("deviceOptions")
	i.AllowsPairSetup, _ = i.Options.Bool("allowsPairSetup")
	i.AllowsPinlessPairing, _ = i.Options.Bool("allowsPinlessPairing")
	i.AllowsIncomingTunnels, _ = i.Options.Bool("allowsIncomingTunnelConnections")
	i.Peer, _ = d.Dict("peerDeviceInfo")
	i.Name, _ = i.Peer.String("name")
	i.Model, _ = i.Peer.String("model")
	i.UDID, _ = i.Peer.String("udid")
	i.Identifier, _ = i.Peer.String("identifier")
	i.ECID, _ = i.Peer.Uint("ecid")
	return i
}

// exchange sends a pairing message and waits for that of the device. onEvent is called
// for the other events that arrive meanwhile, and may end the wait.
func (c *Client) exchange(
	ctx context.Context, op, kind string, fresh bool, list tlv8.List, onEvent func(*content) error,
) (*pairingData, error) {
	hostName := ""
	if kind == kindSetup {
		hostName = c.o.HostName
	}
	ev, err := pairingEvent(kind, list, fresh, hostName)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if err := c.send(ctx, &Message{content: ev}); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	var refused error
	m, err := c.recv(ctx, func(m *Message) bool {
		if m.content == nil || m.content.kind != kindEvent {
			return false
		}
		switch m.content.name {
		case namePairingData:
			return true
		case nameRejected:
			inner, _ := m.content.args.Dict("wrappedError")
			refused = peerError(op, "", inner, ErrDenied)
			// Only the text of the refusal says that the device is locked.
			if strings.Contains(refused.Error(), "locked") {
				refused = peerError(op, "", inner, ErrLocked)
			}
		default:
			if onEvent != nil {
				refused = onEvent(m.content)
			}
		}
		return refused != nil
	})
	if err == nil && refused != nil {
		return nil, refused
	}
	var p *pairingData
	if err == nil {
		p, err = parsePairing(m.content)
	}
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if p.kind != kind {
		return nil, &Error{Op: op, Err: ErrProtocol}
	}
	return p, nil
}

// Call sends a request over the encrypted channel and returns the result. It is for
// requests that have no method in this package.
func (c *Client) Call(ctx context.Context, name string, args plist.Dict) (plist.Dict, error) {
	leave, err := c.enter(ctx, "call")
	if err != nil {
		return nil, err
	}
	defer leave()
	return c.call(ctx, name, args)
}

// call is Call for a caller that has called enter.
func (c *Client) call(ctx context.Context, name string, args plist.Dict) (plist.Dict, error) {
	fail := func(err error) (plist.Dict, error) {
		return nil, &Error{Op: "call", Subject: name, Err: err}
	}
	if c.enc == nil {
		return fail(ErrNotVerified)
	}
	plain, err := appendJSON(nil, (&content{kind: kindRequest, name: name, args: args}).tree())
	if err != nil {
		return fail(err)
	}
	if err := c.send(ctx, &Message{encrypted: c.enc.seal(c.enc.client, plain)}); err != nil {
		return fail(err)
	}
	m, err := c.recv(ctx, func(m *Message) bool { return m.content == nil })
	if err != nil {
		return fail(err)
	}
	plain, err = c.enc.open(c.enc.server, m.encrypted)
	if err != nil {
		return fail(c.spoil(err))
	}
	c.enc.n++
	tree, err := decodeJSON(plain)
	if err != nil {
		return fail(err)
	}
	answer, err := parseContent(tree)
	switch {
	case err != nil:
		return fail(err)
	case answer.kind == kindResponse && answer.name == nameErrorExtended:
		d, _ := answer.args.Dict("_0")
		return nil, peerError("call", name, d, nil)
	case answer.kind != kindResponse || answer.name != name:
		return fail(ErrProtocol)
	}
	return answer.args, nil
}

// Protocol is the transport of a tunnel.
type Protocol string

// The protocols of a tunnel.
const (
	QUIC Protocol = "quic" // iOS 17.0 to 18.1
	TCP  Protocol = "tcp"  // TLS with a pre-shared key
)

const (
	listenerKeyLen = 32
	maxListenerKey = 8 << 10
)

// ListenerRequest is a request for the listener of a tunnel.
type ListenerRequest struct {
	Protocol Protocol
	// Key is the host's key. For QUIC it is the DER SubjectPublicKeyInfo of its
	// certificate. For TCP it is the pre-shared key; if it is empty, a new random key
	// is used.
	Key []byte `json:"-"`
}

// Listener is the address at which a tunnel may be opened.
type Listener struct {
	Port uint16
	// DevicePublicKey is the DER SubjectPublicKeyInfo of the device's certificate. It
	// has no meaning for TCP.
	DevicePublicKey []byte
	// Key is the key of the request.
	Key []byte `json:"-"`
}

// String omits the key.
func (l Listener) String() string { return fmt.Sprintf("listener on port %d", l.Port) }

// Format prints String for every verb, so that no verb prints the key.
func (l Listener) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, l.String()) }

// String omits the key.
func (r ListenerRequest) String() string { return "listener request (" + string(r.Protocol) + ")" }

// Format prints String for every verb, so that no verb prints the key.
func (r ListenerRequest) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, r.String()) }

// CreateListener asks the device to open the listener of a tunnel, at the address of
// this channel. The device closes it if there is no connection to it, or when the
// channel ends.
func (c *Client) CreateListener(ctx context.Context, r ListenerRequest) (*Listener, error) {
	leave, err := c.enter(ctx, "call")
	if err != nil {
		return nil, err
	}
	defer leave()
	fail := func(err error) (*Listener, error) {
		return nil, &Error{Op: "call", Subject: nameCreateListen, Err: err}
	}
	if len(r.Key) == 0 && r.Protocol == TCP {
		r.Key = make([]byte, listenerKeyLen)
		link.Fill(c.o.Rand, r.Key)
	}
	if len(r.Key) == 0 || len(r.Key) > maxListenerKey {
		return fail(errors.New("key is missing or too long"))
	}
	d, err := c.call(ctx, nameCreateListen, plist.Dict{
		"key":                   base64.StdEncoding.EncodeToString(r.Key),
		"transportProtocolType": string(r.Protocol)})
	if err != nil {
		return nil, err
	}
	port, ok := d.Uint("port")
	if !ok || port == 0 || port > 65535 {
		return fail(fmt.Errorf("%w: no usable port", ErrProtocol))
	}
	l := &Listener{Port: uint16(port), Key: r.Key}
	l.DevicePublicKey, err = binaryOf(d["devicePublicKey"])
	if err != nil && r.Protocol == QUIC {
		return fail(fmt.Errorf("%w: no usable devicePublicKey", ErrProtocol))
	}
	return l, nil
}

// CreateRemoteUnlockKey asks for the key that a record stores as RemoteUnlockHostKey.
// Not all devices have one.
func (c *Client) CreateRemoteUnlockKey(ctx context.Context) (string, error) {
	leave, err := c.enter(ctx, "call")
	if err != nil {
		return "", err
	}
	defer leave()
	return c.unlockKey(ctx)
}

func (c *Client) unlockKey(ctx context.Context) (string, error) {
	d, err := c.call(ctx, nameUnlockKey, nil)
	if err != nil {
		return "", err
	}
	s, ok := d.String("hostKey")
	if !ok || len(s) > maxText {
		return "", &Error{
			Op: "call", Subject: nameUnlockKey,
			Err: fmt.Errorf("%w: no usable hostKey", ErrProtocol),
		}
	}
	return s, nil
}
