package repl

import (
	"bytes"
	"io"
	"sync"
)

// newlineSign represents a newline within a line of readline, which can neither show
// nor store several lines.
const newlineSign = "\u2424"

// PasteOff switches bracketed paste off: the terminal then sends pasted text as if it
// were typed. ReadLine writes it at its end. A program that exits while ReadLine waits
// must write it itself.
const PasteOff = "\x1b[?2004l"

// pasteOn switches bracketed paste on: the terminal then sends pasteBegin before
// pasted text and pasteEnd after it.
const (
	pasteOn    = "\x1b[?2004h"
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// pasteFilter filters the input of the terminal for readline. In pasted text it
// replaces a newline by newlineSign, so that it does not act as Enter, and a tab by
// two spaces, so that it does not start completion. It drops other control characters.
// Close ends a waiting Read, which is not possible with a terminal alone.
type pasteFilter struct {
	src     io.Reader
	raw     []byte // bytes that are not translated yet, such as the beginning of a mark
	out     []byte // translated bytes
	pasting bool   // raw begins inside of pasted text
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

// pump reads from the terminal for Read. It never reads ahead, because a script may
// read the next input itself. If the filter is closed during a read, the goroutine
// stays until the read returns.
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

// ended reports whether Read has reached the end of the input.
func (f *pasteFilter) ended() bool {
	select {
	case <-f.closed:
		return true
	default:
		return f.err != nil && len(f.out) == 0
	}
}

// translate translates bytes of raw and appends them to out. It keeps bytes that may
// be the beginning of a mark or of a line end, unless end is set.
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
			// The carriage return may be the first byte of "\r\n".
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
