package repl

import (
	"bytes"
	"io"
	"sync"
)

// newlineSign stands for a newline inside the one line that readline knows: it
// can neither show nor store several.
const newlineSign = "\u2424"

// PasteOff tells a terminal to treat what is pasted as if it was typed. A program
// that ends while a ReadLine waits must write it, ReadLine does it otherwise.
const PasteOff = "\x1b[?2004l"

// Terminals frame what is pasted in pasteBegin and pasteEnd after pasteOn.
const (
	pasteOn    = "\x1b[?2004h"
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// pasteFilter stands between the terminal and readline. Inside a paste a
// newline becomes newlineSign instead of Enter, a tab two spaces instead of a
// completion, and other control characters vanish. It also makes a waiting
// Read end when it is closed, which a terminal alone does not.
type pasteFilter struct {
	src     io.Reader
	raw     []byte // read, but perhaps the first half of a mark
	out     []byte // ready to be handed on
	pasting bool
	err     error

	want   chan struct{}
	got    chan chunk
	start  sync.Once
	stop   sync.Once
	closed chan struct{}
}

type chunk struct {
	b   []byte
	err error
}

func newPasteFilter(src io.Reader) *pasteFilter {
	return &pasteFilter{
		src: src, want: make(chan struct{}), got: make(chan chunk), closed: make(chan struct{}),
	}
}

// pump reads when it is asked to, never ahead: what a script reads from the
// terminal must not be taken away from it. A read that waits when the filter is
// closed stays behind until the terminal gives it something.
func (f *pasteFilter) pump() {
	for {
		select {
		case <-f.want:
		case <-f.closed:
			return
		}
		buf := make([]byte, 4096)
		n, err := f.src.Read(buf)
		select {
		case f.got <- chunk{buf[:n], err}:
			if err != nil {
				return
			}
		case <-f.closed:
			return
		}
	}
}

func (f *pasteFilter) Read(p []byte) (int, error) {
	f.start.Do(func() { go f.pump() })
	for len(f.out) == 0 {
		if f.err != nil {
			return 0, f.err
		}
		select {
		case f.want <- struct{}{}:
		case <-f.closed:
			return 0, io.EOF
		}
		select {
		case c := <-f.got:
			f.raw = append(f.raw, c.b...)
			f.err = c.err
			f.translate(c.err != nil)
		case <-f.closed:
			return 0, io.EOF
		}
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

// Close makes Read return io.EOF.
func (f *pasteFilter) Close() error {
	f.stop.Do(func() { close(f.closed) })
	return nil
}

// ended reports whether Read has nothing more to give.
func (f *pasteFilter) ended() bool {
	select {
	case <-f.closed:
		return true
	default:
		return f.err != nil && len(f.out) == 0
	}
}

// translate moves raw to out as far as it is certain; at the end that is all.
func (f *pasteFilter) translate(end bool) {
	for len(f.raw) > 0 {
		mark := []byte(pasteBegin)
		if f.pasting {
			mark = []byte(pasteEnd)
		}
		if bytes.HasPrefix(f.raw, mark) {
			f.raw = f.raw[len(mark):]
			f.pasting = !f.pasting
			continue
		}
		if !end && bytes.HasPrefix(mark, f.raw) {
			return
		}
		c := f.raw[0]
		switch {
		case !f.pasting:
			f.out = append(f.out, c)
		case c == '\r':
			// A carriage return may be one half of the end of a line.
			if len(f.raw) == 1 && !end {
				return
			}
			if len(f.raw) == 1 || f.raw[1] != '\n' {
				f.out = append(f.out, newlineSign...)
			}
		case c == '\n':
			f.out = append(f.out, newlineSign...)
		case c == '\t':
			f.out = append(f.out, "  "...)
		case c < 0x20 || c == 0x7F:
		default:
			f.out = append(f.out, c)
		}
		f.raw = f.raw[1:]
	}
}
