package link

import (
	"context"
	"sync"
)

// QueueOptions bound a Queue.
type QueueOptions[T any] struct {
	Items int // how many values may wait
	// Bytes bounds the sizes of the values that wait together, by Size. One value may
	// always wait. Without Size there is no such bound.
	Bytes int
	Size  func(T) int
	// DropOldest makes room for a new value by dropping the oldest ones, which are
	// counted. Otherwise a value for which there is no room is refused.
	DropOldest bool
}

// Queue is a bounded queue between a writer that never waits and readers that may. Its
// memory grows with what is queued.
type Queue[T any] struct {
	wake  chan struct{} // holds a token when there is something to take
	ended chan struct{} // closed with err set

	mu      sync.Mutex
	opts    QueueOptions[T]
	ring    []T
	head, n int
	bytes   int
	dropped uint64
	err     error // why nothing follows
}

// NewQueue returns an empty queue.
func NewQueue[T any](o QueueOptions[T]) *Queue[T] {
	return &Queue[T]{opts: o, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// Bound changes the limits of a queue, for the values that are pushed from now on.
func (q *Queue[T]) Bound(items, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opts.Items, q.opts.Bytes = items, bytes
}

// Push adds a value and reports whether it did: not after the end of the queue, nor
// when the queue is full and does not drop.
func (q *Queue[T]) Push(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return false
	}
	size := q.size(v)
	for q.n > 0 && (q.n >= q.opts.Items || q.bytes+size > q.opts.Bytes && q.opts.Size != nil) {
		if !q.opts.DropOldest {
			return false
		}
		q.remove()
		q.dropped++
	}
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)%len(q.ring)] = v
	q.n++
	q.bytes += size
	q.signal()
	return true
}

func (q *Queue[T]) size(v T) int {
	if q.opts.Size == nil {
		return 0
	}
	return q.opts.Size(v)
}

func (q *Queue[T]) grow() {
	ring := make([]T, max(2*len(q.ring), 8))
	k := copy(ring, q.ring[q.head:])
	copy(ring[k:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}

// remove takes the oldest value off the queue.
func (q *Queue[T]) remove() T {
	var none T
	v := q.ring[q.head]
	q.ring[q.head] = none
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	q.bytes -= q.size(v)
	return v
}

func (q *Queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// TryPop takes the oldest value if there is one. After the last value it returns why the
// queue has ended.
func (q *Queue[T]) TryPop() (v T, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return v, false, q.err
	}
	v = q.remove()
	if q.n > 0 {
		q.signal() // another reader may wait for the rest
	}
	return v, true, nil
}

// Pop takes the oldest value and waits for it. After the last value it returns why the
// queue has ended. What was added before ctx ended is still returned.
func (q *Queue[T]) Pop(ctx context.Context) (T, error) {
	for {
		v, ok, err := q.TryPop()
		if ok || err != nil {
			return v, err
		}
		select {
		case <-q.wake:
		case <-q.ended:
		case <-ctx.Done():
			if v, ok, err := q.TryPop(); ok || err != nil {
				return v, err
			}
			return v, ctx.Err()
		}
	}
}

// Wake receives when there may be something to take. It is for readers that wait for
// something else as well; they wait for Ended, too.
func (q *Queue[T]) Wake() <-chan struct{} { return q.wake }

// Ended is closed when nothing is added any more.
func (q *Queue[T]) Ended() <-chan struct{} { return q.ended }

// End says why nothing follows; the first reason counts. What waits can still be taken.
func (q *Queue[T]) End(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end(err)
}

func (q *Queue[T]) end(err error) {
	if q.err == nil {
		q.err = err
		close(q.ended)
	}
}

// Close ends the queue for a reason that takes the place of any other. It returns what
// waited, which can no longer be taken.
func (q *Queue[T]) Close(err error) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end(err)
	q.err = err
	rest := make([]T, 0, q.n)
	for q.n > 0 {
		rest = append(rest, q.remove())
	}
	q.ring, q.head = nil, 0
	return rest
}

// Err returns why the queue has ended, nil while it has not.
func (q *Queue[T]) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Waiting returns how many values wait, and their bytes.
func (q *Queue[T]) Waiting() (items, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n, q.bytes
}

// Dropped returns how many values were dropped because the queue was full.
func (q *Queue[T]) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}
