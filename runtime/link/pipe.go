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

// pipeBuffer is the size of the buffer of each direction of a Pipe. A writer waits
// while the buffer is full. It has room for the TLS records of four AFC packets, so
// that neither end stalls.
const pipeBuffer = 256 << 10

// Pipe returns the two ends of a connection in memory. Unlike net.Pipe it buffers. Like
// TCP it can be closed in one direction, and the other end still reads the bytes that
// were written before a close.
func Pipe() (net.Conn, net.Conn) { return Conditions{}.Pipe() }

// Pipe returns the two ends of a connection in memory with these conditions in both
// directions.
func (c Conditions) Pipe() (net.Conn, net.Conn) {
	ab, ba := newHalf(c), newHalf(c)
	return &pipeEnd{in: ba, out: ab}, &pipeEnd{in: ab, out: ba}
}

// half is one direction: a ring buffer that grows up to pipeBuffer.
type half struct {
	mu         sync.Mutex
	cond       sync.Cond
	ring       []byte
	head, size int
	wclosed    bool // closed for writing
	rclosed    bool // closed for reading
	rdl, wdl   deadline
	transit    *transit // nil if all bytes are delivered at once
}

// deadline records that its timer has fired, instead of comparing times. After a step
// of the wall clock the two may differ, and a waiter that was woken too early would
// sleep forever.
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
					break // wait for the bytes in transit
				}
				p = p[:ready]
			}
			n := copy(p, h.ring[h.head:min(h.head+h.size, len(h.ring))])
			if n < h.size && n < len(p) {
				n += copy(p[n:], h.ring[:h.size-n])
			}
			h.size -= n
			h.head = (h.head + n) % len(h.ring)
			if h.size == 0 {
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
			return done, nil // all bytes are in transit, whatever has happened since
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

// grow makes room for up to want bytes and returns the room that there is.
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

// yieldEvery is the number of writes after which an end yields the processor. On a
// single processor, goroutines that wake each other in a circle run before all others
// for as long as they go on. With sockets, the network poller prevents that.
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
