package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	lua "github.com/yuin/gopher-lua"
)

func TestFailures(t *testing.T) {
	hosttest.Chunks(t, "testdata/failures.lua", hosttest.Setup(kit))
}

// TestUpvalues tests for gopher-lua issue 448: with the stock pcall, the closure
// reads the old value after a caught error.
func TestUpvalues(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]string{
		"pcall":     `pcall(function() local x = b error("x") end)`,
		"xpcall":    `xpcall(function() local x = b error("x") end, function() end)`,
		"nested":    `pcall(function() pcall(function() error(b) end) error(b) end)`,
		"coroutine": `coroutine.resume(coroutine.create(function() error(b) end))`,
		"VM error":  `pcall(function() local x = nil .. b end)`,
		"Go panic":  `pcall(panics)`,
		"timeout":   `pcall(timeout, 60, function() error(b) end)`,
		"scope":     `pcall(scope, function() error(b) end)`,
		"join":      `pcall(join, spawn(function() error(b) end))`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, `
				local b = 1
				local function read() return b end
				local function write(v) b = v end
				`+call+`
				b = 3
				io.write(read(), " ")
				write(4)
				print(b)`, "3 4\n")
		})
	}
}

func TestCoroutines(t *testing.T) {
	t.Parallel()
	expect(t, `
		local co = coroutine.create(function(...)
			print("start", ...)
			print("got", coroutine.yield(1, 2))
			return coroutine.yield(3)
		end)
		print(coroutine.status(co), coroutine.resume(co, "a", "b"))
		print(coroutine.status(co), coroutine.resume(co, "c"))
		print(coroutine.resume(co, "d"))
		print(coroutine.status(co), coroutine.resume(co))
		local outer
		outer = coroutine.create(function()
			local inner = coroutine.create(function() return coroutine.status(outer), coroutine.running() ~= outer end)
			return coroutine.resume(inner)
		end)
		print(coroutine.resume(outer))
		print(coroutine.running())
		print(coroutine.resume(coroutine.create(function() return coroutine.resume(coroutine.running()) end)))
		-- A coroutine that is blocked in another task is not suspended.
		local shared = coroutine.create(function() for i = 1, 3 do block() end return "done" end)
		local t = spawn(function() return coroutine.resume(shared) end)
		block()
		print(coroutine.resume(shared))
		print(join(t))
		-- A coroutine that was made in one task can be resumed by others.
		local moved = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
		print(moved(), join(spawn(moved)), moved())`, `start	a	b
suspended	true	1	2
got	c
suspended	true	3
true	d
dead	false	cannot resume dead coroutine
true	true	normal	true
nil
true	false	cannot resume non-suspended coroutine
false	cannot resume non-suspended coroutine
true	done
1	2	3
`)
}

