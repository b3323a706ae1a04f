//go:build unix

package stdlib_test

import (
	"errors"
	"io"
	"maps"
	"os"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// execPrelude requires the module and defines a function that runs a text with a shell.
const execPrelude = `local exec = require "imd.exec"
local function sh(text, opts) return exec.run({ "sh", "-c", text }, opts) end
local function start(text, opts) return exec.start({ "sh", "-c", text }, opts) end
`

// execRuns are scripts that run a program to its end.
var execRuns = []struct{ name, source, want string }{
	{"result", `local r = sh("echo out; echo err >&2; exit 3")
print(r.ok, r.code, r.signal, r.out, r.err, r.truncated, r.seconds > 0)`,
		"false\t3\tnil\tout\n\terr\n\tfalse\ttrue\n"},
	{"signal", `local r = sh("kill -TERM $$") print(r.ok, r.code, r.signal)`,
		"false\t143\tSIGTERM\n"},
	{"arguments are passed on as they are",
		`print(exec.run{ "printf", "%s|", "$HOME", "*", "a b", "", 7 }.out)`, "$HOME|*|a b||7|\n"},
	{"merge keeps the order",
		`print(sh("echo 1; echo 2 >&2; echo 3", { stderr = "merge" }).out)`, "1\n2\n3\n\n"},
	{"discard", `local r = sh("echo 1; echo 2 >&2", { stderr = "discard" }) print(r.out, r.err)`,
		"1\n\t\n"},
	{"bytes", `local all = {}
for i = 0, 255 do all[#all + 1] = string.char(i) end
all = table.concat(all):rep(1000)
print(exec.run({ "cat" }, { stdin = all }).out == all)
print(exec.run({ "cat" }, { stdin = data("\0\1") }).out == "\0\1")`, "true\ntrue\n"},
	{"without stdin", `print(#exec.run{ "cat" }.out)`, "0\n"},
	{"stdin that is not read", `print(exec.run{ "true", stdin = ("x"):rep(1000000) }.ok)`,
		"true\n"},
	{"env is added", `print(sh("echo $A-${PATH:+path}", { env = { A = "1" } }).out)`,
		"1-path\n\n"},
	{"clear_env", `print(exec.run({ "env" }, { clear_env = true, env = { A = "1" } }).out)`,
		"A=1\n\n"},
	{"clear_env without env", `print(exec.run{ "env", clear_env = true }.out)`, "\n"},
	{"cwd", `print(exec.run{ "pwd", cwd = "/" }.out)`, "/\n\n"},
	{"path of a program with cwd", `local dir = fs.temp_dir()
fs.write(path.join(dir, "tool"), "#!/bin/sh\necho here", { mode = "755" })
print(exec.run{ path.join(dir, "tool"), cwd = "/" }.out)`, "here\n\n"},
	{"check passes", `print(sh("true", { check = true }).ok)`, "true\n"},
	{"check raises", `local ok, e = try(sh, "echo o; echo why >&2; exit 4", { check = true })
print(e.code, e.details.code, e.details.out, e.details.err, e.message)`,
		"exit\t4\to\n\twhy\n\texec: sh ended with code 4: why\n"},
	{"truncate", `local r = sh("printf 12345; printf 67 >&2", { max_output = 3, truncate = true })
print(r.out, r.err, r.truncated)`, "123\t67\ttrue\n"},
	{"max_output is enough", `print(sh("printf 123", { max_output = 3 }).out)`, "123\n"},
	{"what a background process holds open", `local r = sh("echo 1; sleep 100 & echo 2")
print(r.out)`, "1\n2\n\n"},
	{"find", `print(exec.find("sh") ~= nil, exec.find("no-such-program"),
exec.find("/no/such"))`, "true\tnil\tnil\n"},
}

func TestExecRun(t *testing.T) {
	t.Parallel()
	for _, tc := range execRuns {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, execPrelude+tc.source, tc.want)
		})
	}
}

func TestExecRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, code, text string }{
		{"unknown program", `exec.run{ "no-such-program" }`, "not_found", `"no-such-program"`},
		{"unknown path", `exec.run{ "/no/such/program" }`, "not_found", `"/no/such/program"`},
		{"start of an unknown program", `exec.start{ "no-such-program" }`, "not_found", ""},
		{"text", `exec.run("git status")`, "argument", "list expected"},
		{"nothing", `exec.run{}`, "argument", "no program"},
		{"empty name", `exec.run{ "" }`, "argument", "no program"},
		{"hole", `exec.run{ "a", nil, "b", [5] = "c" }`, "argument", "item"},
		{"wrong item", `exec.run{ "a", {} }`, "argument", "item 2: string expected, got table"},
		{"zero byte", `exec.run{ "echo", "a\0b" }`, "argument", "item 2"},
		{"misspelt option", `exec.run{ "echo", timout = 1 }`, "argument", `did you mean "timeout"`},
		{"option of run", `exec.start{ "echo", check = true }`, "argument", `"check"`},
		{
			"options twice", `exec.run({ "echo", check = true }, { timeout = 1 })`, "argument",
			"both",
		},
		{
			"wrong stderr", `exec.run{ "echo", stderr = "x" }`, "argument",
			"separate, merge, discard",
		},
		{"wrong env", `exec.run({ "echo" }, { env = { ["a=b"] = "x" } })`, "argument", `"a=b"`},
		{"missing cwd", `exec.run{ "echo", cwd = "/no/such" }`, "not_found", "cwd"},
		{"cwd is a file", `exec.run{ "echo", cwd = fs.temp_file() }`, "argument", "not a folder"},
		{"not executable", `local f = fs.temp_file() exec.run{ f }`, "access_denied", ""},
		{"too much output", `sh("yes")`, "too_large", "stdout"},
		{"too much for max_output", `sh("printf 1234 >&2", { max_output = 3 })`, "too_large",
			"limit of 3 bytes to stderr"},
		{"negative max_output", `sh("true", { max_output = -1 })`, "argument", "max_output"},
		{"timeout", `sh("sleep 100", { timeout = 0.05 })`, "timeout", "sh did not end"},
		{
			"timeout of a busy program", `sh("while :; do :; done", { timeout = 0.05 })`, "timeout",
			"",
		},
		{"timeout of nothing", `sh("true", { timeout = 0 })`, "timeout", ""},
		{"wait", `start("sleep 100"):wait(0.05)`, "timeout", "did not end"},
		{"wait at once", `start("sleep 100"):wait(0)`, "timeout", "did not end"},
		{"wait with too much output", `start("yes"):wait(5)`, "too_large", ""},
		{"errors are merged", `start("true"):errors()`, "argument", "not separate"},
		{"unknown signal", `start("sleep 100"):signal("NOPE")`, "argument", `"NOPE"`},
		{
			"write after the end", `local p = start("true") p:wait(5) p:write("x")`, "closed",
			"input",
		},
		{"write after close_stdin", `local p = start("cat") p:close_stdin() p:write("x")`,
			"closed", ""},
		{"write that nobody reads", `start("sleep 100"):write(("x"):rep(1000000), 0.05)`,
			"timeout", "did not read"},
		{"closed", `local p = start("true") p:close() p:wait()`, "closed", ""},
		{"endless line", `start("yes | tr -d '\\n'"):lines():next(60)`, "too_large", "line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{MaxString: 4 << 20}, execPrelude+tc.source, tc.code, tc.text)
		})
	}
}

// execStarts are scripts that talk to programs.
var execStarts = []struct{ name, source, want string }{
	{"lines", `for line in start("printf 'a\\r\\n\\nb'"):lines() do print("[" .. line .. "]") end`,
		"[a]\n[]\n[b]\n"},
	{"dialogue", `local p = start("while read x; do echo got $x; done")
p:write("one\n")
print(p:lines():next(5))
p:write(data("two\n"))
print(p:lines():next(5))
p:close_stdin()
print(p:lines():next(5), p:lines().ended, p:wait(5).code)`, "got one\ngot two\nnil\ttrue\t0\n"},
	{"stdin as a whole", `print(start("cat", { stdin = "abc" }):lines():next(5))`, "abc\n"},
	{"separate", `local p = start("echo 1; echo 2 >&2", { stderr = "separate" })
print(p:lines():next(5), p:errors():next(5))`, "1\t2\n"},
	{"read", `local out = start("printf 'a\\0bc'"):lines()
local all = ""
for chunk in function() return out:read(2, 5) end do
  assert(#chunk <= 2)
  all = all .. chunk
end
print(#all, all == "a\0bc", out.ended)`, "4\ttrue\ttrue\n"},
	{"long output is kept while waiting", `local p = start("yes 012345678 | head -c 3000000")
print(p:wait(60).ok)
local n = 0
for line in p:lines() do n = n + 1 end
print(n)`, "true\n300000\n"},
	{"slow reader", `local p = start("yes 012345678 | head -c 3000000")
task.sleep(0.01)
local n = 0
for line in p:lines() do n = n + #line + 1 end
print(n)`, "3000000\n"},
	{"next in time", `local p = start("sleep 100")
print(p:lines():next(0), p:lines():next(0.01), p.running)`, "nil\tnil\ttrue\n"},
	{"signal", `local p = start("trap 'echo caught; exit 7' USR1; echo ready; " ..
  "while :; do sleep 0.01; done")
print(p:lines():next(5), p:signal("USR1"), p:lines():next(5), p:wait(5).code)
print(p:signal("SIGUSR1"))`, "ready\ttrue\tcaught\t7\nfalse\n"},
	{"kill", `local p = start("sleep 100") p:kill() print(p:wait(5).signal)`, "SIGKILL\n"},
	{"closing ends the loop of another task", `local p = start("sleep 100")
local t = task.spawn(function() for line in p:lines() do end return "over" end)
task.sleep(0.01)
p:close()
print(t:join(5))`, "over\n"},
	{"keep", `local p = scope(function() return start("cat"):keep() end)
p:write("x\n")
print(p:lines():next(5))`, "x\n"},
	{"a line that a cancelled task waited for", `local p = start("cat")
for i = 1, 50 do
  local t = task.spawn(function() return p:lines():next() end)
  task.sleep(0)
  p:write(i .. "\n")
  t:cancel()
  local ok, line = try(t.join, t)
  if not ok then line = p:lines():next(5) end
  assert(line == tostring(i), line)
end`, ""},
	{"text", `local p = start("sleep 100")
print(tostring(p) == "ChildProcess<sh, pid " .. p.pid .. ">", p.name)
p:kill()
p:wait(5)
print(p)`, "true\tsh\nChildProcess<sh, ended by SIGKILL>\n"},
}

