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
	"time"
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

func (o Options) withDefaults() Options {
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = DefaultQueueBytes
	}
	return o
}

// Stream is a queue that a pump fills. Values are pulled by one task at a time
// or by several; each value goes to one of them.
type Stream struct {
	opts   Options
	parent *Stream
	keep   keeper // predicate of a filtered stream

	mu      sync.Mutex
	ring    []any
	head    int
	size    int
	bytes   int // of the values that wait, by opts.Size
	read    uint64
	dropped uint64
	err     error // why the source ended; io.EOF for a normal end
	closed  bool

	wake chan struct{} // holds a token when there is something to look at
	end  context.CancelFunc
	done chan struct{}
	stop func() error // closes what the source reads from
}

// New starts reading src. stop, if not nil, is called once by Close before it
// waits for the source: it must make a blocked read return.
func New(src Source, stop func() error, o Options) *Stream {
	o = o.withDefaults()
	ctx, end := context.WithCancel(context.Background())
	s := &Stream{
		opts: o, wake: make(chan struct{}, 1), end: end, done: make(chan struct{}), stop: stop,
	}
	go func() {
		defer close(s.done)
		err := src(ctx, s.push)
		if err == nil || ctx.Err() != nil {
			err = io.EOF
		}
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		s.signal()
	}()
	return s
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// NewFed returns a stream that the caller fills: push takes values and never
// waits, end says why no more follow, with io.EOF for a normal end. Both may be
// called from any goroutine, and after Close, when they do nothing.
func NewFed(o Options) (s *Stream, push func(...any), end func(error)) {
	o = o.withDefaults()
	s = &Stream{opts: o, wake: make(chan struct{}, 1), done: make(chan struct{})}
	var once sync.Once
	end = func(err error) {
		once.Do(func() {
			s.mu.Lock()
			s.err = err
			close(s.done)
			s.mu.Unlock()
			s.signal()
		})
	}
	s.end = func() { end(io.EOF) }
	return s, s.push, end
}

func (s *Stream) push(values ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	for _, v := range values {
		if s.size == len(s.ring) && !s.grow() {
			s.drop()
		}
		s.ring[(s.head+s.size)%len(s.ring)] = v
		s.size++
		if s.opts.Size == nil {
			continue
		}
		s.bytes += s.opts.Size(v)
		for s.size > 1 && s.bytes > s.opts.QueueBytes {
			s.drop()
		}
	}
	s.signal()
}

// drop loses the oldest value.
func (s *Stream) drop() {
	s.remove()
	s.dropped++
}

// remove takes the oldest value off the queue.
func (s *Stream) remove() any {
	v := s.ring[s.head]
	s.ring[s.head] = nil
	s.head = (s.head + 1) % len(s.ring)
	s.size--
	if s.opts.Size != nil {
		s.bytes -= s.opts.Size(v)
	}
	return v
}

// grow makes the ring larger up to the limit.
func (s *Stream) grow() bool {
	if len(s.ring) >= s.opts.Queue {
		return false
	}
	ring := make([]any, min(max(2*len(s.ring), 64), s.opts.Queue))
	n := copy(ring, s.ring[s.head:])
	copy(ring[n:], s.ring[:s.head])
	s.ring, s.head = ring, 0
	return true
}

// pop returns the next value if there is one, or the end of the source.
func (s *Stream) pop() (v any, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == 0 {
		return nil, false, s.err
	}
	v = s.remove()
	s.read++
	if s.size > 0 {
		s.signal() // another task may wait for the rest
	}
	return v, true, nil
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
	case <-s.wake:
		return nil
	case <-s.done:
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
	s.signal()
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
	r.mu.Lock()
	n := r.dropped
	r.mu.Unlock()
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
func (s *Stream) Read() uint64 {
	r := s.root()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}
