package stdlib_test

import (
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
)

// endless holds programs that compute for very long in the library or in metamethods. One interrupt
// and task.timeout must end each of them. The host and Lua's own library have tests of their own.
var endless = map[string]string{
	"re match":     `local s = ("a"):rep(3e6) while true do re.match(s, "(a+)+b") end`,
	"re one match": `re.match(("a"):rep(2e7), "(a|aa|aaa)*(a|b|aa)*[ab]*c")`,
	"re test":      `local s = ("ab"):rep(3e6) while true do re.test(s, "(?i)x.*y$") end`,
	"re find":      `local s = ("ab"):rep(3e6) while true do re.find(s, "[a-z]*[0-9]", 5) end`,
	"re groups": `local s = ("ab"):rep(3e6) while true do re.groups(s, "(?P<x>b+a+)*c")
		end`,
	"re gmatch": `local s = ("ab"):rep(2e6) while true do for _ in re.gmatch(s, "") do end
		end`,
	"re replace":  `local s = ("ab"):rep(2e6) while true do re.replace(s, "a", "$0$0") end`,
	"re function": `re.replace(("ab"):rep(2e6), "a", function() while true do end end)`,
	"re split":    `local s = ("a,"):rep(2e6) while true do re.split(s, ",") end`,
	"re escape":   `local s = (".*"):rep(2e6) while true do re.escape(s) end`,
	"re compile": `local n = 0 while true do n = n + 1 re.test("a", ("(a{1,900}" .. n ..
		")"):rep(1)) end`,
	"json decode": `local s = "[" .. ("[1,2],"):rep(5e5) .. "1]" while true do
		json.decode(s) end`,
	"json deep": `local s = ("["):rep(1e6) while true do pcall(json.decode, s) end`,
	"json encode": `local t = {} for i = 1, 3e5 do t[i] = { i } end while true do
		json.encode(t) end`,
	"json cycle": `local t = {} t[1] = t while true do pcall(json.encode, t) end`,
	"plist decode": `local s = plist.encode({ x = ("y"):rep(1e6) }) while true do
		plist.decode(s) end`,
	"plist encode": `local t = {} for i = 1, 2e5 do t[i] = i end while true do
		plist.encode(t) end`,
	"str split": `local str = require "imd.str" local s = ("a,"):rep(2e6) while true do
		str.split(s, ",") end`,
	"str replace": `local str = require "imd.str" local s = ("ab"):rep(2e6) while true do
		str.replace(s, "a", "ccc") end`,
	"str trim": `local str = require "imd.str" local s = (" "):rep(5e6) .. "a" while true
		do str.trim(s) end`,
	"tbl": `local tbl = require "imd.tbl" local t = {} for i = 1, 3e5 do t[i] = i end while
		true do tbl.copy(t) end`,
	"tbl map": `local tbl = require "imd.tbl" tbl.map({ 1 }, function() while true do end
		end)`,
	"utf8": `local utf8 = require "imd.utf8" local s = ("ä"):rep(2e6) while true do
		utf8.len(s) end`,
	"utf8 codes": `local utf8 = require "imd.utf8" local s = ("ä"):rep(2e6) while true do
		for _ in utf8.codes(s) do end end`,
	"base64": `local b = require "imd.base64" local s = ("x"):rep(1e7) while true do
		b.encode(s) end`,
	"hex": `local b = require "imd.hex" local s = ("x"):rep(5e6) while true do b.encode(s)
		end`,
	"hash": `local b = require "imd.hash" local s = ("x"):rep(1e7) while true do
		b.sha256(s) end`,
	"printer": `local t = {} for i = 1, 1e5 do t[i] = { i } end while true do tostring(t)
		p(t) end`,
	"gmatch empty": `local s = ("x"):rep(1e6) while true do for _ in s:gmatch("") do end end`,
	"bad comparator": `local t = {} while true do for i = 1, 1e5 do t[i] = i % 7 end
		pcall(table.sort, t, function() return true end) end`,
	"nested rep": `while true do local s = ("x"):rep(1000):rep(1000):rep(20) end`,
	"unpack": `local t = {} for i = 1, 9e4 do t[i] = i end while true do select("#",
		unpack(t)) end`,
	"deep __index": `local mt = {} mt.__index = function(t, k) return setmetatable({},
		mt)[k] end while true do pcall(function() return setmetatable({}, mt).x end) end`,
	"__index chain": `local t = {} for i = 1, 1e5 do t = setmetatable({}, { __index = t })
		end while true do local x = pcall(function() return t.x end) end`,
	"__newindex": `local t = setmetatable({}, { __newindex = function(t, k, v) while true
		do end end }) t.x = 1`,
	"__newindex self": `local t = setmetatable({}, {}) getmetatable(t).__newindex = t
		while true do pcall(function() t.x = 1 end) end`,
	"__index self": `local t = setmetatable({}, {}) getmetatable(t).__index = t
		while true do pcall(function() return t.x end) end`,
	"__lt": `local mt = { __lt = function(a, b) return b < a end } local a =
		setmetatable({}, mt) while true do pcall(function() return a < setmetatable({}, mt)
		end) end`,
	"__concat": `local mt = {} mt.__concat = function(a, b) return a .. setmetatable({},
		mt) end while true do pcall(function() return setmetatable({}, mt) .. "" end) end`,
	"__call": `local t = setmetatable({}, { __call = function(self) return self() end })
		t()`,
	"__call chain": `local f = function() while true do end end for i = 1, 50 do f =
		setmetatable({}, { __call = f }) end while true do pcall(f) end`,
	"__tostring deep": `local mt = {} mt.__tostring = function() return
		tostring(setmetatable({}, mt)) end while true do pcall(tostring, setmetatable({}, mt))
		end`,
	"coroutine nests": `local function f() return coroutine.wrap(f)() end while true do
		pcall(f) end`,
	"load deep": `local s = "return " .. ("("):rep(1e6) while true do loadstring(s) end`,
	"load long": `local s = "return {" .. ("1,"):rep(1e6) .. "}" while true do
		loadstring(s) end`,
	"load constants": `local t = {} for i = 1, 9900 do t[i] = "'k" .. i .. "'" end
		local s = "return {" .. table.concat(t, ",") .. "}" while true do loadstring(s)() end`,
	"load lines":         `local s = ("x = 1\n"):rep(3e5) while true do loadstring(s) end`,
	"load reader":        `load(function() return " " .. (" "):rep(10) end) while true do end`,
	"string keys":        `local t, n = {}, 0 while true do n = n + 1 t["k" .. n % 1e5] = n end`,
	"text in arithmetic": `local s = "010" while true do local x = s + s end`,
}

func TestEndlessPrograms(t *testing.T) {
	hosttest.Endless{
		Programs: endless,
		Limit:    300 * time.Millisecond,
		Host: func(t *testing.T) *host.Host {
			h := host.New(host.Options{MaxMemory: 4 << 30})
			if err := stdlib.Install(h); err != nil {
				t.Fatal(err)
			}
			return h
		},
	}.Run(t)
}
