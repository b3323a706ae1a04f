package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var listening = regexp.MustCompile(`(?m)^(\S+) -> (\d+) of `)

// forwarded starts imdlua forward and returns the local addresses.
func forwarded(t *testing.T, args ...string) (*program, []string) {
	t.Helper()
	p := newProgram(t, append([]string{"forward"}, args...)...).start(t)
	out := p.out.await(t, " of ")
	var addresses []string
	for _, m := range listening.FindAllStringSubmatch(out, -1) {
		addresses = append(addresses, m[1])
	}
	t.Cleanup(func() {
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 0 {
			t.Errorf("forward ended with %d, want 0\n%s", code, p.errs)
		}
		for _, a := range addresses {
			if c, err := net.Dial("tcp", a); err == nil {
				c.Close()
				t.Errorf("%s is still served", a)
			}
		}
	})
	return p, addresses
}

// echoed sends text to an echo port at address and checks the answer.
func echoed(address, text string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%d bytes came back, want %d", len(got), len(text))
	}
	return err
}

func TestForward(t *testing.T) {
	t.Parallel()
	mux, _ := serve(t, "--echo", "7")
	p, addresses := forwarded(t, "--usbmux", mux, "0:7", "127.0.0.1:0:7", "0:9")
	if len(addresses) != 3 {
		t.Fatalf("it printed %q, want 3 addresses", p.out)
	}
	for _, a := range addresses {
		if !strings.HasPrefix(a, "127.0.0.1:") {
			t.Errorf("it listens on %s, which other computers can reach", a)
		}
	}
	long := strings.Repeat("0123456789abcdef", 64<<10)
	errs := make(chan error)
	for _, a := range addresses[:2] {
		go func() { errs <- echoed(a, long) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	// Nothing listens on port 9. The forward must report that and continue.
	err := echoed(addresses[2], "")
	closed := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if err != nil && !closed {
		t.Error(err)
	}
	p.errs.await(t, "port 9")
	if err := echoed(addresses[0], "still here"); err != nil {
		t.Error(err)
	}
}

// TestForwardSurvivesReplug restarts the device, which gets another number at the muxer. The
// forward must find it.
func TestForwardSurvivesReplug(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t, "--echo", "7")
	_, addresses := forwarded(t, "--usbmux", mux, "0:7")
	watch := newProgram(t, "devices", "--watch", "--usbmux", mux).start(t)
	watch.out.await(t, "attached")
	newProgram(t, "--usbmux", mux, "-e", "device():restart()").check(t, 0)
	gone := watch.out.await(t, "detached  "+udids[0])
	watch.out.await(t, gone+"attached  "+udids[0])
	if err := echoed(addresses[0], "after the restart"); err != nil {
		t.Error(err)
	}
	watch.signals <- os.Interrupt
	watch.wait(t)
}

func TestForwardRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := fmt.Sprintf("%d:80", l.Addr().(*net.TCPAddr).Port)
	newProgram(t, "--virtual", "forward", taken).fails(t, 1, "in use")
	newProgram(t, "forward", "0:80").check(t, 4)
	for _, bad := range []string{
		"80", "a:80", "1:0", "70000:80", "80:70000", "1:2:3:4", "::1:80:80", "",
	} {
		if _, ok := parseForward(bad); ok {
			t.Errorf("parseForward(%q) is true, want false", bad)
		}
	}
	for text, want := range map[string]string{
		"8100:80": "127.0.0.1:8100", "0.0.0.0:8100:80": "0.0.0.0:8100",
		"[::1]:8100:80": "[::1]:8100", "*:8100:80": "*:8100", ":8100:80": ":8100",
		"host:1:2": "host:1",
	} {
		s, ok := parseForward(text)
		if !ok {
			t.Errorf("parseForward(%q) is false, want true", text)
		}
		if s.address() != want {
			t.Errorf("%q listens on %q, want %q", text, s.address(), want)
		}
	}
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestForwardBackground needs processes of its own, which run the test binary as the program.
func TestForwardBackground(t *testing.T) {
	home, err := os.MkdirTemp("", "imd") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	t.Setenv(asProgram, "1")
	t.Setenv("HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", home)
	mux, udids := serve(t, "--echo", "7")
	background := func(args ...string) *program {
		p := newProgram(t, append([]string{"--usbmux", mux, "forward"}, args...)...)
		p.environment["HOME"], p.environment["XDG_RUNTIME_DIR"] = home, home
		return p
	}
	port := freePort(t)
	spec := fmt.Sprintf("%d:7", port)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	files := backgroundFiles(filepath.Join(home, "imdlua", fmt.Sprintf("forward-%d", port)))

	out, stderr := background("-d", spec).check(t, 0)
	if want := fmt.Sprintf("%s -> 7 of %s\n", address, udids[0]); out != want {
		t.Errorf("it printed %q, want %q", out, want)
	}
	wantIn(t, "the notice", stderr, files.pid())
	if err := echoed(address, "at once"); err != nil {
		t.Errorf("when -d returns it must listen: %v", err)
	}
	if readPID(t, files) == os.Getpid() {
		t.Error("the pid file has the id of the first process")
	}
	background("-d", spec).fails(t, 2, "already")
	background("--stop", strconv.Itoa(port)).prints(t, fmt.Sprintf("stopped forward-%d\n", port))
	if err := echoed(address, "x"); err == nil {
		t.Error("it is still served after --stop")
	}
	for _, f := range []string{files.pid(), files.socket()} {
		if _, err := os.Lstat(f); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", f, err)
		}
	}
	background("--stop", strconv.Itoa(port)).fails(t, 1, "no forward runs")
	testKilledForward(t, background, spec, files)
	testFailedStart(t, background, spec, address)
}

