package phone

import (
	"io/fs"
	"strconv"
	"strings"
)

// maxHeld is how many lines a stopped process has yet to say.
const maxHeld = 1024

// Input gives a process text on its standard input. The programs of this phone
// read lines and say on standard output what they read; a stopped one does it
// when it goes on. An unknown PID is fs.ErrNotExist.
func (p *Phone) Input(pid int, text string) error {
	p.runs.mu.Lock()
	defer p.runs.mu.Unlock()
	proc, ok := p.Process(pid)
	if !ok {
		return fail("input", strconv.Itoa(pid), fs.ErrNotExist)
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
