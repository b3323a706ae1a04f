package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
)

// signals lists the signals that end a run, with the exit code for runs that should not be ended by
// them.
var signals = map[os.Signal]int{os.Interrupt: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129}

// TestSignalEndsCommand ends commands that run until they get a signal. The exit code must be 0.
func TestSignalEndsCommand(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args  string
		ready string // in what the command prints
	}{
		"tunnel":  {"--virtual tunnel", "--rsd"},
		"tunneld": {"--virtual tunneld --listen 127.0.0.1:0 --go-ios 127.0.0.1:0", "ready"},
		"virtual": {"virtual --usbmux 127.0.0.1:0", "ready"},
		"forward": {"--virtual forward 0:80", " -> 80 of "},
		"watch":   {"--virtual devices --watch", "attached"},
	} {
		for s := range signals {
			t.Run(name+" "+s.String(), func(t *testing.T) {
				t.Parallel()
				p := newProgram(t, strings.Fields(test.args)...).start(t)
				p.out.await(t, test.ready)
				p.signals <- s
				if code := p.wait(t); code != 0 {
					t.Errorf("it ended with %d, want 0\n%s", code, p.errs)
				}
				if len(p.killed) > 0 {
					t.Error("one signal killed it")
				}
			})
		}
	}
}

// TestSignalEndsCall interrupts commands that would end by themselves.
func TestSignalEndsCall(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, "--trust", "never")
	for _, command := range []string{"pair", "info", "tunnel"} {
		for s, code := range signals {
			t.Run(command+" "+s.String(), func(t *testing.T) {
				t.Parallel()
				p := newProgram(t, "--usbmux", address, command).start(t)
				p.errs.await(t, "tap Trust")
				p.signals <- s
				if got := p.wait(t); got != code {
					t.Errorf("it ended with %d, want %d\n%s", got, code, p.errs)
				}
				want := "error[" + signalError(s).Code + "]"
				if !strings.Contains(p.errs.String(), want) {
					t.Errorf("it wrote %q, want %s in it", p.errs, want)
				}
			})
		}
	}
}

func TestSignalled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	if got := signalled(ctx, errStalled); got != errStalled {
		t.Errorf("before a signal the error is %v", got)
	}
	cancel(errHangup)
	if got := signalled(ctx, errStalled); got != error(errHangup) {
		t.Errorf("after a signal the error is %v, want that of the signal", got)
	}
	if got := signalled(ctx, nil); got != nil {
		t.Errorf("a run that succeeded ends with %v", got)
	}
	told := reported{errStalled}
	if got := signalled(ctx, told); got != told {
		t.Errorf("an error that was reported became %v", got)
	}
}

// TestReplSignals sends a signal while the REPL waits for the next input of a pipe. The REPL must
// run deferred functions and end.
func TestReplSignals(t *testing.T) {
	t.Parallel()
	for s, code := range signals {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, "repl")
			stdin, typed := pipeReader(t)
			p.app.stdin = stdin
			p.start(t)
			_, err := typed.Write([]byte("defer(function() print('cleaned') end)\nprint('here')\n"))
			if err != nil {
				t.Fatal(err)
			}
			p.out.await(t, "here\n")
			p.signals <- s
			if got := p.wait(t); got != code {
				t.Errorf("it ended with %d, want %d\n%s", got, code, p.errs)
			}
			if got, want := p.out.String(), "here\ncleaned\n"; got != want {
				t.Errorf("it printed %q, want %q", got, want)
			}
			if got := p.errs.String(); got != "" {
				t.Errorf("it reported %q", got)
			}
		})
	}
}

// TestReplSignalRunning sends a signal while an input runs.
func TestReplSignalRunning(t *testing.T) {
	t.Parallel()
	for s, code := range signals {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, "repl")
			stdin, typed := pipeReader(t)
			p.app.stdin = stdin
			p.start(t)
			const input = "defer(function() print('cleaned') end) print('here') task.sleep(1000)\n"
			if _, err := typed.Write([]byte(input)); err != nil {
				t.Fatal(err)
			}
			p.out.await(t, "here\n")
			p.signals <- s
			if got := p.wait(t); got != code {
				t.Errorf("it ended with %d, want %d\n%s", got, code, p.errs)
			}
			if got, want := p.out.String(), "here\ncleaned\n"; got != want {
				t.Errorf("it printed %q, want %q", got, want)
			}
			want := "error[" + signalError(s).Code + "]"
			if got := p.errs.String(); !strings.HasPrefix(got, want) {
				t.Errorf("it reported %q, want %s", got, want)
			}
		})
	}
}
