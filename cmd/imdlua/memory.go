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

// hardLimit returns how much memory the process may use, 0 if that is not limited:
// what GOMEMLIMIT says, or three quarters of the memory of the machine or of its
// control group. From then on the garbage collector works harder before the limit
// is reached.
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

// availableMemory returns the memory of the machine or of the control group,
// whichever is less. It is a huge number if neither can be found out.
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

// guardDelay is when the memory is looked at for the first time. Most scripts have
// ended until then, and no script has filled the memory.
const guardDelay = 20 * time.Millisecond

// guardMemory watches the memory of the process until the run is over. Commands
// call it when they begin something that may take much memory. To find out the
// limit takes some time, because that reads several files.
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
	// outOfMemoryHint is what can be done when the process has reached its limit.
	outOfMemoryHint = "raise it with GOMEMLIMIT, or make the script keep less"
	// reportTime is how long the last line may take.
	reportTime = time.Second
)

// lastLine says that the process is out of memory, and ends it. All that it needs
// is made before: an allocation would wait for the garbage collector, which waits
// for the script, which takes more memory meanwhile.
type lastLine struct {
	c    *cli
	line []byte
	late *time.Timer // kills the process when nobody reads the line
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
		// The prompt may be shown, and the cursor stands behind it.
		line = append(line, repl.PasteOff+"\n"...)
		fallthrough
	default:
		line = append(line, "imdlua: "...)
		line = append(line, text...)
		line = append(line, "; "+outOfMemoryHint...)
	}
	line = append(line, '\n')
	l.late.Reset(reportTime)
	_, _ = l.c.err.raw.Write(line) // There is nobody else to tell.
	l.late.Stop()
	l.c.kill(1)
}
