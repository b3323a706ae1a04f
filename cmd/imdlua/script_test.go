package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string // a part of standard error; "" if that must be empty
	}{
		{"ok", []string{"-e", "print('hello')"}, 0, "hello\n", ""},
		{"nothing", []string{"-e", ""}, 0, "", ""},
		{"script error", []string{"-e", "error('boom')"}, 1, "", "boom"},
		{"syntax", []string{"-e", "x = = 1"}, 2, "", "error[syntax]"},
		{"assertion",
			[]string{"-e", "error(errors.new{ code = 'assertion', message = 'm' })"},
			3, "", "error[assertion]"},
		{"no muxer", []string{"-e", "device()"}, 4, "", "error[no_muxer]"},
		{"no muxer, and what to do", []string{"devices"}, 4, "", "try `--virtual`"},
		{"no such device",
			[]string{"--virtual", "--device", "nobody", "-e", "device()"},
			4, "", "error[no_device]"},
		{"no such device for a command",
			[]string{"info", "--virtual", "--device", "nobody"}, 4, "", "error[no_device]"},
		{"time-out",
			[]string{"--timeout", "0.05", "-e", "task.sleep(1000)"}, 5, "", "error[timeout]"},
		{"busy time-out",
			[]string{"--timeout", "50ms", "-e", "while true do end"}, 5, "", "error[timeout]"},
		{"permission",
			[]string{"-e", "error(errors.new{ code = 'permission', message = 'm' })"},
			77, "", "error[permission]"},
		{"os.exit", []string{"-e", "print(1) os.exit(9)"}, 9, "1\n", ""},
		{"os.exit(true)", []string{"-e", "os.exit(true)"}, 0, "", ""},
		{"no file", []string{"nowhere/x.lua"}, 2, "", "no such file"},
		{"mistyped command", []string{"devcies"}, 2, "", "did you mean imdlua devices?"},
		{"unknown flag", []string{"--bogus"}, 2, "", "unknown flag: --bogus"},
		{"unknown flag of a command",
			[]string{"devices", "--bogus"}, 2, "", "unknown flag: --bogus"},
		{"missing value", []string{"-e"}, 2, "", "flag needs an argument"},
		{"too many arguments", []string{"version", "x"}, 2, "", "takes no arguments"},
		{"bad profile", []string{"--virtual=ios3", "-e", ""}, 2, "", `no profile "ios3"`},
		{"bad muxer", []string{"--usbmux", "ftp://x", "devices"}, 2, "", "unknown scheme"},
		{"bad muxer of the environment", []string{"-e", "devices()"}, 2, "", "usbmux"},
		{"bad time", []string{"--timeout", "soon", "-e", ""}, 2, "", "want a number of seconds"},
		{"bad errors", []string{"--errors", "xml", "-e", ""}, 2, "", "text or json"},
		{"bad device", []string{"--device", "[", "-e", ""}, 2, "", "bad pattern"},
		{"info of two kinds", []string{"info", "--json", "--xml"}, 2, "", "exclude each other"},
		{"forward without ports", []string{"forward"}, 2, "", "at least one"},
		{"forward of nonsense", []string{"forward", "80"}, 2, "", `"80" is no`},
		{"service without a name", []string{"service"}, 2, "", "the name of one service"},
		{"virtual without an address", []string{"virtual"}, 2, "", "needs an address"},
		{"virtual with bad trust",
			[]string{"virtual", "--usbmux", "127.0.0.1:0", "--trust", "maybe"},
			2, "", "--trust is"},
		{"virtual with a bad profile",
			[]string{"virtual", "--usbmux", "127.0.0.1:0", "--profile", "x"}, 2, "", "no profile"},
		{"virtual with a bad count",
			[]string{"virtual", "--usbmux", "127.0.0.1:0", "--count", "0"}, 2, "", "--count is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, test.args...)
			if test.name == "bad muxer of the environment" {
				p.environment["USBMUXD_SOCKET_ADDRESS"] = "nonsense"
			}
			stdout, stderr := p.check(t, test.code)
			if stdout != test.stdout {
				t.Errorf("standard output %q, want %q", stdout, test.stdout)
			}
			if !strings.Contains(stderr, test.stderr) {
				t.Errorf("standard error %q, want %q in it", stderr, test.stderr)
			}
			if test.stderr == "" && stderr != "" {
				t.Errorf("standard error %q, want nothing", stderr)
			}
		})
	}
}

