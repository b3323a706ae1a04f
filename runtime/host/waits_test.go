package host_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
	lua "github.com/yuin/gopher-lua"
)

// handles counts the pipes that scripts open and close.
type handles struct{ opened, closed atomic.Int64 }

// pipe is the resource that lab.open opens.
type pipe struct {
	api.Turn
	count *handles
}

func (p *pipe) Close() error {
	p.count.closed.Add(1)
	return nil
}

// lab returns the script module of these tests. lab.open opens a pipe, pipe:read
// waits for ever, and lab.stop calls stop.
func lab(count *handles, stop func()) *api.Module {
	class := api.NewClass[*pipe]("Pipe", "A pipe.")
	class.Closer = true
	class.Methods = []*api.Func{
		api.Method("read", "Waits.", "", func(c *api.Call, _ *pipe) error {
			return c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}),
		api.Method(
			"call",
			"Calls fn in the turn of the pipe.",
			"fn",
			func(c *api.Call, _ *pipe, fn *lua.LFunction) {
				c.Invoke(fn, 0)
			},
		),
	}
	return &api.Module{
		Name: "lab", Doc: "Lab.", Global: true, Perm: "none", Classes: []*api.Class{class},
		Funcs: []*api.Func{
			api.Function("open", "Opens.", "", func(c *api.Call) (api.Opened[*pipe], error) {
				return api.Open(c, func(context.Context) (*pipe, error) {
					count.opened.Add(1)
					return &pipe{count: count}, nil
				})
			}),
			api.Function(
				"open_and_stop",
				"Opens while the run is stopped.",
				"",
				func(c *api.Call) (api.Opened[*pipe], error) {
					return api.Open(c, func(context.Context) (*pipe, error) {
						count.opened.Add(1)
						stop()
						return &pipe{count: count}, nil
					})
				},
			),
			api.Function("stop", "Stops the run.", "", func(*api.Call) { stop() }),
		},
	}
}

// waits lists the ways to wait. wait and wake are Lua code: wake ends the wait
// successfully. setup declares the names that both use.
var waits = map[string]struct{ setup, wait, wake string }{
	"sleep": {"", "task.sleep(1)", ""},
	"join": {
		"local go = task.event() local other = task.spawn(function() go:wait() end)",
		"other:join()",
		"go:set()",
	},
	"queue:get":  {"local q = task.queue()", "q:get()", "q:put(1)"},
	"queue:put":  {"local q = task.queue(1) q:put(0)", "q:put(1)", "q:get()"},
	"queue loop": {"local q = task.queue()", "for _ in q do break end", "q:put(1)"},
	"event":      {"local e = task.event()", "e:wait()", "e:set()"},
	"mutex": {
		"local m, go = task.mutex(), task.event() task.spawn(function() m:with(function() go:wait() end) end) task.sleep(0)",
		"m:with(function() end)",
		"go:set()",
	},
	"require": {
		"local go = task.event() package.preload.slow = function() go:wait() return {} end task.spawn(require, 'slow') task.sleep(0)",
		"require 'slow'",
		"go:set()",
	},
	"group": {
		"local go = task.event()",
		"task.group(function(g) g:spawn(function() go:wait() end) g:spawn(function() go:wait() end) end)",
		"go:set()",
	},
	"all": {
		"local go = task.event()",
		"task.all{ function() go:wait() end, function() go:wait() end }",
		"go:set()",
	},
	"race": {"local go = task.event()",
		"task.race{ function() go:wait() end, function() task.event():wait() end }", "go:set()"},
	"map": {
		"local go = task.event()",
		"task.map({ 1, 2, 3 }, 2, function() go:wait() end)",
		"go:set()",
	},
	"wait_all": {
		"local go = task.event() task.spawn(function() go:wait() end)",
		"task.event():wait(1)",
		"go:set()",
	},
	"turn": {
		"local p, go = lab.open(), task.event() task.spawn(function() p:call(function() go:wait() end) end) task.sleep(0)",
		"p:call(function() end)",
		"go:set()",
	},
	"Go call": {"local p = lab.open()", "p:read()", ""},
	"open":    {"", "lab.open() task.sleep(1)", ""},
	"coroutine": {
		"local e = task.event()",
		"coroutine.wrap(function() e:wait() end)()",
		"e:set()",
	},
	"pcall": {"local e = task.event()", "pcall(e.wait, e)", "e:set()"},
	"scope": {
		"local e = task.event()",
		"scope(function() local p = lab.open() defer(function() task.sleep(0.001) end) e:wait() end)",
		"e:set()",
	},
	"atomic": {"local e = task.event()", "task.atomic(function() e:wait() end)", "e:set()"},
	"metamethod": {
		"local e = task.event()",
		"local _ = setmetatable({}, { __index = function() e:wait() end }).x",
		"e:set()",
	},
	"comparator": {
		"local e = task.event()",
		"table.sort({ 2, 1 }, function(a, b) e:wait() return a < b end)",
		"e:set()",
	},
	"run_for": {
		"local e = task.event()",
		"task.run_for(60, function() e:wait() end)",
		"e:set()",
	},
	"inner limit": {
		"local e = task.event()",
		"task.timeout(60, function() e:wait() end)",
		"e:set()",
	},
}

