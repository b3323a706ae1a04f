package hosttest

import (
	"errors"
	"sync"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// Endless holds programs that do not end by themselves: they loop, block, recurse or
// compute for very long in one call.
type Endless struct {
	// Programs holds the sources by name.
	Programs map[string]string
	// Host returns a host for one program. Endless closes it.
	Host func(t *testing.T) *host.Host
	// Limit is the time limit of the programs for task.timeout.
	Limit time.Duration
	// Over, if not nil, is called when task.timeout has ended a program, before the
	// host waits until its output is written.
	Over func(h *host.Host)
	// Ended, if not nil, checks a host whose program was interrupted.
	Ended func(t *testing.T, h *host.Host)
}

// Run runs each program twice. It ends the program by an interrupt and by
// task.timeout, and logs how long that took.
func (e Endless) Run(t *testing.T) {
	for name, source := range e.Programs {
		t.Run("interrupt/"+name, func(t *testing.T) { e.interrupt(t, source) })
		t.Run("timeout/"+name, func(t *testing.T) { e.timeout(t, source) })
	}
}

// interruptAfter is how long a program runs before it is interrupted.
const interruptAfter = 20 * time.Millisecond

func (e Endless) interrupt(t *testing.T, source string) {
	h := e.Host(t)
	defer h.Close()
	var interrupted time.Time
	var once sync.Once
	h.SetGlobal("ready", h.L().NewFunction(func(*lua.LState) int {
		once.Do(func() {
			time.AfterFunc(interruptAfter, func() {
				interrupted = time.Now()
				h.Interrupt()
			})
		})
		return 0
	}))
	err := h.Run(t.Context(), "test.lua", "ready(); "+source)
	t.Logf("ended %v after the interrupt", time.Since(interrupted).Round(time.Millisecond/10))
	if host.ExitCode(err) != 130 {
		t.Errorf("Run() = %v, want code interrupted", err)
	}
	if e.Ended != nil {
		e.Ended(t, h)
	}
}

func (e Endless) timeout(t *testing.T, source string) {
	h := e.Host(t)
	defer h.Close()
	h.SetGlobal("limit", lua.LNumber(e.Limit.Seconds()))
	began := time.Now()
	h.SetGlobal("over", h.L().NewFunction(func(*lua.LState) int {
		t.Logf("ended %v after the limit",
			(time.Since(began) - e.Limit).Round(time.Millisecond/10))
		if e.Over != nil {
			e.Over(h)
		}
		return 0
	}))
	err := h.Run(t.Context(), "test.lua",
		"local _, e = try(task.timeout, limit, function() "+source+" end) over() error(e, 0)")
	if !errors.Is(err, &host.Error{Code: "timeout"}) {
		t.Errorf("Run() = %v, want code timeout", err)
	}
}
