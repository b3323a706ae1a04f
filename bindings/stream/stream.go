// Package stream implements the Stream class of scripts. A stream delivers values from
// an endless source, such as log entries, notifications, or devices that come and go.
//
// A goroutine, the pump, moves values from the source into a bounded queue. It never
// waits for the script: if the script is too slow, the oldest values are dropped and
// counted. The script takes values with a for loop, next, find or collect.
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

// DefaultQueue is the default of Options.Queue.
const DefaultQueue = 65536

// DefaultQueueBytes is the default of Options.QueueBytes.
const DefaultQueueBytes = 64 << 20

// Source calls push with values until ctx ends or the source ends. It returns io.EOF
// or nil for a normal end.
type Source func(ctx context.Context, push func(...any)) error

// Options describes a stream.
type Options struct {
	// Kind names the values for tostring and for messages, such as "syslog".
	Kind string
	// Text returns the text of a value that find("text") searches. If it is nil, the
	// values of the stream cannot be searched for text.
	Text func(any) string
	// Queue is the most values that wait for a slow script; 0 means DefaultQueue.
	Queue int
	// Size returns the number of bytes of a value. It is set for values that can be
	// large.
	Size func(any) int
	// QueueBytes is the most bytes of values that wait for a slow script, if Size is
	// set; 0 means DefaultQueueBytes. A single value may be larger.
	QueueBytes int
	// Dropped returns how many values were lost before they reached the stream, for
	// example on the device.
	Dropped func() uint64
	// Malformed returns how many values were skipped because they could not be decoded.
	Malformed func() uint64

	gaps func() uint64 // of a stream that resumes
}

// Stream is a queue of values that its source fills. Several tasks may take values
// from it. Each value goes to one of them.
type Stream struct {
	opts   Options
	parent *Stream   // the stream that a filtered stream takes its values from
	keep   predicate // predicate of a filtered stream

	queue *link.Queue[any] // it ends with io.EOF for a normal end of the source
	read  atomic.Uint64    // how many values were taken

	end  context.CancelFunc
	done chan struct{} // closed when the source has ended

	mu     sync.Mutex
	closed bool
	stop   func() error // closes what the source reads from
}

// newStream returns a stream without a source.
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

// New returns a stream and starts to read src. If stop is not nil, Close calls it once
// before it waits for the source. stop must make a blocked read of the source return.
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

// NewFed returns a stream that the caller fills. push adds values and never waits. end
// ends the stream with an error, which is io.EOF for a normal end. Both functions may
// be called from any goroutine. After Close they do nothing.
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

// pop returns the next value if the queue has one. At the end of the source it returns
// the error of the source.
func (s *Stream) pop() (v any, ok bool, err error) {
	v, ok, err = s.queue.TryPop()
	if ok {
		s.read.Add(1)
	}
	return v, ok, err
}

// errLate is returned by wait if no value came in time.
var errLate = errors.New("no value in time")

// wait returns nil when pop may return a value or the end of the source. It returns
// errLate at the time until. The zero time means no limit.
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

// Close ends the stream and waits for its source to return. It may be called more than
// once. Close of a filtered stream closes its parent.
func (s *Stream) Close() error {
	if s.parent != nil {
		return s.parent.Close()
	}
	s.mu.Lock()
	s.closed = true // set before the source ends, so that a waiting call sees the reason
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

// root returns the stream that has the queue.
func (s *Stream) root() *Stream {
	for s.parent != nil {
		s = s.parent
	}
	return s
}

// Kind returns the name of the stream's values, such as "syslog".
func (s *Stream) Kind() string { return s.root().opts.Kind }

// Dropped returns how many values were lost, in the queue and before they reached it.
func (s *Stream) Dropped() uint64 {
	r := s.root()
	n := r.queue.Dropped()
	if r.opts.Dropped != nil {
		n += r.opts.Dropped()
	}
	return n
}

// Malformed returns how many values were skipped because they could not be decoded.
func (s *Stream) Malformed() uint64 {
	if f := s.root().opts.Malformed; f != nil {
		return f()
	}
	return 0
}

// Gaps returns how often the connection was lost and the stream went on.
func (s *Stream) Gaps() uint64 {
	if f := s.root().opts.gaps; f != nil {
		return f()
	}
	return 0
}

// Read returns how many values the script has taken.
func (s *Stream) Read() uint64 { return s.root().read.Load() }
