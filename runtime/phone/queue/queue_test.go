package queue_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone/queue"
)

// TestFull checks that a full queue drops its oldest elements, at every position of the
// first element in the ring.
func TestFull(t *testing.T) {
	t.Parallel()
	q := queue.New[int](20)
	buf := make([]int, 7)
	for range 5 {
		q.Push(nil, 1, 2, 3, 4, 5, 6, 7)
		if n, err := q.Pop(t.Context(), buf); err != nil {
			t.Fatalf("Pop: %v", err)
		} else if n != 7 {
			t.Fatalf("Pop = %v, want 7", n)
		}
	}
	for i := range 25 {
		q.Push(func(v int) bool { return v != 3 }, i)
	}
	if lost := q.Lost(); lost != 4 {
		t.Errorf("Lost = %d, want 4", lost)
	}
	all := make([]int, 30)
	n, err := q.Pop(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]int, 0, 20)
	for i := 5; i < 25; i++ {
		want = append(want, i)
	}
	if !slices.Equal(all[:n], want) {
		t.Errorf("Pop gave %v, want %v", all[:n], want)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	q := queue.New[int](1)
	ended := make(chan error)
	go func() {
		_, err := q.Pop(context.Background(), make([]int, 1))
		ended <- err
	}()
	if !q.Close() {
		t.Error("the first Close was not the first")
	}
	if q.Close() {
		t.Error("the second Close was the first")
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Pop = %v, want net.ErrClosed", err)
	}
	q.Push(nil, 1)
	if _, err := q.Pop(t.Context(), make([]int, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Pop of a closed queue = %v, want net.ErrClosed", err)
	}
}

// late is a context that ends while Pop begins to wait, after an element was added.
type late struct {
	context.Context
	add, end func()
}

func (l late) Done() <-chan struct{} {
	l.add()
	l.end()
	return l.Context.Done()
}

// TestQueuedBeforeEnd checks that Pop returns an element that was added before its
// context ended.
func TestQueuedBeforeEnd(t *testing.T) {
	t.Parallel()
	for i := range 100 { // select chooses at random
		q := queue.New[int](1)
		ctx, cancel := context.WithCancel(t.Context())
		l := late{ctx, func() { q.Push(nil, i) }, cancel}
		if _, err := q.Pop(l, make([]int, 1)); err != nil {
			t.Fatalf("element %d: Pop = %v", i, err)
		}
	}
}
