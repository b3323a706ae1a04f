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

// The tests of this file run the program in a process of its own, because they send signals to it
// or fill its memory. The process runs the test binary as the program.

// process is a process that runs the program.
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

// heard receives the signals that the test process handles. A child does not inherit the handling,
// but it would inherit that a signal is ignored, as SIGHUP is under nohup and SIGINT in the
// background of a shell.
var heard = make(chan os.Signal, 1)

// startProcess runs cmd until the end of the test.
func startProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(heard, s)
		}
	}
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
		_ = cmd.Wait() // the test checks the exit code
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the process has ended already unless the test has failed
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

// signalUntilEnd sends a signal repeatedly, because a signal that follows another one too soon
// counts as the same request.
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

// endingSignals lists the signals that end the program, with the exit code and the code of the
// error.
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

// stalledScript prints until its standard output blocks. It reports that, and its clean-up, on
// descriptor 3.
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

// TestSignalWhenStalled does not read the standard output.
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

// TestSecondSignal sends a second signal during a long clean-up. The process must end at once,
// without a report.
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
					t.Errorf("it reported %q, want nothing", got)
				}
			})
		}
	}
}

// TestSignalTwice sends a signal twice at once, as timeout(1) does. That is one request, so
// deferred functions must run.
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

// TestIgnoredHangup starts the program as nohup does. If it did not ignore SIGHUP, SIGTERM would be
// its second signal, and deferred functions would not run.
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

// TestOutOfMemory runs scripts that fill memory faster than the limit of scripts is checked. The
// limit of the process must end them.
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

// TestMemoryLimitOff checks that there is no limit with GOMEMLIMIT=off.
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

// TestStalledReport does not read the standard error, to which a script prints as well. The report
// of its end must not wait for it.
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

// TestStalledCommand does not read the output of a command that runs no script.
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
		t.Errorf("%d bytes were read, more than fit into the pipe", len(rest))
	}
}

// TestSignalWhileReadingScript reads an endless script from standard input.
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
			// This is more than the pipe holds, so the program is reading when it is written.
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
