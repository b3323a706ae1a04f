package host

import (
	"sync"
	"sync/atomic"
	"time"
)

// fifoLock is the interpreter lock. It is handed to waiters in the order in which
// they asked for it, so that the order of tasks is deterministic. A sync.Mutex does
// not guarantee an order.
type fifoLock struct {
	mu    sync.Mutex
	held  bool
	queue []*ticket // the waiters are queue[head:]
	head  int
	// waiting is len(queue)-head. The hook reads it without mu.
	waiting atomic.Int32
	// turn counts hand-overs, so that the hook can tell whether the lock was handed
	// over since the last check. Only the holder reads it.
	turn uint64
}

// ticket is one place in the queue. Each task has one and reuses it.
type ticket struct{ ready chan struct{} }

func newTicket() *ticket { return &ticket{ready: make(chan struct{}, 1)} }

// enqueue asks for the lock and reports whether it was free. If it was not, the
// caller must receive from t.ready. Spawn uses enqueue to give a task its place
// before the goroutine of the task runs.
func (l *fifoLock) enqueue(t *ticket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		l.held = true
		l.turn++
		return true
	}
	l.queue = append(l.queue, t)
	l.waiting.Add(1)
	return false
}

func (l *fifoLock) acquire(t *ticket) {
	if !l.enqueue(t) {
		<-t.ready
	}
}

func (l *fifoLock) release() {
	l.mu.Lock()
	l.handOver()
	l.mu.Unlock()
}

// handOver gives the lock to the next waiter, or frees it. mu is held.
func (l *fifoLock) handOver() {
	if l.head == len(l.queue) {
		l.held = false
		return
	}
	next := l.queue[l.head]
	l.queue[l.head] = nil
	l.head++
	if l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
	} else if l.head > 64 && l.head*2 > len(l.queue) {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.waiting.Add(-1)
	l.turn++
	next.ready <- struct{}{}
}

// yield gives the lock to all current waiters in turn and then takes it again.
func (l *fifoLock) yield(t *ticket) {
	l.mu.Lock()
	if l.head == len(l.queue) {
		l.mu.Unlock()
		return
	}
	l.queue = append(l.queue, t)
	l.waiting.Add(1)
	l.handOver()
	l.mu.Unlock()
	<-t.ready
}

// tryAcquire acquires the lock if that is possible within d, and reports whether it
// did.
func (l *fifoLock) tryAcquire(t *ticket, d time.Duration) bool {
	if l.enqueue(t) {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.ready:
		return true
	case <-timer.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.head; i < len(l.queue); i++ {
		if l.queue[i] == t {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			l.waiting.Add(-1)
			return false
		}
	}
	// The lock was handed over after the timer had fired.
	<-t.ready
	return true
}
