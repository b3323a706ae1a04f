package host_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	lua "github.com/yuin/gopher-lua"
)

// TestBlockAnywhere blocks in every place where a yield would break the VM, so that
// other tasks run in between.
func TestBlockAnywhere(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"coroutine body":       `local co = coroutine.wrap(function() block() coroutine.yield(1) block() return 2 end) return co() + co()`,
		"function in pcall":    `local _, v = pcall(function() block() return 3 end) return v`,
		"Go function in pcall": `local _, v = pcall(block, 3) return v`,
		"error after block":    `local ok, e = pcall(function() block() error("x", 0) end) return (not ok and e == "x") and 3`,
		"xpcall handler":       `local _, v = xpcall(function() error("x", 0) end, function(m) block() return 3 end) return v`,
		"__call":               `return setmetatable({}, {__call = function(_, v) block() return v end})(3)`,
		"for iterator":         `local n = 0 for i in function(_, i) block() i = (i or 0) + 1 return i <= 3 and i or nil end do n = n + 1 end return n`,
		"wrap as iterator":     `local n = 0 for i in coroutine.wrap(function() for i = 1, 3 do block() coroutine.yield(i) end end) do n = n + 1 end return n`,
		"__index":              `return setmetatable({}, {__index = function() block() return 3 end}).x`,
		"__newindex":           `local r local t = setmetatable({}, {__newindex = function(_, k, v) block() r = v end}) t.x = 3 return r`,
		"__add":                `return setmetatable({}, {__add = function() block() return 3 end}) + 1`,
		"__eq":                 `local mt = {__eq = function() block() return true end} return setmetatable({}, mt) == setmetatable({}, mt) and 3`,
		"__tostring":           `return tonumber(tostring(setmetatable({}, {__tostring = function() block() return "3" end})))`,
		"require":              `package.preload.m = function() block() return {v = 3} end return require("m").v`,
		"sort comparator":      `local l = {3, 2, 1} table.sort(l, function(a, b) block() return a < b end) return l[3]`,
		"gsub callback":        `return tonumber((("1"):gsub("1", function() block() return "3" end)))`,
		"tail call":            `local function f() return block(3) end return f()`,
		"loadstring":           `return loadstring("block() return 3")()`,
		"scope":                `return scope(function() block() return 3 end)`,
		"timeout":              `return timeout(60, function() block() return 3 end)`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := `
				local stop = false
				local noise = spawn(function() local n = 0 while not stop do n = n + 1 pcall(block, n) end end)
				local work = {}
				for i = 1, 4 do work[i] = spawn(function() for j = 1, 5 do
					local v = (function() ` + body + ` end)()
					if v ~= 3 then error("got " .. tostring(v), 0) end
				end end) end
				for _, w in ipairs(work) do join(w) end
				stop = true
				join(noise)`
			run(t, src).NoError(t)
		})
	}
}

// TestStress combines everything that tasks can do. It is meant for -race.
func TestStress(t *testing.T) {
	t.Parallel()
	src := `
		local shared, sum = {}, 0
		local meta = setmetatable({}, {__index = function(_, k) block() return k end})
		local function recurse(n) if n == 0 then block() return 0 end return 1 + recurse(n - 1) end
		local function overflow() return 1 + overflow() end
		local function worker(id)
			for round = 1, 8 do
				shared[#shared + 1] = id
				local ok, e = pcall(function() block() if round % 2 == 0 then error({id = id}) end return id end)
				assert(ok or e.id == id)
				local l = {} for i = 1, 6 do l[i] = (i * 7 + id) % 5 end
				table.sort(l, function(a, b) if (a + b) % 3 == 0 then block() end return a < b end)
				for i = 2, #l do assert(l[i-1] <= l[i]) end
				assert(("abc"):gsub("%w", function(c) block() return c:upper() end) == "ABC")
				assert(meta.field == "field")
				local co = coroutine.wrap(function(a) block() local b = coroutine.yield(a + 1) block() return a + b end)
				assert(co(1) == 2 and co(5) == 6)
				for k in coroutine.wrap(function() for i = 1, 3 do block() coroutine.yield(i) end end) do sum = sum + k end
				assert(recurse(50) == 50)
				assert(not pcall(overflow))
				assert(not pcall(panics) and not pcall(panics_block))
				assert(pcall(timeout, 60, function() block() end))
				local child = spawn(function(a) block() if a % 3 == 0 then error("child", 0) end return a end, round)
				local ok, v = pcall(join, child)
				assert(ok == (round % 3 ~= 0) and (v == round or v == "child"), tostring(v))
			end
			return id
		end
		local tasks = {}
		for i = 1, 50 do tasks[i] = spawn(worker, i) end
		local n = 0
		for i, task in ipairs(tasks) do n = n + join(task) end
		print(n, #shared, sum)`
	expect(t, src, "1275\t400\t2400\n")
}