// readPID returns the process id in a pid file.
func readPID(t *testing.T, files backgroundFiles) int {
	t.Helper()
	b, err := os.ReadFile(files.pid())
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// testKilledForward kills the process, which leaves its files behind.
func testKilledForward(
	t *testing.T, background func(...string) *program, spec string, files backgroundFiles,
) {
	background("-d", spec).check(t, 0)
	p, err := os.FindProcess(readPID(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.Wait() // a child of this process closes its sockets only after Wait
	_, stderr := background("--stop").check(t, 0)
	wantIn(t, "--stop of a killed forward", stderr, "killed; removed")
	_, stderr = background("--stop").check(t, 0)
	wantIn(t, "--stop without a forward", stderr, "no forward runs")
}

// testFailedStart starts forwards that fail. The first process must report why.
func testFailedStart(t *testing.T, background func(...string) *program, spec, address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	background("-d", spec).fails(t, 1, "in use")
	background("-d", "0:7").fails(t, 2, "first port must not be 0")
	background("-d", spec, "--stop").fails(t, 2, "exclude")
	background("--stop", "x").fails(t, 2, "local ports")
	p := background("-d", spec)
	p.app.args = append(p.app.args, "--virtual")
	p.fails(t, 2, "--virtual")
}

// TestForwardBackgroundRoutes checks that the process in the background uses the route and the
// device of the flags, or the device that the user has chosen.
func TestForwardBackgroundRoutes(t *testing.T) {
	home, err := os.MkdirTemp("", "imd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	t.Setenv(asProgram, "1")
	t.Setenv("HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", home)
	s := serveShelf(t, "--count", "2", "--echo", "7", "--trusted", "127.0.0.1")
	slices.Sort(s.udids)
	tunneld, python, goios := tunneldOf(t, s.address, 2)
	t.Cleanup(func() { tunneld.interrupt(t) })
	reachable(t, python, s.udids)
	detached := func(typed string, args ...string) (stdout string) {
		t.Helper()
		port := freePort(t)
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "LOCAL", strconv.Itoa(port))
		}
		p := newProgram(t, args...)
		p.environment["HOME"], p.environment["XDG_RUNTIME_DIR"] = home, home
		p.app.stdin, p.app.stdinTTY = strings.NewReader(typed), typed != ""
		stdout, _ = p.check(t, 0)
		err := echoed(fmt.Sprintf("127.0.0.1:%d", port), "over another route")
		if err != nil && args[0] != "--rsd" {
			t.Errorf("%q: %v", args, err)
		}
		p = newProgram(t, "forward", "--stop", strconv.Itoa(port))
		p.environment["HOME"], p.environment["XDG_RUNTIME_DIR"] = home, home
		p.check(t, 0)
		return stdout
	}
	for n, udid := range s.udids {
		for _, out := range []string{
			detached("", "--tunneld", goios, "--tunnel", udid, "forward", "-d", "LOCAL:7"),
			detached(strconv.Itoa(n+1)+"\n", "--tunneld", goios, "forward", "--tunnel", "",
				"--detach", "LOCAL:7"),
			// At this address only the ports in the list of services are reachable.
			detached("", "--rsd", s.rsd[udid][0], s.rsd[udid][1], "forward", "-d", "LOCAL:7"),
		} {
			if !strings.HasSuffix(out, " of "+udid+"\n") {
				t.Errorf("it printed %q, want %s", out, udid)
			}
		}
	}
	p := newProgram(t, "--tunneld", goios, "--tunnel", "", "forward", "-d", "8100:7")
	p.environment["HOME"], p.environment["XDG_RUNTIME_DIR"] = home, home
	p.fails(t, 1, "error[ambiguous]")
}
