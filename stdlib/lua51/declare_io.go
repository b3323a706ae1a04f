package lua51

import (
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

const readFormats = "l (a line without its end), L (a line with its end), n (a number), " +
	"a (the rest), or a count of bytes"

// ioWords explains the parameters of io and of files.
var ioWords = glossary{
	"path":    "the file",
	"file":    "an open file",
	"formats": readFormats + "; l if not given",
	"values":  "texts, numbers and Data values",
}

func ioLibraryModule() *api.Module {
	return &api.Module{
		Name: "io",
		Doc: "Files, opened and read piece by piece. For whole files fs.read, fs.write and " +
			"fs.lines are shorter. A file closes with its scope at the latest.",
		Perm: "none",
		Consts: []api.Const{
			{Name: "stderr", Doc: "The standard error output.", Type: "File"},
			{Name: "stdin", Doc: "The standard input.", Type: "File"},
			{Name: "stdout", Doc: "The standard output, in order with print.", Type: "File"},
		},
		Classes: []*api.Class{fileClass()},
		Funcs:   ioWords.explain(ioOpening(), ioDefaults()),
	}
}

func ioOpening() []*api.Func {
	return []*api.Func{
		function("lines", "path?:string formats...:string|integer -> function",
			"Returns an iterator over the lines of a file, or over what the formats read. The "+
				"file is closed at its end. Without a path it reads the default input, which "+
				"stays open.",
			`local name = fs.temp_file()
fs.write(name, "one\ntwo\n")
local t = {}
for line in io.lines(name) do t[#t + 1] = line end
return t -- => { "one", "two" }`,
			api.StringKind("path", "path"), api.Access("path", host.AccessRead),
			api.Perm("file-read"), api.Raises("not_found", "too_large"),
			api.SeeAlso("fs.lines")),
		function("open", "path:string mode?:string -> File?, string? message, integer? number",
			"Opens a file. Returns nil, the text and the number of the error if it cannot; "+
				"assert(io.open(path)) raises it.",
			`local f = io.open(fs.temp_file(), "w+")
f:write("hello")
f:seek("set")
return f:read("a"), (io.open("/no/such/file")) -- => "hello", nil`,
			api.ParamDoc("mode", "r read, w write from the beginning, a append; r+, w+ and a+ "+
				"do both; a b is ignored; r if not given"),
			api.StringKind("path", "path"), api.Access("path", host.AccessRead),
			api.Checks(host.AccessWrite), api.Perm("file-read")),
		function("tmpfile", "-> File",
			"Opens a temporary file for reading and writing, which is removed when it closes.",
			`local f = io.tmpfile()
return f:write("x") == f -- => true`,
			api.Perm("file-write"), api.Checks(host.AccessWrite)),
		function("type", "value:any -> string?",
			`Says "file" for an open file, "closed file" for a closed one, and nil for anything `+
				"else.",
			`return io.type(io.stdout), io.type("x") -- => "file", nil`,
			api.ParamDoc("value", "anything")),
	}
}

func ioDefaults() []*api.Func {
	return []*api.Func{
		function("close", "file?:File -> boolean?, string? message, integer? number",
			"Closes a file, or the default output. For the standard streams, which stay open, "+
				"it returns nil and a text.",
			`return io.close(io.tmpfile()), (io.close(io.stdout)) -- => true, nil`),
		function("flush", "-> boolean", "Waits until the default output is written.",
			`io.write("almost ") io.flush()`),
		function("input", "file?:File|string -> File",
			"Returns the default input, from which io.read and io.lines read. An argument, "+
				"which is a file or the name of one, becomes the default input.",
			`local name, before = fs.temp_file(), io.input()
fs.write(name, "one\ntwo\n")
io.input(name)
local line = io.read()
io.input():close()
io.input(before)
return line, before == io.stdin -- => "one", true`,
			api.Perm("file-read"), api.StringKind("file", "path"),
			api.Access("file", host.AccessRead), api.Raises("not_found")),
		function("output", "file?:File|string -> File",
			"Returns the default output, to which io.write writes; print does not. An argument "+
				"becomes the default output: a file, or the name of one, which is emptied.",
			`local name, before = fs.temp_file(), io.output()
io.output(name)
io.write("hello")
io.close()
io.output(before)
return fs.read(name), before == io.stdout -- => "hello", true`,
			api.Perm("file-write"), api.StringKind("file", "path"),
			api.Access("file", host.AccessWrite), api.Raises("not_found")),
		function("read", "formats...:string|integer -> string|number? ...",
			"Reads from the default input, see file:read.",
			`local line = io.read("l")`),
		function("write", "values...:string|number|Data -> File?, string? message, integer? number",
			"Writes to the default output as it is, without a line end. "+
				"Returns the file, so that calls can be chained.",
			`io.write("a", 1, "\n") -- => a1`),
	}
}

// fileClass declares the methods of open files.
func fileClass() *api.Class {
	c := api.NewClass[*file]("File", "An open file of io. If several tasks use it, it handles one "+
		"call after the other.")
	c.Var = "f"
	c.Perm = "none"
	c.Shared = "a file lets one call in at a time"
	c.Methods = ioWords.explain(fileReading(), fileWriting())
	return c
}

func fileReading() []*api.Func {
	return []*api.Func{
		function("lines", "formats...:string|integer -> function",
			"Returns an iterator over the lines, or over what the formats read. The file stays "+
				"open at its end.",
			`local f, t = io.tmpfile(), {}
f:write("one\ntwo\n")
f:seek("set")
for line in f:lines() do t[#t + 1] = line end
return t -- => { "one", "two" }`,
			api.Raises("too_large")),
		function("read", "formats...:string|integer -> string|number? ...",
			"Reads one piece for each format: "+readFormats+". Returns nil at the end of the "+
				"file, and nil and a text on an error. Lua 5.1 needs a star before "+
				"the letter, which is accepted here.",
			`local f = io.tmpfile()
f:write("42 apples\nrest")
f:seek("set")
return f:read("n", "l", 2, "a") -- => 42, " apples", "re", "st"`),
		function("seek", "whence?:string offset?:integer -> integer?, string? message, "+
			"integer? number",
			"Moves to a position in the file and returns it, in bytes from the beginning.",
			`local f = io.tmpfile()
f:write("12345")
return f:seek(), f:seek("set", 1), f:read(2), f:seek("end") -- => 5, 1, "23", 5`,
			api.ParamDoc("whence", "set (the beginning), cur (here) or end; cur if not given"),
			api.ParamDoc("offset", "bytes from there, 0 if not given")),
	}
}

func fileWriting() []*api.Func {
	return []*api.Func{
		function("close", "-> boolean?, string? message, integer? number",
			"Closes the file. Further calls with it fail.",
			`local f = io.tmpfile()
return f:close(), tostring(f) -- => true, "file (closed)"`),
		function("flush", "-> boolean?, string? message, integer? number",
			"Waits until standard output or error is written. Other files are not buffered.",
			`return io.stdout:flush() -- => true`),
		function("setvbuf", "mode:string size?:integer -> boolean",
			"Only checks the mode, because files are not buffered.",
			`return io.tmpfile():setvbuf("no") -- => true`,
			api.ParamDoc("mode", "no, full or line"), api.ParamDoc("size", "is ignored")),
		function("write", "values...:string|number|Data -> File?, string? message, "+
			"integer? number",
			"Writes values one after the other, numbers with all digits. Returns the file, so "+
				"that calls can be chained.",
			`local f = io.tmpfile()
f:write("a", 0.1):write("b"):seek("set")
return f:read("a") -- => "a0.1b"`),
	}
}