func TestTasksRunInOrder(t *testing.T) {
	t.Parallel()
	expect(t, `
		local l = {}
		for i = 1, 5 do l[i] = spawn(function() io.write(i) block() io.write(i) end) end
		io.write("m")
		for _, x in ipairs(l) do join(x) end
		print()`, "m1234512345\n")
}

func TestThousandTasks(t *testing.T) {
	t.Parallel()
	expect(t, `
		local l, n = {}, 0
		for i = 1, 1000 do l[i] = spawn(function() for j = 1, 3 do block() n = n + 1 end return i end) end
		local sum = 0
		for _, x in ipairs(l) do sum = sum + join(x) end
		print(n, sum)`, "3000\t500500\n")
}

func TestJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expect(
			t,
			`
			print(join(spawn(function(...) sleep(1) return ... end, 1, nil, 3)))
			local bad = spawn(function() sleep(1) fail("broken") end)
			local ok, e = pcall(join, bad)
			print(ok, e.code, e.message, e.where)
			local ok, again = pcall(join, bad)
			print(rawequal(e, again))
			local slow = spawn(function() sleep(10) end)
			local ok, e = pcall(join, slow, 2)
			print(ok, e.code)
			cancel(slow, "enough")
			local ok, e = pcall(join, slow)
			print(ok, e.code, e.message)`,
			"1\tnil\t3\nfalse\terror\tbroken\ttest.lua:3\ntrue\nfalse\ttimeout\nfalse\tcancelled\tenough\n",
		)
	})
}

func TestUnobservedFailure(t *testing.T) {
	t.Parallel()
	res := run(t, `spawn(function() error("lost") end) block() block() print("end")`)
	if res.Code != 1 {
		t.Errorf("code = %d, want 1", res.Code)
	}
	if !strings.Contains(res.Stderr, "lost") {
		t.Errorf("stderr = %q, want a warning with the error \"lost\"", res.Stderr)
	}
	if res.Stdout != "end\n" {
		t.Errorf("stdout = %q, want \"end\"", res.Stdout)
	}
	if res.Report != "" {
		t.Errorf("report = %q, want none: the failure was printed already", res.Report)
	}
	res = run(
		t,
		`local x = spawn(function() error("found") end) block() block() print(pcall(join, x))`,
	).NoError(t)
	if want := "false\ttest.lua:1: found\n"; res.Stdout != want {
		t.Errorf("stdout = %q, want %q", res.Stdout, want)
	}
}

func TestEndOfScriptCancelsTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expect(t, `
			spawn(function() defer(function() sleep(1) print("cleaned") end) while true do sleep(100) end end)
			block()
			print("end")`, "end\ncleaned\n")
	})
}

func TestDeadlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		res := run(t, "local a, b\na = spawn(function()\n  forever()\nend)\njoin(a)")
		e := res.Error(t)
		if e.Code != "deadlock" {
			t.Errorf("error = %v, want code deadlock", e)
		}
		if e.Where != "test.lua:5" {
			t.Errorf("the error is at %s, want test.lua:5", e.Where)
		}
		for _, want := range []string{
			"main waits in join test.lua:2 at test.lua:5",
			"test.lua:2 waits in forever at test.lua:3",
		} {
			if !strings.Contains(e.Message, want) {
				t.Errorf("message = %q, want %q in it", e.Message, want)
			}
		}
		// A task that sleeps or has a deadline will continue, so this is no deadlock.
		expect(t, `
			local a = spawn(function() sleep(60) return 1 end)
			print(join(a))
			print(pcall(timeout, 60, forever))`, "1\nfalse\ttest.lua:4: not finished within 1m0s (timeout)\n")
	})
}

