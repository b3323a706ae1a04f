package host_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
)

// baseTests lists expressions and the text that print writes for them. An empty
// text stands for an error.
var baseTests = []struct{ src, want string }{
	{
		`tonumber("1e3"), tonumber("0x1p4"), tonumber("9223372036854775808"), tonumber("inf"), tonumber("1_0"), tonumber(" 10 "), tonumber("010")`,
		"1000\t16\t9.223372036854776e+18\tnil\tnil\t10\t10",
	},
	{
		`tonumber("ff", 16), tonumber("zz", 36), tonumber("8", 8), tonumber(""), tonumber("0x"), tonumber("-0x10"), tonumber({})`,
		"255\t1295\tnil\tnil\tnil\t-16\tnil",
	},
	{
		`tostring(1/0), tostring(-1/0), tostring(0/0) == "nan" or tostring(0/0) == "-nan", 2^53, 1e15, 0.1, 1e100, 123456.75, 1e-7`,
		"inf\t-inf\ttrue\t9007199254740992\t1000000000000000\t0.1\t1e+100\t123456.75\t1e-07",
	},
	{`pcall(error)`, "false\tnil"},
	{`pcall(error, "m")`, "false\tm"},
	{`select("#", pcall(error, nil))`, "2"},
	{`pcall(assert, false)`, "false\tassertion failed!"},
	{`pcall(assert, false, "m")`, "false\tm"},
	{`select("#", assert(1, 2, 3))`, "3"},
	{`type(select(2, pcall(assert, nil, {})))`, "table"},
	{`pcall(function() error("m") end)`, "false\ttest.lua:1: m"},
	{`pcall(function() error("m", 0) end)`, "false\tm"},
	{`pcall(function() error("m", 2) end)`, "false\tm"},
	{`pcall(1)`, "false\tattempt to call a number value"},
	{`pcall(setmetatable({}, {__call = function(_, v) return v end}), 5)`, "true\t5"},
	{`xpcall(function(...) return ... end, print, 1, 2)`, "true\t1\t2"},
	{`xpcall(function() error({}) end, function(e) return type(e), 2 end)`, "false\ttable"},
	{
		`xpcall(function() local function f() return 1 + f() end f() end, function(e) return "handled" end)`,
		"false\thandled",
	},
	{`xpcall(function() error("a", 0) end, function(e) error("b", 0) end)`, "false\tb"},
	{
		`load("return ...")(7), loadstring("return 1")(), load(function() return nil end) ~= nil`,
		"7\t1\ttrue",
	},
	{`loadstring("x = = 1", "chunk")`, "nil\tchunk:1: unexpected symbol near '=' (syntax)"},
	{`load("return x", "c", "t", {x = 4})()`, "4"},
	{`select(-1, 1, 2, 3), select("#"), (select(2, "a", "b"))`, "3\t0\tb"},
	{`unpack({1, 2, nil, 4}, 1, 4)`, "1\t2\tnil\t4"},
	{`pcall(unpack, {}, 1, 1e6)`, "false\ttoo many results to unpack (1000000, limit is 100000)"},
	{`type(collectgarbage("count")), collectgarbage()`, "number\t0"},
	{
		`getmetatable("").__index, pcall(setmetatable, "", {})`,
		"nil\tfalse\tbad argument #1 (table expected, got string)",
	},
	{`rawget(_G, "nope"), channel == nil`, ""},
	{`("ab"):rep(3), ("x"):rep(-1)`, "ababab\t"},
	{
		`os.date("!%Y-%m-%d %H:%M:%S %a %j %p %U %%", 86400 * 59), os.date("!*t", 0).yday, os.date("!%D %T %R %e", 0)`,
		"1970-03-01 00:00:00 Sun 060 AM 09 %\t1\t01/01/70 00:00:00 00:00  1",
	},
	{`pcall(os.time, {year = 2024})`, "false\tfield 'day' missing in date table"},
	{
		`os.time{year = 2024, month = 1, day = 2, hour = 0} - os.time{year = 2024, month = 1, day = 1, hour = 0}`,
		"86400",
	},
	{`os.getenv("HOME"), os.getenv("NOPE")`, "/home/x\tnil"},
	{`io.open("/does/not/exist")`, "nil\t/does/not/exist: No such file or directory\t2"},
	{`os.remove("/does/not/exist")`, "nil\t/does/not/exist: No such file or directory\t2"},
	{`io.type(io.stdout), io.type(1), tostring(io.stdin)`, "file\tnil\tfile (stdin)"},
	{`debug.traceback("msg")`, "msg\nstack traceback:\n\ttest.lua:1 in main chunk"},
	{`rawget(os, "execute"), rawget(io, "popen"), rawget(debug, "setmetatable")`, "nil\tnil\tnil"},
	{
		`pcall(function() return os.execute end)`,
		"false\ttest.lua:1: there is no os.execute (undefined)",
	},
}

