//go:build !windows

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests of this file need a process of its own, because they send signals to
// the program or fill its memory. The test binary stands in for the program.

// process is the program as a process.
type process struct {
	cmd       *exec.Cmd
	out, errs *screen
	ended     chan struct{}
}

// command returns a command that runs the program.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home,
		"USBMUXD_SOCKET_ADDRESS="+home+"/no-muxer", "TERM=xterm")
	return cmd
}

// heard holds the signals that the test process handles. A child does not inherit
// the handling, but it would inherit that a signal is ignored, as it is for what
// nohup starts.
var heard = make(chan os.Signal, 1)

// startProcess runs cmd until the end of the test.
func startProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	signal.Notify(heard, syscall.SIGHUP)
	p := &process{cmd: cmd, out: newScreen(), errs: newScreen(), ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.errs
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the test looks at the exit code
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended unless the test failed
		<-p.ended
	})
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// signalUntilEnd sends a signal again and again, because one that follows another
// too soon is taken for the same.
func (p *process) signalUntilEnd(t *testing.T, s os.Signal) {
	t.Helper()
	again := time.NewTicker(sameRequest / 4)
	defer again.Stop()
	for end := time.After(patience); ; {
		err := p.cmd.Process.Signal(s)
		if errors.Is(err, os.ErrProcessDone) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.ended:
			return
		case <-end:
			t.Fatalf("%v does not end the process", s)
		case <-again.C:
		}
	}
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("the process does not end; standard output:\n%s\nstandard error:\n%s",
			p.out, p.errs)
	}
	return p.cmd.ProcessState.ExitCode()
}

// want checks the exit code.
func (p *process) want(t *testing.T, code int) {
	t.Helper()
	if got := p.wait(t); got != code {
		t.Errorf("exit code %d, want %d\n%s%s", got, code, p.out, p.errs)
	}
}

// wantReport checks that the report begins with the error of a signal.
func (p *process) wantReport(t *testing.T, code string) {
	t.Helper()
	want := "error[" + code + "] " + code + "\n"
	if got := p.errs.String(); !strings.HasPrefix(got, want) {
		t.Errorf("it reported %q, want %q", got, want)
	}
}

// endingSignals are the signals that end the program, with the exit code and the
// code of the error.
var endingSignals = []struct {
	signal syscall.Signal
	exit   int
	code   string
}{
	{syscall.SIGINT, 130, "interrupted"},
	{syscall.SIGTERM, 143, "terminated"},
	{syscall.SIGHUP, 129, "hangup"},
}

func TestSignalRunsCleanUp(t *testing.T) {
	t.Parallel()
	const cleaned = `defer(function() print("cleaned") end) print("running") `
	for name, wait := range map[string]string{
		"asleep": "task.sleep(1000)",
		"busy":   "while true do end",
	} {
		for _, s := range endingSignals {
			t.Run(name+" "+s.code, func(t *testing.T) {
				t.Parallel()
				p := startProcess(t, command(t, "-e", cleaned+wait))
				p.out.await(t, "running\n")
				p.signal(t, s.signal)
				p.want(t, s.exit)
				if got, want := p.out.String(), "running\ncleaned\n"; got != want {
					t.Errorf("it printed %q, want %q", got, want)
				}
				p.wantReport(t, s.code)
			})
		}
	}
}

// stalledScript prints until its standard output takes nothing any more. It says
// so, and that it has cleaned up, on descriptor 3.
const stalledScript = `
local function say(text)
	local f = assert(io.open("/dev/fd/3", "w"))
	f:write(text)
	f:close()
end
defer(function() say("cleaned\n") end)
local printed = 0
task.spawn(function()
	while true do
		print(("x"):rep(1000))
		printed = printed + 1
	end
end)
local before
repeat
	before = printed
	task.sleep(0.05)
until before > 0 and printed == before
say("stalled\n")
while true do
	print("and more")
end
`

// TestSignalWhenStalled has nobody read the standard output.
func TestSignalWhenStalled(t *testing.T) {
	t.Parallel()
	for _, s := range endingSignals {
		t.Run(s.code, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, "-e", stalledScript)
			unread, stdout := pipe(t)
			cmd.Stdout = stdout
			told, tell := pipe(t)
			cmd.ExtraFiles = []*os.File{tell}
			p := startProcess(t, cmd)
			stdout.Close()
			tell.Close()
			said := newScreen()
			go io.Copy(said, told)
			said.await(t, "stalled\n")
			p.signal(t, s.signal)
			p.want(t, s.exit)
			said.await(t, "cleaned\n")
			p.wantReport(t, s.code)
			unread.Close()
		})
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// TestSecondSignal has clean-up that would take as long as it may. The second
// signal ends it at once: there is no time for a report.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	const script = `defer(function() print("cleaning") while true do end end) print("running") `
	for _, first := range endingSignals {
		for _, second := range endingSignals {
			t.Run(first.code+" "+second.code, func(t *testing.T) {
				t.Parallel()
				p := startProcess(t, command(t, "-e", script+"task.sleep(1000)"))
				p.out.await(t, "running\n")
				p.signal(t, first.signal)
				p.out.await(t, "cleaning\n")
				p.signalUntilEnd(t, second.signal)
				p.want(t, second.exit)
				if got := p.errs.String(); got != "" {
					t.Errorf("it took its time and reported %q", got)
				}
			})
		}
	}
}