// enders lists the ways to end a wait from outside. wrap is Lua code around the
// waiting code. stopper says how Go code stops the run; it is "" if Lua code does.
var enders = map[string]struct{ wrap, stopper string }{
	"cancel": {
		"local t t = task.spawn(function() %s end) stop = function() t:cancel() end task.sleep(0) pcall(t.join, t)",
		"",
	},
	"deadline":  {"pcall(task.timeout, 0.5, function() %s end)", ""},
	"scope end": {"scope(function() task.spawn(function() %s end) task.sleep(0.1) end)", ""},
	"Ctrl-C":    {"%s", "interrupt"},
	"input":     {"%s", "input"},
	"run":       {"%s", "context"},
}

// moments lists when the wait is ended. %[1]s is the waiting code and %[2]s the code
// that wakes it.
var moments = map[string]string{
	"before":       "stop() %[1]s",
	"during":       "task.spawn(function() stop() end) %[1]s",
	"same instant": "task.spawn(function() %[2]s stop() end) %[1]s",
	"other order":  "task.spawn(function() stop() %[2]s end) %[1]s",
	"at the limit": "task.spawn(function() task.sleep(0.5) %[2]s end) %[1]s",
}

// TestWaitsLeaveNothing ends every kind of wait in every way at every moment. If a
// goroutine is left, synctest fails the test.
func TestWaitsLeaveNothing(t *testing.T) {
	t.Parallel()
	for kind, w := range waits {
		for ender, e := range enders {
			for moment, m := range moments {
				if moment == "at the limit" && ender != "deadline" {
					continue // the other enders have no limit
				}
				t.Run(kind+"/"+ender+"/"+moment, func(t *testing.T) {
					t.Parallel()
					body := fmt.Sprintf(m, w.wait, w.wake)
					source := w.setup + " local stop = lab.stop " + fmt.Sprintf(e.wrap, body)
					synctest.Test(t, func(t *testing.T) { endWait(t, source, e.stopper) })
				})
			}
		}
	}
}

// endWait runs source, which ends its own wait, and checks that nothing is left.
func endWait(t *testing.T, source, stopper string) {
	count, out := &handles{}, &hosttest.Buffer{}
	h := host.New(host.Options{Stdout: out, Stderr: out})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var interactive *host.Interactive
	if stopper == "input" {
		interactive = h.Interactive(ctx)
	}
	stop := func() {
		switch stopper {
		case "interrupt":
			h.Interrupt()
		case "input":
			interactive.Interrupt()
		case "context":
			cancel()
		}
	}
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	if err := api.Install(h, lab(count, stop)); err != nil {
		t.Fatal(err)
	}
	var err error
	if interactive != nil {
		_, err = interactive.Eval(ctx, "[1]", source)
		res, nextErr := interactive.Eval(ctx, "[2]", "return 1 + 1")
		if nextErr != nil {
			t.Errorf("the next input failed: %v", nextErr)
		} else if res[0] != lua.LNumber(2) {
			t.Errorf("the next input returned %v, want 2", res)
		}
		interactive.Close()
	} else {
		err = h.Run(ctx, "test.lua", source)
	}
	if errors.Is(err, &host.Error{Code: "internal"}) {
		t.Errorf("%s\nended with %v", source, err)
	}
	if stopper != "" && errors.Is(err, &host.Error{Code: "deadlock"}) {
		t.Errorf("%s\nended with %v", source, err)
	}
	if left := h.Left(); left != "" {
		t.Errorf("%s\nleft behind:\n%s", source, left)
	}
	if err := h.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if o, c := count.opened.Load(), count.closed.Load(); o != c {
		t.Errorf("%s\nopened %d, closed %d", source, o, c)
	}
}

