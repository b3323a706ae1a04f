package host_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
)

// endless holds programs that loop, block, recurse or allocate without end. One
// interrupt must end each of them, and so must task.timeout.
var endless = map[string]string{
	"empty loop":           `while true do end`,
	"goto":                 `::again:: goto again`,
	"repeat":               `repeat local x = 1 until false`,
	"numeric for":          `for i = 1, math.huge do end`,
	"nested pcall":         `while true do pcall(function() while true do pcall(function() while true do end end) end end) end`,
	"pcall of pcall":       `local function f() pcall(f) end while true do f() end`,
	"xpcall":               `while true do xpcall(function() while true do end end, function(m) return m end) end`,
	"handler":              `xpcall(function() error("x") end, function() while true do end end)`,
	"pcall error":          `while true do pcall(error, "x") end`,
	"error objects":        `while true do pcall(function() error({}) end) end`,
	"recursion":            `local function f() return 1 + f() end while true do pcall(f) end`,
	"tail calls":           `local function f() return f() end f()`,
	"mutual recursion":     `local a, b function a() return b() end function b() return a() end a()`,
	"__index":              `local t = setmetatable({}, { __index = function(t, k) return t[k .. "x"] end }) while true do pcall(function() return t.a end) end`,
	"__tostring":           `local t = setmetatable({}, { __tostring = function() while true do end end }) tostring(t)`,
	"__eq":                 `local mt = { __eq = function() while true do end end } return setmetatable({}, mt) == setmetatable({}, mt)`,
	"comparator":           `local l = {} for i = 1, 1000 do l[i] = i % 17 end while true do table.sort(l, function(a, b) return a < b end) end`,
	"iterator":             `for x in function() return 1 end do end`,
	"coroutines":           `while true do coroutine.wrap(function() coroutine.yield() end)() end`,
	"coroutine in another": `coroutine.wrap(function() while true do coroutine.resume(coroutine.create(function() while true do end end)) end end)()`,
	"sleep":                `while true do pcall(task.sleep, 1e6) end`,
	"long sleep":           `task.sleep(math.huge)`,
	"join":                 `task.spawn(function() task.sleep(1e6) end):join()`,
	"queue":                `local q = task.queue() task.spawn(function() while true do task.sleep(1) end end) q:get()`,
	"busy task beside":     `task.spawn(function() while true do end end) while true do task.sleep(0.001) end`,
	"spawning":             `while true do task.spawn(function() end):join() end`,
	"many tasks":           `while true do local l = {} for i = 1, 100 do l[i] = function() end end task.all(l) end`,
	"scopes":               `while true do scope(function() defer(function() end) end) end`,
	"growing table":        `local t = {} while true do t[#t + 1] = {} end`,
	"growing string":       `local s = "" while true do s = s .. "xxxxxxxxxxxxxxxx" end`,
	"doubling":             `while true do local s = "x" for i = 1, 20 do s = s .. s end end`,
	"rep":                  `while true do local s = ("x"):rep(1e6) end`,
	"load":                 `while true do loadstring("return 1")() end`,
	"long sources":         `local s = ("x = 1 "):rep(250000) while true do loadstring(s) end`,
	"print":                `while true do print(("x"):rep(1000)) end`,
	"stalled write":        `while true do io.stderr:write(("x"):rep(1000)) end`,
	"read":                 `io.read()`,
	"read all":             `while true do pcall(io.read, "*a") end`,
	"atomic":               `task.atomic(function() while true do end end)`,
}

// stalled is a writer that blocks until free is closed.
type stalled struct{ free chan struct{} }

func (s stalled) Write(p []byte) (int, error) {
	<-s.free
	return len(p), nil
}