// TestExitCodeOfPairing checks the exit code for a deadline that passes while the dialog is shown.
// The error then wraps both the answer of the device and the deadline.
func TestExitCodeOfPairing(t *testing.T) {
	t.Parallel()
	pending := &lockdown.Error{Op: "Pair", Code: lockdown.ErrPairingDialogResponsePending}
	if got := exitCode(fmt.Errorf("%w (%w)", pending, context.DeadlineExceeded)); got != 5 {
		t.Errorf("exit code %d, want 5", got)
	}
	if got := exitCode(pending); got != 1 {
		t.Errorf("exit code %d without a deadline, want 1", got)
	}
}

func TestScriptSources(t *testing.T) {
	t.Parallel()
	file := script(t, "#!/usr/bin/env imdlua\n"+
		"print('file', #args.rest(), args.rest()[1], args.string('device', 'none'))\n")
	for _, test := range []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"file", "", []string{file}, "file\t0\tnil\tnone\n"},
		{"file with arguments", "", []string{file, "one", "two"}, "file\t2\tone\tnone\n"},
		{"flags behind the file are the script's",
			"", []string{file, "--device", "mine", "-e"}, "file\t1\t-e\tmine\n"},
		{"commands behind the file are arguments",
			"", []string{file, "version"}, "file\t1\tversion\tnone\n"},
		{"flags before the file are ours",
			"", []string{"--device", "x", "--virtual", file, "one"}, "file\t1\tone\tnone\n"},
		{"two dashes", "", []string{"--", file, "--device", "d"}, "file\t0\tnil\td\n"},
		{"pipe", "print('pipe')", nil, "pipe\n"},
		{"dash", "print('dash', args.rest()[1])", []string{"-", "devices"}, "dash\tdevices\n"},
		{"code with arguments",
			"", []string{"-e", "print(args.rest()[1])", "version"}, "version\n"},
		{"code in pieces", "", []string{"-e", "local x = 1", "--execute", "print(x)"}, "1\n"},
		{"code does not read its standard input as code",
			"data\n", []string{"-e", "print(io.read())"}, "data\n"},
		{"file reads standard input", "data\n", []string{script(t, "print(io.read())")}, "data\n"},
		{"environment", "", []string{"-e", "print(os.getenv('GREETING'))"}, "hello\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, test.args...)
			p.app.stdin = strings.NewReader(test.stdin)
			p.environment["GREETING"] = "hello"
			if out, _ := p.check(t, 0); out != test.want {
				t.Errorf("printed %q, want %q", out, test.want)
			}
		})
	}
}

