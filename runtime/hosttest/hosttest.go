// Package hosttest runs Lua scripts in tests.
//
//	res := hosttest.Run(t, `print("hello")`)
//	res.NoError(t)
//	res.Stdout // "hello\n"
//
// Scripts that must fail, with the errors that they must give, are kept in files; see
// Chunks.
package hosttest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib/lua51"
)

// Result is the result of running a script.
type Result struct {
	Stdout, Stderr string
	Err            error  // the error of host.Run
	Report         string // the text that the command line would print for Err
	Code           int    // the exit code
}

// NoError fails the test if the script failed.
func (r Result) NoError(t testing.TB) Result {
	t.Helper()
	if r.Err != nil {
		t.Fatalf("script failed:\n%s", r.Report)
	}
	return r
}

// Error returns the script's *host.Error and fails the test if there is none.
func (r Result) Error(t testing.TB) *host.Error {
	t.Helper()
	e, ok := r.Err.(*host.Error)
	if !ok {
		t.Fatalf("Run() = %v, want a *host.Error; stdout:\n%s", r.Err, r.Stdout)
	}
	return e
}

type config struct {
	ctx     context.Context
	chunk   string
	options host.Options
	setup   []func(h *host.Host)
}

// Option changes how Run runs a script.
type Option func(*config)

// Context sets the context of the run.
func Context(ctx context.Context) Option { return func(c *config) { c.ctx = ctx } }

// Chunk names the script; the default is "test.lua".
func Chunk(name string) Option { return func(c *config) { c.chunk = name } }

// Stdin sets the standard input of the script.
func Stdin(s string) Option {
	return func(c *config) { c.options.Stdin = strings.NewReader(s) }
}

// Options changes the options of the host. Changes of Stdout and Stderr have no
// effect, because the output goes to the Result.
func Options(f func(o *host.Options)) Option { return func(c *config) { f(&c.options) } }

// Setup adds a function that is called before the script runs. It can install modules
// and set globals.
func Setup(f func(h *host.Host)) Option {
	return func(c *config) { c.setup = append(c.setup, f) }
}

// Buffer is a bytes.Buffer that tasks may write to.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns the text that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Run runs source on a new host with the libraries of Lua 5.1, and closes the host.
func Run(t testing.TB, source string, opts ...Option) Result {
	t.Helper()
	c := config{ctx: context.Background(), chunk: "test.lua"}
	for _, o := range opts {
		o(&c)
	}
	var stdout, stderr Buffer
	c.options.Stdout, c.options.Stderr = &stdout, &stderr
	h := host.New(c.options)
	lua51.Open(h)
	for _, f := range c.setup {
		f(h)
	}
	err := h.Run(c.ctx, c.chunk, source)
	if cerr := h.Close(); cerr != nil {
		t.Errorf("Close() = %v, want nil", cerr)
	}
	var report bytes.Buffer
	h.Report(&report, err)
	return Result{
		Stdout: stdout.String(),
		Stderr: stderr.String(),
		Err:    err,
		Report: report.String(),
		Code:   host.ExitCode(err),
	}
}

// Chunks runs a file of scripts that must fail. The scripts are separated by lines of
// "---". In each script, the line that must fail ends with a comment
//
//	--> code: text
//
// where text is a regular expression for the message. A chunk without such a
// comment must succeed.
func Chunks(t *testing.T, path string, opts ...Option) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range split(string(raw)) {
		t.Run(fmt.Sprintf("%s:%d", path, c.at), func(t *testing.T) {
			t.Parallel()
			c.run(t, opts)
		})
	}
}

// chunk is one script of a file, with the error that it must give.
type chunk struct {
	at         int // the line of the file at which the script begins
	source     string
	line       int    // the line that must fail, 0 if the script must succeed
	code, text string // the code of the error, and a pattern for its message
}

var wanted = regexp.MustCompile(`--> ([A-Za-z_]+): (.*)$`)

func split(file string) []chunk {
	var chunks []chunk
	line := 1
	for _, part := range strings.SplitAfter(file, "\n---\n") {
		c := chunk{at: line, source: strings.TrimSuffix(part, "---\n")}
		line += strings.Count(part, "\n")
		for i, l := range strings.Split(c.source, "\n") {
			if m := wanted.FindStringSubmatch(l); m != nil {
				c.line, c.code, c.text = i+1, m[1], m[2]
			}
		}
		chunks = append(chunks, c)
	}
	return chunks
}

func (c chunk) run(t *testing.T, opts []Option) {
	res := Run(t, c.source, append(opts[:len(opts):len(opts)], Chunk("chunk.lua"))...)
	if c.line == 0 {
		res.NoError(t)
		return
	}
	e := res.Error(t)
	if e.Code != c.code {
		t.Errorf("code = %q, want %q; report:\n%s", e.Code, c.code, res.Report)
	}
	if !regexp.MustCompile(c.text).MatchString(e.Message) {
		t.Errorf("message = %q, want a match of %q", e.Message, c.text)
	}
	if want := fmt.Sprintf("chunk.lua:%d", c.line); e.Where != want {
		t.Errorf("where = %q, want %q (line %d of the file)", e.Where, want, c.at+c.line-1)
	}
}
