package lua51

import "github.com/imdlua/imdlua/runtime/host/api"

func tableLibrary() *api.Module {
	words := glossary{
		"list": "the list",
		"from": "first index, 1 if not given",
		"to":   "last index, #list if not given",
	}
	return &api.Module{
		Name: "table",
		Doc: "Lists: tables with the keys 1, 2, 3 and so on without a gap. imd.tbl has functions " +
			"that copy, filter, compare and more.",
		Perm:  "none",
		Funcs: words.explain(tableFunctions(), obsoleteTableFunctions()),
	}
}

func tableFunctions() []*api.Func {
	return []*api.Func{
		function("concat", "list:table separator?:string from?:integer to?:integer -> string",
			"Joins the items of a list, which must be texts or numbers.",
			`return table.concat({ 1, 2, "x" }, ", ") -- => "1, 2, x"`,
			api.ParamDoc("separator", "text between two items"),
			api.Raises("memory")),
		function("insert", "list:table at_or_value:any value?:any",
			"Inserts a value at a position and moves up the items that follow. With two "+
				"arguments it appends the value.",
			`local t = { "a", "c" }
table.insert(t, 2, "b")
table.insert(t, "d")
return t -- => { "a", "b", "c", "d" }`,
			api.ParamDoc("at_or_value", "a position from 1 to #list + 1, or the value"),
			api.ParamDoc("value", "what is inserted at the position")),
		function("maxn", "list:table -> number",
			"Returns the largest number that is a key, 0 if there is none. It visits all keys, "+
				"so it is slower than #.",
			`return table.maxn({ [3] = "a", [1.5] = "b" }) -- => 3`),
		function("remove", "list:table at?:integer -> any",
			"Removes an item and returns it, and moves down the items that follow. Without a "+
				"position it removes the last one. Returns nothing if there is no such item.",
			`local t = { "a", "b", "c" }
return table.remove(t), table.remove(t, 1), #t -- => "c", "a", 1`,
			api.ParamDoc("at", "the position, #list if not given")),
		function("sort", "list:table less?:function",
			"Sorts a list in place, by < or by a function that returns whether its first "+
				"argument comes before the second. The order of equal items is not kept. If "+
				"the comparison fails or the task is cancelled, the list is unchanged.",
			`local t = { 3, 1, 2 }
table.sort(t, function(a, b) return a > b end)
return t -- => { 3, 2, 1 }`,
			api.ParamDoc("less", "function of two items")),
		function("unpack", "list:table from?:integer to?:integer -> any ...",
			"Returns the items of a list as separate values, 100,000 at most. It is the same "+
				"function as unpack.",
			`return table.unpack({ "a", "b", "c" }, 2) -- => "b", "c"`),
	}
}

func obsoleteTableFunctions() []*api.Func {
	return []*api.Func{
		function("foreach", "t:table fn:function -> any",
			"Calls a function with every key and value, until it returns something, which is "+
				"returned.",
			`return table.foreach({ a = 1 }, function(k, v) return k .. v end) -- => "a1"`,
			api.ParamDoc("t", "the table"),
			api.ParamDoc("fn", "function of key and value"),
			api.Deprecated("for k, v in pairs(t) do")),
		function("foreachi", "list:table fn:function -> any",
			"Calls a function with every index and item, until it returns something, which is "+
				"returned.",
			`return table.foreachi({ "a" }, function(i, v) return i .. v end) -- => "1a"`,
			api.ParamDoc("fn", "function of index and item"),
			api.Deprecated("for i, v in ipairs(list) do")),
		function("getn", "list:table -> integer",
			"Returns the length of a list.",
			`return table.getn({ 5, 6 }) -- => 2`,
			api.Deprecated("#list")),
		function("setn", "list:table n:integer",
			"Always fails: the length of a list follows from its items.",
			`return pcall(table.setn, {}, 1) -- => false, "'setn' is obsolete"`,
			api.ParamDoc("n", "a length"),
			api.Deprecated("nothing: set list[i] = nil to make a list shorter")),
	}
}
