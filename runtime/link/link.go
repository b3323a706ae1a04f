// Package link holds what every protocol package does with a net.Conn: frames
// of property lists, TLS that can be taken off again, contexts that bound a
// call, and a pipe in memory.
//
// A "plist service" (lockdownd and nearly all services behind it) exchanges
// frames of
//
//	u32 big-endian length | property list, XML or binary
//
// in strict request and answer order. PlistConn speaks that.
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

// DialFunc opens one connection to a fixed place.
type DialFunc func(ctx context.Context) (net.Conn, error)

// past is a deadline that has always expired.
var past = time.Unix(1, 0)

// Guard bounds the reads and writes on c by ctx until release is called: the
// deadline of ctx becomes that of c, and cancelling ctx unblocks both at once.
// release clears the deadlines again; given the error of the guarded call it
// returns the reason in its place when ctx was what ended it.
//
// One Guard may be active on a connection at a time. A connection on which one
// goroutine reads while another writes uses GuardRead and GuardWrite.
func Guard(ctx context.Context, c net.Conn) (release func(error) error) {
	return guard(ctx, c.SetDeadline)
}

// GuardRead is Guard for the reading side alone.
func GuardRead(ctx context.Context, c net.Conn) (release func(error) error) {
	return guard(ctx, c.SetReadDeadline)
}

// GuardWrite is Guard for the writing side alone.
func GuardWrite(ctx context.Context, c net.Conn) (release func(error) error) {
	return guard(ctx, c.SetWriteDeadline)
}

func guard(ctx context.Context, set func(time.Time) error) func(error) error {
	if ctx.Done() == nil {
		return func(err error) error { return err }
	}
	// The lock orders the expiry against release: after release has cleared
	// the deadline, no late cancel may set it again.
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

// ctxError replaces a time-out of the connection by the reason of the context
// that caused it.
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

// Interrupted is the error of a read or write that its context ended.
// errors.Is finds context.Canceled or context.DeadlineExceeded in it.
type Interrupted struct {
	Cause error // the context's
	IO    error // what the connection returned
}

// Error says what ended the read or write, behind the place where that
// happened if the connection's error has a Place.
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

// Timeout reports whether a deadline, not a cancel, was the reason.
func (e *Interrupted) Timeout() bool { return errors.Is(e.Cause, context.DeadlineExceeded) }

// ErrSilent is matched by a SilentError.
var ErrSilent = errors.New("silent connection")

// SilentError is the cause of a transfer's end on which no byte moved for too
// long. It matches ErrSilent and context.DeadlineExceeded.
type SilentError struct{ For time.Duration }

// Error says how long it was silent.
func (e *SilentError) Error() string {
	return "timed out: no data for " + e.For.String()
}

// Is matches ErrSilent and context.DeadlineExceeded.
func (e *SilentError) Is(target error) bool {
	return target == ErrSilent || target == context.DeadlineExceeded
}

// Expired returns the error of a call that its context ended while it waited
// for another goroutine to read c: as Guard does, with c's place if it has one.
func Expired(ctx context.Context, c net.Conn) error {
	return &Interrupted{Cause: context.Cause(ctx), IO: &expired{place: placeOf(c)}}
}

// expired stands in for the read that another goroutine is in.
type expired struct{ place string }

func (e *expired) Error() string { return os.ErrDeadlineExceeded.Error() }
func (e *expired) Unwrap() error { return os.ErrDeadlineExceeded }
func (e *expired) Place() string { return e.place }

// placeOf asks a connection, or what it stands on, for its place.
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

// Clip keeps a text that a peer sent short enough for one line of an error.
func Clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