// TestOpensCancelledAnywhere opens thousands of pipes in tasks. A goroutine outside
// of Lua cancels the tasks at random moments.
func TestOpensCancelledAnywhere(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	count := &handles{}
	h := host.New(host.Options{})
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	m := lab(count, func() {})
	tasks := make(chan *host.Task, 64)
	m.Funcs = append(
		m.Funcs,
		api.Function(
			"victim",
			"Hands a task to the canceller.",
			"task",
			func(_ *api.Call, t *host.Task) { tasks <- t },
		),
		api.Function(
			"random",
			"A number.",
			"n",
			func(_ *api.Call, n int) int { return rnd.IntN(n) },
		),
	)
	if err := api.Install(h, m); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		other := rand.New(rand.NewPCG(seed, 1))
		for task := range tasks {
			for range other.IntN(2000) {
			}
			task.Cancel("now")
		}
	}()
	err := h.Run(context.Background(), "test.lua", `
for round = 1, 150 do
  local list = {}
  for i = 1, 25 do
    local n = lab.random(4)
    list[i] = task.spawn(function()
      local a = lab.open()
      if n == 0 then a:close() end
      if n == 1 then scope(function() lab.open():keep() end) end
      if n == 2 then task.timeout(60, function() lab.open() end) end
      local b = scope(function() return lab.open():keep() end)
      lab.open() task.sleep(0) b:close()
    end)
  end
  for i, t in ipairs(list) do
    if lab.random(3) == 0 then task.sleep(0) end
    lab.victim(t)
  end
  for _, t in ipairs(list) do pcall(t.join, t) end
end`)
	close(tasks)
	<-done
	if err != nil {
		t.Errorf("Run() = %v", err)
	}
	if left := h.Left(); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	h.Close()
	opened, closed := count.opened.Load(), count.closed.Load()
	if opened != closed {
		t.Errorf("opened %d, closed %d (seed %d)", opened, closed, seed)
	}
	if opened < 3000 {
		t.Errorf("opened %d pipes, want at least 3000 (seed %d)", opened, seed)
	}
}

// TestRaceThenJoin joins a task after a race has left a cancelled reader of a queue.
// The cancelled reader must not count as a task in a deadlock.
func TestRaceThenJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expectAll(t, `
			local q = task.queue()
			print(task.race{ function() return "quick" end, function() return q:get() end })
			local t = task.spawn(function() task.sleep(2) return "joined" end)
			print(t:join())`, "quick\njoined\n")
	})
}

// expectAll is like expect, with the standard library.
func expectAll(t *testing.T, source, want string) {
	t.Helper()
	library := hosttest.Setup(func(h *host.Host) {
		if err := stdlib.Install(h); err != nil {
			t.Fatal(err)
		}
	})
	if got := hosttest.Run(t, source, library).NoError(t).Stdout; got != want {
		t.Errorf("script:\n%s\nprinted %q, want %q", source, got, want)
	}
}

// TestDeadlockIsFoundAtOnce checks that the host reports a deadlock without any
// delay.
func TestDeadlockIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expectAll(t, `
			local before = time.monotonic()
			local ok, e = pcall(function() task.event():wait() end)
			print(ok, e.code, time.monotonic() - before)
			-- A second deadlock is found as well. A task that was woken is not part of one.
			local a, b = task.queue(), task.queue()
			local echo = task.spawn(function() for v in a do b:put(v) end end)
			for i = 1, 1000 do a:put(i) assert(b:get() == i) end
			local ok, e = pcall(b.get, b)
			print(ok, e.code, #e.details.tasks)`, "false\tdeadlock\t0\nfalse\tdeadlock\t2\n")
	})
}
