package host_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
)

// screen is a terminal that understands the control sequences that lines of
// progress use.
type screen struct {
	mu       sync.Mutex
	lines    []string
	row, col int
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := string(p); text != ""; {
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, "")
		}
		text = text[s.step(text):]
	}
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
	return len(p), nil
}

// step shows one character or obeys one control sequence, and returns its length.
func (s *screen) step(text string) int {
	if command, ok := strings.CutPrefix(text, "\x1b["); ok {
		n := strings.IndexAny(command, "AJhl")
		switch command[n] {
		case 'A':
			s.row -= int(command[0] - '0')
		case 'J':
			s.lines[s.row] = s.lines[s.row][:s.col]
			s.lines = s.lines[:s.row+1]
		}
		return n + 3
	}
	switch text[0] {
	case '\r':
		s.col = 0
	case '\n':
		s.row, s.col = s.row+1, 0
	default:
		line := s.lines[s.row]
		s.lines[s.row] = line[:s.col] + text[:1] + line[min(s.col+1, len(line)):]
		s.col++
	}
	return 1
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "|")
}

// TestProgress draws lines of progress below printed text, and compares the screen
// after each step.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &screen{}
		h := host.New(host.Options{Stdout: s, Stderr: s})
		defer h.Close()
		shows := func(want string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := s.String(); got != want {
				t.Errorf("the screen shows %q, want %q", got, want)
			}
		}
		print := func(text string) { h.Stdout().Write([]byte(text)) }
		one, two := h.Stderr().Line(), h.Stderr().Line()
		one.Set("one 1")
		two.Set("two\n1")
		shows("one 1|two 1")
		print("hello\n")
		shows("hello|one 1|two 1")
		print("unfin")
		one.Set("one 2")
		shows("hello|unfin")
		print("ished\n")
		shows("hello|unfinished|one 2|two 1")
		one.Close("one is done\n")
		shows("hello|unfinished|one is done|two 1")
		one.Set("late")
		one.Close("again")
		shows("hello|unfinished|one is done|two 1")
		two.Close("")
		shows("hello|unfinished|one is done|")
		print("end\n")
		shows("hello|unfinished|one is done|end|")
	})
}

// TestAsk writes to the stream while a question is open. The text must appear after
// the answer.
func TestAsk(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entered     bool
		open, after string
	}{
		"entered":   {true, "sure? ", "sure? y|more|line"},
		"cancelled": {false, "sure? ", "sure? |more|line"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &screen{}
				h := host.New(host.Options{Stdout: s, Stderr: s})
				defer h.Close()
				l := h.Stderr().Line()
				l.Set("line")
				answered, err := h.Stderr().Ask(t.Context(), "sure? ")
				if err != nil {
					t.Fatal(err)
				}
				h.Stdout().Write([]byte("more\n"))
				time.Sleep(time.Second)
				synctest.Wait()
				if got := s.String(); got != tc.open {
					t.Errorf("with the question, the screen shows %q, want %q", got, tc.open)
				}
				if tc.entered {
					s.Write([]byte("y\n")) // the echo of the terminal
				}
				answered(tc.entered)
				answered(tc.entered)
				time.Sleep(time.Second)
				synctest.Wait()
				if got := s.String(); got != tc.after {
					t.Errorf("after the answer, the screen shows %q, want %q", got, tc.after)
				}
				l.Close("")
			})
		})
	}
}

// TestAskBehindOutput cancels a question that waits behind other output. It must
// not be written later.
func TestAskBehindOutput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		h := host.New(host.Options{Stderr: stalled{free}})
		h.Stderr().Write([]byte("first\n"))
		synctest.Wait() // the goroutine is writing the first line
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := h.Stderr().Ask(ctx, "sure? "); err != context.DeadlineExceeded {
			t.Errorf("Ask() = %v, want the deadline", err)
		}
		close(free)
		h.Stderr().Write([]byte("last\n"))
		// Run waits until everything is written.
		if err := h.Run(context.Background(), "test.lua", `print("end")`); err != nil {
			t.Error(err)
		}
		h.Close()
	})
}

// TestSessionHidesProgress checks that lines of progress are shown only while an
// input runs.
func TestSessionHidesProgress(t *testing.T) {
	t.Parallel()
	s := &screen{}
	h := host.New(host.Options{Stdout: s, Stderr: s})
	defer h.Close()
	interactive := h.Interactive(context.Background())
	defer interactive.Close()
	l := h.Stderr().Line()
	l.Set("line")
	if _, err := interactive.Eval(context.Background(), "input", `print("out")`); err != nil {
		t.Error(err)
	}
	if got := s.String(); got != "out|" {
		t.Errorf("after the input the screen shows %q, want only what it printed", got)
	}
}
