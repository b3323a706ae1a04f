local t = {}
t.launhc(1) --> error: attempt to call a nil value \(field 'launhc'\)
---
local s = "x"
s:nope() --> error: attempt to call a nil value \(method 'nope'\)
---
local t = {}
local function f()
  return t.a.b --> error: attempt to index a nil value \(field 'a'\) with key 'b'
end
f()
---
local x
x.y = 1 --> error: attempt to index a nil value \(local 'x'\) with key 'y'
---
local n
local function add()
  return n + 1 --> error: attempt to perform arithmetic on a nil value \(upvalue 'n'\)
end
add()
---
local name
local s = "hello " .. name --> error: attempt to concatenate a nil value \(local 'name'\)
---
for k in { 1, 2 } do end --> error: use pairs\(t\) or ipairs\(t\)
---
prnt("x") --> undefined: undefined global 'prnt' \(did you mean print\?\)
---
result = 1 --> undefined: assignment to undeclared global 'result'
---
local x = 1
x += 1 --> syntax: '=' expected near '\+'
---
if x then print(1) --> syntax: 'end' expected \(to close 'if' at line 1\) near '<eof>'
---
error("plain") --> error: ^plain$
---
local function check(v) error("bad value", 2) end
check(1) --> error: ^bad value$
---
error({ code = "custom", message = "from a table" }) --> custom: ^from a table$
---
assert(1 == 2, "numbers differ") --> assertion: ^numbers differ$
---
assert(nil) --> assertion: ^assertion failed!$
---
fail("service is gone") --> error: ^service is gone$
---
local function f() return 1 + f() end --> error: stack overflow
f()
---
local function f() return pcall(f) end
f()
---
local function f() coroutine.wrap(f)() end --> error: stack overflow
f()
---
coroutine.yield() --> error: attempt to yield from outside a coroutine
---
local co = coroutine.wrap(function()
  local t = nil
  t.x = 1 --> error: attempt to index a nil value \(local 't'\)
end)
co()
---
setmetatable(1, {}) --> error: table expected
---
setmetatable(_G, {}) --> error: protected metatable
---
require("no.such.module") --> module: module 'no.such.module' not found
---
require("../secret") --> module: bad module name
---
local s = ("x"):rep(1e11) --> memory: resulting string too large
---
panics() --> internal: invalid memory address
---
panics_block() --> internal: internal error: oops
---
null.x = 1 --> read_only: null is read-only
---
local ok, e = pcall(fail, "x")
return e.cod --> undefined: Error has no field or method 'cod'
---
uint64(-1) --> overflow: -1 does not fit a UInt64
---
scope(function()
  defer(function() error("in clean-up") end) --> error: ^in clean-up$
end)
---
local x = 5
while true do
  x = x + 1
  if x > 10 then break end
end
