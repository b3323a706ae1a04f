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

// idleTimeout is the time after which lockdownd closes a connection without requests.
const idleTimeout = 60 * time.Second

// maxRequest bounds a request, because anybody who reaches the port may send one. The
// largest has a pair record.
const maxRequest = 1 << 20

// FaultHandshake is the argument of Device.Fault before the TLS handshake of a session.
const FaultHandshake = "Handshake"

// Device is lockdownd of the virtual device. One Device serves any number of
// connections. Its fields must not change while it serves.
type Device struct {
	// Phone has all values; it must be set.
	Phone *phone.Phone
	// Start starts a service and returns its endpoint. The host is the one of the
	// session, which the service's TLS needs, or nil without a session. Start decides
	// which services require the escrow bag while the phone is locked, and refuses them
	// with ErrPasswordProtected if escrow is nil. A wrong bag is refused before Start
	// is called. A Code in the error is sent to the host. If Start is nil, every
	// service is refused with ErrInvalidService.
	Start func(ctx context.Context, service string, host *trust.Host, escrow []byte) (Endpoint,
		error)
	// Network reports whether the connections come over Wi-Fi, where no host may pair.
	Network bool
	// Trusted gives every connection the rights of a session, as lockdownd's trusted
	// service in a tunnel does.
	Trusted bool
	// IdleTimeout is the time after which a connection without requests is closed. 0
	// means 60 seconds; a negative value means never.
	IdleTimeout time.Duration
	// Fault makes the daemon misbehave. It is called with the request's name before
	// each request is answered, and with FaultHandshake before each handshake. It may
	// wait, to delay the answer. A Code that it returns is sent as the answer; any
	// other error ends the connection.
	Fault func(ctx context.Context, op string) error
	// Logger logs every request at debug level. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// Serve answers a host until it leaves, is idle for IdleTimeout or sends something that
// is not a request, or until ctx ends. It returns nil in the first two cases. The
// caller closes c.
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
			return e // the error of a handshake
		}
		return &Error{Op: "serve", Err: err}
	}
}

var (
	errDone = errors.New("host said goodbye")
	errIdle = errors.New("nothing was said for too long")
)

// deviceConn is the connection of one host, in plain text or in a session. Only the
// goroutine of Serve uses it.
type deviceConn struct {
	*Device
	log  *slog.Logger
	conn *link.PlistConn

	tls     *link.TLSConn // nil in plain text
	session string        // SessionID; "" without a session
	host    *trust.Host   // the host of the session
	then    func(context.Context) error
	follow  func() // what follows from a change of a value, even if the host has left
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
	err = s.conn.Send(bound, reply)
	if follow := s.follow; follow != nil {
		s.follow = nil
		follow()
	}
	if err != nil {
		return s.ioError(ctx, err)
	}
	if then := s.then; then != nil {
		s.then = nil
		return then(ctx)
	}
	return nil
}

// bound limits a read or write by the idle time-out.
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

// answer returns the reply to a request. An error ends the connection.
func (s *deviceConn) answer(ctx context.Context, r *request, code Code) (plist.Dict, error) {
	reply := r.echo()
	var err error
	if code != "" {
		err = code
	} else {
		err = s.fault(ctx, r.name)
	}
	if err == nil {
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

// dispatch adds the result to the reply or returns a Code.
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
		// Every virtual phone is activated. Since iOS 11 another daemon does this.
		if r.activate == nil {
			return ErrMissingActivationRecord
		}
		return ErrInvalidActivationRecord
	}
	return ErrInvalidRequest
}

func (s *deviceConn) enterRecovery(context.Context) error {
	s.Phone.Power.Do(power.Recovery)
	return errDone
}

// trusted reports whether the host has the rights of a session.
func (s *deviceConn) trusted() bool { return s.session != "" || s.Trusted }

// startSession answers in plain text. The handshake follows after the answer, and
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

// stopSession ends the session but not TLS. The host ends TLS with its close_notify, or
// closes the connection.
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
	reply["Result"] = "Success" // pymobiledevice3 requires it
	return nil
}

// plainText answers close_notify with close_notify and continues without TLS.
func (s *deviceConn) plainText(ctx context.Context) error {
	bound, cancel := s.bound(ctx)
	defer cancel()
	raw, err := s.tls.HandBack(bound)
	if err != nil {
		s.log.Debug("tls ended with the connection", "why", err)
		return errDone // most hosts close without close_notify
	}
	s.tls, s.conn.Conn = nil, raw
	s.session, s.host = "", nil
	return nil
}
