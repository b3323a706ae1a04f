package processes

import (
	"io/fs"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// maxHeld is how many lines a stopped process has yet to say.
const maxHeld = 1024

// Input gives a process text on its standard input. The programs of this phone
// read lines and say on standard output what they read; a stopped one does it
// when it goes on. An unknown PID is fs.ErrNotExist.
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
