package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// fakeConn is a connection of which a test decides when it ends.
type fakeConn struct {
	done   chan struct{}
	closed int
}

func newFakeConn() *fakeConn              { return &fakeConn{done: make(chan struct{})} }
func (c *fakeConn) Done() <-chan struct{} { return c.done }
func (c *fakeConn) Close() error          { c.closed++; return nil }

func TestLazyOpensOnce(t *testing.T) {
	opened := 0
	l := NewLazy(func(context.Context) (*fakeConn, error) {
		opened++
		return newFakeConn(), nil
	})
	first, err := l.Get(t.Context())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	second, err := l.Get(t.Context())
	if err != nil {
		t.Fatalf("second Get: %v", err)
	}
	if second != first {
		t.Error("the second Get returned another connection")
	}
	if opened != 1 {
		t.Errorf("opened %d times, want 1", opened)
	}
}

func TestLazyOpensAgainWhenEnded(t *testing.T) {
	l := NewLazy(func(context.Context) (*fakeConn, error) { return newFakeConn(), nil })
	first, err := l.Get(t.Context())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	close(first.done)
	second, err := l.Get(t.Context())
	if err != nil {
		t.Fatalf("Get after the end: %v", err)
	}
	if second == first {
		t.Error("Get returned a connection that has ended")
	}
	if first.closed != 1 {
		t.Errorf("the ended connection was closed %d times, want 1", first.closed)
	}
}

func TestLazyFailureIsNotKept(t *testing.T) {
	refusal := errors.New("refused")
	l := NewLazy(func(context.Context) (*fakeConn, error) {
		defer func() { refusal = nil }()
		if refusal != nil {
			return nil, refusal
		}
		return newFakeConn(), nil
	})
	want := refusal
	c, err := l.Get(t.Context())
	if !errors.Is(err, want) {
		t.Errorf("Get = %v, want %v", err, want)
	}
	if c != nil {
		t.Errorf("Get returns %v with its error", c)
	}
	c, err = l.Get(t.Context())
	if err != nil {
		t.Errorf("second Get: %v", err)
	}
	if c == nil {
		t.Error("second Get returns no connection")
	}
}

func TestLazyOneOpensOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		proceed := make(chan struct{})
		l := NewLazy(func(context.Context) (*fakeConn, error) {
			opened++
			<-proceed
			return newFakeConn(), nil
		})
		var got [4]*fakeConn
		var callers sync.WaitGroup
		for i := range got {
			callers.Go(func() { got[i], _ = l.Get(t.Context()) })
		}
		synctest.Wait()
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		c, err := l.Get(impatient)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Get of a cancelled context = %v, want %v", err, context.Canceled)
		}
		if c != nil {
			t.Errorf("Get of a cancelled context returns %v", c)
		}
		close(proceed)
		callers.Wait()
		if opened != 1 {
			t.Errorf("opened %d times, want 1", opened)
		}
		for i, c := range got {
			if c == nil {
				t.Errorf("caller %d has no connection", i)
			} else if c != got[0] {
				t.Errorf("caller %d has %v, want %v", i, c, got[0])
			}
		}
	})
}

func TestLazyClose(t *testing.T) {
	l := NewLazy(func(context.Context) (*fakeConn, error) { return newFakeConn(), nil })
	c, err := l.Get(t.Context())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if c.closed != 1 {
		t.Errorf("closed %d times, want 1", c.closed)
	}
	if _, err := l.Get(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Get after Close: %v, want net.ErrClosed", err)
	}
}

func TestLazyClosedWhileOpening(t *testing.T) {
	var l *Lazy[*fakeConn]
	c := newFakeConn()
	l = NewLazy(func(context.Context) (*fakeConn, error) { return c, l.Close() })
	if _, err := l.Get(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Get: %v, want net.ErrClosed", err)
	}
	if c.closed != 1 {
		t.Errorf("the connection was closed %d times, want 1", c.closed)
	}
}
