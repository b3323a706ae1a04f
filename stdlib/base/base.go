// Package base holds the functions that are globals themselves: printing and help, scopes, and
// values that Lua has no literal for.
//
//	with(fs.lines("a.txt"), function(lines) for l in lines do p(l) end end)
package base

import (
	"fmt"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Version is the version of imdlua and of its script API.
const Version = "0.1.0"

// Module declares the globals.
func Module() *api.Module {
	return &api.Module{
		Name: "base",
		Doc:  "Functions and values that are always there.",
		Flat: true,
		Perm: "none",
		Consts: []api.Const{
			{Name: "version", Doc: "The version of imdlua.", Value: Version},
			{
				Name:  "null",
				Doc:   "Stands for an absent value inside lists and dictionaries.",
				Value: func(h *host.Host) lua.LValue { return h.Null() },
			},
		},
		Funcs: slices.Concat(printing(), scopes(), catching(), values()),
	}
}

// HelpModule declares help, which can be called and has search.
func HelpModule() *api.Module {
	return &api.Module{
		Name: "help",
		Doc: "The documentation: help() lists the modules, help(value) and help(\"name\") " +
			"describe.",
		Global: true,
		Perm:   "none",
		Call: api.Function("help", "Shows the documentation of a value or a name, or the list of "+
			"modules.",
			"topic?", help,
			api.ParamDoc("topic", "a value, or a name such as fs.read"),
			api.Example(`help("fs.read")`)),
		Funcs: []*api.Func{
			api.Function("search", "Lists everything that mentions a word in its name or documentation.",
				"word", search,
				api.ParamDoc("word", "part of a name or text"),
				api.Example(`help.search("json")`)),
		},
	}
}

type printOptions struct {
	Full  bool `lua:"full" doc:"do not shorten anything"`
	Sort  bool `lua:"sort" doc:"sort keys"`
	Depth int  `lua:"depth" doc:"levels of nested tables" default:"4"`
}

func printing() []*api.Func {
	return []*api.Func{
		api.Function("p", "Prints a value so that its structure can be seen, and returns it.",
			"value opts?", pretty,
			api.ParamDoc("value", "anything"),
			api.Returns("any value"),
			api.Example(`return p({ a = 1 }).a -- => 1`)),
	}
}

func pretty(c *api.Call, v lua.LValue, o printOptions) lua.LValue {
	opts := host.InspectOptions{Full: o.Full, Sort: o.Sort, Depth: o.Depth}
	printText(c, host.Inspect(c.L, v, opts))
	return v
}

// printText calls the global function print, which writes to the output of the host.
func printText(c *api.Call, text string) {
	c.Invoke(c.L.G.Global.RawGetString("print"), 0, lua.LString(strings.TrimSuffix(text, "\n")))
}

func help(c *api.Call, topic lua.LValue) { printText(c, c.Index().Help(topic)) }

func search(c *api.Call, word string) {
	hits := c.Index().Search(word)
	if len(hits) == 0 {
		printText(c, fmt.Sprintf("nothing mentions %q", word))
		return
	}
	for _, h := range hits {
		printText(c, h.Name+"  "+h.Doc)
	}
}

func scopes() []*api.Func {
	return []*api.Func{
		api.Function("scope", "Calls fn in a scope of its own. At its end what fn opened is "+
			"closed, what it deferred is run, and its tasks are cancelled.",
			"fn args...", scope,
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("any ..."),
			api.Example(`local out = {}
scope(function()
  defer(function() table.insert(out, "closed") end)
  table.insert(out, "open")
end)
return out -- => {"open", "closed"}`)),
		api.Function("defer", "Calls fn at the end of the current scope, which is not the end of "+
			"the Lua function. The last one deferred runs first.",
			"fn args...", deferCall,
			api.ParamDoc("fn", "what to call"),
			api.ParamDoc("args", "arguments for fn"),
			api.Example(`defer(print, "the end")`)),
		api.Function("with", "Calls fn with an object that has close(), and closes the object "+
			"afterwards, also when fn fails. Returns what fn returns.",
			"object fn", with,
			api.ParamDoc("object", "what to close"),
			api.ParamDoc("fn", "gets the object"),
			api.Returns("any ..."),
			api.Example(`local r = { close = function(self) self.closed = true end }
with(r, function() end)
return r.closed -- => true`)),
	}
}

func catching() []*api.Func {
	return []*api.Func{
		api.Function("try", "Calls fn. Returns true and its results, or false and the error. With "+
			"a table, {fn, catch = f, finally = g}, it returns the results of fn, or those of "+
			"catch, which gets the error.",
			"fn:function|table args...", try,
			api.ParamDoc("fn", "what to call, or the table"),
			api.ParamDoc("args", "arguments for fn"),
			api.Returns("boolean ok", "any ..."),
			api.Example(`local ok, err = try(error, "no luck")
return ok, err -- => false, "no luck"`)),
	}
}

func scope(c *api.Call, fn *lua.LFunction, args ...lua.LValue) api.Values {
	return host.RunScope(c.L, fn, args...)
}

func deferCall(c *api.Call, fn *lua.LFunction, args ...lua.LValue) { c.Scope().Defer(fn, args...) }

// with defers the call of close inside a scope. If the task is cancelled, close still runs and has
// a time limit of its own.
func with(c *api.Call, object lua.LValue, fn *lua.LFunction) api.Values {
	body := c.L.NewFunction(func(L *lua.LState) int {
		closer := L.NewFunction(func(L *lua.LState) int {
			host.Call(L, L.GetField(object, "close"), 0, object)
			return 0
		})
		host.CurrentScope(L).Defer(closer)
		res := host.Call(L, fn, lua.MultRet, object)
		for _, v := range res {
			L.Push(v)
		}
		return len(res)
	})
	return host.RunScope(c.L, body)
}

func try(c *api.Call, what lua.LValue, args ...lua.LValue) (api.Values, error) {
	t, ok := what.(*lua.LTable)
	callable := c.L.GetMetaField(what, "__call") != lua.LNil
	if !ok || callable {
		res, raised := host.Try(c.L, what, args...)
		if raised != nil {
			return api.Values{lua.LFalse, raised}, nil
		}
		return append(api.Values{lua.LTrue}, res...), nil
	}
	fn, ok := host.Function(c.L, t.RawGetInt(1))
	if !ok {
		return nil, c.ArgError(1, "the table has no function")
	}
	catch, finally := t.RawGetString("catch"), t.RawGetString("finally")
	run := func() api.Values {
		if catch == lua.LNil {
			return c.Invoke(fn, lua.MultRet, args...)
		}
		res, raised := host.Try(c.L, fn, args...)
		if raised != nil {
			return c.Invoke(catch, lua.MultRet, raised)
		}
		return res
	}
	if finally == lua.LNil {
		return run(), nil
	}
	f, ok := host.Function(c.L, finally)
	if !ok {
		return nil, c.ArgError(1, "finally must be a function")
	}
	body := c.L.NewFunction(func(L *lua.LState) int {
		c = c.On(L)
		host.CurrentScope(L).Defer(f)
		res := run()
		for _, v := range res {
			L.Push(v)
		}
		return len(res)
	})
	return host.RunScope(c.L, body), nil
}

// values documents the functions that the host defines itself.
func values() []*api.Func {
	return []*api.Func{
		api.Existing("array", "Marks a table as a list, so that an empty one stays a list when it "+
			"is encoded.",
			"items?:table",
			api.ParamDoc("items", "the list"),
			api.Returns("table"),
			api.Example(`return json.encode(array{}) -- => "[]"`)),
		api.Existing("dict", "Marks a table as a dictionary.",
			"entries?:table",
			api.ParamDoc("entries", "the dictionary"),
			api.Returns("table"),
			api.Example(`return json.encode(dict{}) -- => "{}"`)),
		api.Existing("data", "Makes binary data, which plist and XPC encode as bytes instead of "+
			"text.",
			"bytes:string",
			api.ParamDoc("bytes", "the bytes"),
			api.Returns("Data"),
			api.Example(`return data("ab"):hex() -- => "6162"`)),
		api.Existing("int64", "Makes an exact signed integer of 64 bits. Numbers are exact up to "+
			"2^53 only.",
			"value:integer|string",
			api.ParamDoc("value", "number or text"),
			api.Returns("Int64"),
			api.Example(`return tostring(int64("9007199254740993") + 1) -- => "9007199254740994"`)),
		api.Existing("uint64", "Makes an exact unsigned integer of 64 bits.",
			"value:integer|string",
			api.ParamDoc("value", "number or text"),
			api.Returns("UInt64"),
			api.Example(`local n = uint64("0xffffffffffffffff")
return tostring(n) -- => "18446744073709551615"`)),
	}
}
