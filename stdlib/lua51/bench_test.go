package lua51_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/stdlib"
)

// benchmarks lists programs. Only the body is measured.
var benchmarks = []struct{ name, prepare, body string }{
	{"gsub 25000 matches in 1 MB", `local s = (("x"):rep(39) .. "y"):rep(25000)`,
		`s:gsub("y", "zz")`},
	{"gsub with captures", `local s = (("x"):rep(37) .. "k=v"):rep(25000)`,
		`s:gsub("(%w)=(%w)", "%2=%1")`},
	{"gsub with a function", `local s = (("x"):rep(39) .. "y"):rep(25000)
		local function f() return "z" end`, `s:gsub("y", f)`},
	{"find to the newline in 1 MB", `local s = ("x"):rep(1e6) .. "\n"`, `s:find(".*\n")`},
	{"find the newline in 1 MB", `local s = ("x"):rep(1e6) .. "\n"`, `s:find("[^\n]*\n")`},
	{"gmatch lines of 1 MB", `local s = (("x"):rep(39) .. "\n"):rep(25000)`,
		`for _ in s:gmatch("([^\n]*)\n") do end`},
	{"concat 1e6 items", `local t = {} for i = 1, 1e6 do t[i] = "item" end`,
		`table.concat(t, ",")`},
	{"concat 1e6 numbers", `local t = {} for i = 1, 1e6 do t[i] = i end`, `table.concat(t, ",")`},
	{"sort 100k", `local u = {} for i = 1, 1e5 do u[i] = (i * 7919) % 100003 end`,
		`local t = {} for i = 1, 1e5 do t[i] = u[i] end table.sort(t)`},
	{"sort 100k by a function", `local u = {} for i = 1, 1e5 do u[i] = (i * 7919) % 100003 end
		local function f(a, b) return a < b end`,
		`local t = {} for i = 1, 1e5 do t[i] = u[i] end table.sort(t, f)`},
	{"format 100k", `local f = string.format`,
		`for i = 1, 1e5 do f("%d %s %5.2f", i, "name", i / 3) end`},
	{"short matches 100k", `local s = "key = value"`,
		`for i = 1, 1e5 do s:match("^(%w+)%s*=%s*(%w+)$") end`},
}

// BenchmarkLibrary measures each program here and in lua5.1, and reports the ratio of the times. It
// uses the shortest of several runs, because other programs share the machine.
func BenchmarkLibrary(b *testing.B) {
	for _, bm := range benchmarks {
		b.Run(strings.ReplaceAll(bm.name, " ", "_"), func(b *testing.B) {
			const rounds = 5
			out := runReference(b, bm.prepare+`
				local function run() `+bm.body+` end run()
				local least = math.huge for i = 1, `+strconv.Itoa(rounds)+` do
				local start = os.clock() run() least = math.min(least, os.clock() - start) end
				print(least)`)
			reference, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
			if err != nil {
				b.Fatal(err)
			}
			h := host.New(host.Options{MaxMemory: 4 << 30})
			defer h.Close()
			if err := stdlib.Install(h); err != nil {
				b.Fatal(err)
			}
			var start time.Time
			least := time.Duration(math.MaxInt64)
			h.SetGlobal("n", lua.LNumber(b.N))
			h.SetGlobal("start", h.L().NewFunction(func(*lua.LState) int {
				start = time.Now()
				return 0
			}))
			h.SetGlobal("stop", h.L().NewFunction(func(*lua.LState) int {
				least = min(least, time.Since(start))
				return 0
			}))
			source := bm.prepare + ` local function run() ` + bm.body + ` end
				for i = 1, n do start() run() stop() end`
			if err := h.Run(b.Context(), "bench.lua", source); err != nil {
				b.Fatal(err)
			}
			ours := least.Seconds()
			b.ReportMetric(ours*1e3, "ms/run")
			b.ReportMetric(reference*1e3, "lua5.1-ms/run")
			b.ReportMetric(ours/reference, "times-lua5.1")
		})
	}
}
