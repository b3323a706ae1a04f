package host

import (
	"maps"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/compile"
)

// hints says what to write instead of names that exist only in other versions of
// Lua or in libraries for it. A name with a dot is a field of a library, a name
// without one is a global. A test checks that every function that is named in a
// hint exists.
var hints = map[string]string{
	"bit32":      "write local bit = require \"imd.bit\"",
	"sleep":      "write time.sleep(seconds)",
	"wait":       "write time.sleep(seconds), or require(\"imd.eventually\")(fn)",
	"jit":        "this is Lua 5.1 without a just-in-time compiler",
	"ffi":        "there is no foreign function interface; imd.bytes packs and unpacks bytes",
	"module":     "write local M = {} ... return M",
	"newproxy":   "write setmetatable({}, {...})",
	"rawlen":     "write #t for a table without __len",
	"warn":       "write log.warn(text)",
	"lfs":        "write fs, for example fs.list(path)",
	"socket":     "write require(\"imd.http\") for HTTP, dev:connect(port) for a port of a device",
	"cjson":      "write json, for example json.decode(text)",
	"inspect":    "write p(value)",
	"dump":       "write p(value)",
	"printf":     "write print(format:format(...))",
	"sprintf":    "write format:format(...)",
	"arg":        "write args: args[1] is the first argument",
	"setTimeout": "write task.spawn(function() task.sleep(seconds) ... end)",

	"quit":    "write os.exit(code)",
	"getenv":  "write os.getenv(name)",
	"typeof":  "write type(value)",
	"len":     "write #t",
	"range":   "write for i = first, last do ... end, or require(\"imd.tbl\").range(first, last)",
	"spawn":   "write task.spawn(fn)",
	"console": "write print(value), or log.info(text)",
	"Set":     "write require \"imd.collections\"",
	"Queue":   "write require \"imd.collections\", or task.queue() between tasks",

	"os.execute": "write require(\"imd.exec\").run{ \"program\", \"argument\" }",
	"os.setlocale": "the locale is always C; os.date and tostring do not depend on the " +
		"computer's language",
	"os.setenv": "a script cannot change its environment variables; the env option of " +
		"require(\"imd.exec\").run sets them for a program",
	"os.sleep":      "write time.sleep(seconds)",
	"os.capture":    "write require(\"imd.exec\").run{ \"program\", \"argument\" }.out",
	"os.getcwd":     "write fs.cwd()",
	"os.mkdir":      "write fs.mkdir(path)",
	"os.listdir":    "write fs.list(path)",
	"os.exists":     "write fs.exists(path)",
	"os.copy":       "write fs.copy(from, to)",
	"os.microtime":  "write time.now().unix",
	"io.popen":      "write require(\"imd.exec\").run{ \"program\", \"argument\" }.out",
	"io.readfile":   "write fs.read(path)",
	"io.writefile":  "write fs.write(path, text)",
	"io.appendfile": "write fs.append(path, text)",
	"io.exists":     "write fs.exists(path)",
	"io.readlines":  "write for line in fs.lines(path) do ... end",

	"string.split":      "write require(\"imd.str\").split(text, separator)",
	"string.explode":    "write require(\"imd.str\").split(text, separator)",
	"string.lines":      "write require(\"imd.str\").lines(text)",
	"string.trim":       "write require(\"imd.str\").trim(text)",
	"string.strip":      "write require(\"imd.str\").trim(text)",
	"string.ltrim":      "write require(\"imd.str\").ltrim(text)",
	"string.rtrim":      "write require(\"imd.str\").rtrim(text)",
	"string.startswith": "write require(\"imd.str\").starts_with(text, part)",
	"string.endswith":   "write require(\"imd.str\").ends_with(text, part)",
	"string.contains":   "write require(\"imd.str\").contains(text, part)",
	"string.includes":   "write require(\"imd.str\").contains(text, part)",
	"string.count":      "write require(\"imd.str\").count(text, part)",
	"string.join":       "write require(\"imd.str\").join(list, separator)",
	"string.replace":    "write require(\"imd.str\").replace(text, old, new)",
	"string.capitalize": "write require(\"imd.str\").capitalize(text)",
	"string.title":      "write require(\"imd.str\").title(text)",
	"string.padleft":    "write require(\"imd.str\").pad_left(text, width)",
	"string.padright":   "write require(\"imd.str\").pad_right(text, width)",
	"string.ljust":      "write require(\"imd.str\").pad_right(text, width)",
	"string.rjust":      "write require(\"imd.str\").pad_left(text, width)",
	"string.isempty":    "write text == \"\"",
	"string.tonumber":   "write tonumber(text)",
	"string.pack":       "write require(\"imd.bytes\").pack(format, ...)",
	"string.unpack":     "write require(\"imd.bytes\").unpack(format, text)",
	"string.packsize":   "write require(\"imd.bytes\").packsize(format)",
	"string.buffer":     "write t[#t + 1] = part, and table.concat(t) at the end",

	"table.contains": "write require(\"imd.tbl\").contains(t, value)",
	"table.find":     "write require(\"imd.tbl\").index_of(t, value), or tbl.find(t, fn)",
	"table.indexof":  "write require(\"imd.tbl\").index_of(t, value)",
	"table.copy":     "write require(\"imd.tbl\").copy(t), or tbl.deep_copy(t)",
	"table.clone":    "write require(\"imd.tbl\").copy(t), or tbl.deep_copy(t)",
	"table.deepcopy": "write require(\"imd.tbl\").deep_copy(t)",
	"table.equals":   "write require(\"imd.tbl\").deep_equal(a, b)",
	"table.move":     "write for i = from, to do b[at + i - from] = a[i] end",
	"table.keys":     "write require(\"imd.tbl\").keys(t)",
	"table.values":   "write require(\"imd.tbl\").values(t)",
	"table.map":      "write require(\"imd.tbl\").map(t, fn)",
	"table.filter":   "write require(\"imd.tbl\").filter(t, fn)",
	"table.reduce":   "write require(\"imd.tbl\").reduce(t, fn, initial)",
	"table.merge":    "write require(\"imd.tbl\").merge(a, b)",
	"table.extend":   "write require(\"imd.tbl\").concat(a, b)",
	"table.reverse":  "write require(\"imd.tbl\").reverse(t)",
	"table.slice":    "write require(\"imd.tbl\").slice(t, first, last)",
	"table.unique":   "write require(\"imd.tbl\").unique(t)",
	"table.isempty":  "write next(t) == nil",
	"table.length":   "write #t for a list, or require(\"imd.tbl\").size(t)",
	"table.size":     "write #t for a list, or require(\"imd.tbl\").size(t)",
	"table.count":    "write #t for a list, or require(\"imd.tbl\").size(t)",
	"table.join":     "write table.concat(list, separator)",
	"table.push":     "write table.insert(list, value)",
	"table.append":   "write table.insert(list, value)",
	"table.pop":      "write table.remove(list)",
	"table.pack":     "write { n = select(\"#\", ...), ... }",
	"table.clear":    "write t = {}",
	"table.new":      "write {}",

	"math.round":      "write math.floor(x + 0.5)",
	"math.trunc":      "write (math.modf(x))",
	"math.tointeger":  "numbers have no integer type in Lua 5.1; write math.floor(x)",
	"math.type":       "numbers have no integer type in Lua 5.1; write x == math.floor(x)",
	"math.ult":        "write uint64(a) < uint64(b)",
	"math.maxinteger": "write 2^53, the largest exact integer, or int64(text)",
	"math.mininteger": "write -2^53, the smallest exact integer, or int64(text)",
	"math.clamp":      "write math.max(low, math.min(high, x))",
	"math.sign":       "write x > 0 and 1 or x < 0 and -1 or 0",
	"math.inf":        "write math.huge",
	"math.infinity":   "write math.huge",

	"coroutine.close": "let it end by itself; task.spawn(fn):cancel() ends a task",

	"package.cpath":      "modules in C cannot be loaded; those in Lua are found beside the script",
	"package.loadlib":    "modules in C cannot be loaded; those in Lua are found beside the script",
	"package.loaders":    "write package.preload[name] = function() return M end",
	"package.searchers":  "write package.preload[name] = function() return M end",
	"package.searchpath": "write fs.exists(path)",
	"package.seeall":     "write local M = {} ... return M",

	"debug.sethook":      "hooks belong to the host, which counts and cancels with them",
	"debug.gethook":      "hooks belong to the host, which counts and cancels with them",
	"debug.getlocal":     "locals of other functions cannot be read; print them where they are",
	"debug.setlocal":     "locals of other functions cannot be changed",
	"debug.getupvalue":   "upvalues of other functions cannot be read; return them instead",
	"debug.setupvalue":   "upvalues of other functions cannot be changed",
	"debug.getregistry":  "the registry belongs to the host",
	"debug.getmetatable": "write getmetatable(value); protected metatables stay protected",
	"debug.setmetatable": "write setmetatable(table, metatable); other types have no metatable of " +
		"their own",
	"debug.getfenv": "write getfenv(f)",
	"debug.setfenv": "write setfenv(f, environment)",
	"debug.debug":   "use the REPL: imdlua without a script",
}

