// Package servicetest tests both sides of a service. The test file of a service
// declares one Suite, which runs the tests that every service must pass:
//
//	var suite = servicetest.Suite[*Client]{
//		Name:    Service,
//		Connect: Connect,
//		Device: func(tb testing.TB) service.Handler {
//			return &Device{Phone: phonetest.New(tb, phone.Options{})}
//		},
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
// Dial, Conn, Opener and Peer serve the tests that are specific to one service.
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

// pipe returns the two ends of a connection. The connection delivers data in pieces of
// random sizes. Benchmarks and fuzz targets must be repeatable, so pieces are not split
// for them.
func pipe(tb testing.TB) (client, device net.Conn) {
	if strings.HasPrefix(tb.Name(), "Benchmark") || strings.HasPrefix(tb.Name(), "Fuzz") {
		return link.Pipe()
	}
	if _, ok := tb.(prompt); ok {
		return linktest.Prompt()
	}
	return linktest.Pipe()
}

// Prompt returns tb for connections without latency, as those of linktest.Prompt.
func Prompt(tb testing.TB) testing.TB { return prompt{tb} }

type prompt struct{ testing.TB }

// HandlerFunc is a function that implements service.Handler.
type HandlerFunc func(ctx context.Context, c net.Conn) error

func (f HandlerFunc) Serve(ctx context.Context, c net.Conn) error { return f(ctx, c) }

// Dial connects to h. The channel receives the result of h.Serve, which runs until ctx
// ends or the client disconnects. At the end of the test Dial closes the connection and
// waits for Serve to return.
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

// Conn connects to h. The test fails if Serve returns an error.
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

// Peer connects to a device side that sends b, closes its sending direction, and reads
// until the client disconnects.
func Peer(tb testing.TB, b []byte) net.Conn {
	return Conn(tb, HandlerFunc(func(_ context.Context, c net.Conn) error {
		fuzztest.Say(c, b)
		return nil
	}))
}

// Opener opens connections to Handler. The test fails if Open is called with another
// name than Name.
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

// ErrNoRoute is the error that NoRoute returns.
var ErrNoRoute = errors.New("servicetest: no route")

// NoRoute is an Opener that has no route to any service.
type NoRoute struct{}

// Open implements service.Opener.
func (NoRoute) Open(context.Context, service.Name) (net.Conn, error) { return nil, ErrNoRoute }