// TestEndlessPrograms runs the programs with an input that never delivers anything
// and outputs that block.
func TestEndlessPrograms(t *testing.T) {
	var releases sync.Map // by host: the function that unblocks its outputs
	hosttest.Endless{
		Programs: endless,
		Limit:    20 * time.Millisecond,
		Host: func(t *testing.T) *host.Host {
			free := make(chan struct{})
			in, writer := io.Pipe()
			release := sync.OnceFunc(func() { close(free) })
			t.Cleanup(func() { release(); writer.Close() })
			h := host.New(host.Options{
				Stdin: in, Stdout: stalled{free}, Stderr: stalled{free}, MaxMemory: 4 << 30,
			})
			releases.Store(h, release)
			if err := stdlib.Install(h); err != nil {
				t.Fatal(err)
			}
			return h
		},
		Over: func(h *host.Host) {
			release, _ := releases.Load(h)
			release.(func())()
		},
		Ended: func(t *testing.T, h *host.Host) {
			if left := h.Left(); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		},
	}.Run(t)
}

// TestOtherHostsMemory fills another host of the same process. The limit of the
// first one must count only its own values.
func TestOtherHostsMemory(t *testing.T) {
	small := hosttest.Options(func(o *host.Options) { o.MaxMemory = 64 << 20 })
	other := host.New(host.Options{MaxMemory: 4 << 30})
	defer other.Close()
	held, release := make(chan struct{}), make(chan struct{})
	other.SetGlobal("hold", other.L().NewFunction(func(L *lua.LState) int {
		host.WithTimeout(L, host.NoTimeout, func(context.Context) error {
			close(held)
			<-release
			return nil
		})
		return 0
	}))
	done := make(chan error)
	go func() {
		done <- other.Run(context.Background(), "other.lua",
			`local t = {} for i = 1, 256 do t[i] = ("x"):rep(1e6) .. i end hold() print(#t)`)
	}()
	<-held
	res := run(t, `local t = {} for i = 1, 1e5 do t[i % 1000] = { i } end
		for i = 1, 200 do local s = ("y"):rep(1e6) end print("fine")`, small)
	if res.NoError(t).Stdout != "fine\n" {
		t.Errorf("printed %q, want fine", res.Stdout)
	}
	// The limit of the first host still applies to its own values.
	res = run(t, `local t = {} for i = 1, 1e9 do t[i] = { i } end`, small)
	if e := res.Error(t); e.Code != "memory" {
		t.Errorf("error = %v, want code memory", e)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("the other host: %v", err)
	}
}

// TestMemoryKinds allocates memory in every way that scripts can.
func TestMemoryKinds(t *testing.T) {
	for name, source := range map[string]string{
		"tables":        `local t = {} for i = 1, 1e9 do t[i] = { i } end`,
		"array":         `local t = {} for i = 1, 1e9 do t[i] = i end`,
		"strings":       `local t = {} for i = 1, 1e9 do t[i] = "string number " .. i end`,
		"keys":          `local t = {} for i = 1, 1e9 do t["k" .. i] = true end`,
		"closures":      `local t = {} for i = 1, 1e9 do t[i] = function() return i end end`,
		"concatenation": `local s = ("x"):rep(1e6) while true do s = s .. s end`,
		"rep":           `local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(1e6) end`,
		"one rep":       `local s = ("x"):rep(1.5e8)`,
		"format":        `local s = "x" while true do s = ("%s%s"):format(s, s) end`,
		"coroutines":    `local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() end) end`,
		"tasks":         `for i = 1, 1e9 do task.spawn(function() task.sleep(60) end) end`,
		"queue":         `local q = task.queue() for i = 1, 1e9 do q:put("value " .. i) end`,
		"data":          `local t = {} for i = 1, 1e9 do t[i] = data(("x"):rep(1e5)) end`,
		"upvalues":      `local keep = {} local function f(s) keep = { keep, s, function() return s end } end for i = 1, 1e9 do f("s" .. i) end`,
		"in a pcall":    `local function f() local t = {} for i = 1, 1e9 do t[i] = { i } end end while true do pcall(f) end`,
		"in a task":     `task.spawn(function() local t = {} for i = 1, 1e9 do t[i] = { i } end end):join()`,
		"in a global":   `rawset(_G, "t", {}) for i = 1, 1e9 do t[i] = { i } end`,
	} {
		t.Run(name, func(t *testing.T) {
			library := hosttest.Setup(func(h *host.Host) {
				if err := stdlib.Install(h); err != nil {
					t.Fatal(err)
				}
			})
			res := hosttest.Run(
				t,
				source,
				library,
				hosttest.Options(func(o *host.Options) { o.MaxMemory = 32 << 20 }),
			)
			if e := res.Error(t); e.Code != "memory" {
				t.Errorf("error = %v, want code memory", e)
			}
		})
	}
}