// TestYieldBoundaries yields in places where gopher-lua would crash.
func TestYieldBoundaries(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, want string }{
		"pcall": {
			`local ok, e = pcall(function() coroutine.yield() end) return e`, "across a pcall",
		},
		"iterator": {`for _ in coroutine.yield do end`, "across the iterator"},
		"metamethod": {
			`return setmetatable({}, {__index = function() coroutine.yield() end}).x`,
			"across a metamethod",
		},
		"sort": {
			`table.sort({2, 1}, function() coroutine.yield() end)`, "across a Go function",
		},
		"renamed yield": {
			`local stop = coroutine.yield local function f() return stop(1) end f()`,
			"in a tail call",
		},
		"scope": {`scope(function() coroutine.yield() end)`, "across a pcall"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := run(
				t,
				`print(select(2, coroutine.resume(coroutine.create(function() `+test.body+
					` end))))`,
			).NoError(t)
			if !strings.Contains(res.Stdout, "attempt to yield "+test.want) {
				t.Errorf("printed %q, want %q in it", res.Stdout, test.want)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	expect(t, `
		resource("script")
		defer(function() print("deferred") end)
		resource("script 2")
		scope(function()
			resource("inner 1")
			defer(function() block() print("inner deferred") end)
			resource("inner 2")
		end)
		local ok, e = pcall(scope, function()
			defer(function() fail("close failed") end)
			resource("failing")
			error("body", 0)
		end)
		print(ok, e)
		local ok, e = pcall(scope, function()
			defer(function() fail("close failed") end)
			fail("body")
		end)
		print(e.message, e.suppressed[1].message)
		print(scope(function() return 1, 2 end))`, `close inner 2 (<nil>)
inner deferred
close inner 1 (<nil>)
close failing (<nil>)
false	body
body	close failed
1	2
close script 2 (<nil>)
deferred
close script (<nil>)
`)
}

// TestScopesAfterCancel checks that scopes are closed after a cancellation, and that
// Lua code can run while they close.
func TestScopesAfterCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		res := run(t, `
			resource("first")
			defer(function() sleep(2) print("slow clean-up done") end)
			scope(function()
				defer(function() pcall(fail, "x") print("inner") end)
				while true do pcall(sleep, 1e6) end
			end)
			print("not reached")`, hosttest.Context(ctx))
		if want := "inner\nslow clean-up done\nclose first (<nil>)\n"; res.Stdout != want {
			t.Errorf("printed %q, want %q", res.Stdout, want)
		}
		if e := res.Error(t); e.Code != "timeout" {
			t.Errorf("error = %v, want code timeout", e)
		}
		// Clean-up that does not end is stopped after ten seconds.
		start := time.Now()
		res = run(
			t,
			`defer(function() sleep(1e6) end) while true do sleep(60) end`,
			hosttest.Options(func(o *host.Options) { o.Timeout = time.Second }),
		)
		if d := time.Since(start); d != 11*time.Second {
			t.Errorf("the run took %v, want 11s", d)
		}
		if e := res.Error(t); len(e.Suppressed) != 1 {
			t.Errorf("suppressed = %v, want the error of the clean-up", e.Suppressed)
		}
	})
}

func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		interrupt := hosttest.Setup(func(h *host.Host) {
			h.SetGlobal(
				"interrupt",
				h.L().NewFunction(func(*lua.LState) int { h.Interrupt(); return 0 }),
			)
		})
		res := run(
			t,
			`defer(function() sleep(5) interrupt() sleep(5) end) interrupt() print("not reached")`,
			interrupt,
		)
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("took %v, want 5s", d)
		}
		if res.Code != 130 {
			t.Errorf("exit code = %d, want 130", res.Code)
		}
		if res.Stdout != "" {
			t.Errorf("printed %q, want nothing", res.Stdout)
		}
	})
}

func TestExit(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]int{
		`os.exit()`:      0,
		`os.exit(7)`:     7,
		`os.exit(false)`: 1,
		`defer(function() print("closed") end) pcall(function() os.exit(3) end) print("not reached")`:            3,
		`defer(function() print("closed") end) coroutine.wrap(function() os.exit(4) end)() print("not reached")`: 4,
		`defer(function() print("closed") end) spawn(function() os.exit(5) end) block() while true do end`:       5,
		`error("x")`:                         1,
		`x = = 1`:                            2,
		`assert(false)`:                      3,
		`error{code = "no_device"}`:          4,
		`error{code = "permission"}`:         77,
		`timeout(0, function() block() end)`: 5,
	} {
		res := run(t, src)
		if res.Code != want {
			t.Errorf("%s: exit code %d, want %d (error %v)", src, res.Code, want, res.Err)
		}
		if strings.Contains(src, "closed") && res.Stdout != "closed\n" {
			t.Errorf("%s: printed %q, want %q", src, res.Stdout, "closed\n")
		}
	}
}

