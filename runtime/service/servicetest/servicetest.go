// Package servicetest tests both sides of a service. A test file describes its service once
// and has, for each call of the client, what every service must hold:
//
//	var suite = servicetest.Suite[*Client]{
//		Name:    Service,
//		Connect: Connect,
//		Device:  func(tb testing.TB) service.Handler { return &Device{Phone: newPhone(tb)} },
//		Calls: servicetest.Calls[*Client]{
//			"images": servicetest.Value((*Client).Images),
//			"hangup": (*Client).Hangup,
//		},
//		Typed: fuzztest.Typed[*Error],
//	}
//
//	func TestService(t *testing.T)  { suite.Test(t) }
//	func FuzzClient(f *testing.F)   { suite.FuzzClient(f, seeds...) }
//	func FuzzDevice(f *testing.F)   { suite.FuzzDevice(f, seeds...) }
//
// Dial, Conn, Opener and Peer are for the tests of one service alone.
package servicetest

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/service"
)

// pipe returns the two ends of a connection. It delivers what is written in pieces of random
// sizes, except to benchmarks and fuzz targets, which have to be repeatable.
func pipe(tb testing.TB) (client, device net.Conn) {
	if strings.HasPrefix(tb.Name(), "Benchmark") || strings.HasPrefix(tb.Name(), "Fuzz") {
		return link.Pipe()
	}
	return linktest.Pipe()
}

// HandlerFunc is a device side that consists of one function.
type HandlerFunc func(ctx context.Context, c net.Conn) error

func (f HandlerFunc) Serve(ctx context.Context, c net.Conn) error { return f(ctx, c) }

// Dial connects to h, which serves until ctx ends. The channel receives what Serve returned.
// At the end of the test the connection is closed, and Serve has to return.
func Dial(ctx context.Context, tb testing.TB, h service.Handler) (net.Conn, <-chan error) {
	client, device := pipe(tb)
	result, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		err := h.Serve(ctx, device)
		device.Close()
		result <- err
	}()
	tb.Cleanup(func() {
		client.Close()
		<-ended
	})
	return client, result
}

// Conn connects to h. It fails the test if Serve returns an error.
func Conn(tb testing.TB, h service.Handler) net.Conn {
	c, _ := Dial(context.Background(), tb, HandlerFunc(
		func(ctx context.Context, c net.Conn) error {
			err := h.Serve(ctx, c)
			if err != nil {
				tb.Errorf("Serve: %v", err)
			}
			return err
		}))
	return c
}

// Peer connects to a device side that sends b, ends its direction, and reads until the
// client leaves.
func Peer(tb testing.TB, b []byte) net.Conn {
	return Conn(tb, HandlerFunc(func(_ context.Context, c net.Conn) error {
		fuzztest.Say(c, b)
		return nil
	}))
}

// Opener opens connections to Handler, which is the service Name. It fails the test if it is
// asked for another one.
type Opener struct {
	TB      testing.TB
	Name    service.Name
	Handler service.Handler
}

// Open implements service.Opener.
func (o Opener) Open(_ context.Context, n service.Name) (net.Conn, error) {
	if n != o.Name {
		o.TB.Errorf("opened %+v, want %+v", n, o.Name)
	}
	return Conn(o.TB, o.Handler), nil
}

// ErrNoRoute is the error of NoRoute.
var ErrNoRoute = errors.New("servicetest: no route")

// NoRoute is an Opener that reaches nothing.
type NoRoute struct{}

// Open implements service.Opener.
func (NoRoute) Open(context.Context, service.Name) (net.Conn, error) { return nil, ErrNoRoute }
