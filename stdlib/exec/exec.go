// Package exec is the script module imd.exec, which runs programs of this computer without a shell.
//
//	local r = require("imd.exec").run{ "git", "status", "--short", timeout = 5 }
//	print(r.code, r.out)
package exec

import (
	"slices"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Result describes how a program ended and what it wrote.
type Result struct {
	OK        bool    `lua:"ok" doc:"whether the exit code is 0"`
	Code      int     `lua:"code" doc:"exit code; 128 and the number of a signal that ended it"`
	Signal    *string `lua:"signal" doc:"name of the signal that ended it, such as SIGKILL, or nil"`
	Out       string  `lua:"out" doc:"standard output"`
	Err       string  `lua:"err" doc:"standard error, empty when it is merged or discarded"`
	Seconds   float64 `lua:"seconds" doc:"how long it ran"`
	Truncated bool    `lua:"truncated" doc:"whether output beyond max_output was dropped"`
}

// Status describes how a program ended.
type Status struct {
	OK      bool    `lua:"ok" doc:"whether the exit code is 0"`
	Code    int     `lua:"code" doc:"exit code; 128 and the number of a signal that ended it"`
	Signal  *string `lua:"signal" doc:"name of the signal that ended it, such as SIGKILL, or nil"`
	Seconds float64 `lua:"seconds" doc:"how long it ran"`
}

const commandDoc = "list of the program and its arguments; the table may hold options as well"

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "exec",
		Doc: "Runs programs of this computer. No shell is involved: arguments are passed on as " +
			"they are, and *, $ and > have no meaning. A program and the processes that it has " +
			"started end with the scope at the latest. Processes that leave its process group, " +
			"as daemons do, continue.",
		Perm:    "exec",
		Classes: []*api.Class{childClass(), outputClass()},
		Records: []*api.Record{
			api.NewRecord[Result]("ExecResult", "How a program ended, and what it wrote."),
			api.NewRecord[Status]("ExecStatus", "How a program ended."),
		},
		Funcs: slices.Concat(running(), lookups()),
		Examples: []string{`local exec = require "imd.exec"
local r = exec.run{ "echo", "hello", timeout = 5 }
print(r.code, r.out)`},
	}
}

// running returns the functions that start programs.
func running() []*api.Func {
	return []*api.Func{
		api.Function("run", "Runs a program, waits for its end and returns what it wrote. An exit "+
			"code other than 0 is not an error, unless check is set. Standard error is in err; with "+
			"stderr=\"merge\" it is in out, in the order in which it was written. If the timeout "+
			"passes or the task is cancelled, the program is ended. A relative path of the program "+
			"does not begin at cwd.",
			"command:table opts?", run,
			api.ParamDoc("command", commandDoc),
			api.ParamDoc("opts", "timeout, check, stdin, cwd, env and more"),
			api.Checks(host.AccessExec),
			api.Raises("not_found", "access_denied", "timeout", "too_large", "exit"),
			api.Returns("ExecResult"),
			api.Example(`local r = require("imd.exec").run{ "echo", "$HOME", timeout = 5 }
return r.out -- => "$HOME\n"`),
			api.Example(`local r = require("imd.exec").run({ "cat" }, { stdin = "a\0b" })
return r.ok, r.out -- => true, "a\0b"`)),
		api.Function("start", "Starts a program and returns a handle to talk to it while it runs. "+
			"The program is held up while 1 MB of its output is unread. Standard error is part "+
			"of the output, unless stderr is separate or discard.",
			"command:table opts?", start,
			api.ParamDoc("command", commandDoc),
			api.ParamDoc("opts", "stderr, stdin, cwd, env and more"),
			api.Checks(host.AccessExec),
			api.Raises("not_found", "access_denied"),
			api.Returns("ChildProcess"),
			api.Example(`local p = require("imd.exec").start{ "cat" }
p:write("one\ntwo\n")
p:close_stdin()
local lines = {}
for line in p:lines() do table.insert(lines, line) end
return lines, p:wait(5).code -- => { "one", "two" }, 0`)),
	}
}

func lookups() []*api.Func {
	return []*api.Func{
		api.Function(
			"find",
			"The path of a program, as run and start find it: in PATH, unless the "+
				"name contains a separator. nil if there is none.",
			"name",
			find,
			api.ParamDoc("name", "name of the program"),
			api.Access("name", host.AccessExec),
			api.Returns("string? path"),
			api.Example(`return require("imd.exec").find("no-such-program") -- => nil`),
		),
	}
}
