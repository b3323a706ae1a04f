package main

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]size{
		"1": 1, "1048576": 1 << 20, "3k": 3 << 10, "512M": 512 << 20, "512MB": 512 << 20,
		"512MiB": 512 << 20, "2G": 2 << 30, "1 GiB": 1 << 30, "4t": 4 << 40,
	} {
		var got size
		if err := got.Set(text); err != nil {
			t.Errorf("Set(%q) = %v", text, err)
		}
		if got != want {
			t.Errorf("Set(%q) gives %d, want %d", text, got, want)
		}
		again := size(0)
		if err := again.Set(got.String()); err != nil {
			t.Errorf("Set(%q), which String returned, = %v", got.String(), err)
		}
		if again != want {
			t.Errorf("%q reads back as %d, want %d", got.String(), again, want)
		}
	}
	bad := []string{
		"", "0", "0M", "-1", "M", "1.5G", "1e9", "12Q", "1MG", "1 2", "9999999T",
		"99999999999999999999",
	}
	for _, text := range bad {
		got := size(7)
		if err := got.Set(text); err == nil {
			t.Errorf("Set(%q) gives %d, want an error", text, got)
		}
		if got != 7 {
			t.Errorf("Set(%q) changed the value to %d", text, got)
		}
	}
}

// TestLimitDefaults checks that the flags have the defaults of the host, and that --help shows
// them.
func TestLimitDefaults(t *testing.T) {
	t.Parallel()
	h := host.New(host.Options{})
	defer h.Close()
	if got := h.Options().MaxMemory; got != uint64(defaultMaxMemory) {
		t.Errorf("a host limits memory to %d bytes, the flag to %d", got, defaultMaxMemory)
	}
	if got := h.Options().MaxString; got != int64(defaultMaxString) {
		t.Errorf("a host limits strings to %d bytes, the flag to %d", got, defaultMaxString)
	}
	if got := h.Options().MaxInstructions; got != 0 {
		t.Errorf("a host limits instructions to %d, the flag does not", got)
	}
	help, _ := newProgram(t, "--help").check(t, 0)
	for flag, value := range map[string]string{
		"--max-memory size":               "(default 1 GiB)",
		"--max-string size":               "(default 256 MiB)",
		"--max-instructions instructions": "(default none)",
	} {
		_, line, found := strings.Cut(help, flag)
		line, _, _ = strings.Cut(line, "\n")
		if !found {
			t.Errorf("help does not show %s", flag)
		} else if !strings.HasSuffix(line, value) {
			t.Errorf("help on %s is %q, want %s at its end", flag, line, value)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const fill = `local t = {} while true do t[#t + 1] = ("x"):rep(1000) end`
	const long = `print(#("x"):rep(3 * 1024 * 1024))`
	file := script(t, fill)
	for _, test := range []struct {
		name, stdin string
		args        []string
		code        int
		stderr      string
	}{
		{"memory of a file", "", []string{"--max-memory", "64M", file}, 1, "error[memory]"},
		{"memory of code", "", []string{"--max-memory=64M", "-e", fill}, 1, "--max-memory"},
		{"memory of a pipe", fill, []string{"--max-memory", "64M"}, 1, "error[memory]"},
		{"memory of a REPL", fill, []string{"repl", "--max-memory", "64M"}, 1, "error[memory]"},
		{"strings", "", []string{"--max-string", "2M", "-e", long}, 1, "--max-string"},
		{"strings that fit", "", []string{"--max-string", "3M", "-e", long}, 0, ""},
		{"strings of a REPL", long, []string{"repl", "--max-string", "2M"}, 1, "--max-string"},
		{"instructions", "", []string{"--max-instructions", "100000", "-e", "while true do end"},
			1, "--max-instructions"},
		{"instructions of a REPL", "while true do end", []string{"--max-instructions=5", "repl"},
			1, "error[instructions]"},
		{"bad size", "", []string{"--max-memory", "many", "-e", ""}, 2,
			"want a number of bytes above 0, or one with K, M, G or T like 512M\n"},
		{"no size", "", []string{"--max-string", "0", "-e", ""}, 2, "want a number of bytes"},
		{"bad number", "", []string{"--max-instructions", "-1", "-e", ""}, 2,
			"want a whole number above 0\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, test.args...)
			p.app.stdin = strings.NewReader(test.stdin)
			_, stderr := p.check(t, test.code)
			if !strings.Contains(stderr, test.stderr) {
				t.Errorf("it wrote %q, want %q in it", stderr, test.stderr)
			}
		})
	}
}

// TestServiceLimits checks that the limits apply to the scripts of service.
func TestServiceLimits(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "--virtual", "--max-string", "2M", "service",
		"com.apple.mobile.diagnostics_relay")
	p.app.stdin = strings.NewReader(`("x"):rep(3 * 1024 * 1024)` + "\n")
	_, stderr := p.check(t, 1)
	if !strings.Contains(stderr, "--max-string") {
		t.Errorf("it wrote %q", stderr)
	}
}

