package host

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/visible"
)

const (
	// outputRoom is the number of queued bytes above which a task that prints has
	// to wait.
	outputRoom = 256 << 10
	// outputMost is the number of queued bytes above which messages, which never
	// wait, are dropped.
	outputMost = 16 << 20
	// outputBatch is the largest number of bytes of small writes that are joined
	// into one.
	outputBatch = 64 << 10
	// stallTime is how long the end of a cancelled run waits for a writer that
	// accepts nothing.
	stallTime = 50 * time.Millisecond
)

// output writes what scripts print to one writer, in the order in which they print
// it. A goroutine calls the writer. If the writer blocks, it blocks only the tasks
// that print to it, and those can be cancelled.
type output struct {
	mu    sync.Mutex
	queue []piece
	size  int    // bytes in queue, and those being written
	done  uint64 // bytes that were written or dropped so far
	busy  bool   // the goroutine runs
	// abandoned is set when a call stopped waiting for room. It is cleared when
	// everything is written.
	abandoned bool
	changed   chan struct{} // closed when size falls; nil without a waiting call

	progress
}

// piece is one write.
type piece struct {
	to   *Stream
	text string
	size int  // its part of output.size
	asks bool // a question: nothing is written after it until it is answered
}

// batch is the text of one call of the writer: pieces of the queue, and control
// sequences that erase and draw lines of progress.
type batch struct {
	to   *Stream
	text string
	size int
}

// Stream is one of the two output streams of a host. What scripts print and what
// bindings write is queued, and a goroutine writes it in that order.
type Stream struct {
	out *output
	w   io.Writer
	tty bool // w is a terminal

	// The fields below are guarded by out.mu.
	err      error // of the first write that failed
	reported bool  // a call has returned err
	dropped  int   // bytes of messages that were dropped and not yet reported
}

// openOutput makes the two streams. If they have the same writer, they share a
// queue, so that their texts stay in order.
func (h *Host) openOutput() {
	h.stdout = &Stream{out: &output{}, w: h.o.Stdout, tty: h.o.Terminal.Stdout}
	h.stderr = &Stream{out: &output{}, w: h.o.Stderr, tty: h.o.Terminal.Stderr}
	if sameWriter(h.o.Stdout, h.o.Stderr) {
		h.stderr.out = h.stdout.out
	}
}

// sameWriter reports whether two writers are the same. Writers whose types cannot
// be compared are different.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }()
	return a == b
}

// stopped is a context that has ended.
var stopped = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// enqueue queues text and reports whether there is room for more.
func (o *output) enqueue(to *Stream, text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if to.err != nil {
		return true
	}
	o.add(piece{to: to, text: text, size: len(text)})
	return o.size <= outputRoom
}

// add queues a piece. mu is held.
func (o *output) add(p piece) {
	o.queue = append(o.queue, p)
	o.size += p.size
	o.start()
}

// start starts the goroutine that writes, unless it runs already or a question is
// open. mu is held.
func (o *output) start() {
	if !o.busy && !o.asking {
		o.busy = true
		go o.drain()
	}
}

// drain writes until nothing is left to write.
func (o *output) drain() {
	for {
		b, ok := o.next()
		if !ok {
			return
		}
		var err error
		if b.text != "" {
			_, err = io.WriteString(b.to.w, b.text)
		}
		o.wrote(b.to, b.size, err)
	}
}

// next returns the next batch: pieces for one stream from the queue, or else the
// lines of progress if they have changed.
func (o *output) next() (b batch, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.asking:
		o.busy = false
		return b, false
	case len(o.queue) > 0:
		return o.decorate(o.join()), true
	case o.stale:
		return o.decorate(batch{to: o.last}), true
	}
	o.queue, o.busy, o.abandoned = nil, false, false
	o.wake()
	return b, false
}

// join removes pieces for one stream from the queue and joins them. It stops after
// a question. mu is held.
func (o *output) join() batch {
	b := batch{to: o.queue[0].to}
	n, length := 0, 0
	for _, p := range o.queue {
		full := n > 0 && length+len(p.text) > outputBatch
		if p.to != b.to || full || o.asking {
			break
		}
		length += len(p.text)
		b.size += p.size
		o.asking = p.asks
		n++
	}
	b.text = o.queue[0].text
	if n > 1 {
		joined := make([]byte, 0, length)
		for _, p := range o.queue[:n] {
			joined = append(joined, p.text...)
		}
		b.text = string(joined)
	}
	clear(o.queue[:n])
	o.queue = o.queue[n:]
	return b
}

// wrote records the end of a write. After the first error of a stream it drops
// everything that is queued for the stream.
func (o *output) wrote(to *Stream, n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.size -= n
	o.done += uint64(n)
	if err != nil && to.err == nil {
		to.err = err
		keep := o.queue[:0]
		for _, p := range o.queue {
			if p.to == to {
				o.size -= p.size
				o.done += uint64(p.size)
			} else {
				keep = append(keep, p)
			}
		}
		o.queue = keep
	}
	if to.dropped > 0 && to.err == nil && o.size < outputRoom {
		text := fmt.Sprintf(
			"imdlua: %d bytes of messages were dropped: nobody read them\n",
			to.dropped,
		)
		to.dropped = 0
		o.queue = append(o.queue, piece{to: to, text: text, size: len(text)})
		o.size += len(text)
	}
	o.wake()
}

