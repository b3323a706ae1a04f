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

// Suite describes a service for its tests. C is the type of the client.
type Suite[C io.Closer] struct {
	Name    service.Name
	Connect func(context.Context, service.Opener) (C, error)
	// Device returns a device side.
	Device func(testing.TB) service.Handler
	// Calls are the calls that wait for an answer of the device.
	Calls Calls[C]
	// Typed fails the test if err is not nil and not of the type of the package.
	// fuzztest.Typed returns such a function.
	Typed func(t *testing.T, what string, err error)
	// Silent is a device side that lets a client connect but does not answer any call.
	// A service needs one if its Connect exchanges messages.
	Silent service.Handler
	// Framed says that every message of the service is a property list after its
	// length. The device side must then refuse everything else, and fuzz targets put
	// the length before their input.
	Framed bool
}

// limit is how long a call waits for a device that does not answer.
const limit = 5 * time.Second

// broken holds data that no service accepts.
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

// Test runs the tests that every service must pass. A client that is closed leaves no
// goroutine. Connect reports a failure to open the service. Each call ends when its
// context ends, and fails when the device sends malformed data. The device side ends
// when the client sends malformed data.
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
				s.Typed(t, what, err)
				if err == nil {
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

// on connects to the device side h and makes one call.
func (s Suite[C]) on(t *testing.T, ctx context.Context, h service.Handler, call Call[C]) error {
	c, err := s.Connect(ctx, Opener{t, s.Name, h})
	if err != nil {
		return err
	}
	defer c.Close()
	return call(c, ctx)
}

// silent returns a device side that does not answer.
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

// Fails checks that a call fails with an error that is of the type of the package and
// matches want, if the device sends these bytes and disconnects.
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

// Answer makes a call to a device that sends these bytes and disconnects. It returns
// the error of the call.
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

// Request sends these bytes to the device side and disconnects. It returns the error of
// Serve.
func (s Suite[C]) Request(t *testing.T, sent string) error {
	t.Helper()
	c, ended := Dial(fuzztest.Context(t), t, s.Device(t))
	fuzztest.Say(c, []byte(sent))
	return <-ended
}
