package api

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// handle is the state of a closable object. It has a mutex because scopes close
// objects without the interpreter lock.
type handle struct {
	ix    *Index
	value any
	entry *host.Entry
	ud    *lua.LUserData // the object that scripts see; guarded by the interpreter lock

	mu     sync.Mutex
	closed bool
	where  string        // how it was closed, such as "closed at file:line"
	done   chan struct{} // closed when the Go object is closed and err is set
	err    error
}

// Opened is an instance of a closable class that already belongs to a scope. Open and
// Own return one, and so must every function that opens something. If a function
// returned the instance itself, the instance would stay open when the task is
// cancelled just before the function returns.
type Opened[T any] struct{ h *handle }

type opened interface {
	handle() *handle
	class() reflect.Type
}

func (o Opened[T]) handle() *handle     { return o.h }
func (o Opened[T]) class() reflect.Type { return reflect.TypeFor[T]() }

// Value returns the instance.
func (o Opened[T]) Value() T { return o.h.value.(T) }

var typeOpened = reflect.TypeFor[opened]()

// openedClass returns the class type of an Opened type.
func openedClass(t reflect.Type) (reflect.Type, bool) {
	if !t.Implements(typeOpened) {
		return nil, false
	}
	return reflect.Zero(t).Interface().(opened).class(), true
}

// Open runs open without the interpreter lock, like Call.TryBlock. It registers the
// instance in the current scope before it acquires the lock again.
func Open[T any](c *Call, open func(ctx context.Context) (T, error)) (Opened[T], error) {
	var o Opened[T]
	scope := c.Scope()
	err := c.TryBlock(func(ctx context.Context) error {
		v, err := open(ctx)
		if err == nil {
			o.h = c.ix.adopt(scope, v)
		}
		return err
	})
	return o, err
}

// Own registers an instance that was made without waiting in the current scope.
func Own[T any](c *Call, v T) Opened[T] {
	return Opened[T]{c.ix.adopt(c.Scope(), v)}
}

// adopt returns the handle of an open instance. If there is none, it makes one and
// registers it in scope. It may be called from any goroutine.
func (ix *Index) adopt(scope *host.Scope, v any) *handle {
	ix.openMu.Lock()
	h := ix.open[v]
	if h != nil {
		ix.openMu.Unlock()
		return h
	}
	h = &handle{ix: ix, value: v, done: make(chan struct{})}
	ix.open[v] = h
	ix.openMu.Unlock()
	h.entry = scope.Add(h)
	return h
}

// handleOf returns the handle of an open instance, or nil if there is none.
func (ix *Index) handleOf(v any) *handle {
	ix.openMu.Lock()
	defer ix.openMu.Unlock()
	return ix.open[v]
}

func (ix *Index) forget(v any) {
	ix.openMu.Lock()
	delete(ix.open, v)
	ix.openMu.Unlock()
}

// Close closes the Go object. The scope calls it at its end. A second call waits for
// the first and returns the same error.
func (s *handle) Close(ctx context.Context) error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	if s.where == "" {
		s.where = "its scope ended"
	}
	s.mu.Unlock()
	if again {
		select {
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(s.done)
	s.ix.forget(s.value)
	s.err = closeValue(ctx, s.value)
	return s.err
}

func closeValue(ctx context.Context, v any) error {
	switch c := v.(type) {
	case host.Closer:
		return c.Close(ctx)
	case io.Closer:
		return c.Close()
	}
	return fmt.Errorf("api: %T has no Close method", v)
}

// isClosed reports whether the object was closed, and returns how.
func (s *handle) isClosed() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed, s.where
}

// closeMethod implements object:close(). It removes the object from its scope only
// after it was closed, so that the scope closes it if the task is cancelled meanwhile.
func closeMethod(L *lua.LState) int {
	o, _ := objectOf(L.Get(1))
	s := o.state
	s.mu.Lock()
	closed := s.closed
	if at := where(L); at != "" && !closed {
		s.where = "closed at " + at
	}
	s.mu.Unlock()
	if closed {
		return 0
	}
	err := host.TryBlock(L, s.Close)
	s.entry.Remove()
	if err != nil {
		host.Raise(L, err)
	}
	return 0
}

func keepMethod(L *lua.LState) int {
	o, _ := objectOf(L.Get(1))
	o.checkOpen(L, "keep")
	o.state.entry.Keep()
	L.SetTop(1)
	return 1
}
