package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

const (
	// DefaultResume is how long a stream waits for its device to come back.
	DefaultResume = 60 * time.Second
	// openTimeout bounds one attempt to open a source again.
	openTimeout = 30 * time.Second
	// The pause between two attempts begins with firstPause and doubles up to maxPause.
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// ResumeOption is the option resume of streams that go on after a lost connection.
type ResumeOption struct {
	Resume lua.LValue `lua:"resume" doc:"seconds to wait for a lost device; 60 or false"`
}

// Limit returns the option's value in the form of Resume.Limit. n is the number of the
// argument that holds the option, for error messages.
func (o ResumeOption) Limit(c *api.Call, n int) (time.Duration, error) {
	switch v := o.Resume.(type) {
	case nil, *lua.LNilType:
		return DefaultResume, nil
	case lua.LBool:
		if !v {
			return 0, nil
		}
		return DefaultResume, nil
	case lua.LNumber:
		s := float64(v)
		switch {
		case s >= math.MaxInt64/1e9:
			return api.NoTimeout, nil
		case s >= 0:
			return time.Duration(s * 1e9), nil
		}
	}
	return 0, c.ArgError(n, "resume is a number of seconds, or false")
}

// Opening is a source on one connection.
type Opening struct {
	Source Source
	// Stop closes the connection. A read of Source that waits returns. Stop is
	// called once.
	Stop func() error
	// Dropped and Malformed are as in Options.
	Dropped, Malformed func() uint64
}

// Resume describes how a stream goes on when its connection is lost.
type Resume struct {
	// Open opens the source again.
	Open func(ctx context.Context) (*Opening, error)
	// Ready waits until the device can be reached, or until ctx ends.
	Ready func(ctx context.Context) error
	// Limit is how long the stream waits for a lost device. 0 means that it does
	// not wait, and api.NoTimeout that it waits for ever.
	Limit time.Duration
	// Gap returns the value that marks a gap in the stream. Its argument is the
	// length of the gap. If Gap is nil, gaps are only counted.
	Gap func(time.Duration) any
}

// NewResuming returns a stream that reads from first. When the connection is lost, for
// example because the device was unplugged or restarts or because its tunnel ended, the
// stream continues with a source that r opens. The stream ends with an error if the
// device refuses, or if it is not back within r.Limit.
func NewResuming(first *Opening, r Resume, o Options) *Stream {
	p := &resumer{Resume: r, kind: o.Kind, current: first}
	o.gaps = p.gaps.Load
	o.Dropped, o.Malformed = p.dropped, p.malformed
	return New(p.run, p.stop, o)
}

// resumer is the source of a stream that resumes.
type resumer struct {
	Resume
	kind string
	gaps atomic.Uint64

	mu              sync.Mutex
	current         *Opening
	droppedBefore   uint64 // values dropped by earlier openings
	malformedBefore uint64 // malformed values of earlier openings
	closed          bool
}

// stop closes the current opening. No source is opened afterwards.
func (p *resumer) stop() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.leave()
}

// leave closes the current opening and adds its counts to those of earlier ones.
func (p *resumer) leave() error {
	p.mu.Lock()
	o := p.current
	p.current = nil
	if o != nil {
		p.droppedBefore += count(o.Dropped)
		p.malformedBefore += count(o.Malformed)
	}
	p.mu.Unlock()
	if o == nil {
		return nil
	}
	return o.Stop()
}

// enter makes o the current opening. If the stream was closed meanwhile, enter closes
// o and returns false.
func (p *resumer) enter(o *Opening) bool {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.current = o
	}
	p.mu.Unlock()
	if closed {
		o.Stop() // the stream is closed, so no call can return the error
	}
	return !closed
}

func (p *resumer) dropped() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return p.droppedBefore
	}
	return p.droppedBefore + count(p.current.Dropped)
}

func (p *resumer) malformed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return p.malformedBefore
	}
	return p.malformedBefore + count(p.current.Malformed)
}

