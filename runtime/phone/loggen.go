package phone

import (
	"slices"
	"sync/atomic"
	"time"
)

// generator makes the phone talk while somebody listens.
type generator struct {
	seed   uint64
	count  atomic.Uint64 // lines made so far
	images func() [][16]byte
	cur    *talker
}

// talker is the running goroutine of a generator.
type talker struct{ stop, done chan struct{} }

// tick is the longest and usual step of the generator; a line each would
// mean a timer each.
const tick = 20 * time.Millisecond

// backlog is how many lines a phone has logged before the first look.
const backlog = 64

// remove forgets a watch and stops the generator after the last one.
func (h *logHub) remove(w *LogWatch) {
	h.mu.Lock()
	if i := slices.Index(h.watches, w); i >= 0 {
		h.watches = slices.Delete(h.watches, i, i+1)
	}
	old := h.adjust(false)
	h.mu.Unlock()
	old.wait()
}

// adjust starts or stops the generator and returns what was stopped, to be
// waited for without mu; the caller holds mu.
func (h *logHub) adjust(restart bool) (old *talker) {
	want := len(h.watches) > 0 && h.rate > 0
	if h.gen.cur != nil && (restart || !want) {
		old, h.gen.cur = h.gen.cur, nil
		close(old.stop)
	}
	if want && h.gen.cur == nil {
		h.gen.cur = &talker{stop: make(chan struct{}), done: make(chan struct{})}
		step := max(tick, time.Duration(float64(time.Second)/h.rate))
		go h.talk(h.gen.cur, h.rate, step)
	}
	return old
}

func (t *talker) wait() {
	if t != nil {
		<-t.done
	}
}

// talk writes what is due at each step. Fractions of lines are carried over,
// and after a pause (a stopped process, a suspended laptop) no more than a
// second is made up for.
func (h *logHub) talk(t *talker, rate float64, step time.Duration) {
	defer close(t.done)
	clock := time.NewTicker(step)
	defer clock.Stop()
	last, owed := time.Now(), 0.0
	for {
		select {
		case <-t.stop:
			return
		case <-clock.C:
		}
		now := time.Now()
		gap := min(now.Sub(last), max(time.Second, 2*step))
		last = now
		owed += gap.Seconds() * rate
		n := int(owed)
		owed -= float64(n)
		if n > 0 {
			h.emit(n, gap, t.stop)
		}
	}
}

// emit makes n lines that fell into the gap just past.
func (h *logHub) emit(n int, gap time.Duration, stop <-chan struct{}) {
	batch := h.lines(n, h.phone.Now().Add(-gap), gap)
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-stop: // nobody listens any more
	default:
		h.put(batch)
	}
}
