package processes

import (
	"io/fs"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// maxHeld is the number of lines that a stopped process keeps to print later.
const maxHeld = 1024

// Input writes text to the standard input of a process. All processes of this phone
// print the lines that they read on standard output. A stopped process does this when
// it continues. The error is fs.ErrNotExist for an unknown PID.
func (p *Processes) Input(pid int, text string) error {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Find(pid)
	if !ok {
		return failure.Wrap("input", strconv.Itoa(pid), fs.ErrNotExist)
	}
	r := p.runs.of(proc)
	for line := range strings.Lines(text) {
		said := proc.Name + ": read " + trimNewline(line)
		switch {
		case !r.stopped:
			p.print(proc, said+"\n")
		case len(r.greeting) < maxHeld:
			r.greeting = append(r.greeting, said)
		}
	}
	return nil
}
