package tunnel

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
)

// Faults makes a device's tunnels misbehave, for tests of the host. The zero value has
// no faults. The same values cause the same faults.
type Faults struct {
	// DropOver drops longer packets of the host, as real devices do with those over
	// 8192 bytes; 0 means none.
	DropOver int
	// Loss drops every n-th packet in each direction; 0 means none.
	Loss int
	// Reorder lets the next packet overtake one in n packets, chosen at random, in each
	// direction; 0 means none. Datagrams may be reordered on a real network, but never
	// the packets on a stream.
	Reorder int
	// Seed chooses the packets for Reorder.
	Seed uint64
	// Delay delays each packet of the device.
	Delay time.Duration
	// CutAfter breaks the carrier after that many bytes. The bytes of both directions
	// and of a stream's handshake are counted together. A stream is cut at the exact
	// byte, which may be inside a packet. Datagrams are cut after the packet.
	CutAfter int64
	// Mute leaves the handshake unanswered.
	Mute bool
}

// spoil returns a carrier with these faults.
func (f Faults) spoil(c carrier) carrier {
	if f.Loss == 0 && f.Reorder == 0 && f.Delay == 0 {
		return c
	}
	s := &spoiled{carrier: c, in: f.lane(1), out: f.lane(2)}
	if f.Delay > 0 {
		s.late = newLate(c, f.Delay)
	}
	return s
}

// lane decides on the faults of one direction.
type lane struct {
	loss, reorder int
	n             int
	rand          *rand.Rand
}

func (f Faults) lane(direction uint64) lane {
	return lane{loss: f.Loss, reorder: f.Reorder, rand: rand.New(rand.NewPCG(f.Seed, direction))}
}

// next returns what to do with the next packet.
func (l *lane) next() (lose, hold bool) {
	l.n++
	if l.loss > 0 && l.n%l.loss == 0 {
		return true, false
	}
	return false, l.reorder > 0 && l.rand.IntN(l.reorder) == 0
}

// spoiled is a carrier that drops, reorders and delays packets.
type spoiled struct {
	carrier
	in, out lane
	late    *late // nil means no delay

	// head and body are a packet that arrived and is overtaken by the next one. After
	// that packet it is returned at once.
	head, body *buffer.View
	overtaken  bool

	held []byte // packet to send after the next one
	b    []byte
}

func (s *spoiled) receive() (head, body *buffer.View, more bool, err error) {
	if s.overtaken {
		head, body = s.head, s.body
		s.head, s.body, s.overtaken = nil, nil, false
		return head, body, false, nil
	}
	for {
		head, body, _, err = s.carrier.receive()
		if err != nil {
			return nil, nil, false, err
		}
		lose, hold := s.in.next()
		switch {
		case lose:
			drop(head)
			drop(body)
		case hold && s.head == nil:
			s.head, s.body = head, body
		default:
			s.overtaken = s.head != nil
			return head, body, false, nil
		}
	}
}

func (s *spoiled) send(b []byte, most int) error {
	s.b = s.b[:0]
	for len(b) > 0 {
		n, err := packetLength(b)
		if err != nil {
			return err
		}
		packet := b[:n]
		b = b[n:]
		lose, hold := s.out.next()
		switch {
		case lose:
		case hold && len(s.held) == 0:
			s.held = append(s.held, packet...)
		default:
			s.b = append(append(s.b, packet...), s.held...)
			s.held = s.held[:0]
		}
	}
	switch {
	case len(s.b) == 0:
		return nil
	case s.late != nil:
		return s.late.send(s.b, most)
	}
	return s.carrier.send(s.b, most)
}

func (s *spoiled) Close() error {
	err := s.carrier.Close()
	if s.late != nil {
		s.late.stop()
	}
	return err
}

func (s *spoiled) free() {
	if s.late != nil {
		<-s.late.done
	}
	drop(s.head)
	drop(s.body)
	s.carrier.free()
}

// late sends packets after a delay.
type late struct {
	to    carrier
	delay time.Duration
	done  chan struct{} // closed when its goroutine has ended

	mu     sync.Mutex
	wake   chan struct{} // holds one token after an event
	queue  []letter
	size   int
	closed bool
	err    error // error of the carrier
}

// letter is the bytes of one send, and the time at which to send them.
type letter struct {
	b    []byte
	most int
	due  time.Time
}

func newLate(to carrier, delay time.Duration) *late {
	l := &late{to: to, delay: delay, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go l.run()
	return l
}

func (l *late) send(b []byte, most int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.closed {
		return l.err
	}
	if l.size+len(b) > maxQueued {
		return nil // as a link does when its queue is full
	}
	l.size += len(b)
	l.queue = append(l.queue,
		letter{b: append([]byte(nil), b...), most: most, due: time.Now().Add(l.delay)})
	l.signal()
	return nil
}

func (l *late) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *late) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.queue = nil
	l.signal()
}

func (l *late) run() {
	defer close(l.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.mu.Lock()
		closed := l.closed
		var next letter
		wait, idle := time.Duration(0), len(l.queue) == 0
		if !idle {
			wait = time.Until(l.queue[0].due)
			if wait <= 0 {
				next = l.queue[0]
				l.queue = l.queue[1:]
				l.size -= len(next.b)
			}
		}
		l.mu.Unlock()
		switch {
		case closed:
			return
		case idle:
			<-l.wake
		case next.b == nil:
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-l.wake:
			}
		default:
			if err := l.to.send(next.b, next.most); err != nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
			}
		}
	}
}

// cutConn is a connection that breaks after a number of bytes.
type cutConn struct {
	net.Conn
	budget *budget
}

// budget is the number of bytes that may still pass.
type budget struct {
	mu   sync.Mutex
	left int64
}

// take returns how many of n bytes may pass.
func (b *budget) take(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = int(min(b.left, int64(n)))
	b.left -= int64(n)
	return n
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if pass := c.budget.take(n); pass < n {
		c.Conn.Close()
		return pass, io.ErrClosedPipe
	}
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	pass := c.budget.take(len(b))
	n, err := c.Conn.Write(b[:pass])
	if pass < len(b) {
		c.Conn.Close()
		return n, io.ErrClosedPipe
	}
	return n, err
}

// cutCarrier is a carrier of datagrams that breaks after a number of bytes.
type cutCarrier struct {
	carrier
	budget *budget
}

func (c *cutCarrier) receive() (head, body *buffer.View, more bool, err error) {
	head, body, more, err = c.carrier.receive()
	if n := size(head) + size(body); c.budget.take(n) < n {
		drop(head)
		drop(body)
		c.Close()
		return nil, nil, false, io.ErrClosedPipe
	}
	return head, body, more, err
}

func (c *cutCarrier) send(b []byte, most int) error {
	if c.budget.take(len(b)) < len(b) {
		c.Close()
		return io.ErrClosedPipe
	}
	return c.carrier.send(b, most)
}