func TestExecStart(t *testing.T) {
	t.Parallel()
	for _, tc := range execStarts {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, execPrelude+tc.source, tc.want)
		})
	}
}

// TestExecEndsTheGroup ends programs in several ways. Each has started another process, which holds
// a FIFO open. The test reads the FIFO, which ends when that process ends.
func TestExecEndsTheGroup(t *testing.T) {
	t.Parallel()
	const child = `"{ echo started; exec sleep 1000; } 3>'" .. fifo .. "' & wait"`
	const stubborn = `"(trap '' TERM; echo started; exec sleep 1000) 3>'" .. fifo .. "' & wait"`
	const orphan = `"{ echo started; exec sleep 1000; } 3>'" .. fifo .. "' &"`
	for _, tc := range []struct{ name, source string }{
		{"timeout of run", `try(sh, ` + child + `, { timeout = 0.2 })`},
		{"deadline around run", `try(task.timeout, 0.2, sh, ` + child + `)`},
		{"cancelled task", `local t = task.spawn(sh, ` + child + `) task.sleep(0.2) t:cancel()`},
		{"end of the scope", `scope(function() start(` + child + `):lines():next(5) end)`},
		{"close", `local p = start(` + child + `) p:lines():next(5) p:close()`},
		{"kill", `local p = start(` + child + `) p:lines():next(5) p:kill()`},
		{"error", `start(` + child + `):lines():next(5) error("x")`},
		{"a process that ignores TERM", `start(` + stubborn + `):lines():next(5)`},
		{"a program that has ended itself", `start(` + orphan + `):lines():next(5)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fifo := mkfifo(t)
			other := make(chan error, 1)
			go func() {
				f, err := os.Open(fifo) // waits for the process
				if err == nil {
					_, err = io.ReadAll(f)
					f.Close()
				}
				other <- err
			}()
			_, _ = run(t, host.Options{}, "local fifo = "+quote(fifo)+"\n"+execPrelude+tc.source)
			openBoth(t, fifo).Close() // the process may have ended before it opened the FIFO
			select {
			case err := <-other:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Error("the process that the program has started is still running")
			}
		})
	}
}

// TestExecPermission refuses a program.
func TestExecPermission(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`exec.run{ "touch", file }`,
		`exec.run({ "touch", file }, { timeout = 5 })`,
		`exec.start{ "touch", file }:wait(5)`,
		`exec.find("touch")`,
		`exec.run{ "true", cwd = "/" }`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			file := t.TempDir() + "/file"
			o := host.Options{Allow: func(a host.Access, value string) error {
				if a == host.AccessExec && value == "touch" || a == host.AccessRead {
					return host.Errorf("permission", "no")
				}
				return nil
			}}
			fails(t, o, "local file = "+quote(file)+"\n"+execPrelude+source, "permission", "no")
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the program ran: %v", err)
			}
		})
	}
}

// TestExecOfStoppedTasks stops tasks at different moments while they run programs. It is not
// parallel, because it counts the descriptors and goroutines of the process.
func TestExecOfStoppedTasks(t *testing.T) {
	before := descriptors(t)
	h := newHost(t, host.Options{})
	h.SetGlobal("times", lua.LNumber(60))
	err := h.Run(t.Context(), "test.lua", execPrelude+`
for i = 1, times do
  try(task.timeout, i * 1e-4, function()
    local p = start("cat")
    p:write("x\n")
    p:lines():next()
    sh("echo; sleep 100", { stdin = "x" })
  end)
end`)
	if err != nil {
		t.Fatal(err)
	}
	left := func() bool { return len(descriptors(t)) > len(before)+2 }
	if !settles(func() bool { return !left() && stacksOf("stdlib/exec") == 0 }) {
		after := descriptors(t)
		maps.DeleteFunc(after, func(k, _ string) bool { return before[k] != "" })
		t.Errorf("open: %v; %d goroutines", after, stacksOf("stdlib/exec"))
	}
}
