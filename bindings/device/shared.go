package device

import (
	"context"
	"net"
	"sync"
)

// Link is a connection that Shared keeps.
type Link interface {
	comparable
	Done() <-chan struct{} // closed when the connection has ended
	Close() error
}

// Shared is one connection that all tasks use. It is opened when first needed,
// and again when it has ended. Close must be called.
type Shared[T Link] struct {
	open func(ctx context.Context) (T, error)
	turn chan struct{} // full while the connection is opened

	mu     sync.Mutex
	link   T // the zero value when there is none
	closed bool
}

// NewShared returns a Shared whose connections open makes.
func NewShared[T Link](open func(ctx context.Context) (T, error)) *Shared[T] {
	return &Shared[T]{open: open, turn: make(chan struct{}, 1)}
}

// Get returns the connection. It belongs to s.
func (s *Shared[T]) Get(ctx context.Context) (T, error) {
	var none T
	if c, err := s.current(); c != none || err != nil {
		return c, err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	if c, err := s.current(); c != none || err != nil {
		return c, err
	}
	c, err := s.open(ctx)
	if err != nil {
		return none, err
	}
	if !s.keep(c) {
		c.Close()
		return none, net.ErrClosed
	}
	return c, nil
}

// current returns the connection if it is alive, and an error after Close.
func (s *Shared[T]) current() (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	switch {
	case s.closed:
		return none, net.ErrClosed
	case s.link == none:
		return none, nil
	}
	select {
	case <-s.link.Done():
		s.link.Close() // the reason of its end does not matter any more
		s.link = none
	default:
	}
	return s.link, nil
}

// keep stores a new connection. It reports whether that was possible.
func (s *Shared[T]) keep(c T) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.link = c
	}
	return !s.closed
}

// Close ends the connection. No other is opened afterwards.
func (s *Shared[T]) Close() error {
	s.mu.Lock()
	var none T
	c := s.link
	s.link, s.closed = none, true
	s.mu.Unlock()
	if c == none {
		return nil
	}
	return c.Close()
}
