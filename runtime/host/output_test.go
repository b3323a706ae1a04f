package host_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib/lua51"
	lua "github.com/yuin/gopher-lua"
)

// TestStalledOutputStopsOnlyItsTask prints to a stream that blocks. Other tasks
// must continue.
func TestStalledOutputStopsOnlyItsTask(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	h := host.New(host.Options{Stdout: stalled{free}})
	kit(h)
	h.SetGlobal("free", h.L().NewFunction(func(*lua.LState) int { close(free); return 0 }))
	err := h.Run(context.Background(), "test.lua", `
		local lines = 0
		local printer = spawn(function() for i = 1, 5000 do print(("x"):rep(100)) lines = lines + 1 end end)
		repeat block() until lines > 1000
		local before = lines
		for i = 1, 1000 do block() end
		assert(lines - before < 4000, "the printer was not stopped")
		free()
		join(printer)
		assert(lines == 5000)`)
	if err != nil {
		t.Error(err)
	}
	h.Close()
}

// TestOutputKeepsOrder lets tasks, warnings and bindings write to one writer.
func TestOutputKeepsOrder(t *testing.T) {
	t.Parallel()
	out := &hosttest.Buffer{}
	h := host.New(host.Options{Stdout: out, Stderr: out})
	lua51.Open(h)
	defer h.Close()
	kit(h)
	err := h.Run(context.Background(), "test.lua", `
		print(1)
		io.stderr:write("2\n")
		resource("three")
		spawn(function() print(4) error("five", 0) end)
		block() block()
		io.write(6, "\n")`)
	if err == nil {
		t.Error("Run() = nil, want the failure of the task")
	}
	want := []string{"1\n", "2\n", "4\n", "five", "6\n", "close three"}
	at := 0
	for _, w := range want {
		i := strings.Index(out.String()[at:], w)
		if i < 0 {
			t.Fatalf("%q does not come in its place in:\n%s", w, out)
		}
		at += i
	}
}

// broken is a writer that fails after some bytes.
type broken struct{ left int }

func (b *broken) Write(p []byte) (int, error) {
	b.left -= len(p)
	if b.left < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(p), nil
}

func TestBrokenOutputIsAnError(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`print("0123456789")`, `for i = 1, 1e6 do print("0123456789") end`,
		`io.stdout:write("0123456789") io.stdout:flush() io.write("x")`,
	} {
		h := host.New(host.Options{Stdout: &broken{left: 5}})
		lua51.Open(h)
		err := h.Run(context.Background(), "test.lua", source)
		h.Close()
		if err == nil {
			t.Errorf("%s: Run() = nil, want the error of the stream", source)
			continue
		}
		if !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s: Run() = %v, want the error of the stream", source, err)
		}
	}
}

// TestUncaughtValues raises values that are no errors. The message must be the text
// that p prints for them.
func TestUncaughtValues(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`error({ 1, 2 })`:          "{ 1, 2 }",
		`error({})`:                "{}",
		`error({ a = { b = 1 } })`: "{ a = { b = 1 } }",
		`error(setmetatable({}, { __tostring = function() return "my text" end }))`:  "my text",
		`error(setmetatable({}, { __tostring = function() error("oops") end }))`:     "<error in __tostring: test.lua:1: oops>",
		`error(setmetatable({}, { __tostring = function() while true do end end }))`: "__tostring did not end within 1s",
		`error(42)`:                   "42",
		`error()`:                     "nil",
		`error(true)`:                 "true",
		`error(data("abc"))`:          "<3 bytes: 61 62 63>",
		`error({ message = "text" })`: "text",
	} {
		res := run(t, source)
		if e := res.Error(t); !strings.Contains(e.Message, want) {
			t.Errorf("%s: message = %q, want %q", source, e.Message, want)
		}
	}
}

