package lockdown

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// idleTimeout is when lockdownd hangs up on a host that says nothing.
const idleTimeout = 60 * time.Second

// maxRequest bounds a request: whoever reaches the port may send one. A pair record is the
// largest.
const maxRequest = 1 << 20

// FaultHandshake is what Device.Fault is called with ahead of a session's TLS
// handshake.
const FaultHandshake = "Handshake"

// Device is lockdownd of the virtual device. One Device serves any number of
// connections; its fields must not change meanwhile.
type Device struct {
	// Phone answers everything; it must be set.
	Phone *phone.Phone
	// Start starts a service and says where it waits. The host is the one
	// whose session asks, nil without a session; the service's TLS needs it.
	// Start knows which services a locked phone starts only with the escrow
	// bag, and refuses those with ErrPasswordProtected when there is none; a
	// wrong bag is refused before Start is called. An error that holds a Code is that refusal.
	// Nil refuses everything with ErrInvalidService.
	Start func(ctx context.Context, service string, host *trust.Host, escrow []byte) (Endpoint,
		error)
	// Network tells that the connections come over Wi-Fi, where no host may
	// pair.
	Network bool
	// Trusted gives every connection the rights of a session, as lockdownd's
	// trusted service in a tunnel does.
	Trusted bool
	// IdleTimeout ends a connection on which nothing is said. 0 is 60
	// seconds, negative is never.
	IdleTimeout time.Duration
	// Recovery is called after EnterRecovery was answered, on the
	// connection's goroutine; it must not wait for the connection to end.
	// Nil is Phone.Power(phone.Shutdown): no service is left either way.
	Recovery func()
	// Fault makes the daemon misbehave. It is called before each request is
	// answered, with the request's name, and before each handshake. It may
	// wait, to answer late. A Code that it returns is the answer to that
	// request; any other error ends the connection.
	Fault func(ctx context.Context, op string) error
	// Logger gets every request at debug level; nil is silent.
	Logger *slog.Logger
}

// Serve answers a host until it leaves, says nothing for IdleTimeout, sends
// what is not a request, or ctx ends. The first two are not errors. The caller
// closes c.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	log := d.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &deviceConn{Device: d, log: log.With("layer", "lockdown", "udid", d.Phone.Identity.UDID)}
	s.conn = &link.PlistConn{Conn: c, Max: maxRequest}
	for {
		err := s.step(ctx)
		switch {
		case err == nil:
			continue
		case err == errDone:
			return nil
		case ctx.Err() != nil:
			return &Error{Op: "serve", Err: context.Cause(ctx)}
		case err == errIdle, gone(err), errors.Is(err, net.ErrClosed):
			s.log.Debug("connection ended", "why", err)
			return nil
		}
		if e := (*Error)(nil); errors.As(err, &e) {
			return e // a handshake
		}
		return &Error{Op: "serve", Err: err}
	}
}

var (
	errDone = errors.New("host said goodbye")
	errIdle = errors.New("nothing was said for too long")
)

// deviceConn is one host's connection: plain text, or in a session. All of it
// belongs to the goroutine of Serve.
type deviceConn struct {
	*Device
	log  *slog.Logger
	conn *link.PlistConn

	tls     *link.TLSConn // nil in plain text
	session string        // SessionID; "" without a session
	host    *trust.Host   // whose session it is
	then    func(context.Context) error
}

// step reads one request and answers it.
func (s *deviceConn) step(ctx context.Context) error {
	var d plist.Dict
	bound, cancel := s.bound(ctx)
	err := s.conn.Recv(bound, &d)
	cancel()
	if err == io.EOF && s.tls != nil {
		return s.plainText(ctx)
	}
	if err != nil {
		return s.ioError(ctx, err)
	}
	r, code := parseRequest(d)
	reply, err := s.answer(ctx, &r, code)
	if err != nil {
		return err
	}
	bound, cancel = s.bound(ctx)
	defer cancel()
	if err := s.conn.Send(bound, reply); err != nil {
		return s.ioError(ctx, err)
	}
	if then := s.then; then != nil {
		s.then = nil
		return then(ctx)
	}
	return nil
}

// bound limits one read or write by the idle time-out.
func (s *deviceConn) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.IdleTimeout
	if limit < 0 {
		return ctx, func() {}
	}
	if limit == 0 {
		limit = idleTimeout
	}
	return context.WithTimeout(ctx, limit)
}

func (s *deviceConn) ioError(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return errIdle
	}
	return err
}