// wake wakes the goroutines that wait until something is written. mu is held.
func (o *output) wake() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// state returns the number of bytes that are queued, the number that were written,
// and a channel that is closed when these numbers have changed.
func (o *output) state() (size int, done uint64, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.size, o.done, o.changed
}

// waitForRoom waits until at most n bytes are queued.
func (o *output) waitForRoom(ctx context.Context, n int) error {
	return o.waitUntil(ctx, func(size int, _ uint64) bool { return size <= n })
}

// waitForWrites waits until everything is written that is queued now.
func (o *output) waitForWrites(ctx context.Context) error {
	size, done, _ := o.state()
	end := done + uint64(size)
	return o.waitUntil(ctx, func(_ int, done uint64) bool { return done >= end })
}

func (o *output) waitUntil(
	ctx context.Context, reached func(size int, done uint64) bool,
) error {
	for {
		size, done, changed := o.state()
		if reached(size, done) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// abandon records that a call of the script has stopped waiting for room.
func (o *output) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.abandoned = o.busy
}

func (o *output) isAbandoned() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.abandoned
}

// flush waits until everything is written that is queued now. If ctx has ended, or
// if a call of the script has stopped waiting, it waits only as long as the writer
// accepts something.
func (o *output) flush(ctx context.Context) {
	if !o.isAbandoned() && o.waitForWrites(ctx) == nil {
		return
	}
	size, done, _ := o.state()
	for end := done + uint64(size); ; {
		_, done, changed := o.state()
		if done >= end {
			return
		}
		timer := time.NewTimer(stallTime)
		select {
		case <-changed:
			timer.Stop()
		case <-timer.C:
			return
		}
	}
}

// flush flushes both streams.
func (h *Host) flush(ctx context.Context) {
	h.stdout.out.flush(ctx)
	if h.stderr.out != h.stdout.out {
		h.stderr.out.flush(ctx)
	}
}

// failed returns the error of the first write that failed, and records that it was
// returned.
func (s *Stream) failed() error {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.err == nil {
		return nil
	}
	s.reported = true
	return fmt.Errorf("write: %w", s.err)
}

// unreported returns the error of failed if no call has returned it yet.
func (s *Stream) unreported() error {
	s.out.mu.Lock()
	reported := s.reported
	s.out.mu.Unlock()
	if reported {
		return nil
	}
	return s.failed()
}

// Write queues p and never waits. Bindings may call it from any goroutine, with or
// without the interpreter lock. On a terminal, control characters in p are made
// visible; see package visible.
func (s *Stream) Write(p []byte) (int, error) {
	text := string(p)
	if s.tty {
		text = visible.Text(text)
	}
	s.message(text)
	return len(p), nil
}

// Styled returns a writer that is like Write but keeps colours. Text from outside
// must not be written to it unless package visible has made it safe.
func (s *Stream) Styled() io.Writer { return styled{s} }

type styled struct{ s *Stream }

func (w styled) Write(p []byte) (int, error) {
	w.s.message(w.s.shown(string(p)))
	return len(p), nil
}

// shown returns a text of the script as it is written to the stream.
func (s *Stream) shown(text string) string {
	if s.tty {
		return visible.Styled(text)
	}
	return text
}

// message queues text, or drops it if too much waits to be written.
func (s *Stream) message(text string) {
	s.out.mu.Lock()
	full := s.out.size > outputMost
	if full {
		s.dropped += len(text)
	}
	s.out.mu.Unlock()
	if !full {
		s.out.enqueue(s, text)
	}
}

// Print queues text for the running script. It does not change the text, even on a
// terminal. It waits while too much is queued, and raises the error of this write
// or an earlier one.
func (s *Stream) Print(L *lua.LState, text string) {
	err := s.failed()
	if err == nil && !s.out.enqueue(s, text) {
		err = TryWithTimeout(L, NoTimeout, func(ctx context.Context) error {
			err := s.out.waitForRoom(ctx, outputRoom)
			if err != nil {
				s.out.abandon()
			}
			return err
		})
	}
	if err != nil {
		Raise(L, err)
	}
}

// Flush waits until everything that was queued before is written, and returns
// the error of the first write that failed.
func (s *Stream) Flush(L *lua.LState) error {
	WithTimeout(L, NoTimeout, s.out.waitForWrites)
	return s.failed()
}

// Stdout returns the host's standard output. Bindings may write to it from any
// goroutine. Their text and what scripts print stay in order.
func (h *Host) Stdout() *Stream { return h.stdout }

// Stderr returns the host's standard error, with the properties of Stdout.
func (h *Host) Stderr() *Stream { return h.stderr }