func TestSeparate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a.lua --x":                       "-- a.lua --x",
		"--timeout 5 a.lua devices":       "--timeout 5 -- a.lua devices",
		"--timeout=5 devices":             "--timeout=5 devices",
		"--virtual devices":               "--virtual devices",
		"--virtual=ios16 a.lua":           "--virtual=ios16 -- a.lua",
		"-u name a.lua":                   "-u name -- a.lua",
		"-uname a.lua":                    "-uname -- a.lua",
		"-e code devices":                 "-e code -- devices",
		"-ecode devices":                  "-ecode -- devices",
		"--execute=code devices":          "--execute=code -- devices",
		"- devices":                       "-- - devices",
		"-- devices":                      "-- devices",
		"devices --json":                  "devices --json",
		"help devices":                    "help devices",
		"--verbose --errors json info -x": "--verbose --errors json info -x",
		"--bogus x":                       "--bogus -- x",
	} {
		c := &cli{app: newProgram(t).app}
		if got := strings.Join(separate(c.rootCommand(), strings.Fields(in)), " "); got != want {
			t.Errorf("separate(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestErrorsJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		code string
		exit int
	}{
		{[]string{"-e", "dev()"}, "undefined", 1},
		{[]string{"--bogus"}, "usage", 2},
		{[]string{"devices"}, "no_muxer", 4},
		{[]string{"--usbmux", notMuxer(t), "devices"}, "protocol", 1},
		{[]string{"--virtual=x", "-e", ""}, "usage", 2},
	} {
		args := append([]string{"--errors=json"}, test.args...)
		_, stderr := newProgram(t, args...).check(t, test.exit)
		var e struct {
			Code    string
			Message string
		}
		if err := json.Unmarshal([]byte(stderr), &e); err != nil {
			t.Errorf("%q reported %q: %v", test.args, stderr, err)
		}
		if e.Code != test.code {
			t.Errorf("%q reported %q, want code %s", test.args, stderr, test.code)
		}
		if e.Message == "" {
			t.Errorf("%q reported %q without a message", test.args, stderr)
		}
	}
}

// notMuxer returns the address of a server that is not a multiplexer.
func notMuxer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			link.Linger(c, time.Minute)
		}
	}()
	return l.Addr().String()
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	const begin = "defer(function() task.sleep(0.001) print('closed') end) print('running') "
	for _, wait := range []string{
		"task.sleep(1000)", "while true do end",
		"device():syslog():next(1000) while true do task.sleep(1) end",
	} {
		p := newProgram(t, "--virtual", "-e", begin+wait).start(t)
		p.out.await(t, "running\n")
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 130 {
			t.Errorf("%s: exit code %d, want 130", wait, code)
		}
		if out := p.out.String(); !strings.HasSuffix(out, "closed\n") {
			t.Errorf("%s: printed %q, want the clean-up", wait, out)
		}
		wantIn(t, "the report", p.errs.String(), "error[interrupted]")
		if len(p.killed) > 0 {
			t.Errorf("%s: one interrupt killed the process", wait)
		}
	}
}

func TestSecondInterruptKills(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "-e", "defer(function() print('cleaning') task.sleep(5) end) "+
		"print('running') task.sleep(1000)").start(t)
	p.out.await(t, "running\n")
	p.signals <- os.Interrupt
	p.out.await(t, "cleaning\n")
	again := time.NewTicker(sameRequest / 4)
	defer again.Stop()
	for {
		select {
		case p.signals <- os.Interrupt:
		case code := <-p.killed:
			if code != 130 {
				t.Errorf("killed with %d, want 130", code)
			}
			p.wait(t)
			return
		}
		<-again.C
	}
}

func TestNothingOpenedEarly(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "--virtual", "-e", "print(1)")
	ctx, c, end := newCLI(t.Context(), p.app)
	defer end()
	c.flags.virtual = defaultProfile
	if err := c.runScript(ctx, "-e", "local x = 1 + 1", nil); err != nil {
		t.Fatal(err)
	}
	if c.world.finder != nil {
		t.Error("a script without a device made a finder")
	}
	if c.world.host != nil {
		t.Error("a script without a device made a virtual device")
	}
	entries, err := os.ReadDir(p.environment["HOME"])
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		t.Errorf("a script without a device wrote %v", entries)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	info := func(flags ...string) (stderr string) {
		t.Helper()
		args := append([]string{"--virtual", "info", "--key", "DeviceName"}, flags...)
		_, stderr = newProgram(t, args...).check(t, 0)
		return stderr
	}
	stderr := info("--trace", "usbmux")
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for _, l := range lines {
		if !strings.Contains(l, "layer=usbmux") {
			t.Errorf("--trace usbmux wrote %q", l)
		}
	}
	if stderr == "" {
		t.Error("--trace usbmux wrote nothing")
	}
	wantIn(t, "what --trace all writes", info("--trace", "all"),
		"layer=usbmux", "layer=lockdown")
	if stderr := info(); stderr != "" {
		t.Errorf("without --trace there is %q", stderr)
	}
}

