package stdlib_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/host"
)

// inBubble calls f in a bubble of synctest, in which waiting takes no time.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestTasks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"join gives results",
			`print(task.spawn(function(a, b) return a + b, "x" end, 1, 2):join())`, "3\tx\n"},
		{"named", `print(task.spawn{ name = "w", function() end }.name)`, "w\n"},
		{"join raises the error object", `
local t = task.spawn(function() errors.raise{ code = "boom", message = "m" } end)
local ok, e = try(t.join, t)
print(ok, e.code)`, "false\tboom\n"},
		{"join timeout", `
local t = task.spawn(task.sleep, 100)
local ok, e = try(t.join, t, 1)
print(e.code, t:done())`, "timeout\tfalse\n"},
		{"cancel", `
local t = task.spawn(task.sleep, 100)
t:cancel("enough")
local ok, e = try(t.join, t)
print(e.code, e.message, t:done())`, "cancelled\tenough\ttrue\n"},
		{"cancel without a reason", `
local t = task.spawn(task.sleep, 100)
t:cancel()
local ok, e = try(t.join, t)
print(e.code, t:error().code)`, "cancelled\tcancelled\n"},
		{"timeout", `
local ok, e = try(task.timeout, 1, function() task.sleep(5) end)
print(e.code)
print(task.timeout(5, function() task.sleep(1) return 7 end))`, "timeout\n7\n"},
		{"run_for lets other errors out", `
local ok, e = try(task.run_for, 5, error, "own")
print(e)
print(task.run_for(5, function() end))`, "own\ntrue\n"},
		{"run_for keeps an inner timeout", `
local ok, e = try(task.run_for, 5, function() task.timeout(1, task.sleep, 3) end)
print(e.code)`, "timeout\n"},
		{"every", `
local n = 0
local t = task.every(2, function() n = n + 1 end)
task.sleep(5)
t:cancel()
print(n)`, "3\n"},
		{"wait_all", `task.spawn(function() task.sleep(1) print("done") end) task.wait_all()`,
			"done\n"},
		{"wait_all timeout", `
task.spawn(task.sleep, 9)
local ok, e = try(task.wait_all, 1)
print(e.code)`, "timeout\n"},
		{"time.sleep", `local t = time.now() time.sleep(3) print(time.now() - t)`, "3\n"},
		{"measure", `print((time.measure(task.sleep, 2)))`, "2\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) { prints(t, tc.source, tc.want) })
		})
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"group fails together", `
local ok, e = try(task.group, function(g)
  g:spawn(function() defer(print, "cleaned") task.sleep(100) print("not reached") end)
  g:spawn(function() task.sleep(1) errors.raise{ code = "boom", message = "m" } end)
end)
print(e.code)`, "cleaned\nboom\n"},
		{"all fails", `
local ok, e = try(task.all, { function() error("x", 0) end, function() task.sleep(9) end })
print(e)`, "x\n"},
		{"race cancels", `
print(task.race{
  function() task.sleep(2) return "slow" end,
  function() task.sleep(1) return "fast" end,
})`, "fast\n"},
		{"map keeps order and bounds", `
local now, most = 0, 0
local r = task.map({3, 1, 2}, 2, function(x, i)
  now = now + 1
  most = math.max(most, now)
  task.sleep(x)
  now = now - 1
  return i .. ":" .. x
end)
print(table.concat(r, " "), most)`, "1:3 2:1 3:2\t2\n"},
		{"map of nothing", `print(#task.map({}, 3, print))`, "0\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) { prints(t, tc.source, tc.want) })
		})
	}
}

