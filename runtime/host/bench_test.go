package host_test

import (
	"context"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
	lua "github.com/yuin/gopher-lua"
)

// benchmark runs body b.N times in a script.
func benchmark(b *testing.B, head, body string) {
	h := host.New(host.Options{})
	defer h.Close()
	kit(h)
	h.SetGlobal("N", lua.LNumber(b.N))
	h.SetGlobal("start", h.L().NewFunction(func(*lua.LState) int { b.ResetTimer(); return 0 }))
	b.ReportAllocs()
	source := head + "\nstart()\nfor i = 1, N do\n" + body + "\nend"
	if err := h.Run(context.Background(), "bench.lua", source); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkBlock(b *testing.B)     { benchmark(b, "", "block()") }
func BenchmarkSpawnJoin(b *testing.B) { benchmark(b, "local function f() end", "join(spawn(f))") }
func BenchmarkPcall(b *testing.B)     { benchmark(b, "local function f() end", "pcall(f)") }
func BenchmarkPcallError(b *testing.B) {
	benchmark(b, "local function f() error('x') end", "pcall(f)")
}
func BenchmarkErrorObject(b *testing.B) { benchmark(b, "", "pcall(fail, 'x')") }
func BenchmarkResume(b *testing.B) {
	benchmark(
		b,
		"local co = coroutine.wrap(function() while true do coroutine.yield() end end)",
		"co()",
	)
}

// BenchmarkSwitch hands the lock back and forth between two tasks.
func BenchmarkSwitch(b *testing.B) {
	benchmark(
		b,
		"local on = true local other = spawn(function() while on do block() end end)",
		"block()\nif i == N then on = false end",
	)
}

// hookPrograms lists programs whose time in the host is compared with the time in
// gopher-lua alone, without a hook.
var hookPrograms = []struct{ name, body string }{
	{
		"fib",
		`local function fib(n) if n < 2 then return n end return fib(n-1) + fib(n-2) end fib(24)`,
	},
	{"calls", `local function f(a, b) return a end for i = 1, 100000 do f(i, i) end`},
	{"loops", `local s = 0 for i = 1, 100000 do if i % 3 == 0 then s = s + i * 2 end end`},
	{"tables", `local t = {} for i = 1, 50000 do t[i] = i end
		local s = 0 for i = 1, #t do s = s + t[i] end for k, v in next, t do s = s + v end`},
}

// BenchmarkHook measures each program with the hook and without the host.
func BenchmarkHook(b *testing.B) {
	for _, f := range hookPrograms {
		b.Run(f.name+"/hook", func(b *testing.B) { benchmark(b, "", f.body) })
		b.Run(f.name+"/plain", func(b *testing.B) {
			L := lua.NewState(lua.Options{CallStackSize: 1000, RegistrySize: 4096})
			defer L.Close()
			fn, err := L.LoadString(f.body)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				L.Push(fn)
				L.Call(0, 0)
			}
		})
	}
}

func BenchmarkToLuaDict(b *testing.B) {
	b.ReportAllocs()
	v := map[string]any{
		"pid":     123,
		"name":    "SpringBoard",
		"cpu":     1.5,
		"running": true,
		"id":      uint64(1) << 60,
	}
	inLua(b, func(_ *host.Host, L *lua.LState) {
		for b.Loop() {
			host.ToLua(L, v)
		}
	})
}

// BenchmarkNewAndRun makes a host and runs a script of one line.
func BenchmarkNewAndRun(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		h := host.New(host.Options{})
		if err := h.Run(context.Background(), "x.lua", "local x = 1"); err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}