// TestErrorsOfCleanUp raises errors in deferred functions. None of them may be lost,
// and the error of the script itself must come first.
func TestErrorsOfCleanUp(t *testing.T) {
	t.Parallel()
	const bad = `defer(function() error("clean-up", 0) end) `
	for _, tc := range []struct{ name, source, first, also, warning string }{
		{"success", bad, "clean-up", "", ""},
		{"text", bad + `error("script", 0)`, "script", "clean-up", ""},
		{"object", bad + `fail("script")`, "script", "clean-up", ""},
		{"table", bad + `error({ message = "script" })`, "script", "clean-up", ""},
		{"two", bad + bad, "clean-up", "clean-up", ""},
		{"scope", `scope(function() ` + bad + ` error("script", 0) end)`, "script", "clean-up", ""},
		{
			"timeout", `timeout(60, function() ` + bad + ` error("script", 0) end)`, "script",
			"clean-up", "",
		},
		{
			"task", `join(spawn(function() ` + bad + ` error("script", 0) end))`, "script",
			"clean-up", "",
		},
		{
			"caught text", `pcall(scope, function() ` + bad + ` error("script", 0) end)`, "", "",
			"clean-up",
		},
		{"caught object", `local ok, e = pcall(scope, function() ` + bad +
			` fail("script") end) assert(e.suppressed[1].message == "clean-up")`, "", "", ""},
		{"exit", bad + `os.exit(0)`, "", "", "clean-up"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			res := run(t, tc.source)
			var e *host.Error
			if errors.As(res.Err, &e) != (tc.first != "") {
				t.Fatalf("Run() = %v, want %q", res.Err, tc.first)
			}
			if tc.warning != "" && !strings.Contains(res.Stderr, tc.warning) {
				t.Errorf("printed %q, want a warning with %q", res.Stderr, tc.warning)
			}
			if e == nil {
				return
			}
			if !strings.HasSuffix(e.Message, tc.first) {
				t.Errorf("message = %q, want %q", e.Message, tc.first)
			}
			if tc.also == "" {
				return
			}
			if len(e.Suppressed) != 1 {
				t.Fatalf("suppressed = %v, want one error", e.Suppressed)
			}
			if !strings.Contains(e.Suppressed[0].Error(), tc.also) {
				t.Errorf("suppressed = %v, want %q in it", e.Suppressed[0], tc.also)
			}
			before, after, found := strings.Cut(res.Report, "also, while closing: ")
			if !found {
				t.Errorf("report:\n%s\nwant a line for the error of the clean-up", res.Report)
			}
			if !strings.Contains(before, tc.first) {
				t.Errorf("report:\n%s\nwant %q first", res.Report, tc.first)
			}
			if !strings.Contains(after, tc.also) {
				t.Errorf("report:\n%s\nwant %q for the clean-up", res.Report, tc.also)
			}
		})
	}
}

// TestDefersHaveALimit registers deferred functions that do not end in time.
func TestDefersHaveALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		res := run(t, `
			defer(function() print("last") end)
			defer(function() sleep(1e6) end)
			defer(function() pcall(sleep, 1e6) end)
			print("end")`)
		if res.Stdout != "end\nlast\n" {
			t.Errorf("printed %q, want end, last", res.Stdout)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("took %v, want 30s for each", d)
		}
		e := res.Error(t)
		if e.Code != "timeout" {
			t.Errorf("error = %v, want code timeout", e)
		}
		if len(e.Suppressed) != 1 {
			t.Errorf("suppressed = %v, want the timeout of the other function", e.Suppressed)
		}
	})
}

// TestScopeEntries moves and removes resources whose types cannot be compared.
func TestScopeEntries(t *testing.T) {
	t.Parallel()
	var log []string
	closer := func(name string) host.Closer {
		return host.CloserFunc(func(context.Context) error { log = append(log, name); return nil })
	}
	var late *host.Scope
	res := run(t, `
		scope(function() make("inner", false) make("kept", true) make("gone", false, true) end)
		mark()`, hosttest.Setup(func(h *host.Host) {
		install(h, map[string]lua.LGFunction{
			"make": func(L *lua.LState) int {
				late = host.CurrentScope(L)
				e := late.Add(closer(L.CheckString(1)))
				if L.ToBool(2) && !e.Keep() {
					t.Error("Keep() = false, want true")
				}
				if L.ToBool(3) {
					e.Remove()
					e.Remove()
				}
				return 0
			},
			"mark": func(L *lua.LState) int {
				log = append(log, "mark")
				late.Add(closer("late"))
				e := host.CurrentScope(L).Add(closer("outermost"))
				if e.Keep() {
					t.Error("Keep() = true in the outermost scope, want false")
				}
				return 0
			},
		})
	}))
	res.NoError(t)
	want := "inner mark late outermost kept"
	if got := strings.Join(log, " "); got != want {
		t.Errorf("closed %s, want %s", got, want)
	}
}

// TestTimeoutIsAScope opens resources under a time limit. They must be closed when
// the limited function ends.
func TestTimeoutIsAScope(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expect(
			t,
			`
			local ok, e = pcall(timeout, 1, function()
				resource("under the limit")
				defer(function() sleep(1) print("deferred") end)
				spawn(function() defer(function() print("task ended") end) sleep(60) end)
				sleep(60)
			end)
			print(ok, e.code)
			print(timeout(1, function() resource("in time") return "done" end))`,
			"task ended\ndeferred\nclose under the limit (<nil>)\nfalse\ttimeout\nclose in time (<nil>)\ndone\n",
		)
	})
}

// TestStalledOutputLeavesErrors writes to the standard error in a deferred function
// while the standard output blocks.
func TestStalledOutputLeavesErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		free, errs := make(chan struct{}), &hosttest.Buffer{}
		h := host.New(host.Options{Stdout: stalled{free}, Stderr: errs})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := h.Run(ctx, "test.lua", `while true do print(("x"):rep(1000)) end`)
		if host.ExitCode(err) != 5 {
			t.Errorf("Run() = %v, want code timeout", err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("took %v, want little more than 1s", d)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		kit(h)
		h.Run(ctx, "test.lua", `
			defer(function() io.stderr:write("cleaned\n") end)
			while true do print(("x"):rep(1000)) end`)
		if errs.String() != "cleaned\n" {
			t.Errorf("printed %q, want cleaned", errs)
		}
		close(free)
		h.Close()
	})
}
