package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// line is a source that a test feeds with values, and with the error that ends it.
type line struct {
	feed   chan any // values, or an error
	closed chan struct{}
	drops  atomic.Uint64
	bad    atomic.Uint64
}

func newLine() *line { return &line{feed: make(chan any), closed: make(chan struct{})} }

func (l *line) opening() *Opening {
	return &Opening{
		Source: func(ctx context.Context, push func(...any)) error {
			for {
				select {
				case v := <-l.feed:
					if err, ok := v.(error); ok {
						return err
					}
					push(v)
				case <-l.closed:
					return net.ErrClosed
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
		Stop:      func() error { close(l.closed); return nil }, // a second call panics
		Dropped:   l.drops.Load,
		Malformed: l.bad.Load,
	}
}

// take pops the next value. The test fails if none comes within a minute of the
// synctest bubble's time.
func take(t *testing.T, s *Stream) (any, error) {
	t.Helper()
	until := time.Now().Add(time.Minute)
	for {
		v, ok, err := s.pop()
		if ok || err != nil {
			return v, err
		}
		if err := s.wait(t.Context(), until); err != nil {
			t.Fatalf("nothing came: %v", err)
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// world plays a device that comes back when the test sends to back or closes it.
type world struct {
	back  chan struct{}
	opens []any // result of each Open, a *line or an error; the last one is repeated
	times int   // number of calls of Open
}

func (w *world) resume(limit time.Duration) Resume {
	return Resume{
		Limit: limit,
		Ready: func(ctx context.Context) error {
			select {
			case <-w.back:
				return nil
			case <-ctx.Done():
				return fmt.Errorf("not there: %w", ctx.Err())
			}
		},
		Open: func(context.Context) (*Opening, error) {
			o := w.opens[min(w.times, len(w.opens)-1)]
			w.times++
			if l, ok := o.(*line); ok {
				return l.opening(), nil
			}
			return nil, o.(error)
		},
		Gap: func(d time.Duration) any { return GapText(d) },
	}
}

var (
	errLost = fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
	errBent = errors.New("bad magic") // of a malformed message
)

func TestResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, third := newLine(), newLine(), newLine()
		w := &world{back: make(chan struct{}), opens: []any{second, third}}
		s := NewResuming(first.opening(), w.resume(time.Minute), Options{Kind: "test"})
		expect := func(want any) {
			t.Helper()
			v, err := take(t, s)
			if err != nil {
				t.Errorf("next = %v, want %v", err, want)
			}
			if v != want {
				t.Errorf("next = %v, want %v", v, want)
			}
		}
		first.feed <- "one"
		first.drops.Store(3)
		first.bad.Store(1)
		first.feed <- errLost
		time.Sleep(1200 * time.Millisecond) // in the bubble's time
		w.back <- struct{}{}
		second.feed <- "two"
		expect("one")
		expect("no connection for 1.2 s")
		expect("two")
		second.drops.Store(4)
		second.bad.Store(1)
		if s.Gaps() != 1 {
			t.Errorf("%d gaps, want 1", s.Gaps())
		}
		if s.Dropped() != 7 {
			t.Errorf("%d dropped, want 7", s.Dropped())
		}
		if !isClosed(first.closed) {
			t.Error("the first source is open")
		}
		second.feed <- net.ErrClosed
		close(w.back)
		third.feed <- "three"
		expect("no connection for 0.0 s")
		expect("three")
		if s.Gaps() != 2 {
			t.Errorf("%d gaps, want 2", s.Gaps())
		}
		if s.Dropped() != 7 {
			t.Errorf("%d dropped, want 7", s.Dropped())
		}
		if s.Malformed() != 2 {
			t.Errorf("%d malformed, want 2", s.Malformed())
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v, want nil", err)
		}
		if !isClosed(third.closed) {
			t.Error("the third source is open after Close")
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

// TestResumeEnds checks the errors and events that end a stream that resumes.
func TestResumeEnds(t *testing.T) {
	t.Parallel()
	refusal := fmt.Errorf("open: %w", lockdown.ErrInvalidService)
	locked := fmt.Errorf("open: %w", lockdown.ErrPasswordProtected)
	unpaired := fmt.Errorf("open: %w", device.ErrNotPaired)
	for name, test := range map[string]struct {
		end   error // of the first source
		limit time.Duration
		back  bool
		opens []any
		want  error // must be in the error
		not   error // must not be in the error
		after time.Duration
	}{
		"normal end": {end: io.EOF, limit: time.Minute, want: io.EOF},
		"refusal": {
			end: lockdown.ErrInvalidService, limit: time.Minute,
			want: lockdown.ErrInvalidService,
		},
		"bent bytes":    {end: errBent, limit: time.Minute, want: errBent},
		"not to resume": {end: errLost, want: errLost},
		"not back": {
			end: errLost, limit: 30 * time.Second,
			want: io.ErrUnexpectedEOF, not: context.DeadlineExceeded, after: 30 * time.Second,
		},
		"refused for good": {
			end: errLost, limit: time.Minute, back: true, opens: []any{refusal},
			want: lockdown.ErrInvalidService,
		},
		"not paired any more": {
			end: errLost, limit: time.Minute, back: true, opens: []any{unpaired},
			want: device.ErrNotPaired,
		},
		"locked all the time": {
			end: errLost, limit: 10 * time.Second, back: true, opens: []any{locked},
			want: lockdown.ErrPasswordProtected, after: 10 * time.Second,
		},
		"gone again and again": {
			end: errLost, limit: 10 * time.Second, back: true, opens: []any{usbmux.BadDevice},
			want: io.ErrUnexpectedEOF, after: 10 * time.Second,
		},
		"first locked, then no": {
			end: errLost, limit: time.Minute, back: true, opens: []any{locked, locked, refusal},
			want: lockdown.ErrInvalidService, after: 300 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				first := newLine()
				w := &world{back: make(chan struct{}), opens: test.opens}
				if test.back {
					close(w.back)
				}
				s := NewResuming(first.opening(), w.resume(test.limit), Options{Kind: "test"})
				begin := time.Now()
				first.feed <- test.end
				v, err := take(t, s)
				if err == nil {
					t.Fatalf("next = %v, want an error", v)
				}
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v in it", err, test.want)
				}
				if test.not != nil && errors.Is(err, test.not) {
					t.Errorf("error %v has %v in it", err, test.not)
				}
				if took := time.Since(begin); took != test.after {
					t.Errorf("ended after %v, want %v", took, test.after)
				}
				if s.Gaps() != 0 {
					t.Errorf("%d gaps", s.Gaps())
				}
				s.Close()
			})
		})
	}
}

// TestResumeWaitsForUnlock checks a device that is locked when it comes back.
func TestResumeWaitsForUnlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newLine(), newLine()
		locked := fmt.Errorf("open: %w", lockdown.ErrPasswordProtected)
		w := &world{back: make(chan struct{}), opens: []any{locked, locked, locked, second}}
		close(w.back)
		s := NewResuming(first.opening(), w.resume(time.Minute), Options{Kind: "test"})
		defer s.Close()
		first.feed <- errLost
		v, err := take(t, s)
		if err != nil {
			t.Errorf("next = %v, want the mark of a gap", err)
		}
		if v != "no connection for 0.7 s" {
			t.Errorf("next = %v, want the mark of a gap of 100 + 200 + 400 ms", v)
		}
	})
}