// answer makes the reply to a request. An error ends the connection.
func (s *deviceConn) answer(ctx context.Context, r *request, code Code) (plist.Dict, error) {
	reply := r.echo()
	var err error
	if code != "" {
		err = code
	} else if err = s.fault(ctx, r.name); err == nil {
		err = s.dispatch(ctx, r, reply)
	}
	if err == nil {
		s.log.Debug("answered", "request", r.name, "subject", r.subject(), "label", r.label)
		return reply, nil
	}
	if !errors.As(err, &code) {
		return nil, err
	}
	s.log.Debug("refused", "request", r.name, "subject", r.subject(), "label", r.label, "code",
		string(code))
	reply = r.echo()
	reply["Error"] = string(code)
	return reply, nil
}

func (s *deviceConn) fault(ctx context.Context, op string) error {
	if s.Fault == nil {
		return nil
	}
	return s.Fault(ctx, op)
}

// dispatch fills the reply or returns a Code.
func (s *deviceConn) dispatch(ctx context.Context, r *request, reply plist.Dict) error {
	switch r.name {
	case reqRemoveValue, reqResetPairing, reqEnterRecovery, reqActivate, reqDeactivate:
		if !s.trusted() {
			return ErrSessionInactive
		}
	}
	switch r.name {
	case reqQueryType:
		reply["Type"] = DeviceType
		return nil
	case reqGetValue:
		return s.getValue(r, reply)
	case reqSetValue:
		return s.setValue(r, reply)
	case reqRemoveValue:
		return s.removeValue(r)
	case reqStartSession:
		return s.startSession(r, reply)
	case reqStopSession:
		return s.stopSession(r, reply)
	case reqStartService:
		return s.startService(ctx, r, reply)
	case reqPair:
		return s.pair(r, reply)
	case reqValidatePair:
		return s.validatePair(r)
	case reqUnpair:
		return s.unpair(r)
	case reqResetPairing:
		s.Phone.Trust.Reset()
		return nil
	case reqEnterRecovery:
		s.then = s.enterRecovery
		return nil
	case reqGoodbye:
		s.then = func(context.Context) error { return errDone }
		return nil
	case reqActivate:
		// Every phone here is activated; since iOS 11 that is another
		// daemon's work in any case.
		if r.activate == nil {
			return ErrMissingActivationRecord
		}
		return ErrInvalidActivationRecord
	}
	return ErrInvalidRequest
}

func (s *deviceConn) enterRecovery(context.Context) error {
	if s.Recovery != nil {
		s.Recovery()
	} else {
		s.Phone.Power.Do(power.Shutdown)
	}
	return errDone
}

// trusted reports whether the host has the rights of a session.
func (s *deviceConn) trusted() bool { return s.session != "" || s.Trusted }

// startSession answers in plain text and leaves the handshake for afterwards:
// nothing may be written between the two.
func (s *deviceConn) startSession(r *request, reply plist.Dict) error {
	if s.trusted() || s.tls != nil {
		return ErrSessionActive
	}
	if r.hostID == "" {
		return ErrMissingHostID
	}
	host, ok := s.Phone.Trust.Host(r.hostID)
	if !ok {
		return ErrInvalidHostID
	}
	id := link.UUIDText(nil)
	reply["SessionID"] = id
	reply["EnableSessionSSL"] = true
	s.then = func(ctx context.Context) error { return s.encrypt(ctx, id, host) }
	return nil
}

// encrypt performs the handshake that begins a session.
func (s *deviceConn) encrypt(ctx context.Context, session string, host trust.Host) error {
	if err := s.fault(ctx, FaultHandshake); err != nil {
		return err
	}
	bound, cancel := s.bound(ctx)
	defer cancel()
	t, err := DeviceTLS(bound, s.conn.Conn, s.Phone.Trust.Key(), host)
	if err != nil {
		return s.ioError(ctx, err)
	}
	s.tls, s.conn.Conn = t, t
	s.session, s.host = session, &host
	return nil
}

// stopSession ends the session but not TLS: the host does that with its
// close_notify, if it does not simply close.
func (s *deviceConn) stopSession(r *request, reply plist.Dict) error {
	switch {
	case s.session == "":
		return ErrSessionInactive
	case r.sessionID == "":
		return ErrMissingSessionID
	case r.sessionID != s.session:
		return ErrInvalidSessionID
	}
	s.session, s.host = "", nil
	reply["Result"] = "Success" // pymobiledevice3 insists
	return nil
}

// plainText answers close_notify with its like and goes on without TLS.
func (s *deviceConn) plainText(ctx context.Context) error {
	bound, cancel := s.bound(ctx)
	defer cancel()
	raw, err := s.tls.HandBack(bound)
	if err != nil {
		s.log.Debug("tls ended with the connection", "why", err)
		return errDone // most hosts close without a word
	}
	s.tls, s.conn.Conn = nil, raw
	s.session, s.host = "", nil
	return nil
}
