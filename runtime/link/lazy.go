package link

import (
	"context"
	"net"
	"sync"
)

// Ending is a connection that says when it is over.
type Ending interface {
	comparable
	Done() <-chan struct{} // closed when the connection has ended
	Close() error
}

// Lazy is one connection that all callers use. It is opened when first needed, and
// again when it has ended. Close must be called, unless whatever the connections run
// on ends them.
type Lazy[T Ending] struct {
	open func(ctx context.Context) (T, error)
	turn chan struct{} // full while the connection is opened

	mu     sync.Mutex
	conn   T // the zero value when there is none
	closed bool
}

// NewLazy returns a Lazy whose connections open makes.
func NewLazy[T Ending](open func(ctx context.Context) (T, error)) *Lazy[T] {
	return &Lazy[T]{open: open, turn: make(chan struct{}, 1)}
}

// Get returns the connection. It belongs to l. Of several callers one opens it, and
// the others wait; when it fails for one, the next tries for itself.
func (l *Lazy[T]) Get(ctx context.Context) (T, error) {
	var none T
	if c, err := l.current(); c != none || err != nil {
		return c, err
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	if c, err := l.current(); c != none || err != nil {
		return c, err
	}
	c, err := l.open(ctx)
	if err != nil {
		return none, err
	}
	if !l.keep(c) {
		c.Close()
		return none, net.ErrClosed
	}
	return c, nil
}

// current returns the connection if it is alive, and an error after Close.
func (l *Lazy[T]) current() (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none T
	switch {
	case l.closed:
		return none, net.ErrClosed
	case l.conn == none:
		return none, nil
	}
	select {
	case <-l.conn.Done():
		l.conn.Close() // the reason of its end does not matter any more
		l.conn = none
	default:
	}
	return l.conn, nil
}

// keep stores a new connection. It reports whether that was possible.
func (l *Lazy[T]) keep(c T) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conn = c
	}
	return !l.closed
}

// Close ends the connection. No other is opened afterwards.
func (l *Lazy[T]) Close() error {
	l.mu.Lock()
	var none T
	c := l.conn
	l.conn, l.closed = none, true
	l.mu.Unlock()
	if c == none {
		return nil
	}
	return c.Close()
}
