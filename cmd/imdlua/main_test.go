package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

// asProgram is the variable with which the test binary runs as the program, for tests that need a
// process of its own.
const asProgram = "IMDLUA_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience is the time after which a test that waits fails. No test measures speed.
const patience = 60 * time.Second

// screen is an output that a test can wait on.
type screen struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await returns the output once it holds text.
func (s *screen) await(t *testing.T, text string) string {
	t.Helper()
	return s.awaitTimes(t, text, 1)
}

// awaitTimes returns the output once it holds text the given number of times.
func (s *screen) awaitTimes(t *testing.T, text string, times int) string {
	t.Helper()
	end := time.After(patience)
	for {
		s.mu.Lock()
		out, changed := s.b.String(), s.changed
		s.mu.Unlock()
		if strings.Count(out, text) >= times {
			return out
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%q was not written %d times; the output is\n%s", text, times, out)
		}
	}
}

// program is one run of the program inside the test.
type program struct {
	app         *app
	out, errs   *screen
	environment map[string]string
	signals     chan os.Signal
	killed      chan int
	code        chan int
}

func newProgram(t *testing.T, args ...string) *program {
	t.Helper()
	home := t.TempDir()
	p := &program{
		out: newScreen(), errs: newScreen(),
		environment: map[string]string{
			"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "config"), "APPDATA": home,
			// The muxer of this computer must not be used.
			"USBMUXD_SOCKET_ADDRESS": filepath.Join(home, "no-muxer"),
		},
		signals: make(chan os.Signal, 4), killed: make(chan int, 4), code: make(chan int, 1),
	}
	p.app = &app{
		stdin: strings.NewReader(""), stdout: p.out, stderr: p.errs, args: args,
		env:        func(k string) (string, bool) { v, ok := p.environment[k]; return v, ok },
		width:      func() int { return 80 },
		signals:    p.signals,
		kill:       func(code int) { p.killed <- code },
		executable: os.Executable,
		hostName:   func() (string, error) { return "testhost", nil },
		// The network of this computer must not be searched.
		browser: func(*slog.Logger) bonjour.Browser { return bonjour.Static{} },
	}
	return p
}

func (p *program) start(t *testing.T) *program {
	t.Helper()
	go func() { p.code <- run(t.Context(), p.app) }()
	return p
}

// wait returns the exit code.
func (p *program) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-p.code:
		return code
	case <-time.After(patience):
		t.Fatalf("it does not end; standard output:\n%s\nstandard error:\n%s", p.out, p.errs)
		return 0
	}
}

// end ends a program that runs until it is interrupted.
func (p *program) end(t *testing.T) {
	t.Helper()
	p.signals <- os.Interrupt
	p.wait(t)
}

func (p *program) run(t *testing.T) int {
	t.Helper()
	return p.start(t).wait(t)
}

// check runs the program and compares the exit code.
func (p *program) check(t *testing.T, code int) (stdout, stderr string) {
	t.Helper()
	if got := p.run(t); got != code {
		t.Errorf("%q ended with %d, want %d\n%s%s", p.app.args, got, code, p.out, p.errs)
	}
	return p.out.String(), p.errs.String()
}

// shelf holds the output of imdlua virtual.
type shelf struct {
	address string // address of its muxer
	udids   []string
	rsd     map[string][]string // UDID to address and port for --rsd
	network map[string][]string // UDID to the other addresses and ports
}

// serve runs imdlua virtual and returns its address and the devices' UDIDs.
func serve(t *testing.T, flags ...string) (address string, udids []string) {
	t.Helper()
	s := serveShelf(t, flags...)
	return s.address, s.udids
}

func serveShelf(t *testing.T, flags ...string) *shelf {
	t.Helper()
	p := newProgram(t, append([]string{"virtual", "--usbmux", "127.0.0.1:0"}, flags...)...)
	r, w := io.Pipe()
	p.app.stdout = w
	p.start(t)
	t.Cleanup(func() {
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 0 {
			t.Errorf("imdlua virtual ended with %d\n%s", code, p.errs)
		}
	})
	b := make([]byte, 64<<10) // large enough for the output, which is one write
	n, err := r.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	out := &shelf{rsd: map[string][]string{}, network: map[string][]string{}}
	s := bufio.NewScanner(bytes.NewReader(b[:n]))
	for s.Scan() {
		switch f := strings.Fields(s.Text()); {
		case len(f) == 3 && f[0] == "ready":
			out.address = f[1]
		case len(f) == 4 && f[0] == "rsd":
			out.rsd[f[1]] = f[2:]
		case len(f) > 3 && f[0] == "network":
			out.network[f[1]] = f[2:]
		default:
			out.udids = append(out.udids, s.Text())
		}
	}
	if out.address == "" {
		t.Fatalf("imdlua virtual printed no address: %q", b[:n])
	}
	if len(out.udids) == 0 {
		t.Fatalf("imdlua virtual printed no devices: %q", b[:n])
	}
	return out
}

// prints runs the program, which must succeed, and compares its standard output.
func (p *program) prints(t *testing.T, want string) {
	t.Helper()
	out, _ := p.check(t, 0)
	if out != want {
		t.Errorf("%q printed %q, want %q", p.app.args, out, want)
	}
}

// fails runs the program, which must end with an exit code other than 0 and print nothing. Standard
// error must have all parts.
func (p *program) fails(t *testing.T, code int, parts ...string) {
	t.Helper()
	out, stderr := p.check(t, code)
	if out != "" {
		t.Errorf("%q printed %q, want nothing", p.app.args, out)
	}
	wantIn(t, fmt.Sprintf("the standard error of %q", p.app.args), stderr, parts...)
}

// script writes a script file.
func script(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.lua")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantIn checks that a text has all parts.
func wantIn(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s is %.2000q, want %q in it", what, text, part)
		}
	}
}

// pipeReader returns a standard input and the writer for it.
func pipeReader(t *testing.T) (io.Reader, io.Writer) {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r, w
}

// brokenWriter is a closed pipe.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
