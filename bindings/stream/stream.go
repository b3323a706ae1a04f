// Package stream is the Stream of scripts: an endless source such as log entries,
// notifications, or devices that come and go.
//
// A pump goroutine reads the source into a bounded queue and never waits for
// the script; when the script is too slow the oldest values are dropped and
// counted. The script pulls: in a for loop, with next, find or collect.
//
// A stream of NewResuming goes on after a lost connection. When the device is
// unplugged or restarts, or its tunnel ends, the stream waits for the device, opens
// its source again, counts the gap and marks it.
package stream

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// DefaultQueue is how many values wait for a slow script.
const DefaultQueue = 65536

// DefaultQueueBytes is how many bytes wait for a slow script, of values that have a size.
const DefaultQueueBytes = 64 << 20

// Source delivers values to push until ctx ends or the source does. It returns
// io.EOF or nil for a normal end.
type Source func(ctx context.Context, push func(...any)) error

// Options describes a stream.
type Options struct {
	Kind  string           // what flows, for tostring: "syslog"
	Text  func(any) string // what find("text") looks at; nil = no text search
	Queue int              // 0 = DefaultQueue
	// Size returns the bytes of a value, for values that can be large. QueueBytes
	// then limits the values that wait, but one value always may; 0 =
	// DefaultQueueBytes.
	Size       func(any) int
	QueueBytes int
	// Dropped counts what was lost before it came here, for example on the device.
	Dropped func() uint64
	// Malformed counts what was passed over because it could not be decoded.
	Malformed func() uint64

	gaps func() uint64 // of a stream that resumes
}

// Stream is a queue that a pump fills. Values are pulled by one task at a time
// or by several; each value goes to one of them.
type Stream struct {
	opts   Options
	parent *Stream
	keep   keeper // predicate of a filtered stream

	queue *link.Queue[any] // it ends with io.EOF for a normal end of the source
	read  atomic.Uint64

	end  context.CancelFunc
	done chan struct{} // closed when the source has ended

	mu     sync.Mutex
	closed bool
	stop   func() error // closes what the source reads from
}

// newStream returns a stream that nothing fills yet.
func newStream(o Options) *Stream {
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = DefaultQueueBytes
	}
	return &Stream{opts: o, done: make(chan struct{}), queue: link.NewQueue(
		link.QueueOptions[any]{
			Items: o.Queue, Bytes: o.QueueBytes, Size: o.Size, DropOldest: true,
		})}
}

// New starts reading src. stop, if not nil, is called once by Close before it
// waits for the source: it must make a blocked read return.
func New(src Source, stop func() error, o Options) *Stream {
	s := newStream(o)
	ctx, end := context.WithCancel(context.Background())
	s.end, s.stop = end, stop
	go func() {
		defer close(s.done)
		err := src(ctx, s.push)
		if err == nil || ctx.Err() != nil {
			err = io.EOF
		}
		s.queue.End(err)
	}()
	return s
}

// NewFed returns a stream that the caller fills: push takes values and never
// waits, end says why no more follow, with io.EOF for a normal end. Both may be
// called from any goroutine, and after Close, when they do nothing.
func NewFed(o Options) (s *Stream, push func(...any), end func(error)) {
	s = newStream(o)
	var once sync.Once
	end = func(err error) {
		once.Do(func() {
			s.queue.End(err)
			close(s.done)
		})
	}
	s.end = func() { end(io.EOF) }
	return s, s.push, end
}

func (s *Stream) push(values ...any) {
	for _, v := range values {
		s.queue.Push(v)
	}
}

// pop returns the next value if there is one, or the end of the source.
func (s *Stream) pop() (v any, ok bool, err error) {
	v, ok, err = s.queue.TryPop()
	if ok {
		s.read.Add(1)
	}
	return v, ok, err
}

// errLate is the end of a wait in which no value came.
var errLate = errors.New("no value in time")

// wait returns when there may be something to pop. It returns errLate at the given
// moment; without one it has no limit.
func (s *Stream) wait(ctx context.Context, until time.Time) error {
	var late <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-s.queue.Wake():
		return nil
	case <-s.queue.Ended():
		return nil
	case <-late:
		return errLate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the stream and waits for its source. It may be called twice. Close
// of a filtered stream closes the stream that it takes its values from.
func (s *Stream) Close() error {
	if s.parent != nil {
		return s.parent.Close()
	}
	s.mu.Lock()
	s.closed = true // before the source ends: a call that waits asks for the reason
	stop := s.stop
	s.stop = nil
	s.mu.Unlock()
	s.end()
	var err error
	if stop != nil {
		err = stop()
	}
	<-s.done
	return err
}

// Closed reports whether Close was called.
func (s *Stream) Closed() bool {
	r := s.root()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// root is the stream that has the queue.
func (s *Stream) root() *Stream {
	for s.parent != nil {
		s = s.parent
	}
	return s
}

// Kind returns what flows in the stream, such as "syslog".
func (s *Stream) Kind() string { return s.root().opts.Kind }

// Dropped returns how many values were lost, here and before.
func (s *Stream) Dropped() uint64 {
	r := s.root()
	n := r.queue.Dropped()
	if r.opts.Dropped != nil {
		n += r.opts.Dropped()
	}
	return n
}

// Malformed returns how many values were passed over because they could not be decoded.
func (s *Stream) Malformed() uint64 {
	if f := s.root().opts.Malformed; f != nil {
		return f()
	}
	return 0
}

// Gaps returns how often the connection was lost and found again.
func (s *Stream) Gaps() uint64 {
	if f := s.root().opts.gaps; f != nil {
		return f()
	}
	return 0
}

// Read returns how many values were taken.
func (s *Stream) Read() uint64 { return s.root().read.Load() }
