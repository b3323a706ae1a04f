package lua51

import "github.com/imdlua/imdlua/runtime/host/api"

func stringLibrary() *api.Module {
	words := glossary{
		"text":    "the text: any bytes",
		"pattern": "a Lua pattern, or plain text without ^$*+?.([%-",
		"from":    "first position, 1 if not given; -1 is the last byte",
		"to":      "last position; -1 is the last byte",
	}
	return &api.Module{
		Name: "string",
		Doc: "Texts of bytes. The functions are methods of every text as well. Positions count " +
			"bytes from 1, negative ones from the end. Patterns are those of Lua, not regular " +
			"expressions, which are in re. For characters beyond ASCII see imd.utf8, for " +
			"splitting and trimming imd.str.",
		Perm:  "none",
		Var:   "text",
		Funcs: words.explain(stringParts(), stringPatterns()),
	}
}

func stringParts() []*api.Func {
	return []*api.Func{
		function("byte", "text:string from?:integer to?:integer -> integer ...",
			"Returns the values of the bytes between two positions, 0 to 255. to is from if it "+
				"is not given. At most 100,000 are returned at once.",
			`return ("AB"):byte(1, -1) -- => 65, 66`),
		function("char", "...:integer -> string",
			"Makes a text from byte values.",
			`return string.char(72, 105) -- => "Hi"`,
			api.ParamDoc("...", "numbers from 0 to 255")),
		function("dump", "fn:function -> string",
			"Always fails: a function cannot be written as a text. Keep its source instead.",
			`return pcall(string.dump, print) -- => false, `+
				`"string.dump is not supported: a function cannot be written as a string"`,
			api.ParamDoc("fn", "a function")),
		function("format", "format:string ...:any -> string",
			"Makes a text as printf of C does. %s accepts any value, as tostring does; %q writes "+
				"text that Lua can read; %d %i %u %c %x %X %o %e %E %f %g %G %a %A accept numbers; "+
				"%% is a percent sign. Width and precision have two digits at most. Int64 values "+
				"are exact with %d, %u and %x.",
			`return ("%s is %05.1f"):format("x", 2.25) -- => "x is 002.2"`,
			api.ParamDoc("format", "the text with directives"),
			api.ParamDoc("...", "a value for each directive"),
			api.Raises("memory")),
		function("len", "text:string -> integer",
			"Counts bytes, as # does.",
			`return ("äb"):len(), #"äb" -- => 3, 3`),
		function("lower", "text:string -> string",
			"Changes the letters A to Z; other bytes stay as they are.",
			`return ("ÄB"):lower() -- => "Äb"`),
		function("rep", "text:string count:integer separator?:string -> string",
			"Repeats a text, with a separator as in Lua 5.2.",
			`return ("ab"):rep(3, "-") -- => "ab-ab-ab"`,
			api.ParamDoc("count", "how often"),
			api.ParamDoc("separator", "text between two repetitions"),
			api.Raises("memory")),
		function("reverse", "text:string -> string",
			"Reverses the order of the bytes.",
			`return ("abc"):reverse() -- => "cba"`),
		function("sub", "text:string from:integer to?:integer -> string",
			"Returns the part of a text from one position to another, both included.",
			`return ("hello"):sub(2, -2), ("hello"):sub(-3) -- => "ell", "llo"`),
		function("upper", "text:string -> string",
			"Changes the letters a to z; other bytes stay as they are.",
			`return ("äb"):upper() -- => "äB"`),
	}
}

func stringPatterns() []*api.Func {
	return []*api.Func{
		function("find", "text:string pattern:string from?:integer plain?:boolean"+
			" -> integer? first, integer? last, string ...",
			"Looks for a pattern. Returns where the first match begins and ends, and its "+
				"captures; nil if there is none.",
			`return ("key = 42"):find("(%w+) = (%d+)") -- => 1, 8, "key", "42"`,
			api.ParamDoc("from", "where the search begins"),
			api.ParamDoc("plain", "look for the text itself: no character is special")),
		function("gmatch", "text:string pattern:string -> function",
			"Returns an iterator over all matches, which returns the captures of each, or the "+
				"whole match. A ^ has no special meaning here.",
			`local t = {}
for key, value in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do t[key] = value end
return t -- => { a = "1", b = "2" }`),
		function("gsub", "text:string pattern:string replacement:string|table|function"+
			" limit?:integer -> string, integer count",
			"Replaces matches. Returns the new text and the number of matches. In a replacement "+
				"text, %0 is the match and %1 the first capture; a table is indexed by the "+
				"first capture; a function is called with all captures. nil and false keep "+
				"the match.",
			`return ("hello world"):gsub("o", "0") -- => "hell0 w0rld", 2`,
			api.ParamDoc("replacement", "text, table or function"),
			api.ParamDoc("limit", "how many at most"),
			api.Raises("memory")),
		function("match", "text:string pattern:string from?:integer -> string? ...",
			"Looks for a pattern. Returns the captures of the first match, or the whole match "+
				"if the pattern has none; nil if nothing matches.",
			`return ("iOS 17.4"):match("(%d+)%.(%d+)") -- => "17", "4"`,
			api.ParamDoc("from", "where the search begins")),
	}
}
