package lua51

import (
	"slices"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

func globalsLibrary() *api.Module {
	words := glossary{
		"value":     "anything",
		"fn":        "the function",
		"args":      "its arguments",
		"t":         "the table",
		"key":       "the key",
		"chunkname": "name of the chunk in messages and tracebacks",
		"env":       "table that holds its globals; the usual ones if not given",
		"path":      "a file with Lua text",
	}
	return &api.Module{
		Name: "lua",
		Doc:  "Lua's own globals. docs/lua.md describes the differences from Lua 5.1.",
		Flat: true,
		Perm: "none",
		Consts: []api.Const{
			{Name: "_G", Type: "_G", Doc: "The table of the globals. Reading a global that " +
				"does not exist and making a new one are errors; rawget(_G, name) reads it."},
			{Name: "_VERSION", Type: "string", Doc: `"Lua 5.1".`},
		},
		Funcs: words.explain(slices.Concat(
			valueFunctions(), tableAccess(), errorFunctions(), loadingFunctions(),
			environmentFunctions(),
		)),
	}
}

func valueFunctions() []*api.Func {
	return []*api.Func{
		function("print", "values...:any",
			"Prints values as tostring writes them, with tabs between them and a line end. p "+
				"shows the inside of tables. On a terminal, control characters are made "+
				"visible; io.write writes them as they are.",
			`print(1, "a", nil) -- => 1	a	nil`,
			api.ParamDoc("values", "anything"), api.SeeAlso("p", "io.write")),
		function("select", "index:integer|string args...:any -> any ...",
			`Returns the arguments from a number on, from the end if it is negative; with "#" `+
				"how many there are.",
			`return select("#", nil, nil), select(2, "a", "b", "c") -- => 2, "b", "c"`,
			api.ParamDoc("index", `a number, or "#"`),
			api.ParamDoc("args", "what is chosen from")),
		function("tonumber", "value:any base?:integer -> number?",
			"Turns a text into a number, nil if it is not one. Hexadecimal digits need 0x or "+
				"the base 16. inf and nan are not numbers.",
			`return tonumber("0x1F"), tonumber("ff", 16), tonumber("12a") -- => 31, 255, nil`,
			api.ParamDoc("base", "2 to 36, 10 if not given"),
			api.SeeAlso("int64", "uint64")),
		function("tostring", "value:any -> string",
			"Turns any value into a text, with __tostring if there is one. Numbers keep all "+
				"their digits.",
			`return tostring(2^53), tostring(0.1), tostring(nil) `+
				`-- => "9007199254740992", "0.1", "nil"`,
			api.SeeAlso("p", "string.format")),
		function("type", "value:any -> string",
			"The type: nil, boolean, number, string, table, function, thread or userdata. "+
				"Devices, records, dates and errors are userdata.",
			`return type({}), type(print), type(null) -- => "table", "function", "userdata"`),
		function("unpack", "list:table from?:integer to?:integer -> any ...",
			"Returns the items of a list as separate values, 100,000 at most.",
			`return unpack({ "a", "b" }) -- => "a", "b"`,
			api.ParamDoc("list", "the list"), api.ParamDoc("from", "first index, 1 if not given"),
			api.ParamDoc("to", "last index, #list if not given")),
	}
}

func tableAccess() []*api.Func {
	return []*api.Func{
		function("getmetatable", "value:any -> any",
			"The metatable of a value, or its field __metatable. The metatables of texts, "+
				"objects and libraries are protected.",
			`return getmetatable({}), getmetatable("x") -- => nil, "string"`),
		function("ipairs", "list:table -> function, table, integer",
			"Goes over a list: for i, item in ipairs(list) do. It ends at the first nil. "+
				"It calls __ipairs, as in Lua 5.2.",
			`local t = {}
for i, v in ipairs({ "a", "b", nil, "d" }) do t[i] = v end
return #t -- => 2`,
			api.ParamDoc("list", "the list")),
		function("next", "t:table key?:any -> any key, any value",
			"The key after a key, and its value; nil after the last one. A table is empty if "+
				"next(t) == nil.",
			`return next({ 5 }), next({}) -- => 1, nil`,
			api.ParamDoc("key", "a key of the table; the first is returned if not given")),
		function("pairs", "t:table -> function, table, nil",
			"Goes over a table: for key, value in pairs(t) do. The list comes first, then the "+
				"other keys in the order in which they were set. It calls __pairs, as in Lua "+
				"5.2. The loop may set a value to nil; it must not set a new key.",
			`local t = {}
for k in pairs({ 7, b = 1, a = 2 }) do t[#t + 1] = k end
return t -- => { 1, "b", "a" }`),
		function("rawequal", "a:any b:any -> boolean",
			"Whether two values are the same, without __eq.",
			`return rawequal("a", "a"), rawequal({}, {}) -- => true, false`,
			api.ParamDoc("a", "anything"), api.ParamDoc("b", "anything")),
		function("rawget", "t:table key:any -> any",
			"Reads a table without __index.",
			`return rawget(_G, "no_such_global") -- => nil`),
		function("rawset", "t:table key:any value:any -> table",
			"Sets a value in a table without __newindex, and returns the table.",
			`return rawset({}, "a", 1).a -- => 1`),
		function("setmetatable", "t:table metatable:table|nil -> table",
			"Gives a table a metatable and returns the table.",
			`local t = setmetatable({}, { __index = { size = 3 } })
return t.size -- => 3`,
			api.ParamDoc("metatable", "a table, or nil for none")),
	}
}

func errorFunctions() []*api.Func {
	return []*api.Func{
		function("assert", "value:any message?:any ...:any -> any ...",
			"Returns its arguments. If the first is nil or false, it raises the message. An "+
				"error that is not caught ends imdlua with the exit code 3.",
			`return pcall(assert, nil, "no file") -- => false, "no file"`,
			api.ParamDoc("message", "the error, any value"),
			api.ParamDoc("...", "is returned as well")),
		function("error", "message:any level?:integer",
			"Raises an error. A position is put before a text: that of the call of error (1), "+
				"that of the call of the function which calls it (2), or none (0).",
			`return pcall(error, "broken", 0) -- => false, "broken"`,
			api.ParamDoc("message", "a text, or any value"),
			api.ParamDoc("level", "1 if not given"),
			api.SeeAlso("errors.raise")),
		function("pcall", "fn:function args...:any -> boolean ok, any ...",
			"Calls a function. Returns true and its results, or false and the error. It does "+
				"not catch os.exit or the end of a cancelled task.",
			`return pcall(error, "x", 0) -- => false, "x"`,
			api.SeeAlso("try", "xpcall")),
		function("xpcall", "fn:function handler:function args...:any -> boolean ok, any ...",
			"Calls a function as pcall does. If it fails, the handler is called where the "+
				"error is raised, and its result is returned instead of the error. The "+
				"arguments are passed to the function, as in Lua 5.2.",
			`return xpcall(error, function(e) return "caught " .. e end, "x", 0) `+
				`-- => false, "caught x"`,
			api.ParamDoc("handler", "function of the error")),
		function("collectgarbage", "option?:string n?:integer -> number",
			"Frees memory now (collect, step) or says how many KB are in use (count). stop, "+
				"restart, setpause and setstepmul do nothing.",
			`return collectgarbage("count") > 0, collectgarbage() -- => true, 0`,
			api.ParamDoc("option", "collect if not given"), api.ParamDoc("n", "is ignored")),
	}
}

func loadingFunctions() []*api.Func {
	return []*api.Func{
		function("dofile", "path:string -> any ...",
			"Runs a file and returns its results.",
			`local name = fs.temp_file()
fs.write(name, "return 1 + 1")
return dofile(name) -- => 2`,
			api.StringKind("path", "path"), api.Access("path", host.AccessRead),
			api.Perm("file-read"), api.Raises("not_found", "syntax")),
		function("load", "chunk:string|function chunkname?:string mode?:string env?:table"+
			" -> function?, string? message",
			"Compiles Lua text, 4 MB at most, to a function. Returns nil and the text of the "+
				"error if it cannot. A text as chunk and env are accepted, as in Lua 5.2; "+
				"binary chunks are not.",
			`return load("return 1 + 1")(), load("return x", "c", "t", { x = 5 })() -- => 2, 5`,
			api.ParamDoc("chunk", "the text, or a function that returns piece after piece"),
			api.ParamDoc("mode", "is ignored")),
		function("loadfile", "path:string mode?:string env?:table -> function?, string? message",
			"Compiles a file to a function. Returns nil and the text of the error when it "+
				"cannot.",
			`local name = fs.temp_file()
fs.write(name, "return ...")
return loadfile(name)(7) -- => 7`,
			api.ParamDoc("mode", "is ignored"),
			api.StringKind("path", "path"), api.Access("path", host.AccessRead),
			api.Perm("file-read")),
		function("loadstring", "text:string chunkname?:string -> function?, string? message",
			"Compiles Lua text to a function. Returns nil and the text of the error when it "+
				"cannot.",
			`return loadstring("return 1 + 1")() -- => 2`,
			api.ParamDoc("text", "the text")),
		function("require", "name:string -> any",
			"Returns a module: one of imdlua (imd.json), or name.lua or name/init.lua beside "+
				"the script or in the search path. Dots are directories. A module runs once; a "+
				"task that requires it in the meantime waits.",
			`return require("imd.json") == json -- => true`,
			api.ParamDoc("name", "name of the module"),
			api.Raises("module", "syntax")),
	}
}

func environmentFunctions() []*api.Func {
	return []*api.Func{
		function("getfenv", "fn?:function|integer -> table",
			"The table that holds the globals of a function.",
			`return getfenv(print) == _G -- => true`,
			api.ParamDoc("fn", "a function or a level of the stack, 1 if not given")),
		function("setfenv", "fn:function|integer env:table -> function",
			"Changes the table that holds the globals of a Lua function. The globals of a "+
				"coroutine or of level 0 cannot be changed.",
			`local f = setfenv(function() return x end, { x = 5 })
return f() -- => 5`,
			api.ParamDoc("fn", "a function or a level of the stack"),
			api.ParamDoc("env", "the table")),
	}
}
