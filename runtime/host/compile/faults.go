package compile

// Fault is a fault of gopher-lua's compiler or VM for which this package has a remedy.
type Fault struct {
	Name   string
	Chunk  string // a program that shows the fault
	Prints string // the output of lua5.1, or of LuaJIT if the chunk has a goto
	Repair string // the function or mechanism that repairs the fault
}

// Faults lists every fault that this package repairs. A test runs each chunk in the
// host, and in lua5.1 or LuaJIT.
var Faults = []Fault{
	{"swap of locals", `local a, b = 1, 2 a, b = b, a print(a, b)`, "2\t1\n", "repairAssign"},
	{"swap of parameters",
		`local function f(a, b) a, b = b, a return a, b end print(f(1, 2))`, "2\t1\n",
		"repairAssign"},
	{"swap of loop variables",
		`for k, v in pairs{ 5 } do k, v = v, k print(k, v) end`, "5\t1\n", "repairAssign"},
	{"equal targets", `local b b, b = '3' print(b)`, "3\n", "repairAssign"},
	{"local and field", `local a, d = 1, { x = 2 } a, d.x = d.x, a print(a, d.x)`, "2\t1\n",
		"repairAssign"},
	{"object of a target is a target",
		`local t = {} local old = t t, t.x = {}, 5 print(t.x, old.x)`, "nil\t5\n", "repairAssign"},
	{"key of a target is a target", `local i, t = 1, {} i, t[i] = i + 1, 20 print(i, t[1], t[2])`,
		"2\t20\tnil\n", "repairAssign"},
	{"captured local",
		`local a, b = 1, 2 local function f() return a end a, b = 7, f() print(a, b)`, "7\t1\n",
		"repairAssign"},
	{"failure leaves the targets alone",
		`local a, b = 1, 2 pcall(function() local function g() return a end a, b = 7, nil + 1 end) print(a)`,
		"1\n", "repairAssign"},
	{
		"global and field",
		`local t, a = {}, 5 g, t.x = 1, a print(g, t.x)`,
		"1\t5\n",
		"repairAssign",
	},
	{
		"call in the middle",
		`local function f(a) local b a, b = (tostring(a)), 2 return a, b end print(f(1))`,
		"1\t2\n",
		"repairAssign",
	},
	{"bracketed call into the last parameter",
		`local function f(a) a = (tostring(a)) return a end print(f(5))`, "5\n", "repairSingle"},
	{"bracketed dots",
		`local function f(...) local a, b = 1, 2 a = (...) return a, b end print(f(9))`, "9\t2\n",
		"repairSingle"},
	{"nested logic into its operand",
		`local function f(x, y, z) x = (y or z) and x return x end print(f(1, 2, 3))`, "1\n",
		"repairSingle"},
	{"logic into the last parameter", `local function f(c, d) d = (not c and c ~= 1) return d end
local function g(c, d) d = (({ 0.5, c })[2] and d) return d end print(f(1, 2), g(false, 2), g(1, 2))`,
		"false\tfalse\t2\n", "repairSingle"},
	{
		"field read late",
		`local t, a = {}, 1 local function f() a = 2 return 3 end t.x, t.y = a, f() print(t.x)`,
		"1\n",
		"repairAssign",
	},
	{"local function value sees the outer name",
		`local f = 1 do local f = function() return f end print(f()) end`, "1\n", "localAssign"},
	{
		"iterator of a call",
		`local function d() return { f = { g = function() return next, { 4 } end } } end
for k, v in d().f:g() do print(k, v) end`,
		"1\t4\n",
		"genericFor",
	},
	{"break out of a block with a captured local", `local f
for i = 1, 3 do if i == 2 then local x = i * 10 f = function() return x end break end end
local q, r, s, u, w = 7, 8, 9, 10, 11 print(f(), q, r, s, u, w)`, "20\t7\t8\t9\t10\t11\n", "breaks"},
	{"break leaves outer captured locals open", `local n = 0 local function inc() n = n + 1 end
for i = 1, 3 do local z = i inc() if z == 2 then break end end n = n + 10 inc() print(n)`, "13\n",
		"jump"},
	{"goto over later locals closes the earlier ones", `local fs = {}
for i = 1, 2 do
  do local z = i fs[i] = function() return z end if i == 1 then goto continue end end
  local x, y = {}, {}
  ::continue::
end print(fs[1](), fs[2]())`, "1\t2\n", "jump"},
	{"text in a numeric for", `local n = "3" for i = "1", n, "2" do print(i) end`, "1\n3\n",
		"limits"},
	{"loop that begins with a break", `local n = 0
for k in pairs{ 1, 2, 3 } do n = n + 1 for o in pairs{ 1 } do break end end
for i = 1, 3 do while true do break end n = n + 1 end
for i = 1, 3 do repeat break until false n = n + 1 end print(n)`, "9\n", "landing"},
	{"constant condition", `local n, x = 0, false
for i = 1, 3 do n = n + 1 while (true or x) do break end end
for i = 1, 3 do for k in pairs{ 1, 2 } do if false then n = 100 end n = n + 1 end end
for i = 1, 3 do while (false or i < 2) and true do i = i + 1 n = n + 1 end end
print(n)`, "10\n", "whileLanding"},
	{"50 items and a call", `local function two() return 2 end
local t = loadstring("local two = ... return {" .. ("1,"):rep(50) .. "two()}")(two)
print(#t, t[1], t[51])`, "51\t1\t2\n", "blocks"},
	{"50 items and a field", `local function two() return 2 end
local t = loadstring("local two = ... return {" .. ("1,"):rep(50) .. "x=two(),y=3,7}")(two)
print(#t, t[1], t[2], t.x, t.y)`, "51\t1\t1\t2\t3\n", "table"},
	{
		"30,000 items",
		`print(#loadstring("return {" .. ("7,"):rep(30000) .. "}")())`,
		"30000\n",
		"blocks",
	},
	{"a field with a call behind items", `local function f(...) return ... end
local t = { "a", k = f("x", "y") }
print(#t, t.k)
t = { "a", "b", [f("k")] = ("x"):rep(2) }
print(#t, t.k)
t = (function(...) return { 1, k = ... } end)(5, 6)
print(#t, t.k)`, "1\tx\n2\txx\n1\t5\n", "table"},
	{"30,000 items, fields and a call", `local t = loadstring("local s = ... return {" ..
("7,"):rep(25550) .. "x=s," .. ("8,"):rep(4450) .. "y=s(9),s(5,6)}")(function(...) return ... end)
print(#t, t[25551], t[30001], t[30002], t.y)`, "30002\t8\t5\t6\t9\n", "blocks"},
	{"large hexadecimal literal", `print(0xffffffffffffffff == 2^64, 0x8000000000000000 == 2^63)`,
		"true\ttrue\n", "repairNumber"},
	{
		"literal beyond the range",
		`print(1e400 > 1e308, -1e400 < 0)`,
		"true\ttrue\n",
		"repairNumber",
	},
	{"literal with zeros in front", `print(0010, 0012.5)`, "10\t12.5\n", "repairNumber"},
	{"string with zeros in arithmetic", `print("010" + 0, -"010", "0x10" * 1)`, "10\t-10\t16\n",
		"metamethods of strings"},
	{"text of another language in arithmetic", `print((pcall(function() return "0b11" + 0 end)))
print((pcall(function() return "1_0" + 0 end)))`, "false\nfalse\n", "metamethods of strings"},
	{"string variable with zeros in arithmetic",
		`local s = "010" print(s + 0, -s, s * 1, s / 2, 2 ^ s, s % 3, "0x8000000000000000" / 1 > 0)`,
		"10\t-10\t10\t5\t1024\t1\ttrue\n", "metamethods of strings"},
	{"string and object",
		`local o = setmetatable({}, { __add = function(a, b) return type(a) .. type(b) end })
print("1" + o, o + "x")`, "stringtable\ttablestring\n", "metamethods of strings"},
	{"malformed number", `print(loadstring("return 3x") == nil, loadstring("x = 3x = 4") == nil)
print(loadstring("return 0x") == nil, loadstring("return 1..2") == nil)`, "true\ttrue\ntrue\ttrue\n",
		"check"},
}