// count returns f(), or 0 if f is nil.
func count(f func() uint64) uint64 {
	if f == nil {
		return 0
	}
	return f()
}

// run is the Source of the stream.
func (p *resumer) run(ctx context.Context, push func(...any)) error {
	p.mu.Lock()
	o := p.current
	p.mu.Unlock()
	for o != nil { // o is nil if the stream was closed before run began
		err := o.Source(ctx, push)
		if ctx.Err() != nil || err == nil || err == io.EOF || p.Limit == 0 || !Lost(err) {
			return err // Close of the stream closes the opening
		}
		since := time.Now()
		p.leave() // its error is ignored: err already says why the connection ended
		o, err = p.reopen(ctx, err)
		if err != nil {
			return err
		}
		if !p.enter(o) {
			return nil
		}
		p.gaps.Add(1)
		if p.Gap != nil {
			push(p.Gap(time.Since(since)))
		}
	}
	return nil
}

// reopen waits for the device and opens the source. It tries again until it succeeds,
// until an attempt fails with an error that is not transient, or until the limit has
// passed. cause is the error with which the connection was lost.
func (p *resumer) reopen(parent context.Context, cause error) (*Opening, error) {
	ctx, cancel := context.WithCancel(parent)
	if p.Limit > 0 {
		cancel()
		ctx, cancel = context.WithTimeout(parent, p.Limit)
	}
	defer cancel()
	var refusal error // the last transient error, such as that the device is locked
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := p.Ready(ctx)
		if err == nil {
			var o *Opening
			o, err = p.attempt(ctx)
			if err == nil {
				return o, nil
			}
			if !transient(err) {
				return nil, err
			}
			if ctx.Err() == nil {
				refusal = err
			}
		}
		if link.Sleep(ctx, pause) != nil {
			break
		}
	}
	if parent.Err() == nil && refusal != nil && !Lost(refusal) {
		return nil, fmt.Errorf("%w (tried for %v to resume %s)", refusal, p.Limit, p.kind)
	}
	return nil, fmt.Errorf("%w (it was not back within %v)", cause, p.Limit)
}

// attempt opens the source once.
func (p *resumer) attempt(ctx context.Context) (*Opening, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return p.Open(ctx)
}

// lost lists the errors of connections that have ended.
var lost = []error{
	io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, usbmux.BadDevice, tunnel.ErrDown,
}

// passing lists the errors of sources that cannot be opened now but perhaps later,
// because the device is locked, has not started yet, or is leaving again.
var passing = []error{
	context.DeadlineExceeded, device.ErrNotFound, device.ErrNoRoute, device.ErrNoTunnel,
	usbmux.ConnectionRefused, syscall.ECONNREFUSED,
	lockdown.ErrPasswordProtected, lockdown.ErrDeviceLocked, lockdown.ErrEscrowLocked,
	lockdown.ErrServiceLimit, lockdown.ErrSessionInactive, lockdown.ErrInvalidConnection,
	lockdown.ErrInvalidResponse, rsd.ErrPasswordProtected, remotepair.ErrLocked,
}

// isAny reports whether err matches an error of list.
func isAny(err error, list []error) bool {
	return slices.ContainsFunc(list, func(e error) bool { return link.Is(err, e) })
}

// Lost reports whether err means that the connection has ended. It returns false for
// refusals of the device and for malformed messages.
func Lost(err error) bool {
	var refused *lockdown.Error
	var listed *rsd.Error
	switch {
	case errors.As(err, &refused) && refused.Code != "":
		return false
	case errors.As(err, &listed) && listed.Code != "":
		return false
	}
	var broken *net.OpError
	return errors.As(err, &broken) || isAny(err, lost)
}

// transient reports whether another attempt to open the source may succeed.
func transient(err error) bool { return Lost(err) || isAny(err, passing) }

// GapText returns the message of the entry that marks a gap of length d in a log.
func GapText(d time.Duration) string { return fmt.Sprintf("no connection for %.1f s", d.Seconds()) }
