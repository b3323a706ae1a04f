package remotepair

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// dialogTime is how long a phone shows its dialog.
const dialogTime = time.Minute

// Device is the device side of a control channel.
type Device struct {
	Phone *phone.Phone
	// Peers is the phone's state of remote pairing; required.
	Peers *Peers
	// Consent shows the dialog and waits for the user. It returns nil if the user
	// trusts the host, and an error such as trust.ErrUserDenied otherwise. Its context
	// ends with the dialog. If Consent is nil, every host is trusted. Trust.Ask
	// shows the dialog of the phone.
	Consent func(ctx context.Context, d trust.Dialog) error
	// ConsentTimeout is how long the dialog is shown; 0 means one minute.
	ConsentTimeout time.Duration
	// ShowPIN, if it is not nil, shows six digits in place of the dialog, as an Apple
	// TV does.
	ShowPIN func(pin string)
	// NoSetup refuses to pair with hosts that are not trusted.
	NoSetup bool
	// Listen opens the listener of a tunnel. Its context ends with the control channel.
	// An error of this package with a Code is sent to the host. With any other error,
	// or if Listen is nil, the request is refused as not supported.
	Listen func(ctx context.Context, r ListenerRequest) (*Listener, error)
	// Rand is the source of random bytes; nil means crypto/rand. It must be safe for
	// concurrent use.
	Rand io.Reader
	// Logger logs the messages without their secrets. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// Refuse returns an error for Listen that is sent to the host as an NSError of the
// channel's domain.
func Refuse(code int64, text string) error {
	return &Error{Op: "listen", Domain: controlDomain, Code: code, Err: errors.New(text)}
}

// session is the state of one connection.
type session struct {
	d   *Device
	t   Transport
	log *slog.Logger
	seq uint64

	in   chan *Message
	gone chan struct{} // closed when nothing more is received
	err  error         // the reason; it may be read after gone is closed

	verify verifyDevice
	setup  setupDevice
	enc    *channel // nil until the host has authenticated
}

// Serve serves one host until it leaves, and closes t.
func (d *Device) Serve(ctx context.Context, t Transport) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{d: d, t: t, log: d.Logger, in: make(chan *Message), gone: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("layer", "remotepair", "udid", d.Phone.Identity.UDID)
	go s.receive(ctx)
	err := s.run(ctx)
	cancel()
	t.Close()
	<-s.gone
	if err == nil || err == io.EOF || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return &Error{Op: "serve", Err: err}
}

// receive reads one message ahead, so that it notices a host that leaves while its
// dialog is shown.
func (s *session) receive(ctx context.Context) {
	defer close(s.gone)
	for {
		m, err := s.t.Recv(ctx)
		if err != nil {
			s.err = err
			return
		}
		select {
		case s.in <- m:
		case <-ctx.Done():
			s.err = context.Cause(ctx)
			return
		}
	}
}

func (s *session) run(ctx context.Context) error {
	for {
		select {
		case m := <-s.in:
			s.log.Debug("receive", "message", m)
			if err := s.handle(ctx, m); err != nil {
				return err
			}
		case <-s.gone:
			return s.err
		}
	}
}

func (s *session) send(ctx context.Context, c *content) error {
	return s.sendMessage(ctx, &Message{content: c})
}

func (s *session) sendMessage(ctx context.Context, m *Message) error {
	m.Device, m.Sequence = true, s.seq
	s.seq++
	s.log.Debug("send", "message", m)
	return s.t.Send(ctx, m)
}

func (s *session) handle(ctx context.Context, m *Message) error {
	if m.content == nil {
		return s.encrypted(ctx, m)
	}
	switch c := m.content; {
	case c.kind == kindRequest && c.name == nameHandshake:
		return s.send(ctx, &content{
			kind: kindResponse, name: nameHandshake, to: m.Sequence,
			args: plist.Dict{"_0": s.d.greeting()},
		})
	case c.kind == kindRequest:
		// All other requests require the encrypted channel.
		return s.send(ctx,
			refusal(m.Sequence, CodeUnsupported, "Unsupported operation: "+link.Clip(c.name)))
	case c.kind == kindEvent && c.name == namePairingData:
		p, err := parsePairing(c)
		if err != nil {
			return err
		}
		if p.kind == kindVerify {
			return s.verifyMessage(ctx, p)
		}
		if p.kind == kindSetup {
			return s.setupMessage(ctx, p)
		}
	}
	return nil // pairVerifyFailed, and unknown events
}

// greeting returns the device's answer to the handshake.
func (d *Device) greeting() plist.Dict {
	p := d.Phone
	kvs := plist.Dict{}
	for _, key := range []string{
		"BuildVersion", "DeviceClass", "HardwareModel", "ProductName", "ProductType",
		"ProductVersion",
	} {
		if v, ok := p.Values.Get("", key); ok {
			kvs[key] = v
		}
	}
	kvsData, err := plist.Encode(kvs, plist.Binary)
	if err != nil {
		kvsData = nil // cannot happen: the phone's values can be encoded
	}
	ecid, _ := p.Values.Get("", "UniqueChipID")
	n, _ := plist.Int(ecid)
	return plist.Dict{
		"wireProtocolVersion":                 p.Identity.RemotePairing,
		"minimumSupportedWireProtocolVersion": int64(8),
		"deviceOptions": plist.Dict{
			"allowsPairSetup":                          !d.NoSetup,
			"allowsPinlessPairing":                     d.ShowPIN == nil,
			"allowsPromptlessAutomationPairingUpgrade": false,
			"allowsSharingSensitiveInfo":               true,
			"allowsIncomingTunnelConnections":          d.Listen != nil,
		},
		"peerDeviceInfo": plist.Dict{
			"name": p.Values.Name(), "model": p.Identity.ProductType, "udid": p.Identity.UDID,
			"identifier": p.Identity.UDID, // other programs name their records after it
			"ecid":       uint64(n), "deviceKVSData": kvsData,
			"deviceKVSIncludesSensitiveInfo": false,
		},
	}
}

func refusal(to uint64, code int64, text string) *content {
	return &content{kind: kindResponse, name: nameErrorExtended, to: to,
		args: plist.Dict{"_0": nsError(controlDomain, code, text)}}
}

// encrypted answers a request of the encrypted channel. Every request gets exactly one
// answer, which has its number, and nothing is sent without a request.
func (s *session) encrypted(ctx context.Context, m *Message) error {
	if s.enc == nil {
		return ErrNotVerified
	}
	plain, err := s.enc.open(s.enc.client, m.encrypted)
	if err != nil {
		// It is a replay, or the host's count is wrong. The channel cannot recover.
		return err
	}
	tree, err := decodeJSON(plain)
	if err != nil {
		return err
	}
	req, err := parseContent(tree)
	if err != nil {
		return err
	}
	plain, err = appendJSON(nil, s.answer(ctx, m.Sequence, req).tree())
	if err != nil {
		return err
	}
	sealed := s.enc.seal(s.enc.server, plain)
	s.enc.n++
	return s.sendMessage(ctx, &Message{encrypted: sealed})
}

func (s *session) answer(ctx context.Context, to uint64, req *content) *content {
	respond := func(args plist.Dict) *content {
		return &content{kind: kindResponse, name: req.name, to: to, args: args}
	}
	switch {
	case req.kind == kindRequest && req.name == nameCreateListen:
		l, err := s.listen(ctx, req.args)
		if err != nil {
			return s.refuse(to, err)
		}
		return respond(plist.Dict{
			"port":            int64(l.Port),
			"devicePublicKey": base64.StdEncoding.EncodeToString(l.DevicePublicKey),
		})
	case req.kind == kindRequest && req.name == nameUnlockKey:
		return respond(plist.Dict{"hostKey": base64.StdEncoding.EncodeToString(s.randomKey())})
	}
	return refusal(to, CodeUnsupported, "Unsupported operation: "+link.Clip(req.name))
}

func (s *session) refuse(to uint64, err error) *content {
	s.log.Warn("refused", "request", nameCreateListen, "error", err)
	var e *Error
	if errors.As(err, &e) && e.Code != 0 {
		return refusal(to, e.Code, e.Err.Error())
	}
	return refusal(to, CodeUnsupported, "Unsupported operation: "+err.Error())
}

// noListener is the answer of devices on transports without tunnels.
const noListener = "Tunnel listener creator not set"

func (s *session) listen(ctx context.Context, args plist.Dict) (*Listener, error) {
	if s.d.Listen == nil {
		return nil, Refuse(CodeUnsupported, "Unsupported operation: "+noListener)
	}
	r := ListenerRequest{}
	protocol, _ := args.String("transportProtocolType")
	r.Protocol = Protocol(protocol)
	var err error
	r.Key, err = binaryOf(args["key"])
	if err != nil || len(r.Key) == 0 || len(r.Key) > maxListenerKey {
		return nil, Refuse(CodeUnsupported, "key is missing or not usable")
	}
	if r.Protocol != TCP && r.Protocol != QUIC {
		return nil, Refuse(CodeUnsupported, "unknown transport")
	}
	l, err := s.d.Listen(ctx, r)
	if err != nil {
		return nil, err
	}
	if len(l.DevicePublicKey) > 0 {
		return l, nil
	}
	// frida requires the key even for TCP, where it has no meaning.
	out := *l
	out.DevicePublicKey, err = x509.MarshalPKIXPublicKey(s.d.Peers.id.public())
	return &out, err
}