func TestQueues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"queue hands over in order", `
local q = task.queue(1)
task.spawn(function() for i = 1, 3 do q:put(i) end q:close() end)
for v in q do print(v) end`, "1\n2\n3\n"},
		{"queue timeout", `
local q = task.queue(1)
print(q:get(1))
print(q:put(1, 1))
print(q:put(2, 1))
print(q:get(), q:get(1))`, "nil\ntrue\nfalse\n1\tnil\n"},
		{"closing wakes a putter", `
local q = task.queue(1)
q:put(1)
local t = task.spawn(function() q:put(2) end)
task.sleep(1)
q:close()
local ok, e = try(t.join, t)
print(e.code, q:get(), q:get())`, "closed\t1\tnil\n"},
		// If the task that got a value is cancelled before it runs, the next task gets the value.
		{"queue loses nothing to a cancelled task", `
local q = task.queue()
local a = task.spawn(function() return q:get() end)
local b = task.spawn(function() return q:get() end)
task.sleep(1)
q:put("x")
a:cancel()
print(b:join(5))`, "x\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) { prints(t, tc.source, tc.want) })
		})
	}
}

func TestEventsAndMutexes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"event", `
local e = task.event()
print(e:wait(1))
local t = task.spawn(function() return e:wait() end)
task.sleep(1)
e:set()
print(t:join(), e:is_set())
e:clear()
print(e:is_set())`, "false\ntrue\ttrue\nfalse\n"},
		{"mutex", `
local m, busy = task.mutex(), 0
task.map({1, 2, 3, 4}, 4, function()
  m:with(function()
    busy = busy + 1
    assert(busy == 1)
    task.sleep(1)
    busy = busy - 1
  end)
end)
print(busy)`, "0\n"},
		{"mutex is freed by an error", `
local m = task.mutex()
try(m.with, m, error, "x")
print(m:lock(1))`, "true\n"},
		{"mutex twice", `
local m = task.mutex()
m:lock()
local ok, e = try(m.lock, m)
print(e.code)`, "deadlock\n"},
		{"mutex of another task", `
local m = task.mutex()
task.spawn(function() m:lock() task.sleep(50) end)
task.sleep(1)
local ok, e = try(m.unlock, m)
print(e.code, m:lock(1))`, "argument\tfalse\n"},
		{"cancelled mutex waiter passes its turn on", `
local m = task.mutex()
m:lock()
local a = task.spawn(function() m:lock() print("a") end)
local b = task.spawn(function() m:lock() print("b") end)
task.sleep(1)
a:cancel()
m:unlock()
b:join(5)`, "b\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T) { prints(t, tc.source, tc.want) })
		})
	}
}

func TestDeadlockIsReported(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		fails(t, host.Options{}, `task.queue():get()`, "deadlock", "queue:get")
	})
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"defer order", `scope(function() defer(print, 1) defer(print, 2) end)`, "2\n1\n"},
		{"results", `print(scope(function(a) return a, 2 end, 1))`, "1\t2\n"},
		{"with closes on error", `
local r = { close = function() print("closed") end }
print(try(with, r, function() error("x", 0) end))`, "closed\nfalse\tx\n"},
		{"try table", `
print(try{
  function() error("x", 0) end,
  catch = function(e) return "caught " .. e end,
  finally = function() print("finally") end,
})`, "finally\ncaught x\n"},
		{"try passes errors without catch", `
local ok, e = try(try, {
  function() error("x", 0) end,
  finally = function() print("f") end,
})
print(ok, e)`, "f\nfalse\tx\n"},
		{"keep", `
local f = fs.temp_file()
fs.write(f, "a\nb\n")
local l = scope(function() return fs.lines(f):keep() end)
for x in l do print(x) end`, "a\nb\n"},
		{"without keep", `
local f = fs.temp_file()
local l = scope(function() return fs.lines(f) end)
local ok, e = try(function() for x in l do end end)
print(e.code)`, "closed\n"},
		{"errors.is looks at causes", `
local inner = errors.new{ code = "inner", message = "i" }
local e = errors.new{ code = "outer", message = "o", cause = inner }
print(errors.is(e, "inner"), errors.is(e, "other"))
print(errors.is({ code = "t" }, "t"), errors.is("text", "t"))`, "true\tfalse\ntrue\tfalse\n"},
		{"p returns", `print(p({ 1 })[1])`, "{ 1 }\n1\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, tc.source, tc.want)
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	prints(t, `help(fs.read) print(help ~= nil)`, `fs.read(path, [opts]) -> string content
Reads a whole file.

parameters:
  path  string: the file
  opts  FsReadOptions (optional)

options:
  max_size  integer: largest size in bytes (default the limit of --max-string)

raises: not_found, too_large
permission: file-read

example:
  local f = path.join(fs.temp_dir(), "a")
  fs.write(f, "hello")
  return fs.read(f) -- => "hello"
true
`)
	prints(t, `help.search("crc32")`, "hash.crc32  The crc32 checksum of bytes.\n")
}

