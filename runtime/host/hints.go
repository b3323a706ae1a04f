package host

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// hints says what to write instead of names that other Luas or libraries have.
// A name with a dot is a field of a library, another one is a global.
var hints = map[string]string{
	"utf8":       "strings are bytes in Lua 5.1; #text and text:sub count bytes",
	"bit32":      "Lua 5.1 has no bit operators; use arithmetic, or int64(n)",
	"bit":        "Lua 5.1 has no bit operators; use arithmetic, or int64(n)",
	"sleep":      "write time.sleep(seconds)",
	"jit":        "this is Lua 5.1 without a just-in-time compiler",
	"ffi":        "there is no foreign function interface",
	"module":     "write local M = {} ... return M",
	"newproxy":   "write setmetatable({}, {...})",
	"rawlen":     "write #t for a table without __len",
	"warn":       "write log.warn(text)",
	"lfs":        "write fs, for example fs.list(path)",
	"socket":     "write require \"imd.http\"; time.sleep and time.now are in time",
	"cjson":      "write json, for example json.decode(text)",
	"inspect":    "write p(value)",
	"os.execute": "write require(\"imd.exec\").run{ program, argument, ... }",
	"os.setlocale": "the locale is always C; os.date and tostring do not depend on the " +
		"computer's language",
	"os.setenv":          "a script cannot change environment variables; os.getenv reads them",
	"os.sleep":           "write time.sleep(seconds)",
	"os.capture":         "write require(\"imd.exec\").run{ program, argument, ... }.out",
	"io.popen":           "write require(\"imd.exec\").start{ program, argument, ... }",
	"io.readfile":        "write fs.read(path)",
	"io.writefile":       "write fs.write(path, text)",
	"io.exists":          "write fs.exists(path)",
	"string.split":       "write re.split(text, pattern), or for w in text:gmatch(\"[^,]+\") do",
	"string.trim":        "write text:match(\"^%s*(.-)%s*$\")",
	"string.startswith":  "write text:sub(1, #prefix) == prefix",
	"string.endswith":    "write text:sub(-#suffix) == suffix",
	"string.contains":    "write text:find(part, 1, true) ~= nil",
	"string.join":        "write table.concat(list, separator)",
	"string.replace":     "write text:gsub(pattern, replacement)",
	"string.dump":        "functions cannot be stored; keep their source text",
	"string.pack":        "write data(bytes), or string.char(...)",
	"string.unpack":      "write text:byte(i, j)",
	"string.packsize":    "write #data(bytes)",
	"table.contains":     "write for _, v in ipairs(list) do if v == x then ... end end",
	"table.find":         "write for i, v in ipairs(list) do if v == x then ... end end",
	"table.indexof":      "write for i, v in ipairs(list) do if v == x then ... end end",
	"table.copy":         "write for k, v in pairs(t) do copy[k] = v end",
	"table.move":         "write for i = from, to do b[at + i - from] = a[i] end",
	"table.keys":         "write for k in pairs(t) do keys[#keys + 1] = k end",
	"table.length":       "write #t",
	"table.size":         "write #t for a list, or count with pairs(t)",
	"table.join":         "write table.concat(list, separator)",
	"table.push":         "write table.insert(list, value)",
	"table.pop":          "write table.remove(list)",
	"math.round":         "write math.floor(x + 0.5)",
	"math.tointeger":     "numbers have no integer type in Lua 5.1; write math.floor(x)",
	"math.type":          "numbers have no integer type in Lua 5.1; write x == math.floor(x)",
	"math.ult":           "write uint64(a) < uint64(b)",
	"math.maxinteger":    "write 2^53, the largest exact integer, or int64(text)",
	"math.mininteger":    "write -2^53, the smallest exact integer, or int64(text)",
	"math.clamp":         "write math.max(low, math.min(high, x))",
	"math.sign":          "write x > 0 and 1 or x < 0 and -1 or 0",
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

// giveHints makes reading a field of a library that hints knows an error. Other
// unknown fields are nil, as in Lua.
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

// hintFor returns the hint for a name. In fields the case and underscores do not
// count: startsWith and starts_with are the same.
func hintFor(name string) string {
	if hint := hints[name]; hint != "" {
		return hint
	}
	if !strings.Contains(name, ".") {
		return ""
	}
	return hints[strings.ToLower(strings.ReplaceAll(name, "_", ""))]
}
