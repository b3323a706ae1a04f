package task

import (
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Group is a set of tasks that succeed or fail together.
type Group struct {
	tasks []*host.Task
	owner *host.Task
	over  bool
}

// waiting returns the functions that run several tasks and wait for them.
func waiting() []*api.Func {
	return []*api.Func{
		api.Function("group", "Calls fn with a group and waits for all tasks that were spawned in "+
			"it. The first failure cancels the others and is raised.",
			"fn", group,
			api.ParamDoc("fn", "gets the group"),
			api.Returns("any ..."),
			api.Example(`local sum = 0
task.group(function(g)
  for i = 1, 3 do g:spawn(function() sum = sum + i end) end
end)
return sum -- => 6`)),
		api.Function("all", "Runs functions at the same time and returns a list of their first "+
			"results. The first failure cancels the others and is raised.",
			"functions", all,
			api.ParamDoc("functions", "list of functions"),
			api.Returns("any[] results"),
			api.Example(`local function one() return 1 end
local function two() return 2 end
return task.all{ one, two } -- => {1, 2}`)),
		api.Function("race", "Runs functions at the same time, returns the results of the one "+
			"that ends first and cancels the others. Its failure is raised.",
			"functions", race,
			api.ParamDoc("functions", "list of functions"),
			api.Returns("any ..."),
			api.Example(`local function quick() return "quick" end
local function slow() task.sleep(60) end
return task.race{ quick, slow } -- => "quick"`)),
		api.Function("map", "Calls fn for each item of a list, in up to n tasks at the same time, "+
			"and returns the results in order.",
			"list n fn", mapList,
			api.ParamDoc("list", "the items"),
			api.ParamDoc("n", "how many at the same time"),
			api.ParamDoc("fn", "gets item and index"),
			api.Returns("any[] results"),
			api.Example(`local function square(x) return x * x end
return task.map({1, 2, 3}, 2, square) -- => {1, 4, 9}`)),
	}
}

func groupClass() *api.Class {
	c := api.NewClass[*Group]("Group", "Tasks that succeed or fail together, see task.group.")
	c.Methods = []*api.Func{
		api.Method("spawn", "Starts fn as a task of the group.",
			"fn args...", spawnInGroup,
			api.ParamDoc("fn", "what to run"),
			api.ParamDoc("args", "arguments for fn"),
			api.Raises("closed"),
			api.Example("group:spawn(function() task.sleep(1) end)")),
	}
	return c
}

func spawnInGroup(c *api.Call, g *Group, fn *lua.LFunction, args ...lua.LValue) (
	*host.Task, error,
) {
	if g.over {
		return nil, host.Errorf("closed", "the group has ended")
	}
	if c.Task() != g.owner {
		return nil, host.Errorf("argument", "only the task that made the group can spawn in it")
	}
	return g.spawn(c, fn, args...), nil
}

func (g *Group) spawn(c *api.Call, fn *lua.LFunction, args ...lua.LValue) *host.Task {
	t := host.Spawn(c.L, "", fn, args...)
	t.Observe()
	g.tasks = append(g.tasks, t)
	return t
}

// wait returns when all tasks have succeeded. After the first failure it cancels the others, waits
// for them, and raises the error of the first.
func (g *Group) wait(c *api.Call, what string) {
	g.over = true
	w := host.NewWatch(g.tasks...)
	defer w.Stop()
	for range g.tasks {
		t := w.Next(c.L, what, api.NoTimeout)
		if t.Err() == nil {
			continue
		}
		g.cancel("another task of the group failed")
		for rest := t; rest != nil; {
			rest = w.Next(c.L, "cancelled tasks", api.NoTimeout)
		}
		t.Join(c.L, api.NoTimeout)
	}
}

// cancel stops the tasks that have not ended.
func (g *Group) cancel(reason string) {
	for _, t := range g.tasks {
		if !t.Over() {
			t.Observe()
			t.Cancel(reason)
		}
	}
}

// inScope runs fn in a scope of its own, so that the tasks of fn end when it returns or panics.
func inScope(c *api.Call, fn func(c *api.Call) []lua.LValue) api.Values {
	body := c.L.NewFunction(func(L *lua.LState) int {
		res := fn(c.On(L))
		for _, v := range res {
			L.Push(v)
		}
		return len(res)
	})
	return host.RunScope(c.L, body)
}

func group(c *api.Call, fn *lua.LFunction) api.Values {
	return inScope(c, func(c *api.Call) []lua.LValue {
		g := &Group{owner: c.Task()}
		res := c.Invoke(fn, lua.MultRet, c.Wrap(g))
		g.wait(c, "task.group")
		return res
	})
}

func all(c *api.Call, fns []*lua.LFunction) api.Values {
	return inScope(c, func(c *api.Call) []lua.LValue {
		g := &Group{owner: c.Task()}
		for _, fn := range fns {
			g.spawn(c, fn)
		}
		g.wait(c, "task.all")
		out := make([]lua.LValue, len(fns))
		for i, t := range g.tasks {
			out[i] = first(t.Join(c.L, api.NoTimeout))
		}
		return []lua.LValue{list(c, out)}
	})
}

func first(res []lua.LValue) lua.LValue {
	if len(res) == 0 {
		return lua.LNil
	}
	return res[0]
}

// list makes a table without holes.
func list(c *api.Call, items []lua.LValue) lua.LValue { return c.Wrap(items) }

func race(c *api.Call, fns []*lua.LFunction) (api.Values, error) {
	if len(fns) == 0 {
		return nil, c.ArgError(1, "the list is empty")
	}
	return inScope(c, func(c *api.Call) []lua.LValue {
		g := &Group{owner: c.Task()}
		for _, fn := range fns {
			g.spawn(c, fn)
		}
		w := host.NewWatch(g.tasks...)
		defer w.Stop()
		winner := w.Next(c.L, "task.race", api.NoTimeout)
		g.cancel("another task won the race")
		for rest := winner; rest != nil; {
			rest = w.Next(c.L, "cancelled tasks", api.NoTimeout)
		}
		return winner.Join(c.L, api.NoTimeout)
	}), nil
}

func mapList(c *api.Call, items []lua.LValue, n int, fn *lua.LFunction) (api.Values, error) {
	if n < 1 {
		return nil, c.ArgError(2, "must be at least 1")
	}
	return inScope(c, func(c *api.Call) []lua.LValue {
		g, next := &Group{owner: c.Task()}, 0
		out := make([]lua.LValue, len(items))
		worker := c.L.NewFunction(func(L *lua.LState) int {
			for next < len(items) {
				i := next
				next++
				out[i] = first(host.Call(L, fn, 1, items[i], lua.LNumber(i+1)))
			}
			return 0
		})
		for range min(n, len(items)) {
			g.spawn(c, worker)
		}
		g.wait(c, "task.map")
		return []lua.LValue{list(c, out)}
	}), nil
}

// waitAll joins all tasks except the main task and the one that calls it.
func waitAll(c *api.Call, timeout *time.Duration) {
	left := api.NoTimeout
	end := time.Time{}
	if timeout != nil && *timeout != api.NoTimeout {
		end = time.Now().Add(*timeout)
	}
	for _, t := range c.Host().Tasks() {
		if t == c.Task() || t.Name() == mainName {
			continue
		}
		if !end.IsZero() {
			left = max(time.Until(end), 0)
		}
		t.Join(c.L, left)
	}
}
