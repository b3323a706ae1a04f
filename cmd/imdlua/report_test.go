package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestReportsOfCleanUp checks the reports of deferred functions that fail.
func TestReportsOfCleanUp(t *testing.T) {
	t.Parallel()
	const fails = `defer(function()
		error(errors.new{ code = "mine", message = "in a defer" })
	end) `
	const also = `defer(function() error("in another") end) `
	for _, test := range []struct {
		name, code string
		exit       int
		want       []string // in this order
		not        string
	}{
		{"a script that succeeded",
			fails, 1, []string{"error[mine] in a defer\n  --> -e:2:"}, "also"},
		{"two defers", also + fails, 1, []string{
			"error[mine] in a defer\n", "  also, while closing: -e:1: in another\n",
		}, ""},
		{"a script that failed", fails + `error("boom")`, 1, []string{
			"error[error] boom\n", "  also, while closing: -e:2: in a defer (mine)\n",
		}, "error[mine]"},
		{"a failed assertion", fails + `assert(false, "no")`, 3, []string{
			"error[assertion] no\n", "  also, while closing: -e:2: in a defer (mine)\n",
		}, ""},
		{"a time-out", fails + `task.sleep(1000)`, 5, []string{
			"error[timeout] the script ran longer than 50ms\n",
			"  also, while closing: -e:2: in a defer (mine)\n",
		}, ""},
		{"os.exit", fails + `os.exit(7)`, 7, nil, "timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-e", test.code}
			if test.exit == 5 {
				args = append([]string{"--timeout", "0.05"}, args...)
			}
			_, stderr := newProgram(t, args...).check(t, test.exit)
			rest := stderr
			for _, want := range test.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("it reported\n%s\nwant %q in it, in the order of %q",
						stderr, want, test.want)
				}
				rest = after
			}
			if n := strings.Count(stderr, "error["); len(test.want) > 0 && n != 1 {
				t.Errorf("it reported %d errors, want one:\n%s", n, stderr)
			}
			if test.not != "" && strings.Contains(stderr, test.not) {
				t.Errorf("it reported\n%s\nwant no %q in it", stderr, test.not)
			}
		})
	}
	code := fails + `error(errors.new{ code = "first", message = "boom" })`
	_, stderr := newProgram(t, "--errors=json", "-e", code).check(t, 1)
	var e struct {
		Code       string
		Suppressed []string
	}
	if err := json.Unmarshal([]byte(stderr), &e); err != nil {
		t.Fatalf("it reported %q: %v", stderr, err)
	}
	if e.Code != "first" {
		t.Errorf("the code is %q, want that of the script", e.Code)
	}
	if want := []string{"-e:2: in a defer (mine)"}; !slices.Equal(e.Suppressed, want) {
		t.Errorf("suppressed is %q, want %q", e.Suppressed, want)
	}
}

// TestReportOfREPL checks that the error with which a REPL ends is reported once.
func TestReportOfREPL(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "repl")
	p.app.stdin = strings.NewReader("defer(function() error('late') end)\n")
	_, stderr := p.check(t, 1)
	if n := strings.Count(stderr, "late\n"); n != 1 {
		t.Errorf("it reported the error %d times, want once:\n%s", n, stderr)
	}
}

// slowWriter waits before each write.
type slowWriter struct {
	may chan struct{}
	mu  *sync.Mutex
	b   *bytes.Buffer
}

func (w slowWriter) Write(p []byte) (int, error) {
	<-w.may
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// TestOutputOrder prints from the program and a script in turns, to two streams of one terminal.
func TestOutputOrder(t *testing.T) {
	t.Parallel()
	w := slowWriter{make(chan struct{}), new(sync.Mutex), new(bytes.Buffer)}
	p := newProgram(t)
	p.app.stdout, p.app.stderr, p.app.oneOutput = w, w, true
	_, c, end := newCLI(t.Context(), p.app)
	defer end()
	h, err := c.newHost(host.Options{Stdout: c.out.out, Stderr: c.err.out})
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	direct := c.through(h)
	for i := range 20 {
		fmt.Fprintln(h.Stdout(), "script", i)
		fmt.Fprintln(c.stderr, "program", i)
		fmt.Fprintln(h.Stderr(), "warning", i)
		fmt.Fprintln(c.stdout, "result", i)
		fmt.Fprintf(&want, "script %d\nprogram %d\nwarning %d\nresult %d\n", i, i, i, i)
	}
	close(w.may)
	if err := h.Run(t.Context(), "test", "print('the end')"); err != nil {
		t.Fatal(err)
	}
	direct()
	fmt.Fprintln(c.stderr, "report")
	want.WriteString("the end\nreport\n")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.b.String(); got != want.String() {
		t.Errorf("printed\n%s\nwant\n%s", got, want.String())
	}
}

// TestTraceOrder checks that the log is written between the lines that a script prints.
func TestTraceOrder(t *testing.T) {
	t.Parallel()
	const times = 20
	p := newProgram(t, "--virtual", "--trace", "lockdown", "-e", `
		local dev = device()
		print("line 0")
		for i = 1, 20 do
			dev:get("DeviceName")
			print("line " .. i)
		end`)
	p.app.stderr, p.app.oneOutput = p.out, true
	p.check(t, 0)
	out := p.out.String()
	for i := range times {
		_, rest, found := strings.Cut(out, fmt.Sprintf("line %d\n", i))
		if !found {
			t.Fatalf("line %d is missing:\n%s", i, out)
		}
		between, _, found := strings.Cut(rest, fmt.Sprintf("line %d\n", i+1))
		if !found {
			t.Fatalf("line %d is missing after line %d:\n%s", i+1, i, out)
		}
		if !strings.Contains(between, "layer=lockdown") {
			t.Errorf("between line %d and the next one there is %q, want a trace", i, between)
		}
		if strings.Contains(between, "line ") {
			t.Errorf("between line %d and the next one there is another line: %q", i, between)
		}
	}
}