// TestTraceCommand switches tracing on and off in a running REPL.
func TestTraceCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "--virtual", "repl")
	p.app.stdin = strings.NewReader(`:trace lockdown
dev:get('DeviceName')
:trace off
:trace
print('between')
dev:get('DeviceName')
`)
	out, stderr := p.check(t, 0)
	wantIn(t, "standard error", stderr, "subject=DeviceName")
	if strings.Contains(stderr, "layer=usbmux") {
		t.Errorf("it traced another layer: %q", stderr)
	}
	wantIn(t, "the output", out, "tracing lockdown\n", "tracing nothing\nbetween\n")
	quiet := newProgram(t, "--virtual", "repl")
	quiet.app.stdin = strings.NewReader("dev:get('DeviceName')\n")
	if _, stderr := quiet.check(t, 0); stderr != "" {
		t.Errorf("without :trace there is %q", stderr)
	}
}

func TestServiceCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "--virtual", "service", "com.apple.mobile.diagnostics_relay")
	p.app.stdin = strings.NewReader("#! a comment\n" +
		"print(dev.udid ~= nil, svc:call{ Request = 'All' }.Status)\n")
	p.prints(t, "true\tSuccess\n")
	newProgram(t, "--virtual", "service", `no"such\service`).fails(t, 1, "InvalidService")
}

func TestReplCommand(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "repl", "--virtual=ios16")
	p.app.stdin = strings.NewReader("tostring(dev.version):sub(1, 3)\nlocal x = 2\nx * 3\n")
	p.prints(t, "\"16.\"\n6\n")
	p = newProgram(t, "repl")
	p.app.stdin = strings.NewReader("os.exit(4)\n")
	p.check(t, 4)
	p = newProgram(t, "repl")
	p.app.stdin = strings.NewReader("error('a')\nprint('goes on')\n")
	out, stderr := p.check(t, 1)
	if want := "goes on\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	wantIn(t, "the standard error", stderr, "error")
}

func TestDocs(t *testing.T) {
	t.Parallel()
	if out, _ := newProgram(t, "version").check(t, 0); !strings.HasPrefix(out, "imdlua ") {
		t.Errorf("version printed %q", out)
	}
	types, _ := newProgram(t, "types").check(t, 0)
	if !strings.HasPrefix(types, "---@meta") {
		t.Errorf("types printed %.200q", types)
	}
	wantIn(t, "the output of types", types, "---@class Device")
	if out, _ := newProgram(t, "docs").check(t, 0); !strings.Contains(out, "\n# device\n") {
		t.Errorf("docs printed %.200q", out)
	}
	dir := filepath.Join(t.TempDir(), "pages")
	newProgram(t, "docs", dir).check(t, 0)
	page, err := os.ReadFile(filepath.Join(dir, "task.md"))
	if err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(string(page), "# task\n") {
		t.Errorf("task.md is %.100q", page)
	}
	help, _ := newProgram(t, "--help").check(t, 0)
	wantIn(t, "the help", help, "forward", "--usbmux")
}

// TestBrokenOutput writes to a closed pipe. The program must report an error.
func TestBrokenOutput(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"version"}, {"--virtual", "devices", "--json"}, {"types"}, {"-e", "print(1)"},
	} {
		p := newProgram(t, args...)
		p.app.stdout = brokenWriter{}
		if _, stderr := p.check(t, 1); !strings.Contains(stderr, "broken pipe") {
			t.Errorf("%q: standard error %q", args, stderr)
		}
	}
}

// TestRecipeHelp checks that --help does not run a recipe, which would fail without a device.
func TestRecipeHelp(t *testing.T) {
	t.Parallel()
	file := script(t, `#!/usr/bin/env imdlua
--- Do a thing.
---@arg count integer=3  How often
device()
`)
	out, _ := newProgram(t, file, "--help").check(t, 0)
	wantIn(t, "the help", out, "Do a thing.", "count")
}
