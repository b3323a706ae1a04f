// Package queue has a bounded queue whose writer never waits. Log entries, notifications
// and process events reach their readers through it.
package queue

import (
	"context"
	"net"
	"sync"
)

// Queue is a bounded queue. Its writer never waits: if the queue is full, the
// oldest element is dropped and counted, as the real daemons do. Its memory grows
// with the number of elements.
type Queue[T any] struct {
	mu      sync.Mutex
	ring    []T
	head, n int
	limit   int
	dropped uint64
	closed  bool
	wake    chan struct{} // holds a token when there may be elements
	done    chan struct{} // closed by Close
}

// New returns an empty queue for at most limit elements.
func New[T any](limit int) *Queue[T] {
	return &Queue[T]{limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Push appends the elements for which keep returns true. A nil keep accepts all.
func (q *Queue[T]) Push(keep func(T) bool, items ...T) {
	q.mu.Lock()
	was := q.n
	if !q.closed {
		for _, it := range items {
			if keep == nil || keep(it) {
				q.put(it)
			}
		}
	}
	signal := q.n > 0 && was == 0
	q.mu.Unlock()
	if signal {
		q.signal()
	}
}

func (q *Queue[T]) put(it T) {
	if q.n == len(q.ring) && q.n < q.limit {
		q.grow()
	}
	if q.n == len(q.ring) {
		q.ring[q.head] = it
		q.head = (q.head + 1) % len(q.ring)
		q.dropped++
		return
	}
	i := q.head + q.n
	if i >= len(q.ring) {
		i -= len(q.ring)
	}
	q.ring[i] = it
	q.n++
}

func (q *Queue[T]) grow() {
	size := min(max(2*len(q.ring), 16), q.limit)
	ring := make([]T, size)
	k := copy(ring, q.ring[q.head:])
	copy(ring[k:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}

func (q *Queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Pop waits for an element, moves up to len(dst) elements to dst, and returns their
// number. What was added before ctx ended is still returned.
func (q *Queue[T]) Pop(ctx context.Context, dst []T) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	for {
		if n, err := q.take(dst); n > 0 || err != nil {
			return n, err
		}
		select {
		case <-q.wake:
		case <-q.done:
		case <-ctx.Done():
			if n, err := q.take(dst); n > 0 || err != nil {
				return n, err
			}
			return 0, ctx.Err()
		}
	}
}

func (q *Queue[T]) take(dst []T) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, net.ErrClosed
	}
	n := min(q.n, len(dst))
	if n == 0 {
		return 0, nil
	}
	k := copy(dst[:n], q.ring[q.head:])
	copy(dst[k:n], q.ring)
	// Clear the slots, so that the ring does not keep the elements in memory.
	end := min(q.head+n, len(q.ring))
	clear(q.ring[q.head:end])
	clear(q.ring[:n-k])
	q.head = (q.head + n) % len(q.ring)
	q.n -= n
	if q.n > 0 {
		q.signal()
	}
	return n, nil
}

// Lost returns the number of elements that were dropped.
func (q *Queue[T]) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close ends every Pop that waits. It reports whether this was the first call.
func (q *Queue[T]) Close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed, q.ring, q.n, q.head = true, nil, 0, 0
	close(q.done)
	return true
}
