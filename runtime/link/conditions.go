package link

import (
	"math/rand/v2"
	"time"
)

// Conditions are those of a connection in memory. The zero value delivers everything
// at once.
type Conditions struct {
	// Latency is how long bytes are on their way.
	Latency time.Duration
	// Rate is how many bytes a second pass; 0 means no limit.
	Rate int
	// Split delivers what was written in pieces of random sizes, as a network may do.
	Split bool
}

// transit is what is on its way in one direction. The lock of its half guards it.
type transit struct {
	c      Conditions
	pieces []piece
	free   time.Time // when the line has sent what was written before
	timer  *time.Timer
}

// piece is bytes that arrive together.
type piece struct {
	size int
	due  time.Time
}

// newTransit returns nil if nothing has to be held back.
func newTransit(c Conditions) *transit {
	if c == (Conditions{}) {
		return nil
	}
	return &transit{c: c}
}

// largestPiece is how much Split delivers at most at once.
const largestPiece = 4 << 10

// sent notes that n bytes were written.
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

// size is that of a piece: often a few bytes, which is where messages break.
func (t *transit) size() int {
	if rand.IntN(4) == 0 {
		return 1 + rand.IntN(16)
	}
	return 1 + rand.IntN(largestPiece)
}

// ready returns how many of up to n bytes may be read now, and counts them as read.
// If there are none it wakes the reader when there are.
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
