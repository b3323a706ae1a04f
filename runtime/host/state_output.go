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
	// outputRoom is how many bytes may wait to be written before a task that
	// prints has to wait.
	outputRoom = 256 << 10
	// outputMost is how many bytes warnings may add, which do not wait.
	outputMost = 16 << 20
	// outputBatch is how many bytes of small writes are joined into one.
	outputBatch = 64 << 10
	// stallTime is how long the end of a cancelled run waits for a stream that
	// takes nothing.
	stallTime = 50 * time.Millisecond
)

// output writes what scripts print to one writer, in the order in which they
// print it. A goroutine does the writing, so that a writer that takes nothing
// stops only the tasks that print to it, and those can be cancelled.
type output struct {
	mu    sync.Mutex
	queue []piece
	size  int    // bytes in queue, and those being written
	done  uint64 // bytes that were written or dropped so far
	busy  bool   // the goroutine runs
	// given is set when a call gave up waiting for room, until all is written.
	given bool
	moved chan struct{} // closed when size has fallen; nil if nobody waits

	progress
}

// piece is one write.
type piece struct {
	to   *Stream
	text string
	size int  // what it counts in output.size
	asks bool // nothing is written after it until it is answered
}

// batch is what is written at once: pieces, and what they do to lines of progress.
type batch struct {
	to   *Stream
	text string
	size int
}

// Stream is one of the two output streams of a host. What scripts print and what
// bindings write to it is queued, and written in that order by a goroutine.
type Stream struct {
	out  *output
	w    io.Writer
	tty  bool  // w is a terminal
	err  error // of the first write that failed; guarded by out.mu
	told bool  // the error has been raised; guarded by out.mu
	lost int   // bytes of warnings that found no room; guarded by out.mu
}

// openOutput makes the two streams. They share a queue if they have the same
// writer, and then keep their order.
func (h *Host) openOutput() {
	h.stdout = &Stream{out: &output{}, w: h.o.Stdout, tty: h.o.Terminal.Stdout}
	h.stderr = &Stream{out: &output{}, w: h.o.Stderr, tty: h.o.Terminal.Stderr}
	if sameWriter(h.o.Stdout, h.o.Stderr) {
		h.stderr.out = h.stdout.out
	}
}

// sameWriter compares two writers. Those that cannot be compared differ.
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

// put queues text and reports whether there is room for more.
func (o *output) put(to *Stream, text string) bool {
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

// start lets the goroutine write what there is. mu is held.
func (o *output) start() {
	if !o.busy && !o.asking {
		o.busy = true
		go o.drain()
	}
}

// drain writes until nothing is left.
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

// next takes pieces for one stream from the queue, or draws the lines of progress.
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
	o.queue, o.busy, o.given = nil, false, false
	o.wake()
	return b, false
}

// join takes pieces for one stream from the queue, none after a question. mu is
// held.
func (o *output) join() batch {
	b := batch{to: o.queue[0].to}
	n, length := 0, 0
	for _, p := range o.queue {
		if p.to != b.to || n > 0 && length+len(p.text) > outputBatch || o.asking {
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

// wrote notes the end of a write.
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
	if to.lost > 0 && to.err == nil && o.size < outputRoom {
		text := fmt.Sprintf(
			"imdlua: %d bytes of messages were dropped: nobody read them\n",
			to.lost,
		)
		to.lost = 0
		o.queue = append(o.queue, piece{to: to, text: text, size: len(text)})
		o.size += len(text)
	}
	o.wake()
}

// wake tells those that wait that something was written. mu is held.
func (o *output) wake() {
	if o.moved != nil {
		close(o.moved)
		o.moved = nil
	}
}

// state returns the bytes that are queued, those that were written, and a
// channel that is closed when that has changed.
func (o *output) state() (size int, done uint64, moved <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.moved == nil {
		o.moved = make(chan struct{})
	}
	return o.size, o.done, o.moved
}

// room waits until at most n bytes are queued.
func (o *output) room(ctx context.Context, n int) error {
	return o.until(ctx, func(size int, _ uint64) bool { return size <= n })
}

// written waits until everything is written that is queued now.
func (o *output) written(ctx context.Context) error {
	size, done, _ := o.state()
	end := done + uint64(size)
	return o.until(ctx, func(_ int, done uint64) bool { return done >= end })
}

func (o *output) until(ctx context.Context, reached func(size int, done uint64) bool) error {
	for {
		size, done, moved := o.state()
		if reached(size, done) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveUp notes that the script did not wait for room.
func (o *output) giveUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.given = o.busy
}

func (o *output) gaveUp() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.given
}

// flush waits until everything is written that is queued now. After ctx has
// ended, or when the script itself gave up waiting, it waits only as long as the
// writer takes something.
func (o *output) flush(ctx context.Context) {
	if !o.gaveUp() && o.written(ctx) == nil {
		return
	}
	size, done, _ := o.state()
	for end := done + uint64(size); ; {
		_, done, moved := o.state()
		if done >= end {
			return
		}
		timer := time.NewTimer(stallTime)
		select {
		case <-moved:
			timer.Stop()
		case <-timer.C:
			return
		}
	}
}

// flush waits for both streams.
func (h *Host) flush(ctx context.Context) {
	h.stdout.out.flush(ctx)
	if h.stderr.out != h.stdout.out {
		h.stderr.out.flush(ctx)
	}
}

// failed returns the error of the first write that failed.
func (s *Stream) failed() error {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if s.err == nil {
		return nil
	}
	s.told = true
	return fmt.Errorf("write: %w", s.err)
}

// unreported returns the error that no call has raised.
func (s *Stream) unreported() error {
	s.out.mu.Lock()
	told := s.told
	s.out.mu.Unlock()
	if told {
		return nil
	}
	return s.failed()
}

// Write queues p and never waits: bindings may call it from any goroutine, with
// or without the interpreter lock. On a terminal control characters of p are
// shown, see package visible.
func (s *Stream) Write(p []byte) (int, error) {
	text := string(p)
	if s.tty {
		text = visible.Text(text)
	}
	s.message(text)
	return len(p), nil
}

// Styled returns a writer that does as Write, but lets colours through. Only what
// has no text from outside in it, or has made that visible, is written to it.
func (s *Stream) Styled() io.Writer { return styled{s} }

type styled struct{ s *Stream }

func (w styled) Write(p []byte) (int, error) {
	w.s.message(w.s.shown(string(p)))
	return len(p), nil
}

// shown returns what a script has composed as it is written to the stream.
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
		s.lost += len(text)
	}
	s.out.mu.Unlock()
	if !full {
		s.out.put(s, text)
	}
}

// Print queues text for the running script, as it is, for a terminal as well. It
// waits while too much is queued, and raises what went wrong with this write or an
// earlier one.
func (s *Stream) Print(L *lua.LState, text string) {
	err := s.failed()
	if err == nil && !s.out.put(s, text) {
		err = TryWithTimeout(L, NoTimeout, func(ctx context.Context) error {
			err := s.out.room(ctx, outputRoom)
			if err != nil {
				s.out.giveUp()
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
	WithTimeout(L, NoTimeout, s.out.written)
	return s.failed()
}

// Stdout returns the host's output. Bindings may write to it from any goroutine,
// and keep their place among what scripts print.
func (h *Host) Stdout() *Stream { return h.stdout }

// Stderr returns the host's error output, as Stdout does.
func (h *Host) Stderr() *Stream { return h.stderr }
