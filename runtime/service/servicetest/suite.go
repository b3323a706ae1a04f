package servicetest

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/service"
)

// Suite describes a service to its tests. C is the type of its client.
type Suite[C io.Closer] struct {
	Name    service.Name
	Connect func(context.Context, service.Opener) (C, error)
	// Device makes the device side.
	Device func(testing.TB) service.Handler
	// Calls are those that wait for an answer of the device.
	Calls Calls[C]
	// Typed fails the test if an error is not of the package's type; fuzztest.Typed makes one.
	Typed func(t *testing.T, what string, err error)
	// Silent is a device side that lets a client connect and does not answer any call. It is
	// needed if Connect exchanges messages.
	Silent service.Handler
	// Framed says that the messages of both sides are property lists with their lengths in
	// front: the device side refuses everything else, and a fuzz target makes up one message.
	Framed bool
}

// limit is how long calls of a silent device may take.
const limit = 5 * time.Second

// broken is what no service understands.
var broken = map[string]string{
	"nothing":         "",
	"half a length":   "\x00\x00",
	"half a frame":    "\x00\x00\x00\x09<pl",
	"huge frame":      "\x7f\xff\xff\xff",
	"not a plist":     "\x00\x00\x00\x02hi",
	"list":            "\x00\x00\x00\x17<plist><array/></plist>",
	"text":            "hello",
	"only set bits":   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	"only unset bits": "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
}

// Test runs what holds for every service: a client ends without a goroutine left, a failure to
// open the service is reported, each call ends when its context does and when the device sends
// what makes no sense, and so does the device side.
func (s Suite[C]) Test(t *testing.T) {
	t.Run("end", s.testEnd)
	t.Run("no route", s.testNoRoute)
	for name, call := range s.Calls {
		t.Run("silent device/"+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { s.testDeadline(t, name, call) })
			synctest.Test(t, func(t *testing.T) { s.testCancel(t, name, call) })
		})
		t.Run("broken answers/"+name, func(t *testing.T) {
			t.Parallel()
			for what, sent := range broken {
				err := s.Answer(t, sent, call)
				if s.Typed(t, what, err); err == nil {
					t.Errorf("%s: no error", what)
				}
			}
		})
	}
	for what, sent := range broken {
		t.Run("broken requests/"+what, func(t *testing.T) {
			t.Parallel()
			err := s.Request(t, sent)
			s.Typed(t, "Serve", err)
			if s.Framed && (err == nil) != (sent == "") {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

func (s Suite[C]) testEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := s.Connect(t.Context(), Opener{t, s.Name, s.Device(t)})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

func (s Suite[C]) testNoRoute(t *testing.T) {
	t.Parallel()
	_, err := s.Connect(t.Context(), NoRoute{})
	s.Typed(t, "Connect", err)
	if !errors.Is(err, ErrNoRoute) {
		t.Errorf("Connect: %v, want %v", err, ErrNoRoute)
	}
}

// on connects to a device side that a test plays and makes a call.
func (s Suite[C]) on(t *testing.T, ctx context.Context, h service.Handler, call Call[C]) error {
	c, err := s.Connect(ctx, Opener{t, s.Name, h})
	if err != nil {
		return err
	}
	defer c.Close()
	return call(c, ctx)
}

// silent returns the device side that does not answer.
func (s Suite[C]) silent() service.Handler {
	if s.Silent != nil {
		return s.Silent
	}
	return HandlerFunc(func(_ context.Context, c net.Conn) error {
		_, err := io.Copy(io.Discard, c)
		return err
	})
}

func (s Suite[C]) testDeadline(t *testing.T, name string, call Call[C]) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begun := time.Now()
	err := s.on(t, ctx, s.silent(), call)
	s.Typed(t, name, err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v, want %v", name, err, context.DeadlineExceeded)
	}
	if took := time.Since(begun); took != limit {
		t.Errorf("%s ended after %v, want %v", name, took, limit)
	}
}

func (s Suite[C]) testCancel(t *testing.T, name string, call Call[C]) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer time.AfterFunc(limit, cancel).Stop()
	begun := time.Now()
	err := s.on(t, ctx, s.silent(), call)
	s.Typed(t, name, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v, want %v", name, err, context.Canceled)
	}
	if took := time.Since(begun); took != limit {
		t.Errorf("%s ended after %v, want %v", name, took, limit)
	}
}

// Fails checks that a call ends with an error of the package's type that matches want, if the
// device sends these bytes and leaves.
func (s Suite[C]) Fails(t *testing.T, name, sent string, call Call[C], want error) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		err := s.Answer(t, sent, call)
		s.Typed(t, "the call", err)
		if !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	})
}

// Answer returns the error of a call to a device that sends these bytes and leaves.
func (s Suite[C]) Answer(t *testing.T, sent string, call Call[C]) error {
	t.Helper()
	ctx := fuzztest.Context(t)
	err := s.on(t, ctx, HandlerFunc(func(_ context.Context, c net.Conn) error {
		fuzztest.Say(c, []byte(sent))
		return nil
	}), call)
	if ctx.Err() != nil {
		t.Errorf("after %.99q: the call does not end: %v", sent, err)
	}
	return err
}

// Request returns the error of a device side whose client sends these bytes and leaves.
func (s Suite[C]) Request(t *testing.T, sent string) error {
	t.Helper()
	c, ended := Dial(fuzztest.Context(t), t, s.Device(t))
	fuzztest.Say(c, []byte(sent))
	return <-ended
}