func TestBaseLibrary(t *testing.T) {
	t.Parallel()
	env := hosttest.Options(func(o *host.Options) {
		o.Env = func(name string) (string, bool) { return "/home/x", name == "HOME" }
	})
	for _, test := range baseTests {
		if test.want == "" {
			if run(t, "print("+test.src+")").Code == 0 {
				t.Errorf("%s succeeded, want an error for an undefined global", test.src)
			}
			continue
		}
		if got := run(t, "print("+test.src+")", env).NoError(t).Stdout; got != test.want+"\n" {
			t.Errorf("%s = %q, want %q", test.src, got, test.want+"\n")
		}
	}
}

func TestPairs(t *testing.T) {
	t.Parallel()
	expect(t, `
		local t = {10, 20, x = 1, y = 2}
		for k, v in pairs(t) do io.write(k, "=", v, " ") end
		for i, v in ipairs(t) do io.write(i, "=", v, " ") end
		local p = setmetatable({}, {__pairs = function() return function(_, k) if not k then return "only", 1 end end, nil, nil end,
			__ipairs = function(s) return function(_, i) if i < 2 then return i + 1, "v" end end, s, 0 end})
		for k, v in pairs(p) do io.write(k, "=", v, " ") end
		for k, v in ipairs(p) do io.write(k, "=", v, " ") end
		print(pcall(pairs, nil))`, "1=10 2=20 x=1 y=2 1=10 2=20 only=1 1=v 2=v false\tbad argument #1 (table expected, got nil)\n")
}

func TestIO(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.txt")
	if err := os.WriteFile(path, []byte("one\ntwo\n 12.5 rest"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		`
		for l in io.lines(path) do io.write("[", l, "]") end
		local f = io.open(path)
		print(f:read("*l", "*l", "*n", 2, "*a", "*a", "*l"))
		print(f:seek("set", 4), f:read(3), f:seek("cur"), f:seek("end"), f:read(0), f:read(1))
		print(f:close(), io.type(f), pcall(f.read, f))
		local w = io.open(path, "w")
		print(w:write("x", 1, data("y")) == w, w:seek("cur"))
		w:close()
		print(io.open(path):read("*a"), pcall(io.open, path, "q"))
		print(io.read(), io.read("*n"), io.read("*l"), io.read("*L"), io.read("*a"), io.read())
		io.stderr:write("to stderr")
		print(os.rename(path, path .. "2"), os.remove(path .. "2"), (os.remove(path)))
		print(pcall(io.lines, path))`,
		`[one][two][ 12.5 rest]one	two	12.5	 r	est		nil
4	two	7	18	nil	nil
true	closed file	false	attempt to use a closed file
true	3
x1y	false	bad argument #2 (invalid mode 'q')
first	42		line
	rest	nil
true	true	nil
`+"false\ttest.lua:14: open "+path+": no such file or directory (not_found)\n",
		hosttest.Stdin(
			"first\n42\nline\nrest",
		),
		hosttest.Setup(func(h *host.Host) { h.SetGlobal("path", host.ToLua(h.L(), path)) }),
	)
}

func TestStrftime(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 12, 30, 15, 4, 5, 123456789, time.FixedZone("CET", 3600))
	for format, want := range map[string]string{
		"%a %A %b %B %h":             "Mon Monday Dec December Dec",
		"%c|%x|%X|%D|%F|%T|%R|%r":    "Mon Dec 30 15:04:05 2024|12/30/24|15:04:05|12/30/24|2024-12-30|15:04:05|15:04|03:04:05 PM",
		"%d %e %H %I %k %l %M %S %p": "30 30 15 03 15  3 04 05 PM",
		"%j %U %W %V %G %g %u %w":    "365 52 53 01 2025 25 1 1",
		"%y %Y %C %s %z %Z %n%t%%":   "24 2024 20 1735567445 +0100 CET \n\t%",
		"%f %L %Ey %Od":              "123456 123 24 30",
	} {
		got, err := host.Strftime(format, at)
		if err != nil {
			t.Errorf("Strftime(%q) failed: %v", format, err)
		}
		if got != want {
			t.Errorf("Strftime(%q) = %q, want %q", format, got, want)
		}
	}
	if _, err := host.Strftime("%Q", at); err == nil {
		t.Error("Strftime(%Q) = nil error")
	}
}
