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

// echoed sends text to an echo port through address.
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
		t.Fatalf("it said %q", p.out)
	}
	for _, a := range addresses {
		if !strings.HasPrefix(a, "127.0.0.1:") {
			t.Errorf("it listens on %s, which others can reach", a)
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
	// Nothing listens on port 9: that is reported, and the forward goes on.
	if err := echoed(addresses[2], ""); err != nil && !errors.Is(err, syscall.ECONNRESET) &&
		!errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
	p.errs.await(t, "port 9")
	if err := echoed(addresses[0], "still here"); err != nil {
		t.Error(err)
	}
}

// TestForwardSurvivesReplug restarts the device: it comes back under another
// number, and the forward finds it.
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
	if _, stderr := newProgram(t, "--virtual", "forward", taken).check(t, 1); !strings.Contains(
		stderr, "in use",
	) {
		t.Errorf("a taken port: %q", stderr)
	}
	newProgram(t, "forward", "0:80").check(t, 4)
	for _, bad := range []string{
		"80", "a:80", "1:0", "70000:80", "80:70000", "1:2:3:4", "::1:80:80", "",
	} {
		if _, ok := parseForward(bad); ok {
			t.Errorf("%q was taken for a forward", bad)
		}
	}
	for text, want := range map[string]string{
		"8100:80": "127.0.0.1:8100", "0.0.0.0:8100:80": "0.0.0.0:8100",
		"[::1]:8100:80": "[::1]:8100", "*:8100:80": "*:8100", ":8100:80": ":8100",
		"host:1:2": "host:1",
	} {
		if s, ok := parseForward(text); !ok || s.address() != want {
			t.Errorf("%q listens on %q, %v, want %q", text, s.address(), ok, want)
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

// TestForwardBackground needs processes of its own: the test binary stands in
// for the program.
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
	if out != fmt.Sprintf("%s -> 7 of %s\n", address, udids[0]) ||
		!strings.Contains(stderr, files.pid()) {
		t.Errorf("it said %q and %q", out, stderr)
	}
	if err := echoed(address, "at once"); err != nil {
		t.Errorf("when -d returns it must listen: %v", err)
	}
	b, err := os.ReadFile(files.pid())
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || convErr != nil || pid == os.Getpid() {
		t.Errorf("the pid file holds %q, %v", b, err)
	}
	if _, stderr := background("-d", spec).check(t, 2); !strings.Contains(stderr, "already") {
		t.Errorf("the second -d said %q", stderr)
	}
	if out, _ := background("--stop", strconv.Itoa(port)).check(t, 0); out != fmt.Sprintf(
		"stopped forward-%d\n", port,
	) {
		t.Errorf("--stop said %q", out)
	}
	if err := echoed(address, "x"); err == nil {
		t.Error("it is still served after --stop")
	}
	for _, f := range []string{files.pid(), files.socket()} {
		if _, err := os.Lstat(f); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", f, err)
		}
	}
	if _, stderr := background("--stop", strconv.Itoa(port)).check(t, 1); !strings.Contains(stderr,
		"no forward runs") {
		t.Errorf("the second --stop said %q", stderr)
	}
	testKilledForward(t, background, spec, files)
	testFailedStart(t, background, spec, address)
}

// testKilledForward has the process killed, which leaves its files behind.
func testKilledForward(
	t *testing.T, background func(...string) *program, spec string, files backgroundFiles,
) {
	background("-d", spec).check(t, 0)
	b, err := os.ReadFile(files.pid())
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.Wait() // it is our child: without this its sockets close later
	if _, stderr := background("--stop").check(t, 0); !strings.Contains(stderr, "killed; removed") {
		t.Errorf("--stop of a killed one said %q", stderr)
	}
	if _, stderr := background("--stop").check(t, 0); !strings.Contains(stderr, "no forward runs") {
		t.Errorf("--stop of none said %q", stderr)
	}
}

// testFailedStart has the port taken: the one who started it is told why.
func testFailedStart(t *testing.T, background func(...string) *program, spec, address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, stderr := background("-d", spec).check(t, 1); !strings.Contains(stderr, "in use") {
		t.Errorf("-d with a taken port said %q", stderr)
	}
	if _, stderr := background("-d", "0:7").check(t, 2); !strings.Contains(stderr,
		"first port must be known") {
		t.Errorf("-d with port 0 said %q", stderr)
	}
	if _, stderr := background("-d", spec, "--stop").check(t, 2); !strings.Contains(stderr,
		"exclude") {
		t.Errorf("-d --stop said %q", stderr)
	}
	if _, stderr := background("--stop", "x").check(t, 2); !strings.Contains(stderr,
		"local ports") {
		t.Errorf("--stop x said %q", stderr)
	}
	p := background("-d", spec)
	p.app.args = append(p.app.args, "--virtual")
	if _, stderr := p.check(t, 2); !strings.Contains(stderr, "--virtual") {
		t.Errorf("-d --virtual said %q", stderr)
	}
}

// TestForwardBackgroundRoutes has the process in the background use the route that
// was named, and the device that was asked for.
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
		if err := echoed(fmt.Sprintf("127.0.0.1:%d", port), "over another route"); err != nil &&
			args[0] != "--rsd" {
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
			// What is not in the list of services is not at that address.
			detached("", "--rsd", s.rsd[udid][0], s.rsd[udid][1], "forward", "-d", "LOCAL:7"),
		} {
			if !strings.HasSuffix(out, " of "+udid+"\n") {
				t.Errorf("it said %q, want %s", out, udid)
			}
		}
	}
	p := newProgram(t, "--tunneld", goios, "--tunnel", "", "forward", "-d", "8100:7")
	p.environment["HOME"], p.environment["XDG_RUNTIME_DIR"] = home, home
	if _, stderr := p.check(t, 1); !strings.Contains(stderr, "error[ambiguous]") {
		t.Errorf("without a terminal it said %q", stderr)
	}
}
