package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

// stallTime is how long the program waits for an output that takes nothing, once
// it has been asked to end.
const stallTime = 100 * time.Millisecond

// errStalled is what a write returns that was given up.
var errStalled = errors.New("nobody reads the output")

// stream is the standard output or the standard error of the program itself. Hosts
// write to out, which may wait for as long as it takes.
type stream struct {
	raw   io.Writer
	tty   bool            // raw is a terminal
	out   io.Writer       // raw, for one writer at a time
	ended <-chan struct{} // closed when the program has been asked to end

	mu   sync.Mutex
	host *host.Stream // the same stream of the host that lives, else nil
}

func newStream(raw io.Writer, tty bool, ended <-chan struct{}) *stream {
	return &stream{raw: raw, tty: tty, out: locked(raw), ended: ended}
}

// Write keeps the order with what scripts print: while a host lives, p goes
// through it. On a terminal control characters of p are shown: nothing that the
// program itself writes has any, but what it writes of devices may.
func (s *stream) Write(p []byte) (int, error) {
	text := string(p)
	if s.tty {
		text = visible.Text(text)
	}
	if _, err := s.composed().Write([]byte(text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// notice writes a line of the program itself to standard error. What a device or a
// daemon has put into it gets no line of its own.
func (c *cli) notice(format string, args ...any) {
	fmt.Fprintln(c.stderr, visible.Marked(fmt.Sprintf("imdlua: "+format, args...)))
}

// composed returns a writer that does as Write, for reports: those have colours,
// and a host has made what they quote visible.
func (s *stream) composed() io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host != nil {
		return s.host.Styled()
	}
	return direct{s}
}

// direct writes without a host in between.
type direct struct{ s *stream }

func (d direct) Write(p []byte) (int, error) { return d.s.write(slices.Clone(p)) }

// write waits until p is written. After the program has been asked to end, it soon
// gives up.
func (s *stream) write(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := s.out.Write(p)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-s.ended:
	}
	select {
	case r := <-done:
		return r.n, r.err
	case <-time.After(stallTime):
		return 0, errStalled
	}
}

// through sends what follows to the stream of a host, or directly to the output if
// to is nil.
func (s *stream) through(to *host.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host = to
}

// through sends what the program prints through h until done is called.
func (c *cli) through(h *host.Host) (done func()) {
	c.out.through(h.Stdout())
	c.err.through(h.Stderr())
	return func() {
		c.out.through(nil)
		c.err.through(nil)
	}
}

// cell returns a value as it stands in a line of standard output. It stays on its
// line everywhere, or a device could add lines to a list by its name.
func (c *cli) cell(s string) string {
	if c.stdoutTTY {
		return visible.Line(s)
	}
	return visible.Row(s)
}

// lockedWriter lets a script's host, the log and the program itself write to one
// output.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func locked(w io.Writer) io.Writer { return lockedWriter{new(sync.Mutex), w} }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
