package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

const question = "Which one? Its number or UDID: "

// twoTunnels runs a tunneld with tunnels to two devices, and returns their UDIDs in the order of
// the question.
func twoTunnels(t *testing.T) (tunneld string, udids []string) {
	t.Helper()
	mux, udids := serve(t, "--count", "2", "--name", "Shelf")
	slices.Sort(udids)
	p, python, _ := tunneldOf(t, mux, 2)
	t.Cleanup(func() { p.interrupt(t) })
	reachable(t, python, udids)
	return python, udids
}

// asking is a program with --tunnel ” on a terminal on which somebody types.
func asking(t *testing.T, tunneld, typed string, args ...string) *program {
	t.Helper()
	p := newProgram(t, append([]string{"--tunneld", tunneld, "--tunnel", ""}, args...)...)
	p.app.stdin, p.app.stdinTTY = strings.NewReader(typed), true
	return p
}

func TestAskForTunnel(t *testing.T) {
	t.Parallel()
	tunneld, udids := twoTunnels(t)
	first, second := udids[0], udids[1]
	for _, test := range []struct {
		name, typed string
		args        []string
		stdout      string
		questions   int
	}{
		{
			"a number, once a run", "2\n",
			[]string{"-e", "print(device().udid) print(device().udid == device().udid)"},
			second + "\ntrue\n", 1,
		},
		{"a UDID", second + "\n", []string{"-e", "print(device().udid)"}, second + "\n", 1},
		{
			"a UDID in another form", strings.ToLower(strings.ReplaceAll(first, "-", "")) + "\n",
			[]string{"-e", "print(device().udid)"}, first + "\n", 1,
		},
		{
			"a name, without the end of the line", "Shelf", []string{"-e", "print(device().name)"},
			"Shelf\n", 1,
		},
		{"the third try", "\n3\n 1 \n", []string{"-e", "print(device().udid)"}, first + "\n", 3},
		{
			"the script reads the rest of the input", "1\nhello\n",
			[]string{"-e", "print(device().udid, io.read())"}, first + "\thello\n", 1,
		},
		{"tasks share the answer", "1\n", []string{
			"-e",
			"for _, u in ipairs(task.map({ 1, 2, 3 }, 3, function() return device().udid end)) do print(u) end",
		}, strings.Repeat(first+"\n", 3), 1},
		{"device.wait", "2\n", []string{"-e", "print(device.wait().udid)"}, second + "\n", 1},
		{"a command", "2\n", []string{"info", "-k", "UniqueDeviceID"}, second + "\n", 1},
		{
			"devices are listed without a question", "",
			[]string{"devices", "--json", "--device", first}, "", 0,
		},
		{"a script lists devices without a question", "", []string{"-e", "print(#devices())"},
			"2\n", 0},
		{
			"a device that the script names", "",
			[]string{"-e", "print(device{ udid = '" + second + "' }.udid)"}, second + "\n", 0,
		},
		{
			"a device that --device names", "",
			[]string{"--device", second, "-e", "print(device().udid)"}, second + "\n", 0,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr := asking(t, tunneld, test.typed, test.args...).check(t, 0)
			if stdout != test.stdout && test.stdout != "" {
				t.Errorf("it printed %q, want %q", stdout, test.stdout)
			}
			if n := strings.Count(stderr, question); n != test.questions {
				t.Errorf("it asked %d times, want %d:\n%s", n, test.questions, stderr)
			}
			if test.questions > 0 {
				wantIn(t, "the question", stderr, "\n  1  Shelf", first, second)
			}
		})
	}
}

// TestAskForTunnelInVain types answers that are not valid.
func TestAskForTunnelInVain(t *testing.T) {
	t.Parallel()
	tunneld, udids := twoTunnels(t)
	script := []string{
		"-e", "local ok, e = try(function() device() end) print(ok, e.code) device()",
	}
	for _, test := range []struct {
		name, typed string
		args        []string
		stdout      string
		questions   int
	}{
		{"the end of the input", "", script, "false\tambiguous\n", 1},
		{"wrong three times", "0\n3\nBert\n1\n", script, "false\tambiguous\n", 3},
		{"a command", "no\nno\nno\n", []string{"info"}, "", 3},
	} {
		stdout, stderr := asking(t, tunneld, test.typed, test.args...).check(t, 1)
		if test.stdout != "" && stdout != test.stdout {
			t.Errorf("%s: it printed %q, want %q", test.name, stdout, test.stdout)
		}
		if n := strings.Count(stderr, question); n != test.questions {
			t.Errorf("%s: it asked %d times, want %d:\n%s", test.name, n, test.questions, stderr)
		}
		wantIn(t, test.name, stderr, "error[ambiguous]", udids[1],
			"hint: name one with --tunnel UDID")
	}
}

// TestAskForTunnelInterrupted interrupts the question.
func TestAskForTunnelInterrupted(t *testing.T) {
	t.Parallel()
	tunneld, _ := twoTunnels(t)
	for _, args := range [][]string{
		{"-e", "defer(function() print('closed') end) device()"}, {"info"}, {"tunnel"}, {"repl"},
	} {
		p := asking(t, tunneld, "", args...)
		r, w := io.Pipe()
		defer w.Close()
		p.app.stdin = r
		p.start(t)
		p.errs.await(t, question)
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 130 {
			t.Errorf("%q ended with %d, want 130", args, code)
		}
		wantIn(t, "the standard error", p.errs.String(), question+"\n")
		if args[0] == "-e" && p.out.String() != "closed\n" {
			t.Errorf("its clean-up printed %q", p.out)
		}
	}
	// Without a terminal there is no question.
	newProgram(t, "--tunneld", tunneld, "--tunnel", "", "-e", "device()").check(t, 1)
	p := asking(t, tunneld, "", "--timeout", "0.2", "-e", "device()")
	r, w := io.Pipe()
	defer w.Close()
	p.app.stdin = r
	p.check(t, 5)
}

// TestAskBeforeTunnel answers the question of the command tunnel.
func TestAskBeforeTunnel(t *testing.T) {
	t.Parallel()
	tunneld, udids := twoTunnels(t)
	p := asking(t, tunneld, "2\n", "tunnel", "--json").start(t)
	if j := tunnelLines(t, p.out.await(t, "\n"))[0]; j.UDID != udids[1] {
		t.Errorf("the device of the tunnel is %s, want %s", j.UDID, udids[1])
	}
	p.interrupt(t)
}

func TestReadLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"one\ntwo\n": "one", "one": "one", "\n": "", "one\r\n": "one\r",
	} {
		r := strings.NewReader(in)
		line, err := readLine(r)
		if err != nil {
			t.Errorf("readLine(%q) = %v", in, err)
		}
		if line != want {
			t.Errorf("readLine(%q) = %q, want %q", in, line, want)
		}
		if rest := max(len(in)-len(line)-1, 0); r.Len() != rest {
			t.Errorf("readLine(%q) leaves %d bytes, want %d", in, r.Len(), rest)
		}
	}
	if line, err := readLine(strings.NewReader("")); err != io.EOF {
		t.Errorf("readLine(\"\") = %q, %v, want EOF", line, err)
	}
	line, err := readLine(strings.NewReader(strings.Repeat("x", 2*maxAnswer)))
	if err == nil {
		t.Errorf("readLine of %d bytes gives no error", 2*maxAnswer)
	}
	if line != "" {
		t.Errorf("readLine of %d bytes returns %d bytes with its error", 2*maxAnswer, len(line))
	}
}
