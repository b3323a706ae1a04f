package main

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

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

// guardMemory watches the memory of the process until the run is over. Commands
// call it when they begin something that may take much memory. The limit is found
// out in the background, because that reads several files.
func (c *cli) guardMemory() {
	if c.memoryLimit == nil {
		return
	}
	c.guard.Do(func() {
		go func() {
			limit := c.memoryLimit()
			if limit > 0 {
				host.LimitProcess(c.alive, limit, c.outOfMemory)
			}
		}()
	})
}

// outOfMemoryHint is what can be done when the process has reached its limit.
const outOfMemoryHint = "raise it with GOMEMLIMIT, or make the script keep less"

// reportTime is how long the last line may take. The script still takes memory
// meanwhile.
const reportTime = time.Second

// outOfMemory ends the process.
func (c *cli) outOfMemory(text string) {
	line := fmt.Sprintf("imdlua: %s; %s\n", text, outOfMemoryHint)
	if c.interruptTaker() != nil {
		line = "\n" + line // The cursor of a REPL stands behind its prompt.
	}
	if c.flags.errorsJSON() {
		b, err := json.Marshal(map[string]any{
			"code": "memory", "message": text, "hint": outOfMemoryHint, "exit_code": 1,
		})
		if err == nil {
			line = string(b) + "\n"
		}
	}
	c.restore()
	// Nobody may read what is written.
	time.AfterFunc(reportTime, func() { c.kill(1) })
	_, _ = c.err.raw.Write([]byte(line)) // There is nobody else to tell.
	c.kill(1)
}
