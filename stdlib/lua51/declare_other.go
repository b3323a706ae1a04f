package lua51

import (
	"github.com/imdlua/imdlua/runtime/host/api"
)

func packageLibrary() *api.Module {
	return &api.Module{
		Name: "package",
		Doc:  "The modules and the search path of require.",
		Perm: "none",
		Consts: []api.Const{
			{Name: "config", Type: "string",
				Doc: "The special characters of the search path, one a line, as in Lua 5.2."},
			{Name: "loaded", Type: "table",
				Doc: "The modules that were required, by name. Setting one to nil makes require " +
					"run it again."},
			{Name: "path", Type: "string",
				Doc: "Where require looks after the directory of the script: places separated by " +
					"semicolons. A place is a directory, or a path with ? for the name."},
			{Name: "preload", Type: "table",
				Doc: "Functions that make modules, by name: require calls them instead of " +
					"reading a file."},
		},
		Examples: []string{`package.preload["my.answer"] = function() return 42 end
return require("my.answer") -- => 42`},
	}
}

func coroutineLibrary() *api.Module {
	words := glossary{"fn": "the body", "co": "the coroutine", "args": "values that are passed"}
	return &api.Module{
		Name: "coroutine",
		Doc: "Functions that can be suspended and resumed. For concurrent work use task: while a " +
			"coroutine waits, nothing else of its task runs.",
		Perm: "none",
		Funcs: words.explain([]*api.Func{
			function("create", "fn:function -> thread",
				"Makes a coroutine, which begins with the first resume.",
				`return coroutine.status(coroutine.create(print)) -- => "suspended"`),
			function("isyieldable", "-> boolean",
				"Whether the running function can yield, as in Lua 5.3.",
				`return coroutine.isyieldable() -- => false`),
			function("resume", "co:thread args...:any -> boolean ok, any ...",
				"Starts or continues a coroutine, whose yield returns the arguments. Returns "+
					"true and what it yields or returns, or false and the error.",
				`local co = coroutine.create(function(a) return coroutine.yield(a + 1) end)
return select(2, coroutine.resume(co, 1)), coroutine.resume(co, "end") -- => 2, true, "end"`),
			function("running", "-> thread?",
				"The coroutine that runs, nil outside of one.",
				`return coroutine.running() -- => nil`),
			function("status", "co:thread -> string",
				"suspended, running, normal (it has resumed another) or dead.",
				`local co = coroutine.create(function() end)
coroutine.resume(co)
return coroutine.status(co) -- => "dead"`),
			function("wrap", "fn:function -> function",
				"Makes a coroutine, and returns a function that resumes it: an iterator. Errors "+
					"are raised in the caller.",
				`local t = {}
for i in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do
  t[i] = i
end
return t -- => { 1, 2, 3 }`),
			function("yield", "args...:any -> any ...",
				"Suspends the running coroutine; resume returns the arguments. It is an error "+
					"inside pcall, the iterator of a for loop and a metamethod.",
				`local f = coroutine.wrap(function() return (coroutine.yield("first")) end)
return f(), f("second") -- => "first", "second"`),
		}),
	}
}

func debugLibrary() *api.Module {
	return &api.Module{
		Name: "debug",
		Doc: "Inspects the stack. Functions that access other functions (getlocal, sethook, " +
			"getupvalue) do not exist.",
		Perm: "none",
		Funcs: []*api.Func{
			function("getinfo", "fn:function|integer what?:string -> table?",
				"Describes a function, or the one at a level of the stack: source, short_src, "+
					"linedefined, lastlinedefined, what, currentline, name, namewhat, nups, "+
					"func. nil if the stack has no such level.",
				`return debug.getinfo(print).what, debug.getinfo(1, "l").currentline > 0 `+
					`-- => "C", true`,
				api.ParamDoc("fn", "a function, or a level: 1 is the caller of getinfo, 2 its caller"),
				api.ParamDoc("what", "some of S (source), l (line), n (name), u (upvalues), "+
					"f (the function); all if not given")),
			function("traceback", "thread?:thread message?:string level?:integer -> string",
				"Returns a message and the stack as a text, which includes the callers of "+
					"pcall. A message that is not a text is returned as it is.",
				`return (debug.traceback("here"):match("^[^\n]+")) -- => "here"`,
				api.ParamDoc("thread", "a coroutine; the running function if not given"),
				api.ParamDoc("message", "the first line"),
				api.ParamDoc("level", "where it begins, 1 if not given")),
		},
	}
}
