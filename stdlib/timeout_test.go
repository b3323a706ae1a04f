package stdlib_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
)

type waitOptions struct {
	Timeout time.Duration `lua:"timeout" doc:"seconds to wait"`
}

type pointerOptions struct {
	Timeout *time.Duration `lua:"timeout" doc:"seconds to wait"`
}

// waitModule declares functions that wait until their timeout has passed.
func waitModule() *api.Module {
	wait := func(c *api.Call, d time.Duration) error {
		return c.Timeout(d).TryBlock(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
	}
	return &api.Module{
		Name: "waits", Doc: "Waits.", Perm: "none",
		Funcs: []*api.Func{
			api.Function("plain", "Waits.", "opts?", func(c *api.Call, o waitOptions) error {
				return wait(c, o.Timeout)
			}, api.Example("local x = 1")),
			api.Function("pointer", "Waits.", "opts?", func(c *api.Call, o pointerOptions) error {
				if o.Timeout == nil {
					return wait(c, 0)
				}
				return wait(c, *o.Timeout)
			}, api.Example("local x = 1")),
		},
	}
}

// waits lists the calls that have a timeout, which is left out here. code is that of the error at
// the end of the timeout, "" if the call returns.
var waits = []struct{ prepare, call, code string }{
	{`local waits = require "imd.waits"`, `waits.plain{ timeout = %t }`, "timeout"},
	{`local waits = require "imd.waits"`, `waits.pointer{ timeout = %t }`, "timeout"},
	{`local eventually = require "imd.eventually"`,
		`eventually(function() end, { timeout = %t, interval = 0.01 })`,
		"timeout"},
	{`local q = task.queue()`, `q:get(%t)`, ""},
	{`local q = task.queue(1) q:put(1)`, `q:put(2, %t)`, ""},
	{`local e = task.event()`, `e:wait(%t)`, ""},
	{`local m = task.mutex() m:lock()`,
		`task.spawn(function() m:lock(%t) end):join()`, ""},
	{`local t = task.spawn(function() task.sleep(math.huge) end)`, `t:join(%t)`, "timeout"},
	{`local t = task.spawn(function() task.sleep(math.huge) end)`, `task.wait_all(%t)`, "timeout"},
	{``, `task.timeout(%t, function() task.sleep(math.huge) end)`, "timeout"},
	{``, `task.run_for(%t, function() task.sleep(math.huge) end)`, ""},
	{``, `task.sleep(%t)`, ""},
}

func runWait(t *testing.T, source string) hosttest.Result {
	t.Helper()
	return hosttest.Run(t, source, hosttest.Setup(func(h *host.Host) {
		if err := stdlib.Install(h); err != nil {
			t.Fatal(err)
		}
		if err := api.Install(h, waitModule()); err != nil {
			t.Fatal(err)
		}
	}))
}

// TestTimeoutsOfZero waits with a timeout of 0, which passes at once. The deadline of the test is
// far longer.
func TestTimeoutsOfZero(t *testing.T) {
	for _, tc := range waits {
		source := tc.prepare + " task.timeout(60, function() " + inSeconds(tc.call, "0") + " end)"
		err := runWait(t, source).Err
		code := ""
		var e *host.Error
		if errors.As(err, &e) {
			code = e.Code
		}
		if code != tc.code {
			t.Errorf("%s\ngave %v, want code %q", source, err, tc.code)
		}
	}
}

// TestTimeoutsWithoutEnd waits with a timeout of math.huge until the task is cancelled.
func TestTimeoutsWithoutEnd(t *testing.T) {
	for _, tc := range waits {
		source := tc.prepare + ` local w = task.spawn(function() ` + inSeconds(
			tc.call,
			"math.huge",
		) +
			` end) task.sleep(0.02) print(w:done())`
		got := runWait(t, source+" w:cancel()").Stdout
		if got != "false\n" {
			t.Errorf("%s\nprinted %q, want false, because the call has ended", source, got)
		}
	}
}

func inSeconds(call, seconds string) string {
	return strings.ReplaceAll(call, "%t", seconds)
}
