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
	// Between two attempts that were refused for now.
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// ResumeOption is the option of streams that go on after a lost connection.
type ResumeOption struct {
	Resume lua.LValue `lua:"resume" doc:"seconds to wait for a lost device; 60 or false"`
}

// Limit is the option's value as a Resume has it. n is the number of the
// argument that the option stands in.
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
	// Stop ends a read of Source that waits and closes the connection. It is
	// called once.
	Stop func() error
	// Dropped and Malformed are as in Options.
	Dropped, Malformed func() uint64
}

// Resume says how a stream goes on when its connection is lost.
type Resume struct {
	// Open opens the source again.
	Open func(ctx context.Context) (*Opening, error)
	// Ready waits until the device can be reached. It ends with ctx.
	Ready func(ctx context.Context) error
	// Limit is how long a lost device is waited for: 0 not at all,
	// api.NoTimeout without end.
	Limit time.Duration
	// Gap makes the value that marks where something may be missing. Without it
	// there is no such value.
	Gap func(time.Duration) any
}

// NewResuming returns a stream that reads first, and what r opens whenever the
// connection is lost: the device was unplugged, restarts, or its tunnel ended. A
// refusal ends the stream, as does a device that is not back in time.
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

	mu      sync.Mutex
	current *Opening
	before  uint64 // dropped by the openings before
	bad     uint64 // malformed in the openings before
	closed  bool
}

// stop closes what is open now. Nothing is opened afterwards.
func (p *resumer) stop() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.leave()
}

// leave closes the current opening.
func (p *resumer) leave() error {
	p.mu.Lock()
	o := p.current
	p.current = nil
	if o != nil {
		p.before += count(o.Dropped)
		p.bad += count(o.Malformed)
	}
	p.mu.Unlock()
	if o == nil {
		return nil
	}
	return o.Stop()
}

// enter makes o the current opening. It reports whether the stream is still open.
func (p *resumer) enter(o *Opening) bool {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.current = o
	}
	p.mu.Unlock()
	if closed {
		o.Stop() // there is nobody to return an error to
	}
	return !closed
}

func (p *resumer) dropped() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return p.before
	}
	return p.before + count(p.current.Dropped)
}

func (p *resumer) malformed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return p.bad
	}
	return p.bad + count(p.current.Malformed)
}

// count is the number of an opening that may not have it.
func count(f func() uint64) uint64 {
	if f == nil {
		return 0
	}
	return f()
}

func (p *resumer) run(ctx context.Context, push func(...any)) error {
	p.mu.Lock()
	o := p.current
	p.mu.Unlock()
	for o != nil { // nil when it was closed already
		err := o.Source(ctx, push)
		if ctx.Err() != nil || err == nil || err == io.EOF || p.Limit == 0 || !Lost(err) {
			return err // the opening is closed with the stream
		}
		since := time.Now()
		p.leave() // the reason that it ended is known: err
		if o, err = p.again(ctx, err); err != nil {
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

// again waits for the device and opens the source, until that succeeds, is refused
// for good or takes too long. why is the reason that the connection was lost.
func (p *resumer) again(parent context.Context, why error) (*Opening, error) {
	ctx, cancel := context.WithCancel(parent)
	if p.Limit > 0 {
		cancel()
		ctx, cancel = context.WithTimeout(parent, p.Limit)
	}
	defer cancel()
	var refusal error // for now: locked, or not up yet
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := p.Ready(ctx)
		if err == nil {
			var o *Opening
			if o, err = p.attempt(ctx); err == nil {
				return o, nil
			}
			if !transient(err) {
				return nil, err
			}
			if ctx.Err() == nil {
				refusal = err
			}
		}
		if !wait(ctx, pause) {
			break
		}
	}
	if parent.Err() == nil && refusal != nil && !Lost(refusal) {
		return nil, fmt.Errorf("%w (tried for %v to resume %s)", refusal, p.Limit, p.kind)
	}
	return nil, fmt.Errorf("%w (it was not back within %v)", why, p.Limit)
}

// attempt opens the source once.
func (p *resumer) attempt(ctx context.Context) (*Opening, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return p.Open(ctx)
}

// wait lets time pass; false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lost are the errors of connections that have ended.
var lost = []error{
	io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, usbmux.BadDevice, tunnel.ErrDown,
}

// passing are the errors of sources that cannot be opened now, but may be a moment
// later: the device is locked, or not up yet, or leaves again.
var passing = []error{
	context.DeadlineExceeded, device.ErrNotFound, device.ErrNoRoute, device.ErrNoTunnel,
	usbmux.ConnectionRefused, syscall.ECONNREFUSED,
	lockdown.ErrPasswordProtected, lockdown.ErrDeviceLocked, lockdown.ErrEscrowLocked,
	lockdown.ErrServiceLimit, lockdown.ErrSessionInactive, lockdown.ErrInvalidConnection,
	lockdown.ErrInvalidResponse, rsd.ErrPasswordProtected, remotepair.ErrLocked,
}

func isAny(err error, list []error) bool {
	return slices.ContainsFunc(list, func(e error) bool { return link.Is(err, e) })
}

// Lost reports whether err means that the connection has ended, as opposed to a
// refusal or to malformed bytes.
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

// transient reports whether opening the source again may succeed.
func transient(err error) bool { return Lost(err) || isAny(err, passing) }

// GapText is the message of the entry that marks a gap in a log.
func GapText(d time.Duration) string { return fmt.Sprintf("no connection for %.1f s", d.Seconds()) }
