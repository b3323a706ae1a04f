// Package task is the script module task: tasks that run concurrently, and queues, events and locks
// with which they wait for each other. A task belongs to the scope that spawned it and is cancelled
// when that scope ends.
//
//	local t = task.spawn(function() return dev:battery().level end)
//	task.sleep(1)
//	print(t:join())
package task

import (
	"errors"
	"fmt"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// mainName is the name that the host gives to the main task.
const mainName = "main"

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:    "task",
		Doc:     "Tasks that run concurrently. Another task runs only during calls that wait.",
		Global:  true,
		Perm:    "none",
		Funcs:   slices.Concat(spawning(), timing(), synchronizing(), waiting()),
		Classes: []*api.Class{taskClass(), queueClass(), eventClass(), mutexClass(), groupClass()},
		Examples: []string{`local t = task.spawn(function() return 42 end)
print(t:join()) -- => 42`},
	}
}

// spawning returns the functions that start and list tasks.
func spawning() []*api.Func {
	return []*api.Func{
		api.Function("spawn", "Starts fn as a task of the current scope. With a table, {name = "+
			"\"n\", fn}, the task gets a name.",
			"fn:function|table args...", spawn,
			api.ParamDoc("fn", "function, or table with name and function"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("Task"),
			api.Example(`local t = task.spawn(function(n) return n + 1 end, 1)
return t:join() -- => 2`)),
		api.Function("sleep", "Waits.",
			"seconds", sleep,
			api.ParamDoc("seconds", "how long"),
			api.Example("task.sleep(0.01)")),
		api.Function("current", "The running task.",
			"", current,
			api.Example("return task.current().name")),
		api.Function("list", "All tasks that have not ended, oldest first.",
			"", listTasks,
			api.Example("return #task.list() -- => 1")),
		api.Function("wait_all", "Waits until all other tasks have ended. The first failure is "+
			"raised.",
			"timeout?", waitAll,
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("timeout"),
			api.Example("task.wait_all()")),
	}
}

// timing returns the functions that limit or repeat the call of another function.
func timing() []*api.Func {
	return []*api.Func{
		api.Function("timeout", "Calls fn in this task, in a scope of its own. Raises an error of "+
			"code timeout if fn does not end in time. Deadlines can be nested; the earliest one "+
			"applies. What fn opens is closed afterwards, unless it was kept with keep().",
			"seconds fn args...", timeout,
			api.ParamDoc("seconds", "how long fn may take"),
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("any ..."),
			api.Raises("timeout"),
			api.Example(`return task.timeout(5, function() return "done" end) -- => "done"`)),
		api.Function("run_for", "Calls fn and stops it after a time, which is not an error. Returns "+
			"true if fn ended by itself, false otherwise.",
			"seconds fn args...", runFor,
			api.ParamDoc("seconds", "how long fn may run"),
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("boolean finished"),
			api.Example(`return task.run_for(0.01, function() task.sleep(60) end) -- => false`)),
		api.Function("every", "Starts a task that calls fn at a fixed rate, until fn returns "+
			"false.",
			"seconds fn", every,
			api.ParamDoc("seconds", "from start to start"),
			api.ParamDoc("fn", "what to call"),
			api.Example(`local n = 0
task.every(0.01, function() n = n + 1; return n < 3 end):join()
return n -- => 3`)),
		api.Function("atomic", "Calls fn without switching to another task while fn computes. "+
			"Other tasks run during calls that wait.",
			"fn args...", atomic,
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("any ..."),
			api.Example(`return task.atomic(function() return 1 end) -- => 1`)),
	}
}

// synchronizing returns the functions that make queues, events and locks.
func synchronizing() []*api.Func {
	return []*api.Func{
		api.Function("queue", "Makes a queue. put waits while it is full, get while it is empty.",
			"size?", newQueue,
			api.ParamDoc("size", "how many values it may hold, no limit if it is not given"),
			api.Example(`local q = task.queue()
task.spawn(function() q:put("a") q:close() end)
for v in q do print(v) end -- => a`)),
		api.Function("event", "Makes an event: tasks wait until it is set.",
			"", func(*api.Call) *Event { return &Event{} },
			api.Example(`local e = task.event()
e:set()
return e:wait() -- => true`)),
		api.Function("mutex", "Makes a lock that one task holds at a time, for work that waits in "+
			"between.",
			"", func(*api.Call) *Mutex { return &Mutex{} },
			api.Example(`local m = task.mutex()
return m:with(function() return "alone" end) -- => "alone"`)),
	}
}

func taskClass() *api.Class {
	c := api.NewClass[*host.Task]("Task", "A function that runs concurrently with others.")
	c.String = describe
	c.Fields = []*api.Field{
		api.Property("name", "its name, the position of its function by default", (*host.Task).Name),
		api.Property("id", "a number that no other task has", (*host.Task).ID),
	}
	c.Methods = []*api.Func{
		api.Method("join", "Waits for the end and returns the results, or raises the error of the "+
			"task.",
			"timeout?", join,
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Returns("any ..."),
			api.Raises("timeout"),
			api.Example("local value = t:join(10)")),
		api.Method("cancel", "Asks the task to stop. Calls that wait return at once, and raise an "+
			"error of code cancelled until the task has ended.",
			"reason?", cancel,
			api.ParamDoc("reason", "message of the error"),
			api.Example(`t:cancel("not needed any more")`)),
		api.Method("done", "Whether the task has ended.",
			"", func(_ *api.Call, t *host.Task) bool { return t.Over() },
			api.Example("if t:done() then print(t:join()) end")),
		api.Method("error", "The error that ended the task, nil while it runs and when it "+
			"succeeded.",
			"", failure,
			api.Returns("Error?"),
			api.Example("local e = t:error()")),
	}
	return c
}

func current(c *api.Call) *host.Task { return c.Task() }

func listTasks(c *api.Call) []*host.Task { return c.Host().Tasks() }

func join(c *api.Call, t *host.Task, timeout *time.Duration) api.Values {
	return t.Join(c.L, limit(timeout))
}

func cancel(_ *api.Call, t *host.Task, reason *string) {
	t.Observe()
	text := ""
	if reason != nil {
		text = *reason
	}
	t.Cancel(text)
}

func failure(c *api.Call, t *host.Task) lua.LValue {
	t.Observe()
	err := t.Err()
	if err == nil {
		return lua.LNil
	}
	return host.ToLua(c.L, err)
}

func atomic(c *api.Call, fn *lua.LFunction, args ...lua.LValue) api.Values {
	return host.Atomic(c.L, fn, args...)
}

func describe(t *host.Task) string {
	state := "running"
	switch {
	case !t.Over():
	case t.Err() != nil:
		state = "failed"
	default:
		state = "done"
	}
	return fmt.Sprintf("Task<%q, %s>", t.Name(), state)
}

// limit returns the timeout of a wait, api.NoTimeout if none was given.
func limit(d *time.Duration) time.Duration {
	if d == nil {
		return api.NoTimeout
	}
	return *d
}

// place names a task after its function.
func place(fn *lua.LFunction) string {
	if fn.IsG {
		return ""
	}
	return fmt.Sprintf("%s:%d", fn.Proto.SourceName, fn.Proto.LineDefined)
}

func spawn(c *api.Call, what lua.LValue, args ...lua.LValue) (*host.Task, error) {
	if fn, ok := host.Function(c.L, what); ok {
		return host.Spawn(c.L, "", fn, args...), nil
	}
	if x, ok := what.(*lua.LTable); ok {
		fn, ok := host.Function(c.L, x.RawGetInt(1))
		if !ok {
			return nil, c.ArgError(1, "the table has no function")
		}
		name, _ := x.RawGetString("name").(lua.LString)
		if name == mainName {
			return nil, c.ArgError(1, "the name %q is taken by the script itself", mainName)
		}
		return host.Spawn(c.L, string(name), fn, args...), nil
	}
	return nil, c.ArgError(1, "function or table expected, got %s", what.Type())
}

func sleep(c *api.Call, d time.Duration) { host.Sleep(c.L, d) }

func timeout(c *api.Call, d time.Duration, fn *lua.LFunction, args ...lua.LValue) api.Values {
	if d == api.NoTimeout {
		return c.Invoke(fn, lua.MultRet, args...)
	}
	return host.WithDeadline(c.L, time.Now().Add(d), fn, args...)
}

func runFor(c *api.Call, d time.Duration, fn *lua.LFunction, args ...lua.LValue) (bool, error) {
	at := time.Now().Add(d)
	if d == api.NoTimeout {
		c.Invoke(fn, 0, args...)
		return true, nil
	}
	under := c.L.NewFunction(func(L *lua.LState) int {
		host.WithDeadline(L, at, fn, args...)
		return 0
	})
	_, err := c.PCall(under)
	var e *host.Error
	if errors.As(err, &e) && e.Code == "timeout" && !time.Now().Before(at) {
		return false, nil
	}
	return err == nil, err
}

func every(c *api.Call, d time.Duration, fn *lua.LFunction) *host.Task {
	loop := c.L.NewFunction(func(L *lua.LState) int {
		for next := time.Now(); ; {
			if r := host.Call(L, fn, 1); len(r) > 0 && r[0] == lua.LFalse {
				return 0
			}
			next = next.Add(d)
			if now := time.Now(); next.Before(now) {
				next = now // fn took too long: missed calls are skipped
			}
			host.Sleep(L, max(time.Until(next), 0))
		}
	})
	return host.Spawn(c.L, "every "+place(fn), loop)
}