func TestErrorObject(t *testing.T) {
	t.Parallel()
	mapper := hosttest.Setup(func(h *host.Host) {
		h.MapError(func(err error) *host.Error {
			if !strings.HasPrefix(err.Error(), "lockdown:") {
				return nil
			}
			return &host.Error{
				Code: "InvalidService", Service: "com.apple.x", Op: "StartService",
				Device:  "00008110-0",
				Message: "service not found", Hint: "mount the image",
				Details: map[string]any{"status": 21}, Cause: errors.New("inner"),
			}
		})
	})
	expect(t, `
		local function open() fail("lockdown: no") end
		local ok, e = pcall(function() open() end)
		print(e)
		print(e.code, e.message, e.service, e.op, e.device, e.hint, e.where, e.details.status, e.cause.message)
		print("x: " .. e)
		for _, f in ipairs(e.traceback) do print(f.file, f.line, f.name) end
		local ok, again = pcall(error, e)
		print(again == e, again.where)
		local ok, e = pcall(fail, "other")
		print(e.code, e.hint)`, `test.lua:2: com.apple.x: service not found (InvalidService)
InvalidService	service not found	com.apple.x	StartService	00008110-0	mount the image	test.lua:2	21	inner
x: test.lua:2: com.apple.x: service not found (InvalidService)
test.lua	2	open
test.lua	3	function <test.lua:3>
test.lua	3	main chunk
true	test.lua:2
error	nil
`, mapper)

	src := "local function open()\n  fail(\"lockdown: no\")\nend\nopen()\n"
	want := `error[InvalidService] com.apple.x: service not found
  --> test.lua:2:  fail("lockdown: no")
  device: 00008110-0  op: StartService
  hint: mount the image
traceback:
  test.lua:2 in open
  test.lua:4 in main chunk
`
	if got := run(t, src, mapper).Report; got != want {
		t.Errorf("report:\n%s\nwant:\n%s", got, want)
	}
	report := run(
		t,
		src,
		mapper,
		hosttest.Options(func(o *host.Options) { o.ErrorsJSON = true }),
	).Report
	var j map[string]any
	if err := json.Unmarshal([]byte(report), &j); err != nil {
		t.Fatalf("report %q is not JSON: %v", report, err)
	}
	for key, want := range map[string]any{
		"code": "InvalidService", "where": "test.lua:2", "exit_code": 1.0,
		"hint": "mount the image",
	} {
		if j[key] != want {
			t.Errorf("JSON report: %s = %v, want %v", key, j[key], want)
		}
	}
}

// TestTracebacks raises an error below coroutines and tasks. The traceback must
// include the frames of all of their threads.
func TestTracebacks(t *testing.T) {
	t.Parallel()
	res := run(t, `local function deep() error("x") end
local function body()
  deep()
end
local co = coroutine.wrap(function()
  body()
end)
local function outer()
  co()
end
join(spawn(function() outer() end))`)
	e := res.Error(t)
	var got []string
	for _, f := range e.Traceback {
		got = append(got, f.String())
	}
	want := []string{
		"test.lua:1 in deep", "test.lua:3 in body", "test.lua:6 in function <test.lua:5>",
		"test.lua:9 in outer", "test.lua:11 in function <test.lua:11>",
		"test.lua:11 in main chunk (join)",
	}
	joined := strings.Join(got, "\n")
	if joined != strings.Join(want, "\n") {
		t.Errorf("traceback:\n%s\nwant:\n%s", joined, strings.Join(want, "\n"))
	}
}

