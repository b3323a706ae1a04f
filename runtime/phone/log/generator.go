package log

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// generator makes the lines that daemons log by themselves while there is a watch.
type generator struct {
	count  atomic.Uint64 // lines made so far
	images func() [][16]byte
	cur    *talker
}

// talker is the running goroutine of a generator.
type talker struct{ stop, done chan struct{} }

// tick is the usual step of the generator. At each step it makes several lines if
// need be, so that no line needs a timer of its own.
const tick = 20 * time.Millisecond

// The daemons log in bursts, as those of real phones do.
const (
	// burstSeconds is for how long the lines of the largest burst are held back.
	burstSeconds = 0.4
	// maxBurst is the number of lines of the largest burst.
	maxBurst = 512
	// burstGap is the time between two lines of a burst.
	burstGap = 200 * time.Microsecond
)

// burst returns the number of lines of the n-th burst at a rate. It is 1 at low rates.
func (l *Log) burst(n uint64, rate float64) int {
	most := largestBurst(rate)
	return 1 + int(files.Mix(l.o.Identity.Seed^n*0x9E3779B97F4A7C15)%uint64(most))
}

func largestBurst(rate float64) int { return min(max(int(rate*burstSeconds), 1), maxBurst) }

// backlog is the number of lines that a phone has logged before the first use of
// the log.
const backlog = 64

// remove forgets a watch and stops the generator after the last one.
func (l *Log) remove(w *Watch) {
	l.mu.Lock()
	if i := slices.Index(l.watches, w); i >= 0 {
		l.watches = slices.Delete(l.watches, i, i+1)
	}
	old := l.adjust(false)
	l.mu.Unlock()
	old.wait()
}

// adjust starts or stops the generator as needed. The caller holds mu. It waits
// for the talker that is returned, which was stopped, after it has released mu.
func (l *Log) adjust(restart bool) (old *talker) {
	want := len(l.watches) > 0 && l.rate > 0
	if l.gen.cur != nil && (restart || !want) {
		old, l.gen.cur = l.gen.cur, nil
		close(old.stop)
	}
	if want && l.gen.cur == nil {
		l.gen.cur = &talker{stop: make(chan struct{}), done: make(chan struct{})}
		step := max(tick, time.Duration(float64(time.Second)/l.rate))
		go l.talk(l.gen.cur, l.rate, step)
	}
	return old
}

func (t *talker) wait() {
	if t != nil {
		<-t.done
	}
}

// talk writes the bursts that are due at each step. A burst is due when there has been time for
// all of its lines, so that the rate is that of the phone. After a pause, such as a suspended
// laptop, it makes up for at most a second.
func (l *Log) talk(t *talker, rate float64, step time.Duration) {
	defer close(t.done)
	clock := time.NewTicker(step)
	defer clock.Stop()
	last, owed := time.Now(), 0.0
	bursts, size := uint64(0), 1 // a reader gets the first line soon
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
		n := 0
		for owed >= float64(size) {
			owed -= float64(size)
			n += size
			bursts++
			size = l.burst(bursts, rate)
		}
		if n > 0 {
			l.emit(n, min(gap, time.Duration(n)*burstGap), t.stop)
		}
	}
}

// emit writes n lines whose times lie in the gap that ends now.
func (l *Log) emit(n int, gap time.Duration, stop <-chan struct{}) {
	batch := l.lines(n, l.o.Clock.Now().Add(-gap), gap)
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-stop: // the last reader has left
	default:
		l.put(batch)
	}
}