// cancelCases holds scripts that do not end by themselves. Each calls ready when it
// has begun the work that is to be cancelled.
var cancelCases = map[string]string{
	"busy loop":             `ready() while true do end`,
	"nested pcall loop":     `ready() while true do pcall(function() while true do pcall(function() while true do end end) end end) end`,
	"xpcall loop":           `ready() while true do xpcall(function() while true do end end, function(m) return m end) end`,
	"sleeping":              `spawn(ready) sleep(1e6)`,
	"sleeping in pcall":     `spawn(ready) while true do pcall(sleep, 1e6) end`,
	"sort comparator":       `local l = {} for i = 1, 1000 do l[i] = i % 17 end ready() while true do table.sort(l, function(a, b) return a < b end) end`,
	"coroutine":             `ready() coroutine.wrap(function() while true do coroutine.resume(coroutine.create(function() while true do end end)) end end)()`,
	"iterator":              `ready() for x in function() return 1 end do end`,
	"deadlock-free waiting": `local t = spawn(function() ready() sleep(1e6) end) join(t)`,
	"lock held by another":  `spawn(function() ready() while true do end end) while true do block() end`,
	"clean-up running":      `defer(function() ready() while true do end end) error("x")`,
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, src := range cancelCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			var once sync.Once
			ready := hosttest.Setup(func(h *host.Host) {
				h.SetGlobal(
					"ready",
					h.L().NewFunction(func(*lua.LState) int { once.Do(cancel); return 0 }),
				)
			})
			res := run(t, src, ready, hosttest.Context(ctx))
			e := res.Error(t)
			if name == "clean-up running" {
				if e.Message != "x" {
					t.Errorf("error = %v, want x: the script failed before it was cancelled", e)
				}
				if len(e.Suppressed) != 1 {
					t.Errorf("suppressed = %v, want one error", e.Suppressed)
				}
				return
			}
			if e.Code != "interrupted" {
				t.Errorf("error = %v, want code interrupted", e)
			}
			if res.Code != 130 {
				t.Errorf("exit code = %d, want 130", res.Code)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expect(t, `
			local ok, e = pcall(timeout, 1, function() sleep(5) end)
			print(ok, e.code, e.where)
			-- The earlier deadline wins, and only its own call ends.
			local ok, e = pcall(timeout, 5, function()
				local ok, e = pcall(timeout, 1, function() pcall(sleep, 100) return "not reached" end)
				print(ok, e.code)
				sleep(1)
				return "outer goes on"
			end)
			print(ok, e)`,
			"false\ttimeout\ttest.lua:2\nfalse\ttimeout\ntrue\touter goes on\n")
		res := run(
			t,
			`while true do pcall(sleep, 1) end`,
			hosttest.Options(func(o *host.Options) { o.Timeout = time.Minute }),
		)
		if e := res.Error(t); e.Code != "timeout" {
			t.Errorf("error = %v, want code timeout", e)
		}
		if res.Code != 5 {
			t.Errorf("exit code = %d, want 5", res.Code)
		}
	})
}

// TestCallTimeout makes a call that ends only with its context.
func TestCallTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		call := hosttest.Setup(func(h *host.Host) {
			h.SetGlobal("call", h.L().NewFunction(func(L *lua.LState) int {
				host.Block(L, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				return 0
			}))
		})
		start := time.Now()
		expect(t, `local ok, e = pcall(call) print(ok, e.code)`, "false\ttimeout\n", call)
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("the call took %v, want 30s", d)
		}
	})
}

func TestInstructionBudget(t *testing.T) {
	t.Parallel()
	res := run(t, `while true do pcall(function() while true do end end) end`,
		hosttest.Options(func(o *host.Options) { o.MaxInstructions = 100000 }))
	if e := res.Error(t); e.Code != "instructions" {
		t.Errorf("error = %v, want code instructions", e)
	}
}

func TestMemoryLimit(t *testing.T) {
	for name, src := range map[string]string{
		"table":         `local l = {} for i = 1, 1e9 do l[i] = {i} end`,
		"concatenation": `local s = ("x"):rep(1e6) while true do s = s .. s end`,
	} {
		t.Run(name, func(t *testing.T) {
			res := run(t, src, hosttest.Options(func(o *host.Options) { o.MaxMemory = 96 << 20 }))
			if e := res.Error(t); e.Code != "memory" {
				t.Errorf("error = %v, want code memory", e)
			}
		})
	}
}