func TestNestedSyntax(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"braces":      "return " + strings.Repeat("{", 1e6),
		"not":         "return " + strings.Repeat("not ", 1e6) + "x",
		"minus":       "return " + strings.Repeat("- ", 1e6) + "1",
		"parentheses": "return " + strings.Repeat("(", 1e6) + "1",
		"functions":   strings.Repeat("return function() ", 1e5),
		"blocks":      strings.Repeat("do ", 1e6),
		"concat":      `return "a"` + strings.Repeat(`.."a"`, 1e5),
		"sum":         "return 1" + strings.Repeat("+1", 1e6),
		"calls":       "return f" + strings.Repeat("()", 1e6),
		"string call": "return f" + strings.Repeat("''", 1e6),
		"fields":      "return f" + strings.Repeat(".x", 1e6),
		"elseif":      "if a then " + strings.Repeat("elseif a then ", 1e5) + "end",
		"too long":    strings.Repeat("-- comment\n", 1e6),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if e := run(t, src).Error(t); e.Code != "syntax" {
				t.Errorf("error = %v, want code syntax", e)
			}
		})
	}
	// A large program of ordinary code must compile.
	table := "local t = {" + strings.Repeat(
		"{ 'a', b = -1, c = not true, [1 + 2] = f and f() or '[[' },\n",
		20000,
	) + "}"
	body := "local f\nlocal s = [==[ {{{{ ]] ]==] -- (((((\n--[[ do do do ]] " + table + "\n" +
		strings.Repeat("if f then f() elseif not f then local x = 'do' end\n", 2000)
	run(t, body).NoError(t)
}

func TestScriptHead(t *testing.T) {
	t.Parallel()
	e := run(t, "#!/usr/bin/env imdlua\nerror('x')").Error(t)
	if e.Where != "test.lua:2" {
		t.Errorf("where = %q, want test.lua:2, counting the first line", e.Where)
	}
	expect(t, "\ufeff#!x\nprint(1)", "1\n")
	expect(t, "#!x", "")
}

func TestModules(t *testing.T) {
	t.Parallel()
	dir, lib := t.TempDir(), t.TempDir()
	for path, src := range map[string]string{
		filepath.Join(dir, "a.lua"):          "return { name = ..., n = 1 }",
		filepath.Join(dir, "sub", "b.lua"):   "return require('a')",
		filepath.Join(lib, "c", "init.lua"):  "return 'from the search path'",
		filepath.Join(dir, "loop1.lua"):      "return require 'loop2'",
		filepath.Join(dir, "loop2.lua"):      "return require 'loop1'",
		filepath.Join(dir, "broken.lua"):     "return {",
		filepath.Join(dir, "slow.lua"):       "block() block() return {}",
		filepath.Join(dir, "new_global.lua"): "oops = 1",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	setup := hosttest.Setup(func(h *host.Host) {
		h.Preload(
			"imd.go",
			func(L *lua.LState) int { L.Push(lua.LString("go " + L.CheckString(1))); return 1 },
		)
		h.PreloadSource("imd.emb", "local M = {} function M.fail() error('inside', 2) end return M")
	})
	src := `
		print(require("a").name, require("sub.b") == require("a"), require("c"), require("imd.go"))
		for _, m in ipairs{"loop1", "broken", "nope", "new_global", "imd.gp"} do
			local ok, e = pcall(require, m)
			print(ok, e.code, e.message)
		end
		local t1, t2 = spawn(require, "slow"), spawn(require, "slow")
		local a, b = join(t1), join(t2)
		print(a == b, a == require("slow"))
		print(pcall(require("imd.emb").fail))`
	want := `a	true	from the search path	go imd.go
false	module	loop while loading module 'loop1'
false	syntax	unexpected symbol near '<eof>'
false	module	module 'nope' not found
false	undefined	assignment to undeclared global 'oops'
false	module	module 'imd.gp' not found
true	true
false	inside
`
	opts := []hosttest.Option{
		setup,
		hosttest.Chunk(filepath.Join(dir, "main.lua")),
		hosttest.Options(func(o *host.Options) { o.SearchPath = []string{lib} }),
	}
	res := run(t, src, opts...).NoError(t)
	if res.Stdout != want {
		t.Errorf("printed:\n%s\nwant:\n%s", res.Stdout, want)
	}
}

func TestStarvation(t *testing.T) {
	t.Parallel()
	// The main task can continue only if the host interrupts the busy task.
	expect(t, `
		local stop = false
		local busy = spawn(function() while not stop do end return "stopped" end)
		block()
		stop = true
		print(join(busy))`, "stopped\n")
}
