// Package fuzztest has the functions that fuzz targets share, those of decoders and
// those of both sides of protocols.
package fuzztest

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// Patience bounds one execution of a fuzz target. It does not measure speed: it only turns
// a hang into a failure.
const Patience = 20 * time.Second

// Bounds of the memory that one execution may allocate.
const (
	spareBytes    = 64 << 20 // for any input
	bytesPerInput = 1 << 10  // in addition, for each byte of input
)

// Context returns a context that ends with the test, or after Patience.
func Context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Bounded calls f and fails the test if f allocates more than is allowed for an input of n
// bytes.
func Bounded(t *testing.T, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	took := after.TotalAlloc - before.TotalAlloc
	if limit := uint64(spareBytes + bytesPerInput*n); took > limit {
		t.Errorf("%d bytes taken for an input of %d, want at most %d", took, n, limit)
	}
}

// Typed fails the test if err is neither nil nor an E, the error type of the tested
// package.
func Typed[E error](t *testing.T, what string, err error) {
	t.Helper()
	var e E
	if err != nil && !errors.As(err, &e) {
		t.Errorf("%s: %v (%T), want a %T", what, err, err, e)
	}
}

// Say writes b to c, half-closes it, and reads until the peer closes.
func Say(c net.Conn, b []byte) {
	defer c.Close()
	_, _ = c.Write(b)
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	_ = half.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}

// Pipe makes two connected ends, as link.Pipe does. Callers pass it as a parameter, so that
// packages that link imports can use this package.
type Pipe = func() (a, b net.Conn)

// Device serves one connection on which a host sends b and then leaves. It fails the test if
// serve does not return after that.
func Device(
	t *testing.T, what string, pipe Pipe, b []byte, serve func(context.Context, net.Conn) error,
) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	host, device := pipe()
	said := make(chan struct{})
	go func() {
		defer close(said)
		Say(host, b)
	}()
	err := serve(ctx, device)
	if ctx.Err() != nil {
		t.Errorf("%s: the connection of a host that has left does not end: %v", what, err)
	}
	_ = device.Close()
	<-said
	return err
}
