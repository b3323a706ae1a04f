package dtsimulatelocation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// sheet has the messages as the protocol sheet has them; go-ios sends six decimals.
const (
	setSheet   = "\x00\x00\x00\x00\x00\x00\x00\x0948.858400\x00\x00\x00\x082.294500"
	clearSheet = "\x00\x00\x00\x01"
)

func TestRead(t *testing.T) {
	t.Parallel()
	r := bytes.NewReader([]byte(setSheet + clearSheet))
	for _, want := range []Request{{Latitude: 48.8584, Longitude: 2.2945}, {Clear: true}} {
		got, err := Read(r)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("Read = %+v, want %+v", got, want)
		}
	}
	if _, err := Read(r); err != io.EOF {
		t.Errorf("Read at the end: %v, want io.EOF", err)
	}
	for sent, want := range map[string]error{
		"\x00\x00\x00\x02":                            errOperation,
		"\x00\x00":                                    io.ErrUnexpectedEOF,
		"\x00\x00\x00\x00":                            io.ErrUnexpectedEOF,
		"\x00\x00\x00\x00\x00\x00\x00\x02":            io.ErrUnexpectedEOF,
		"\x00\x00\x00\x00\x00\x00\x00\x021":           io.ErrUnexpectedEOF,
		"\x00\x00\x00\x00\x00\x00\x00\x00":            errNumber,
		"\x00\x00\x00\x00\x00\x00\x00\x02hi":          errNumber,
		"\x00\x00\x00\x00\x00\x00\x00\x41" + setSheet: errNumber,
	} {
		if _, err := Read(bytes.NewReader([]byte(sent))); !errors.Is(err, want) {
			t.Errorf("Read(% x) fails with %v, want %v", sent, err, want)
		}
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	const want = "\x00\x00\x00\x00\x00\x00\x00\x0748.8584\x00\x00\x00\x03-70"
	if got := Append(nil, Request{Latitude: 48.8584, Longitude: -70}); string(got) != want {
		t.Errorf("Append = % x, want % x", got, want)
	}
	if got := Append(nil, Request{Clear: true}); string(got) != clearSheet {
		t.Errorf("Append = % x, want % x", got, clearSheet)
	}
}

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		return &Device{Env: service.Env{Phone: phonetest.New(tb, phone.Options{})}}
	},
	Typed: fuzztest.Typed[*service.Error],
}

func TestService(t *testing.T) { suite.Test(t) }

// TestSimulation checks that the simulation outlives its connection, and that the phone
// ignores a place that does not exist.
func TestSimulation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{Profile: "ios16"})
		home, _ := p.Location.Place()
		want := func(what string, at location.Place, simulated bool) {
			t.Helper()
			synctest.Wait()
			got, s := p.Location.Place()
			if got != at {
				t.Errorf("%s: the phone is at %v, want %v", what, got, at)
			}
			if s != simulated {
				t.Errorf("%s: location simulated: %v, want %v", what, s, simulated)
			}
		}
		h := NewDevice(service.Env{Phone: p})
		connect := func() *Client {
			return New(servicetest.Conn(servicetest.Prompt(t), h))
		}
		c := connect()
		if err := c.SetLocation(t.Context(), 48.8584, 2.2945); err != nil {
			t.Fatal(err)
		}
		tower := location.Place{Latitude: 48.8584, Longitude: 2.2945}
		want("set", tower, true)
		if err := c.SetLocation(t.Context(), 91, 0); err != nil {
			t.Fatal(err)
		}
		want("out of range", tower, true)
		c.Close()
		want("after the end of the connection", tower, true)
		c = connect()
		if err := c.ClearLocation(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("clear", home, false)
		c.Close()
	})
}

// TestDeadline sends to a device that does not read.
func TestDeadline(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe() // a write waits for a read
	defer there.Close()
	c := New(here)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.SetLocation(ctx, 1, 2)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("SetLocation: %v, want %v", err, context.Canceled)
	}
	fuzztest.Typed[*service.Error](t, "SetLocation", err)
}
