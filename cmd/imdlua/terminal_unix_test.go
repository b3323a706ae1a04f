//go:build !windows

package main

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/imdlua/imdlua/repl"
)

// terminal runs the program on a terminal and types for the test.
type terminal struct {
	*process
	master *os.File
	first  *term.State   // state of the terminal before the program was started
	seen   int           // how much of the output await has passed
	read   chan struct{} // closed when nothing more can be read
}

// startTerminal runs the program with the given variables in its environment.
func startTerminal(t *testing.T, environment []string, args ...string) *terminal {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(append(cmd.Env, "NO_COLOR=1"), environment...)
	master, slave, err := pty.Open()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("this system has no pseudo-terminals: %v", err)
	}
	// The terminal is so wide that no line wraps, which would make the line editor redraw much.
	if err := pty.Setsize(master, &pty.Winsize{Rows: 50, Cols: 250}); err != nil {
		t.Fatal(err)
	}
	master = pollable(t, master)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s := &terminal{master: master, read: make(chan struct{})}
	s.first = s.state(t)
	s.process = startProcess(t, cmd)
	slave.Close()
	go func() {
		defer close(s.read)
		_, _ = io.Copy(s.out, master) // ends with an error when the terminal is closed
	}()
	return s
}

// pollable returns f as a file whose Close interrupts a read.
func pollable(t *testing.T, f *os.File) *os.File {
	t.Helper()
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(fd), f.Name())
	t.Cleanup(func() { other.Close() })
	return other
}

// state returns the modes of the terminal, such as whether it echoes.
func (s *terminal) state(t *testing.T) *term.State {
	t.Helper()
	conn, err := s.master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var state *term.State
	var failed error
	err = conn.Control(func(fd uintptr) { state, failed = term.GetState(int(fd)) })
	if err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return state
}

// keys presses keys.
func (s *terminal) keys(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(s.master, keys); err != nil {
		t.Fatal(err)
	}
}

// await waits for text after the text that was awaited before.
func (s *terminal) await(t *testing.T, text string) {
	t.Helper()
	end := time.After(patience)
	for {
		s.out.mu.Lock()
		out, changed := s.out.b.String(), s.out.changed
		s.out.mu.Unlock()
		if at := strings.Index(out[s.seen:], text); at >= 0 {
			s.seen += at + len(text)
			return
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%q was not written; the output ends with\n%q",
				text, out[max(s.seen, len(out)-2000):])
		}
	}
}

// prompt waits for a new prompt. The line editor redraws a prompt for each key, but only a new
// prompt enables bracketed paste.
func (s *terminal) prompt(t *testing.T) {
	t.Helper()
	s.await(t, "\x1b[?2004h")
	s.await(t, "> ")
}

// enter types an input at the next prompt.
func (s *terminal) enter(t *testing.T, input string) {
	t.Helper()
	s.prompt(t)
	line := strings.Join(strings.Fields(input), " ") // A tab would complete a name.
	s.keys(t, line+"\r")
}

// leave presses Ctrl-D at the next prompt.
func (s *terminal) leave(t *testing.T) {
	t.Helper()
	s.prompt(t)
	s.keys(t, "\x04")
	s.finished(t, 0)
}

// finished waits for the end. It checks the exit code, and that the state of the terminal is
// restored.
func (s *terminal) finished(t *testing.T, code int) {
	t.Helper()
	s.want(t, code)
	if now := s.state(t); !reflect.DeepEqual(now, s.first) {
		t.Errorf("the terminal was left as %+v, want %+v", now, s.first)
	}
}

// startTask starts a task that doubles numbers, and asked sends it one. The typed text does not
// contain the result.
const (
	startTask = `ask, answer = task.queue(1), task.queue(1) ` +
		`task.spawn(function() for n in function() return ask:get() end do ` +
		`answer:put(n * 2) end end)`
	asked = `ask:put(21) print("the task says " .. answer:get())`
)

// TestReplGoesOn types inputs that fail at a terminal. The next input must run and print its
// result, and a background task must continue. Texts that the test waits for are split in the typed
// input.
func TestReplGoesOn(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(t *testing.T, s *terminal){
		"memory": func(t *testing.T, s *terminal) {
			s.enter(t, `t = {} while true do t[#t + 1] = ("x"):rep(1000) end`)
			s.await(t, "error[memory]")
			s.enter(t, "t = nil")
		},
		"one Ctrl-C": func(t *testing.T, s *terminal) {
			s.enter(t, `scope(function() defer(function() print("clea" .. "ned") end)
				print("beg" .. "un") while true do end end)`)
			s.await(t, "begun\r\n")
			s.keys(t, "\x03")
			s.await(t, "cleaned\r\n")
			s.await(t, "error[interrupted]")
		},
		"two Ctrl-C": func(t *testing.T, s *terminal) {
			s.enter(t, `scope(function()
				defer(function() print("sl" .. "ow") task.sleep(1000) end)
				print("beg" .. "un") task.sleep(1000) end)`)
			s.await(t, "begun\r\n")
			s.keys(t, "\x03")
			s.await(t, "slow\r\n")
			s.keys(t, "\x03")
			s.await(t, "error[interrupted]")
		},
		"two Ctrl-C in a busy defer": func(t *testing.T, s *terminal) {
			s.enter(t, `scope(function()
				defer(function() print("sl" .. "ow") while true do end end)
				print("beg" .. "un") while true do end end)`)
			s.await(t, "begun\r\n")
			s.keys(t, "\x03")
			s.await(t, "slow\r\n")
			s.keys(t, "\x03")
			s.await(t, "error[interrupted]")
		},
		"error in a defer": func(t *testing.T, s *terminal) {
			s.enter(t, `scope(function() defer(function() error("in a " .. "defer") end) end)`)
			s.await(t, "in a defer")
		},
		"closed stream": func(t *testing.T, s *terminal) {
			s.enter(t, `s = dev:syslog();`)
			s.enter(t, `s:close() for x in s do print(x) end s:next()`)
			s.await(t, "error[closed]")
		},
		"device went": func(t *testing.T, s *terminal) {
			s.enter(t, `s = dev:syslog{ resume = 0 };`)
			s.enter(t, `task.spawn(function() require("imd.virtual").list()[1]:detach() end)
				for x in s do end`)
			s.await(t, "error[disconnected]")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTerminal(t, nil, "--virtual", "--max-memory", "64M", "repl")
			s.enter(t, startTask)
			play(t, s)
			s.enter(t, `"result " .. 1 + 1`)
			s.await(t, `"result 2"`+"\r\n")
			s.enter(t, asked)
			s.await(t, "the task says 42\r\n")
			s.leave(t)
		})
	}
}