// TestSignalTwice has a signal come twice at once, as timeout(1) sends it. That is
// one request, and there is time for clean-up.
func TestSignalTwice(t *testing.T) {
	t.Parallel()
	const script = `defer(function() task.sleep(0.05) print("cleaned") end) print("running") `
	for _, s := range endingSignals {
		t.Run(s.code, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, command(t, "-e", script+"task.sleep(1000)"))
			p.out.await(t, "running\n")
			p.signal(t, s.signal)
			p.signal(t, s.signal)
			p.want(t, s.exit)
			if got, want := p.out.String(), "running\ncleaned\n"; got != want {
				t.Errorf("it printed %q, want %q", got, want)
			}
		})
	}
}

// TestIgnoredHangup starts the program as nohup does. If it took notice of the
// hangup, SIGTERM would be its second signal, and there would be no clean-up.
func TestIgnoredHangup(t *testing.T) {
	t.Parallel()
	const script = `defer(function() print("cleaned") end) print("running") task.sleep(1000)`
	cmd := command(t)
	cmd.Args = []string{"sh", "-c", `trap "" HUP; exec "$0" -e "$1"`, cmd.Path, script}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = shell
	p := startProcess(t, cmd)
	p.out.await(t, "running\n")
	p.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGTERM)
	p.want(t, 143)
	if got, want := p.out.String(), "running\ncleaned\n"; got != want {
		t.Errorf("it printed %q, want %q", got, want)
	}
}

// TestOutOfMemory has scripts that fill memory faster than their soft limit is
// looked at, which ends the process.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`^imdlua: out of memory: the process uses \d+ MB, ` +
		`and its limit is 200 MB; ` +
		"raise it with GOMEMLIMIT, or make the script keep less\n$")
	for name, script := range map[string]string{
		"string that doubles": `local s = ("x"):rep(1e6) while true do s = s .. s end`,
		"sparse tables": `local list = {}
			for i = 1, 1e9 do
				local t = {}
				local far = 5e7 t[far] = 1
				list[i] = t
			end`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, "--max-memory", "100G", "-e", script)
			cmd.Env = append(cmd.Env, "GOMEMLIMIT=200MiB")
			p := startProcess(t, cmd)
			p.want(t, 1)
			if got := p.errs.String(); !line.MatchString(got) {
				t.Errorf("it wrote %.2000q, want one line", got)
			}
			if got := p.out.String(); got != "" {
				t.Errorf("it printed %.2000q", got)
			}
		})
	}
}

// TestMemoryLimitOff checks that GOMEMLIMIT=off is respected: nothing is limited.
func TestMemoryLimitOff(t *testing.T) {
	t.Parallel()
	cmd := command(t, "-e", `print(#("x"):rep(1e8))`)
	cmd.Env = append(cmd.Env, "GOMEMLIMIT=off")
	p := startProcess(t, cmd)
	p.want(t, 0)
	if got, want := p.out.String(), "100000000\n"; got != want {
		t.Errorf("it printed %q, want %q", got, want)
	}
}

// TestStalledReport has nobody read the standard error, into which a script prints
// as well. The report of its end must not wait for it.
func TestStalledReport(t *testing.T) {
	t.Parallel()
	cmd := command(t, "-e", strings.ReplaceAll(stalledScript, "print(", "io.stderr:write("))
	unread, stderr := pipe(t)
	cmd.Stderr = stderr
	told, tell := pipe(t)
	cmd.ExtraFiles = []*os.File{tell}
	p := startProcess(t, cmd)
	stderr.Close()
	tell.Close()
	said := newScreen()
	go io.Copy(said, told)
	said.await(t, "stalled\n")
	p.signal(t, syscall.SIGTERM)
	p.want(t, 143)
	said.await(t, "cleaned\n")
	unread.Close()
}

// TestStalledCommand has a command without scripts whose output nobody reads.
func TestStalledCommand(t *testing.T) {
	t.Parallel()
	cmd := command(t, "docs")
	unread, stdout := pipe(t)
	cmd.Stdout = stdout
	p := startProcess(t, cmd)
	stdout.Close()
	one := make([]byte, 1)
	if _, err := io.ReadFull(unread, one); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGTERM)
	p.want(t, 143)
	rest, err := io.ReadAll(unread)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if len(rest) > 100_000 {
		t.Errorf("%d bytes came through the pipe, which has no room for so many", len(rest))
	}
}

// TestSignalWhileReadingScript has a script that never ends on standard input.
func TestSignalWhileReadingScript(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-"}, {"repl"}, {"--virtual", "service", "com.apple.afc"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			cmd := command(t, args...)
			stdin, typed := pipe(t)
			cmd.Stdin = stdin
			p := startProcess(t, cmd)
			const begin = "defer(function() print('cleaned') end)\nprint('running')\n"
			// More than the pipe holds: when it is written, the program reads.
			comment := strings.Repeat("-- a comment\n", 20_000)
			if _, err := io.WriteString(typed, begin+comment); err != nil {
				t.Fatal(err)
			}
			if args[0] == "repl" {
				p.out.await(t, "running\n")
			}
			p.signal(t, syscall.SIGTERM)
			p.want(t, 143)
			if got, want := p.out.String(), "running\ncleaned\n"; args[0] == "repl" && got != want {
				t.Errorf("it printed %q, want %q", got, want)
			}
		})
	}
}