// moduleHints says what to write instead of requiring a module that exists only
// for other hosts of Lua.
var moduleHints = map[string]string{
	"socket": "write require \"imd.http\" for HTTP, dev:connect(port) for a port of a device, " +
		"time.sleep(seconds) to sleep",
	"socket.http":  "write require \"imd.http\"",
	"ssl.https":    "write require \"imd.http\"",
	"requests":     "write require \"imd.http\"",
	"http.request": "write require \"imd.http\"",
	"ltn12":        "write require \"imd.http\"",
	"socket.url":   "write require \"imd.http\"",
	"mime":         "write require \"imd.base64\"",
	"cjson":        "write require \"imd.json\"; json is a global as well",
	"cjson.safe":   "write try(json.decode, text)",
	"dkjson":       "write require \"imd.json\"; json is a global as well",
	"rapidjson":    "write require \"imd.json\"; json is a global as well",
	"lunajson":     "write require \"imd.json\"; json is a global as well",
	"lyaml":        "write require \"imd.yaml\"",
	"lfs":          "write require \"imd.fs\"; fs is a global as well",
	"posix":        "write fs, require \"imd.exec\" or time",
	"inspect":      "write p(value)",
	"serpent":      "write p(value), or json.encode(value)",
	"pprint":       "write p(value)",
	"bit32":        "write require \"imd.bit\"",
	"struct":       "write require \"imd.bytes\"",
	"lpeg":         "write re for regular expressions, or the patterns of string",
	"rex_pcre":     "write re for regular expressions",
	"md5":          "write hash.md5(data)",
	"sha1":         "write hash.sha1(data)",
	"sha2":         "write hash.sha256(data)",
	"argparse":     "write args: the header lines of the script declare its options",
	"luasocket":    "write require \"imd.http\"",
	"pl":           "write require \"imd.str\", require \"imd.tbl\" or fs",
	"pl.stringx":   "write require \"imd.str\"",
	"pl.tablex":    "write require \"imd.tbl\"",
	"pl.pretty":    "write p(value)",
	"pl.path":      "write require \"imd.path\"; path is a global as well",
	"fun":          "write require \"imd.iter\", or require \"imd.tbl\"",
	"ansicolors":   "write require \"imd.term\"",
	"uv":           "write task for work beside other work, time.sleep(seconds) to sleep",
	"copas":        "write task for work beside other work",
	"lanes":        "write task for work beside other work",
	"ffi":          "there is no foreign function interface; imd.bytes packs and unpacks bytes",
	"jit":          "this is Lua 5.1 without a just-in-time compiler",
}