const argsHeader = `#!/usr/bin/env imdlua
--- Starts an app.
---@arg bundle string       App to start
---@arg count integer=10  How often
---@arg fast flag  Do not wait
`

func TestArgs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, header string
		args         []string
		source       string
		want         string
		code         int
	}{
		{"values", argsHeader, []string{"--bundle", "a", "x", "--count=3", "--fast", "y"}, `
print(args.string("bundle"), args.number("count"), args.flag("fast"))
print(args[1], args[2], args[3])`, "a\t3\ttrue\nx\ty\tnil\n", 0},
		{"header default", argsHeader, nil, `print(args.number("count"), args.flag("fast"))`,
			"10\tfalse\n", 0},
		{"no flag", argsHeader, []string{"--no-fast"}, `print(args.flag("fast", true))`,
			"false\n", 0},
		{"after the dashes", argsHeader, []string{"--", "--fast"},
			`print(args.flag("fast"), args[1])`, "false\t--fast\n", 0},
		{"missing", argsHeader, nil, `args.string("bundle")`, "", 2},
		{"unknown", argsHeader, []string{"--bundel", "a"}, `args.string("bundle")`, "", 2},
		{"not a number", argsHeader, []string{"--count", "x"}, `args.number("count")`, "", 2},
		{"not an integer", argsHeader, []string{"--count", "1.5"}, `args.number("count")`, "", 2},
		{"help", argsHeader, []string{"--help"}, `args.string("bundle") print("not reached")`,
			`Starts an app.

options:
  --bundle string          App to start (required)
  --count integer          How often (default 10)
  --fast                   Do not wait
`, 0},
		{"no header", "", []string{"--fast", "x", "--n", "5", "--t", "1", "--t", "2"}, `
print(args.flag("fast"), args.number("n"), args[1])
print(table.concat(args.list("t"), "+"))`, "true\t5\tx\n1+2\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "script.lua")
			source := tc.header + tc.source
			if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			h := newHost(t, host.Options{Stdout: &out, Args: tc.args})
			err := h.Run(t.Context(), file, source)
			if out.String() != tc.want {
				t.Errorf("printed %q, want %q", out.String(), tc.want)
			}
			if code := host.ExitCode(err); code != tc.code {
				t.Errorf("exit code %d (%v), want %d", code, err, tc.code)
			}
		})
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "a.log")
	h := newHost(t, host.Options{Stderr: &out})
	h.SetGlobal("file", host.ToLua(h.L(), file))
	err := h.Run(t.Context(), "test.lua", `
log.debug("hidden")
log.info("hello\nworld", { n = 1, text = "a b", list = {1} })
task.spawn{ name = "w", function() log.warn("in a task") end }:join()
scope(function() log.to(file, { json = true }) log.error("to file", { n = 2 }) end)
log.error("back")`)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`INFO  hello\nworld n=1 text="a b" list=[1]`,
		"WARN  in a task task=w",
		"ERROR back",
	}
	if len(lines) != len(want) {
		t.Fatalf("log = %q, want %d lines", lines, len(want))
	}
	for i, w := range want {
		if !strings.HasSuffix(lines[i], w) {
			t.Errorf("line %d = %q, want %q at its end", i+1, lines[i], w)
		}
	}
	testLogFile(t, file)
}

// testLogFile checks the JSON line that TestLog logs to a file.
func testLogFile(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("file = %q: %v", b, err)
	}
	if m["msg"] != "to file" {
		t.Errorf("msg = %v, want to file", m["msg"])
	}
	if m["n"] != 2.0 {
		t.Errorf("n = %v, want 2", m["n"])
	}
}
