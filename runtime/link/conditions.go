package link

import (
	"math/rand/v2"
	"time"
)

// Conditions are the properties of a connection in memory. With the zero value all
// bytes are delivered at once.
type Conditions struct {
	// Latency is the time from writing a byte to its delivery.
	Latency time.Duration
	// Rate is the number of bytes per second; 0 means no limit.
	Rate int
	// Split delivers the bytes in pieces of random sizes, as a network may do.
	Split bool
}

// transit holds the bytes that have not been delivered in one direction. The lock of
// its half guards it.
type transit struct {
	c      Conditions
	pieces []piece
	free   time.Time // when the bytes written before have been sent
	timer  *time.Timer
}

// piece is a number of bytes that are delivered together.
type piece struct {
	size int
	due  time.Time
}

// newTransit returns nil if all bytes are delivered at once.
func newTransit(c Conditions) *transit {
	if c == (Conditions{}) {
		return nil
	}
	return &transit{c: c}
}

// largestPiece is the size of the largest piece with Split.
const largestPiece = 4 << 10

// sent records that n bytes were written.
func (t *transit) sent(n int) {
	now := time.Now()
	if t.free.Before(now) {
		t.free = now
	}
	for n > 0 {
		size := n
		if t.c.Split {
			size = min(n, t.size())
		}
		if t.c.Rate > 0 {
			t.free = t.free.Add(time.Duration(size) * time.Second / time.Duration(t.c.Rate))
		}
		t.pieces = append(t.pieces, piece{size, t.free.Add(t.c.Latency)})
		n -= size
	}
}

// size returns the size of the next piece. It is often a few bytes, because errors in
// handling partial messages show there.
func (t *transit) size() int {
	if rand.IntN(4) == 0 {
		return 1 + rand.IntN(16)
	}
	return 1 + rand.IntN(largestPiece)
}

// ready returns how many of up to n bytes may be read now, and counts them as read. If
// it returns 0, it wakes the reader later.
func (t *transit) ready(h *half, n int) int {
	first := &t.pieces[0]
	if wait := time.Until(first.due); wait > 0 {
		if t.timer != nil {
			t.timer.Stop()
		}
		t.timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.cond.Broadcast()
		})
		return 0
	}
	n = min(n, first.size)
	first.size -= n
	if first.size == 0 {
		t.pieces = t.pieces[1:]
	}
	return n
}
