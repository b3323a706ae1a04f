package repl

import (
	"bytes"
	"io"
	"sync"

	"github.com/imdlua/imdlua/runtime/host"
)

// maxPartial is the largest number of bytes of an unfinished line that are held back.
const maxPartial = 64 << 10

// Output is the standard output of the Host of a REPL. While a prompt is shown, it
// prints the text of background tasks above the prompt, in whole lines. Otherwise it
// passes text on unchanged.
type Output struct {
	mu     sync.Mutex
	w      io.Writer
	above  io.Writer // nil while no prompt is shown
	part   []byte    // an unfinished line, held back while a prompt is shown
	broken bool      // the cursor is in an unfinished line
}

// NewOutput returns an Output that writes to w.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

// Write writes p. It waits for nothing except the terminal.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if o.above == nil {
		o.broken = p[len(p)-1] != '\n' && !bytes.HasSuffix(p, []byte(host.Erased))
		return o.w.Write(p)
	}
	o.part = append(o.part, p...)
	end := bytes.LastIndexByte(o.part, '\n') + 1
	if end == 0 && len(o.part) > maxPartial {
		o.part = append(o.part, '\n')
		end = len(o.part)
	}
	if end == 0 {
		return len(p), nil
	}
	_, err := o.above.Write(o.part[:end])
	o.part = append(o.part[:0], o.part[end:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// prompt declares that a prompt is shown from now on. above prints lines above it. An
// unfinished line is ended first, because the prompt would overwrite it.
func (o *Output) prompt(above io.Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken {
		io.WriteString(o.w, "\n")
		o.broken = false
	}
	o.above = above
}

// run declares that no prompt is shown from now on.
func (o *Output) run() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.above = nil
	if len(o.part) > 0 {
		o.w.Write(o.part)
		o.part, o.broken = nil, true
	}
}