// TestReplSignalledAtPrompt sends a signal while the prompt waits.
func TestReplSignalledAtPrompt(t *testing.T) {
	t.Parallel()
	for _, test := range endingSignals {
		if test.signal == syscall.SIGINT {
			continue // the REPL handles it as Ctrl-C, which ends an input
		}
		t.Run(test.code, func(t *testing.T) {
			t.Parallel()
			s := startTerminal(t, nil, "repl")
			s.enter(t, `defer(function() print("clea" .. "ned") end)`)
			s.prompt(t)
			s.signal(t, test.signal)
			s.await(t, "cleaned\r\n")
			s.finished(t, test.exit)
			if strings.Contains(s.out.String(), "error[") {
				t.Errorf("it reported an error: %q", s.out)
			}
		})
	}
}

// TestReplSecondSignal sends a second signal during a long clean-up.
func TestReplSecondSignal(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]func(t *testing.T, s *terminal) (code int){
		"SIGTERM": func(t *testing.T, s *terminal) int {
			s.signalUntilEnd(t, syscall.SIGTERM)
			return 143
		},
		"Ctrl-C": func(t *testing.T, s *terminal) int {
			s.keys(t, "\x03")
			return 130
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTerminal(t, nil, "repl")
			s.enter(t, `defer(function() print("sl" .. "ow") while true do end end)`)
			s.prompt(t)
			s.signal(t, syscall.SIGTERM)
			s.await(t, "slow\r\n")
			s.finished(t, second(t, s))
		})
	}
}

// TestReplTerminalGone closes the terminal. SIGHUP and the end of the input arrive at the same
// time, so that the exit code may be that of either.
func TestReplTerminalGone(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "repl")
	path := filepath.Join(t.TempDir(), "cleaned")
	s.enter(t, `defer(function() local f = io.open(`+luaString(path)+`, "w") `+
		`f:write("cleaned") f:close() end)`)
	s.prompt(t)
	s.master.Close()
	if code := s.wait(t); code != 129 && code != 0 {
		t.Errorf("exit code %d, want 129 or 0", code)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != "cleaned" {
		t.Errorf("the REPL wrote %q", b)
	}
}

// TestReplOutOfMemory fills memory while an input runs, and while the prompt waits
// and the terminal does not echo.
func TestReplOutOfMemory(t *testing.T) {
	t.Parallel()
	const fill = `local s = ("x"):rep(1e6) while true do s = s .. s end`
	for name, input := range map[string]string{
		"input": fill,
		"task":  "w = task.spawn(function() task.sleep(0.05) " + fill + " end)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startTerminal(t, []string{"GOMEMLIMIT=200MiB"}, "--max-memory=100G", "repl")
			s.enter(t, input)
			s.await(t, "\nimdlua: out of memory: the process uses ")
			s.await(t, "; "+outOfMemoryHint+"\r\n")
			s.finished(t, 1)
			on := strings.LastIndex(s.out.String(), "\x1b[?2004h")
			off := strings.LastIndex(s.out.String(), repl.PasteOff)
			if off < on {
				t.Error("bracketed paste is still enabled")
			}
		})
	}
}

// TestReplCtrlCAtPrompt presses Ctrl-C twice, which ends the REPL.
func TestReplCtrlCAtPrompt(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "repl")
	s.enter(t, `print("he" .. "re")`)
	s.await(t, "here\r\n")
	s.prompt(t)
	s.keys(t, "\x03")
	s.await(t, "Ctrl-C again")
	s.prompt(t)
	s.keys(t, "\x03")
	s.finished(t, 0)
}

// TestReplOrder prints from an input, from its task and as its result.
func TestReplOrder(t *testing.T) {
	t.Parallel()
	s := startTerminal(t, nil, "repl")
	s.enter(t, `(function() for i = 1, 200 do print("li" .. "ne " .. i) end
		io.stderr:write("war" .. "ning\n")
		task.spawn(function() print("ta" .. "sk") end):join() return "va" .. "lue" end)()`)
	s.await(t, "line 1\r\n")
	s.await(t, "line 200\r\nwarning\r\ntask\r\n\"value\"\r\n")
	s.leave(t)
}
