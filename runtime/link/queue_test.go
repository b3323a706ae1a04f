package link

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// drain takes all that waits in a queue.
func drain[T any](q *Queue[T]) []T {
	var all []T
	for {
		v, ok, _ := q.TryPop()
		if !ok {
			return all
		}
		all = append(all, v)
	}
}

func TestQueueBounds(t *testing.T) {
	size := func(s string) int { return len(s) }
	for _, c := range []struct {
		name    string
		opts    QueueOptions[string]
		push    []string
		want    []string
		dropped uint64
	}{
		{"in order", QueueOptions[string]{Items: 3}, []string{"a", "b", "c"},
			[]string{"a", "b", "c"}, 0},
		{"one too many is refused", QueueOptions[string]{Items: 2}, []string{"a", "b", "c"},
			[]string{"a", "b"}, 0},
		{"the oldest goes", QueueOptions[string]{Items: 2, DropOldest: true},
			[]string{"a", "b", "c"}, []string{"b", "c"}, 1},
		{"too many bytes are refused", QueueOptions[string]{Items: 9, Bytes: 4, Size: size},
			[]string{"aaa", "bb", "c"}, []string{"aaa", "c"}, 0},
		{"as many go as it takes",
			QueueOptions[string]{Items: 9, Bytes: 4, Size: size, DropOldest: true},
			[]string{"aa", "bb", "ccc"}, []string{"ccc"}, 2},
		{"one may always wait", QueueOptions[string]{Items: 9, Bytes: 4, Size: size},
			[]string{"aaaaaaaa", "b"}, []string{"aaaaaaaa"}, 0},
		{"one takes the place of all",
			QueueOptions[string]{Items: 9, Bytes: 4, Size: size, DropOldest: true},
			[]string{"a", "bbbbbbbb"}, []string{"bbbbbbbb"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := NewQueue(c.opts)
			for _, v := range c.push {
				q.Push(v)
			}
			if n, _ := q.Waiting(); n != len(c.want) {
				t.Errorf("%d values wait, want %d", n, len(c.want))
			}
			if got := drain(q); !slices.Equal(got, c.want) {
				t.Errorf("took %q, want %q", got, c.want)
			}
			if _, bytes := q.Waiting(); bytes != 0 {
				t.Errorf("%d bytes wait in an empty queue", bytes)
			}
			if n := q.Dropped(); n != c.dropped {
				t.Errorf("Dropped = %d, want %d", n, c.dropped)
			}
		})
	}
}

func TestQueueRing(t *testing.T) {
	q := NewQueue(QueueOptions[int]{Items: 1000})
	next := 0
	for i := range 3000 {
		if !q.Push(i) {
			t.Fatalf("Push(%d) was refused", i)
		}
		if i%3 == 2 {
			continue
		}
		v, ok, err := q.TryPop()
		if !ok {
			t.Fatalf("TryPop has no value: %v", err)
		} else if err != nil {
			t.Fatalf("TryPop = %v, %v", v, err)
		}
		if v != next {
			t.Fatalf("took %d, want %d", v, next)
		}
		next++
	}
}

func TestQueueEnd(t *testing.T) {
	q := NewQueue(QueueOptions[string]{Items: 3})
	q.Push("a")
	q.End(io.EOF)
	q.End(io.ErrUnexpectedEOF)
	if q.Push("b") {
		t.Error("Push after End was taken")
	}
	v, err := q.Pop(t.Context())
	if err != nil {
		t.Errorf("Pop before the end was reached: %v", err)
	}
	if v != "a" {
		t.Errorf("Pop = %q, want a, which was there before the end", v)
	}
	if _, err := q.Pop(t.Context()); err != io.EOF {
		t.Errorf("Pop = %v, want io.EOF", err)
	}
}

func TestQueueClose(t *testing.T) {
	q := NewQueue(QueueOptions[string]{Items: 3})
	q.Push("a")
	q.Push("b")
	q.End(io.EOF)
	if rest := q.Close(io.ErrClosedPipe); !slices.Equal(rest, []string{"a", "b"}) {
		t.Errorf("Close returned %q", rest)
	}
	if _, err := q.Pop(t.Context()); err != io.ErrClosedPipe {
		t.Errorf("Pop = %v, want io.ErrClosedPipe", err)
	}
	if rest := q.Close(io.ErrClosedPipe); len(rest) != 0 {
		t.Errorf("the second Close returned %q", rest)
	}
}

func TestQueueWakesEachReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions[int]{Items: 4})
		var got [3]int
		var readers sync.WaitGroup
		for i := range got {
			readers.Go(func() { got[i], _ = q.Pop(t.Context()) })
		}
		synctest.Wait()
		for i := range got {
			q.Push(i + 1)
		}
		readers.Wait()
		slices.Sort(got[:])
		if got != [3]int{1, 2, 3} {
			t.Errorf("the readers have %v", got)
		}
	})
}

func TestQueueEndWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions[int]{Items: 4})
		var errs [3]error
		var readers sync.WaitGroup
		for i := range errs {
			readers.Go(func() { _, errs[i] = q.Pop(t.Context()) })
		}
		synctest.Wait()
		q.End(io.EOF)
		readers.Wait()
		for i, err := range errs {
			if err != io.EOF {
				t.Errorf("reader %d: %v, want io.EOF", i, err)
			}
		}
	})
}

func TestQueuePopEndsWithContext(t *testing.T) {
	q := NewQueue(QueueOptions[int]{Items: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Pop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Pop = %v, want context.Canceled", err)
	}
	q.Push(7)
	v, err := q.Pop(ctx)
	if err != nil {
		t.Errorf("Pop of a waiting value: %v", err)
	}
	if v != 7 {
		t.Errorf("Pop = %d, want the waiting value 7", v)
	}
}

// late is a context that ends while Pop begins to wait, after a value was added.
type late struct {
	context.Context
	add, end func()
}

func (l late) Done() <-chan struct{} {
	l.add()
	l.end()
	return l.Context.Done()
}

// TestQueuePopTakesBeforeContext checks that Pop returns a value that was added before its
// context ended.
func TestQueuePopTakesBeforeContext(t *testing.T) {
	t.Parallel()
	for i := range 100 { // select chooses at random
		q := NewQueue(QueueOptions[int]{Items: 1})
		ctx, cancel := context.WithCancel(t.Context())
		l := late{ctx, func() { q.Push(i) }, cancel}
		if _, err := q.Pop(l); err != nil {
			t.Fatalf("value %d: Pop = %v", i, err)
		}
	}
}
