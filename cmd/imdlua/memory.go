package main

import (
	"math"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/imdlua/imdlua/repl"
	"github.com/imdlua/imdlua/runtime/host"
)

// hardLimit returns how much memory the process may use, 0 if there is no limit. The limit is
// GOMEMLIMIT, or three quarters of the memory of the machine or of its control group. hardLimit
// also sets the soft limit of the garbage collector to 90 percent of it.
func hardLimit(env func(string) (string, bool)) uint64 {
	limit := uint64(debug.SetMemoryLimit(-1))
	if _, given := env("GOMEMLIMIT"); !given {
		limit = availableMemory() / 4 * 3
	}
	if limit == 0 || limit >= math.MaxInt64 {
		return 0
	}
	debug.SetMemoryLimit(int64(limit / 10 * 9))
	return limit
}

// availableMemory returns the memory of the machine or of the control group, whichever is less. If
// neither is known, it returns a huge number.
func availableMemory() uint64 {
	least := uint64(math.MaxUint64)
	for _, memory := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		n, err := memory()
		if err == nil {
			least = min(least, n)
		}
	}
	return least
}

// guardDelay is the time before the memory is checked for the first time. Most scripts end before
// that, and none can fill the memory in that time.
const guardDelay = 20 * time.Millisecond

// guardMemory checks the memory of the process until the run is over. Commands call it before they
// do something that may take much memory. It does not find out the limit at once, because that
// takes time: several files are read.
func (c *cli) guardMemory() {
	if c.memoryLimit == nil {
		return
	}
	c.guard.Do(func() {
		time.AfterFunc(guardDelay, func() {
			if c.alive.Err() != nil {
				return
			}
			limit := c.memoryLimit()
			if limit > 0 {
				host.LimitProcess(c.alive, limit, c.newLastLine().write)
			}
		})
	})
}

const (
	// outOfMemoryHint is the hint for a process that has reached its limit.
	outOfMemoryHint = "raise it with GOMEMLIMIT, or make the script keep less"
	// reportTime is how long the write of the last line may take.
	reportTime = time.Second
)

// lastLine writes that the process is out of memory, and ends it. It allocates everything in
// advance: an allocation would wait for the garbage collector, which waits for the script, which
// takes more memory in the meantime.
type lastLine struct {
	c    *cli
	line []byte
	late *time.Timer // kills the process if the write does not return
}

func (c *cli) newLastLine() *lastLine {
	late := time.AfterFunc(time.Hour, func() { c.kill(1) })
	late.Stop()
	return &lastLine{c: c, line: make([]byte, 0, 4096), late: late}
}

func (l *lastLine) write(text string) {
	line := l.line
	switch {
	case l.c.flags.errorsJSON():
		line = append(line, `{"code":"memory","message":`...)
		line = strconv.AppendQuote(line, text)
		line = append(line, `,"hint":"`+outOfMemoryHint+`","exit_code":1}`...)
	case l.c.interruptTaker() != nil:
		// The cursor may be behind the prompt.
		line = append(line, repl.PasteOff+"\n"...)
		fallthrough
	default:
		line = append(line, "imdlua: "...)
		line = append(line, text...)
		line = append(line, "; "+outOfMemoryHint...)
	}
	line = append(line, '\n')
	l.late.Reset(reportTime)
	_, _ = l.c.err.raw.Write(line) // an error could not be reported anywhere
	l.late.Stop()
	l.c.kill(1)
}