// TestGuard checks how a process ends that uses more memory than a limit, which the test sets.
func TestGuard(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"script":  {"-e", "task.sleep(1000)"},
		"repl":    {"repl"},
		"watch":   {"--virtual", "devices", "--watch"},
		"forward": {"--virtual", "forward", "0:80"},
		"tunnel":  {"--virtual", "tunnel"},
		"tunneld": {"--virtual", "tunneld", "--listen", "127.0.0.1:0", "--go-ios", ""},
		"virtual": {"virtual", "--usbmux", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, args...)
			p.app.memoryLimit = func() uint64 { return 1 << 20 }
			if name == "repl" {
				unread, _ := pipeReader(t)
				p.app.stdin = unread
			}
			p.start(t)
			if code := <-p.killed; code != 1 {
				t.Errorf("killed with %d, want 1", code)
			}
			line := p.errs.await(t, outOfMemoryHint)
			if !strings.Contains(line, "imdlua: out of memory: the process uses ") {
				t.Errorf("it wrote %q", line)
			}
			p.end(t)
		})
	}
	p := newProgram(t, "--errors=json", "-e", "task.sleep(1000)")
	p.app.memoryLimit = func() uint64 { return 1 << 20 }
	p.start(t)
	<-p.killed
	var e struct {
		Code, Message, Hint string
		ExitCode            int `json:"exit_code"`
	}
	line := p.errs.await(t, "\n")
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Errorf("it wrote %q: %v", line, err)
	}
	if e.Code != "memory" {
		t.Errorf("the code is %q, want memory", e.Code)
	}
	if e.ExitCode != 1 {
		t.Errorf("the exit code is %d, want 1", e.ExitCode)
	}
	p.end(t)
}

// TestNothingGuarded runs commands that need no memory guard.
func TestNothingGuarded(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"version"}, {"--help"}, {"docs"}, {"--virtual", "devices"}} {
		p := newProgram(t, args...)
		p.app.memoryLimit = func() uint64 {
			t.Errorf("%q asked for the limit", args)
			return 0
		}
		p.check(t, 0)
	}
}

// TestHardLimit is not parallel, because it changes the soft limit of the garbage collector.
func TestHardLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	variable := func(value string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			return value, name == "GOMEMLIMIT" && value != ""
		}
	}
	limit, all := hardLimit(variable("")), availableMemory()
	if limit == 0 {
		t.Error("there is no limit")
	}
	if limit > all/4*3 {
		t.Errorf("the limit is %d of %d bytes, want three quarters", limit, all)
	}
	if soft := debug.SetMemoryLimit(-1); uint64(soft) != limit/10*9 {
		t.Errorf("the collector has %d of %d bytes, want nine tenths", soft, limit)
	}
	// The Go runtime reads the variable when the process starts.
	debug.SetMemoryLimit(1 << 40)
	if got := hardLimit(variable("1TiB")); got != 1<<40 {
		t.Errorf("with GOMEMLIMIT the limit is %d", got)
	}
	debug.SetMemoryLimit(1<<63 - 1)
	if got := hardLimit(variable("off")); got != 0 {
		t.Errorf("with GOMEMLIMIT=off the limit is %d, want none", got)
	}
}
