package remotepair

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
)

// rig is a phone that hosts can connect to over one of the transports.
type rig struct {
	testing.TB
	phone *phone.Phone
	dev   *Device
	host  *Identity
	pipe  func() (host, device Transport)
}

// wantCode checks that err matches target, unless that is nil, and is an Error with this
// code and, unless it is empty, this subject. It returns the Error.
func wantCode(
	t testing.TB, what string, err, target error, subject string, code int64,
) *Error {
	t.Helper()
	if target != nil && !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", what, err, target)
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v (%T), want an *Error", what, err, err)
		return &Error{}
	}
	if e.Code != code {
		t.Errorf("%s: the code of %v is %d, want %d", what, err, e.Code, code)
	}
	if subject != "" && e.Subject != subject {
		t.Errorf("%s: the subject of %v is %q, want %q", what, err, e.Subject, subject)
	}
	return e
}

// wantMatch checks that the record is of the device with this Bonjour record.
func wantMatch(t testing.TB, r *Record, identifier, tag string) {
	t.Helper()
	same, known := r.Matches(identifier, tag)
	if !known {
		t.Error("the record has no key for Bonjour records")
	}
	if !same {
		t.Errorf("the record does not match %s %s", identifier, tag)
	}
}

func streamPipe() (host, device Transport) {
	a, b := linktest.Prompt()
	return NewStream(a), NewStream(b)
}

// xpcEnd is one end of an XPC transport without a connection. Bodies are encoded and
// decoded as on a connection.
type xpcEnd struct {
	in   <-chan []byte
	out  chan<- []byte
	stop context.Context
	end  context.CancelFunc
	peer context.Context
}

func xpcPipe() (host, device Transport) {
	ab, ba := make(chan []byte, 16), make(chan []byte, 16)
	actx, aend := context.WithCancel(context.Background())
	bctx, bend := context.WithCancel(context.Background())
	a := &xpcEnd{in: ba, out: ab, stop: actx, end: aend, peer: bctx}
	b := &xpcEnd{in: ab, out: ba, stop: bctx, end: bend, peer: actx}
	if err := b.Send(context.Background(), Greeting()); err != nil {
		panic(err)
	}
	return NewXPC(a), NewXPC(b)
}

func (e *xpcEnd) Send(ctx context.Context, d xpc.Dict) error {
	b, err := xpc.AppendObject(nil, d)
	if err != nil {
		return err
	}
	select {
	case e.out <- b:
		return nil
	case <-e.peer.Done():
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *xpcEnd) Recv(ctx context.Context) (xpc.Dict, error) {
	var b []byte
	select {
	case b = <-e.in:
	default:
		select {
		case b = <-e.in:
		case <-e.stop.Done():
			return nil, io.ErrClosedPipe
		case <-e.peer.Done():
			return nil, io.EOF
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	v, err := xpc.DecodeObject(b)
	if err != nil {
		return nil, err
	}
	return v.(xpc.Dict), nil
}

func (e *xpcEnd) Close() error { e.end(); return nil }

func newRig(t testing.TB, o phone.Options) *rig {
	t.Helper()
	o.LogRate = -1
	p, err := phone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{
		TB: t, phone: p, dev: &Device{Phone: p, Peers: NewPeers(p)},
		host: NewIdentity("my mac", nil),
		pipe: streamPipe,
	}
}

// bubble runs a test over both transports. It fails if goroutines are left at the end.
func bubble(t *testing.T, f func(r *rig)) {
	t.Helper()
	t.Parallel()
	for name, pipe := range map[string]func() (host, device Transport){
		"RPPairing": streamPipe, "XPC": xpcPipe,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, phone.Options{})
				r.pipe = pipe
				f(r)
			})
		})
	}
}

// serve starts the device side of a new connection.
func (r *rig) serve() (Transport, <-chan error) {
	host, device := r.pipe()
	result, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		result <- r.dev.Serve(context.Background(), device)
	}()
	r.Cleanup(func() {
		host.Close()
		<-ended
	})
	return host, result
}

func (r *rig) connect(o Options) *Client {
	r.Helper()
	t, _ := r.serve()
	if o.Identity == nil {
		o.Identity = r.host
	}
	c, err := Connect(r.Context(), t, o)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	return c
}

// pair makes the phone trust the rig's host.
func (r *rig) pair() *Record {
	r.Helper()
	c := r.connect(Options{HostName: "my mac"})
	rec, err := c.Pair(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	c.Close()
	return rec
}