// TestResumeCloses closes a stream in each of its states. Close has to return at once, and
// synctest fails if a goroutine is left.
func TestResumeCloses(t *testing.T) {
	t.Parallel()
	locked := fmt.Errorf("open: %w", lockdown.ErrPasswordProtected)
	for name, test := range map[string]struct {
		back bool
		lose bool
	}{
		"reading":                {},
		"waiting for the device": {lose: true},
		"between two attempts":   {lose: true, back: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				first := newLine()
				w := &world{back: make(chan struct{}), opens: []any{locked}}
				if test.back {
					close(w.back)
				}
				s := NewResuming(first.opening(), w.resume(-1), Options{Kind: "test"})
				if test.lose {
					first.feed <- errLost
				}
				// In the bubble's time. Without a limit the stream still waits.
				time.Sleep(time.Hour)
				begin := time.Now()
				if err := s.Close(); err != nil {
					t.Errorf("Close = %v, want nil", err)
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("Close took %v, want 0", took)
				}
				if _, err := take(t, s); err != io.EOF {
					t.Errorf("next after Close = %v, want EOF", err)
				}
				if !isClosed(first.closed) {
					t.Error("the source is open after Close")
				}
			})
		})
	}
}

// TestResumeClosedWhileOpening closes a stream while Open runs. The opening that Open
// returns later must be closed.
func TestResumeClosedWhileOpening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, late := newLine(), newLine()
		gate := make(chan struct{})
		s := NewResuming(first.opening(), Resume{
			Limit: time.Minute,
			Ready: func(context.Context) error { return nil },
			Open:  func(context.Context) (*Opening, error) { <-gate; return late.opening(), nil },
		}, Options{Kind: "test"})
		first.feed <- errLost
		synctest.Wait()
		go func() { time.Sleep(time.Second); close(gate) }()
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v, want nil", err)
		}
		if !isClosed(late.closed) {
			t.Error("the late opening is open")
		}
		if s.Gaps() != 0 {
			t.Errorf("%d gaps, want 0", s.Gaps())
		}
	})
}

func TestLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{io.EOF, true}, {errLost, true}, {net.ErrClosed, true}, {usbmux.BadDevice, true},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, true},
		{&device.Error{Op: "read", Err: io.ErrUnexpectedEOF}, true},
		{errBent, false}, {lockdown.ErrInvalidService, false}, {context.Canceled, false},
		{&lockdown.Error{Op: "StartService", Code: lockdown.ErrInvalidService}, false},
	} {
		if got := Lost(test.err); got != test.want {
			t.Errorf("Lost(%v) = %v, want %v", test.err, got, test.want)
		}
	}
	if text := GapText(1234 * time.Millisecond); !strings.HasSuffix(text, " 1.2 s") {
		t.Errorf("GapText = %q", text)
	}
}

// TestFlood fills a stream that nobody reads with large values.
func TestFlood(t *testing.T) {
	t.Parallel()
	size := func(v any) int { return len(v.([]byte)) }
	s, push, end := NewFed(Options{Kind: "test", Size: size})
	value := make([]byte, 1<<20)
	for range 1000 {
		push(value)
	}
	end(io.EOF)
	kept := DefaultQueueBytes / len(value)
	items, bytes := s.queue.Waiting()
	if items != kept {
		t.Errorf("%d values wait, want %d", items, kept)
	}
	if bytes > DefaultQueueBytes {
		t.Errorf("%d bytes wait, want at most %d", bytes, DefaultQueueBytes)
	}
	if n := s.Dropped(); n != uint64(1000-kept) {
		t.Errorf("%d dropped, want %d", n, 1000-kept)
	}
	s.Close()
}