// Hints returns the hints about names, and those about modules that are required.
func Hints() (names, required map[string]string) {
	return maps.Clone(hints), maps.Clone(moduleHints)
}

// HintFor returns the hint for a name that other versions of Lua have, or "" if
// there is none.
func HintFor(name string) string { return hintFor(name) }

// giveHints makes it an error to read a field of a library that does not exist and
// has a hint. Other unknown fields are nil, as in Lua.
func (h *Host) giveHints(library string, t *lua.LTable) {
	mt := h.root.CreateTable(0, 2)
	mt.RawSetString("__index", h.root.NewFunction(func(L *lua.LState) int {
		name, ok := L.Get(2).(lua.LString)
		if !ok || !calledFromLua(L) {
			return 0
		}
		full := library + "." + string(name)
		if hint := hintFor(full); hint != "" {
			Raise(L, &Error{Code: "undefined", Message: "there is no " + full, Hint: hint})
		}
		return 0
	}))
	mt.RawSetString("__metatable", lua.LString("library "+library))
	t.Metatable = mt
}

// hintFor returns the hint for a name. In the names of fields it ignores case and
// underscores, so that startsWith and starts_with are the same.
func hintFor(name string) string {
	if hint := hints[name]; hint != "" {
		return hint
	}
	if !strings.Contains(name, ".") {
		return compile.WordHint(name)
	}
	return hints[strings.ToLower(strings.ReplaceAll(name, "_", ""))]
}

// messageHints holds hints for errors of the VM. part is a part of the message.
var messageHints = []struct{ part, hint string }{
	{"perform arithmetic on a string value", "texts are joined with .., and tonumber(text) makes " +
		"a number"},
	{"compare number with string", "tonumber(text) makes a number"},
	{"compare string with number", "tonumber(text) makes a number"},
	{"index a nil value (local 'self')", "a method is called with a colon: object:name()"},
	{"concatenate a nil value", "tostring(value) makes a text of anything"},
	{"concatenate a boolean value", "tostring(value) makes a text of anything"},
	{
		"concatenate a table value",
		"p(value) prints a table, table.concat(list, \", \") joins a list",
	},
	{"call a table value (for ... in", "write for k, v in pairs(t), or for i, v in ipairs(list)"},
	{"call a string value", "two texts are joined with .., and a name before ( is called"},
}

// messageHint returns the hint for an error of the VM, or "" if there is none.
func messageHint(message string) string {
	if !strings.HasPrefix(message, "attempt to ") {
		return ""
	}
	for _, m := range messageHints {
		if strings.Contains(message, m.part) {
			return m.hint
		}
	}
	return ""
}
