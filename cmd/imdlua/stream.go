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

// stallTime is how long the program waits for a blocked output after it was asked to end.
const stallTime = 100 * time.Millisecond

// errStalled is the error of a write that was given up.
var errStalled = errors.New("nobody reads the output")

// stream is the standard output or the standard error of the program itself. Hosts
// write to out, which may wait for as long as it takes.
type stream struct {
	raw   io.Writer
	tty   bool            // whether raw is a terminal
	out   io.Writer       // raw, for one writer at a time
	ended <-chan struct{} // closed when the program has been asked to end

	mu   sync.Mutex
	host *host.Stream // the same stream of the running host, nil if there is none
}

func newStream(raw io.Writer, tty bool, ended <-chan struct{}) *stream {
	return &stream{raw: raw, tty: tty, out: locked(raw), ended: ended}
}

// Write writes p through the running host, if there is one, which keeps the order with the output
// of the script. On a terminal it makes control characters visible, because texts of devices may
// have some.
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

// notice writes a line of the program itself to standard error. It marks line breaks in texts of
// devices or daemons, so that these cannot imitate a line of the program.
func (c *cli) notice(format string, args ...any) {
	fmt.Fprintln(c.stderr, visible.Marked(fmt.Sprintf("imdlua: "+format, args...)))
}

// composed returns a writer that does what Write does, but leaves control characters unchanged. It
// is for reports, which have colours, and in which the host has escaped the quoted texts.
func (s *stream) composed() io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host != nil {
		return s.host.Styled()
	}
	return direct{s}
}

// direct writes to the stream without a host in between.
type direct struct{ s *stream }

func (d direct) Write(p []byte) (int, error) { return d.s.write(slices.Clone(p)) }

// write waits until p is written. If the program was asked to end, it gives up after stallTime.
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

// through redirects the stream to that of a host, or back to the output if to is nil.
func (s *stream) through(to *host.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host = to
}

// through redirects the streams of the program to those of h until done is called.
func (c *cli) through(h *host.Host) (done func()) {
	c.out.through(h.Stdout())
	c.err.through(h.Stderr())
	return func() {
		c.out.through(nil)
		c.err.through(nil)
	}
}

// cell returns a value for a line of standard output. It escapes line breaks, so that the name of a
// device cannot add lines to a list.
func (c *cli) cell(s string) string {
	if c.stdoutTTY {
		return visible.Line(s)
	}
	return visible.Row(s)
}

// lockedWriter is an output to which the host of a script, the log and the program itself write.
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