// TestGarbageOfOthersMemory takes memory in large pieces while as much garbage of others
// goes, so that the heap does not grow. In the bubble no time passes for the regular look
// at the heap.
func TestGarbageOfOthersMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := make([]byte, 1<<30)
		drop := hosttest.Setup(func(h *host.Host) {
			h.SetGlobal("drop", h.L().NewFunction(func(*lua.LState) int {
				clear(others[:1])
				others = nil
				runtime.GC()
				return 0
			}))
		})
		res := run(t, `local all = { ("x"):rep(9e6) } -- measures, and sets the next size of the heap
			drop()
			for i = 1, 100 do all[#all + 1] = ("x"):rep(2e6) .. i end`, drop,
			hosttest.Options(func(o *host.Options) { o.MaxMemory = 64 << 20 }))
		if e := res.Error(t); e.Code != "memory" {
			t.Errorf("error = %v, want code memory", e)
		}
	})
}

// TestSessionGoesOnAfterMemory exceeds the memory limit in an input. The next input
// must run.
func TestSessionGoesOnAfterMemory(t *testing.T) {
	h := host.New(host.Options{MaxMemory: 32 << 20})
	defer h.Close()
	s := h.Interactive(context.Background())
	defer s.Close()
	eval := func(source string) ([]lua.LValue, error) {
		return s.Eval(context.Background(), "[1]", source)
	}
	for round := range 3 {
		_, err := eval(`t = rawget(_G, "t") or {} for i = 1, 1e9 do t[#t + 1] = { i } end`)
		if !errors.Is(err, &host.Error{Code: "memory"}) {
			t.Fatalf("round %d: %v, want code memory", round, err)
		}
		res, err := eval(`local u = {} for i = 1, 1000 do u[i] = { i } end return #u`)
		if err != nil {
			t.Fatalf("round %d: the next input failed: %v", round, err)
		}
		if res[0] != lua.LNumber(1000) {
			t.Fatalf("round %d: the next input returned %v, want 1000", round, res)
		}
		if round == 1 {
			if _, err := eval(`t = nil`); err != nil {
				t.Fatalf("t = nil: %v", err)
			}
		}
	}
}

// TestTasksAreSmall measures the memory of many tasks, running and failed ones.
func TestTasksAreSmall(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes goroutines larger")
	}
	const fail = `for i = 1, 9000 do spawn(function() error("failed " .. i) end) end block() measure()`
	if e := runMeasured(t, fail, 10<<20).Error(t); e.Code != "task_failed" {
		t.Errorf("error = %v, want code task_failed", e)
	}
	runMeasured(t, `local kept = {}
		for i = 1, 9000 do kept[i] = spawn(function() error("failed " .. i) end) end
		block() measure()`, 30<<20)
	const wait = `for i = 1, 10000 do spawn(function() forever() end) end block() measure()`
	runMeasured(t, wait, 300<<20)
}

// runMeasured runs source. When the script calls measure, the memory of the process
// must have grown by at most the given number of bytes.
func runMeasured(t *testing.T, source string, most int64) hosttest.Result {
	t.Helper()
	before := heap()
	measure := hosttest.Setup(func(h *host.Host) {
		h.SetGlobal("measure", h.L().NewFunction(func(*lua.LState) int {
			used := heap() - before
			t.Logf("%s\nkeeps %d MB", source, used>>20)
			if used > most {
				t.Errorf("want at most %d MB", most>>20)
			}
			return 0
		}))
	})
	return run(
		t,
		source,
		measure,
		hosttest.Options(func(o *host.Options) { o.Stderr = io.Discard }),
	)
}

// heap returns the memory in use, including the stacks of goroutines.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
