package link

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pipeBuffer is how much one direction of a Pipe holds before a writer waits:
// enough for four AFC pieces' worth of TLS records without one end stalling.
const pipeBuffer = 256 << 10

// Pipe returns the two ends of a connection in memory. Unlike net.Pipe it
// buffers, and like TCP it can be closed in one direction: bytes written before
// a close are still read at the other end.
func Pipe() (net.Conn, net.Conn) { return Conditions{}.Pipe() }

// Pipe returns the two ends of a connection in memory that has these conditions in
// both directions.
func (c Conditions) Pipe() (net.Conn, net.Conn) {
	ab, ba := newHalf(c), newHalf(c)
	return &pipeEnd{in: ba, out: ab}, &pipeEnd{in: ab, out: ba}
}

// half is one direction: a ring that grows up to pipeBuffer.
type half struct {
	mu         sync.Mutex
	cond       sync.Cond
	ring       []byte
	head, size int
	wclosed    bool // no more writes
	rclosed    bool // nobody reads any more
	rdl, wdl   deadline
	transit    *transit // nil when bytes arrive at once and together
}

// deadline remembers that its timer fired instead of comparing clocks: after a
// step of the wall clock the two may disagree, and a waiter that was woken
// early would sleep for ever.
type deadline struct {
	timer *time.Timer
	past  bool
}

func newHalf(c Conditions) *half {
	h := &half{transit: newTransit(c)}
	h.cond.L = &h.mu
	return h
}

func (h *half) setDeadline(d *deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.past = false
	if !t.IsZero() {
		if wait := time.Until(t); wait <= 0 {
			d.past = true
		} else {
			var own *time.Timer
			own = time.AfterFunc(wait, func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				if d.timer == own {
					d.past = true
					h.cond.Broadcast()
				}
			})
			d.timer = own
		}
	}
	h.cond.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.rclosed:
			return 0, net.ErrClosed
		case h.rdl.past:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case h.size > 0:
			if h.transit != nil {
				ready := h.transit.ready(h, len(p))
				if ready == 0 {
					break // waits for what is on its way
				}
				p = p[:ready]
			}
			n := copy(p, h.ring[h.head:min(h.head+h.size, len(h.ring))])
			if n < h.size && n < len(p) {
				n += copy(p[n:], h.ring[:h.size-n])
			}
			h.size -= n
			if h.head = (h.head + n) % len(h.ring); h.size == 0 {
				h.head = 0
			}
			h.cond.Broadcast()
			return n, nil
		case h.wclosed:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	done := 0
	for {
		switch {
		case done > 0 && done == len(p):
			return done, nil // whatever happened meanwhile, all of it is under way
		case h.wclosed:
			return done, net.ErrClosed
		case h.rclosed:
			return done, io.ErrClosedPipe
		case h.wdl.past:
			return done, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		if h.grow(len(p)-done) == 0 {
			h.cond.Wait()
			continue
		}
		tail := (h.head + h.size) % len(h.ring)
		end := len(h.ring)
		if tail < h.head {
			end = h.head
		}
		n := copy(h.ring[tail:end], p[done:])
		if h.transit != nil {
			h.transit.sent(n)
		}
		h.size += n
		done += n
		h.cond.Broadcast()
	}
}

// grow makes room for up to want bytes and returns how much there is.
func (h *half) grow(want int) int {
	free := len(h.ring) - h.size
	if free >= want || len(h.ring) == pipeBuffer {
		return free
	}
	size := max(len(h.ring), 4<<10)
	for size < pipeBuffer && size-h.size < want {
		size *= 2
	}
	ring := make([]byte, size)
	n := copy(ring, h.ring[h.head:min(h.head+h.size, len(h.ring))])
	copy(ring[n:], h.ring[:h.size-n])
	h.ring, h.head = ring, 0
	return size - h.size
}

func (h *half) closeWrite() {
	h.mu.Lock()
	h.wclosed = true
	h.cond.Broadcast()
	h.mu.Unlock()
}

func (h *half) closeRead() {
	h.mu.Lock()
	h.rclosed = true
	h.ring, h.head, h.size = nil, 0, 0
	h.cond.Broadcast()
	h.mu.Unlock()
}

type pipeEnd struct {
	in, out *half
	writes  atomic.Uint32
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (p *pipeEnd) Read(b []byte) (int, error) {
	n, err := p.in.read(b)
	return n, opError("read", err)
}

// yieldEvery is after how many writes an end gives the processor up. On one
// processor, goroutines that wake each other in a ring are run before all others,
// for as long as the ring turns: with sockets in it the poller ends that.
const yieldEvery = 64

func (p *pipeEnd) Write(b []byte) (int, error) {
	n, err := p.out.write(b)
	if p.writes.Add(1)%yieldEvery == 0 {
		runtime.Gosched()
	}
	return n, opError("write", err)
}

func opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "pipe", Err: err}
}

func (p *pipeEnd) Close() error {
	p.out.closeWrite()
	p.in.closeRead()
	p.SetDeadline(time.Time{})
	return nil
}

func (p *pipeEnd) CloseWrite() error    { p.out.closeWrite(); return nil }
func (p *pipeEnd) LocalAddr() net.Addr  { return pipeAddr{} }
func (p *pipeEnd) RemoteAddr() net.Addr { return pipeAddr{} }
func (p *pipeEnd) SetDeadline(t time.Time) error {
	p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}
func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.in.setDeadline(&p.in.rdl, t)
	return nil
}
func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.out.setDeadline(&p.out.wdl, t)
	return nil
}
