// Package link has what all protocol packages need for a net.Conn: frames of property
// lists, TLS that can be removed from a connection, contexts that bound a call, and a
// pipe in memory.
//
// A "plist service" (lockdownd and nearly all services that it starts) exchanges frames
// of the form
//
//	u32 big-endian length | property list, XML or binary
//
// in strict order of request and answer. PlistConn implements this.
package link

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// DialFunc opens a connection to a fixed address.
type DialFunc func(ctx context.Context) (net.Conn, error)

// past is a deadline that has always expired.
var past = time.Unix(1, 0)

// Guard bounds the reads and writes on c by ctx until release is called. The deadline
// of ctx becomes that of c, and cancelling ctx unblocks reads and writes at once.
// release clears the deadlines. It is given the error of the guarded call, and returns
// the reason of ctx instead if ctx has ended the call.
//
// Only one Guard may be active on a connection at a time. If one goroutine reads while
// another one writes, they use GuardRead and GuardWrite.
func Guard(ctx context.Context, c net.Conn) (release func(error) error) {
	return guard(ctx, c.SetDeadline)
}

// GuardRead is Guard for reads only.
func GuardRead(ctx context.Context, c net.Conn) (release func(error) error) {
	return guard(ctx, c.SetReadDeadline)
}

// GuardWrite is Guard for writes only.
func GuardWrite(ctx context.Context, c net.Conn) (release func(error) error) {
	return guard(ctx, c.SetWriteDeadline)
}

func guard(ctx context.Context, set func(time.Time) error) func(error) error {
	if ctx.Done() == nil {
		return func(err error) error { return err }
	}
	// The lock orders cancellation and release: after release has cleared the deadline,
	// a late cancellation must not set it again.
	var mu sync.Mutex
	released := false
	if d, ok := ctx.Deadline(); ok {
		_ = set(d)
	}
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !released {
			_ = set(past)
		}
	})
	return func(err error) error {
		stop()
		mu.Lock()
		defer mu.Unlock()
		released = true
		_ = set(time.Time{})
		return ctxError(ctx, err)
	}
}

// ctxError replaces a time-out of the connection by the reason of the context that
// caused it.
func ctxError(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if c := ctx.Err(); c != nil {
		return &Interrupted{Cause: context.Cause(ctx), IO: err}
	}
	if _, ok := ctx.Deadline(); ok {
		// The connection's timer may fire a moment before the context's.
		return &Interrupted{Cause: context.DeadlineExceeded, IO: err}
	}
	return err
}

// Interrupted is the error of a read or write that was ended by its context. It matches
// context.Canceled or context.DeadlineExceeded.
type Interrupted struct {
	Cause error // the reason of the context
	IO    error // the error of the connection
}

// Error returns the reason for the end. If the connection's error has a Place, the text
// begins with it.
func (e *Interrupted) Error() string {
	text := "timed out"
	var silent *SilentError
	if errors.As(e.Cause, &silent) {
		text = silent.Error()
	} else if !errors.Is(e.Cause, context.DeadlineExceeded) {
		text = e.Cause.Error()
	}
	var at interface{ Place() string }
	if errors.As(e.IO, &at) && at.Place() != "" {
		return at.Place() + ": " + text
	}
	return text
}

// Unwrap returns both errors.
func (e *Interrupted) Unwrap() []error { return []error{e.Cause, e.IO} }

// Timeout reports whether the reason was a deadline and not a cancellation.
func (e *Interrupted) Timeout() bool { return errors.Is(e.Cause, context.DeadlineExceeded) }

// ErrSilent matches a SilentError.
var ErrSilent = errors.New("silent connection")

// SilentError is the cause of the end of a transfer on which no byte arrived for too
// long. It matches ErrSilent and context.DeadlineExceeded.
type SilentError struct{ For time.Duration }

// Error returns how long nothing arrived.
func (e *SilentError) Error() string {
	return "timed out: no data for " + e.For.String()
}

// Is matches ErrSilent and context.DeadlineExceeded.
func (e *SilentError) Is(target error) bool {
	return target == ErrSilent || target == context.DeadlineExceeded
}

// Expired returns the error of a call that was ended by its context while it waited for
// another goroutine to read c. As with Guard, the error has c's place if c has one.
func Expired(ctx context.Context, c net.Conn) error {
	return &Interrupted{Cause: context.Cause(ctx), IO: &expired{place: placeOf(c)}}
}

// expired takes the place of the error of the read, which another goroutine is in.
type expired struct{ place string }

func (e *expired) Error() string { return os.ErrDeadlineExceeded.Error() }
func (e *expired) Unwrap() error { return os.ErrDeadlineExceeded }
func (e *expired) Place() string { return e.place }

// placeOf returns the place of a connection, or of the connection below it.
func placeOf(c net.Conn) string {
	for c != nil {
		if p, ok := c.(interface{ Place() string }); ok {
			return p.Place()
		}
		switch t := c.(type) {
		case *TLSConn:
			c = t.raw.Conn
		case *recordConn:
			c = t.Conn
		case *PlistConn:
			c = t.Conn
		default:
			c = nil
		}
	}
	return ""
}

// Clip shortens text from a peer, so that it fits into one line of an error.
func Clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
