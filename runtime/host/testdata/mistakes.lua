if x != 1 then end
--> 1:6: 'then' expected near '!'
--? not equal is ~= in Lua
---
if x !== 1 then end
--> 1:6: 'then' expected near '!'
--? not equal is ~= in Lua
---
if !x then end
--> 1:4: unexpected symbol near '!'
--? not is written `not` in Lua
---
if a && b then end
--> 1:6: 'then' expected near '&'
--? and is written `and` in Lua
---
if a || b then end
--> 1:6: 'then' expected near '|'
--? or is written `or` in Lua
---
x += 1
--> 1:3: '=' expected near '+'
--? Lua has no +=; write x = x + 1
---
s ..= "a"
--> 1:3: '=' expected near '..'
--? Lua has no ..=; write x = x .. 1
---
x++
--> 1:2: '=' expected near '+'
--? Lua has no ++; write x = x + 1
---
local x = 1
x--
print(x)
--> 3:1: '=' expected near 'print'
--? -- begins a comment; write x = x - 1
---
if x = 1 then print(x) end
--> 1:6: 'then' expected near '='
--? compare with == in Lua
---
x == 1
--> 1:3: '=' expected near '=='
--? an assignment is written with one =
---
if x == 1 print(x) end
--> 1:11: 'then' expected near 'print'
--? `if` and `elseif` need `then` behind the condition
---
while x < 3 x = x + 1 end
--> 1:13: 'do' expected near 'x'
--? `while` and `for` need `do`
---
for i = 1, 3 print(i) end
--> 1:14: 'do' expected near 'print'
--? `while` and `for` need `do`
---
for (i = 0; i < 3; i++) { print(i) }
--> 1:5: '<name>' expected near '('
--? write for i = 1, 10 do ... end, or for k, v in pairs(t) do ... end
---
for i = 1 to 3 do end
--> 1:11: ',' expected near 'to'
--? write for i = 1, 10 do, or for i = 1, 10, 2 do
---
for i in 1..3 do end
--> 1:10: malformed number near '1..3'
--? write a space before .., or for i = 1, 10 do for a range
---
for x of list do end
--> 1:7: '=' or 'in' expected near 'of'
--? write for i, v in ipairs(list) do
---
for i = 1 do end
--> 1:11: ',' expected near 'do'
--? a loop over numbers has a first and a last one: for i = 1, 10 do
---
local function f()
	if x then
		print(1)
	return 1
end
--> 5:4: 'end' expected (to close 'function' at line 1) near '<eof>'
--? an `end` is missing, probably that of the `if` at line 2
---
if a then
	b()
else if c then
	d()
end
--> 5:4: 'end' expected (to close 'if' at line 1) near '<eof>'
--? write elseif; `else if` begins another `if` that needs an `end` of its own
---
if a then b() elif c then d() end
--> 1:20: '=' expected near 'c'
--? write elseif
---
if a then
	b()
else if c then
	d()
end
print("after")
--> 6:15: 'end' expected (to close 'if' at line 1) near '<eof>'
--? write elseif; `else if` begins another `if` that needs an `end` of its own
---
print(1)
end
--> 2:1: '<eof>' expected near 'end'
--? there is one `end` too many, or a block before it is closed too early
---
if (x == 1) { print(x) }
--> 1:25: 'then' expected near '<eof>'
--? Lua has no braces; write if ... then ... end
---
while (true) { f() }
--> 1:21: 'do' expected near '<eof>'
--? Lua has no braces; write while ... do ... end
---
function f(x) {
	return x
}
--> 1:15: unexpected symbol near '{'
--? Lua has no braces; a function is written function name(x) ... end
---
var x = 1
--> 1:5: '=' expected near 'x'
--? write local x = 1
---
let x = 1
--> 1:5: '=' expected near 'x'
--? write local x = 1
---
int x = 1
--> 1:5: '=' expected near 'x'
--? write local x = 1
---
local x: number = 1
--> 1:8: unexpected symbol near ':'
--? names have no types; write local x = value
---
local x <const> = 1
--> 1:9: unexpected symbol near '<'
--? attributes such as <const> came with Lua 5.4; leave it out
---
print(“hello”)
--> 1:7: unexpected symbol near '“'
--? these are typographic quotes; write " or '
---
print("hello)
--> 1:7: unfinished string near '"hello)'
--? a text in quotes ends in its line; use \n, or [[ ... ]] for several lines
---
print('it's')
--> 1:11: ')' expected near 's'
--? the text ends before `s`; write \ before a quote inside of it
---
print 1
--> 1:7: '=' expected near '1'
--? a call needs parentheses: print(...)
---
print "a" .. b
--> 1:11: unexpected symbol near '..'
--? a call needs parentheses around an expression: print("a" .. b)
---
print x
--> 1:7: '=' expected near 'x'
--? a call needs parentheses: print(...)
---
// a comment
x = 1
--> 1:1: unexpected symbol near '/'
--? a comment begins with -- in Lua
---
/* a comment */
x = 1
--> 1:1: unexpected symbol near '/'
--? a comment is written --[[ ... ]] in Lua
---
x = 1
# a comment
x = 2
--> 2:1: unexpected symbol near '#'
--? a comment begins with --
---
local y = a // b
--> 1:14: unexpected symbol near '/'
--? Lua 5.1 has no //; write math.floor(a / b); a comment begins with --
---
local y = x ? 1 : 2
--> 1:13: unexpected symbol near '?'
--? Lua has no ? :; write cond and a or b
---
local part = s[1:2]
--> 1:17: ']' expected near ':'
--? a part of a text is text:sub(i, j), one of a list is unpack(list, i, j)
---
local s = f"text {x}"
--> 1: undefined global 'f'
---
local s = `text`
--> 1:11: unexpected symbol near '`'
--? texts stand in "..." or [[...]]; put values in with string.format or ..
---
try { f() } catch (e) { g() }
--> 1: undefined global 'try'
--? write local ok, e = try(function() ... end)
---
switch (x) { case 1: break }
--> 1:19: '}' expected near '1'
--? Lua has no switch; write if ... elseif ... end, or use a table of functions
---
for i = 1, 3 do
	if i == 2 then continue end
	print(i)
end
--> 2:26: '=' expected near 'end'
--? Lua has no continue; write goto continue, and ::continue:: before the end
---
import os
--> 1:8: '=' expected near 'os'
--? write local name = require("name")
---
def f(x):
--> 1:5: '=' expected near 'f'
--? write function name(x) ... end
---
fucntion f() end
--> 1:10: '=' expected near 'f'
--? did you mean `function`?
---
funtion f() end
--> 1:9: '=' expected near 'f'
--? did you mean `function`?
---
retrun 5
--> 1:8: '=' expected near '5'
--? did you mean `return`?
---
local x = 5
esle
--> 2:5: '=' expected near '<eof>'
--? did you mean `else`?
---
IF x THEN y() END
--> 1:4: '=' expected near 'x'
--? did you mean `if`?
---
function() return 1 end
--> 1:9: '<name>' expected near '('
--? as a statement a function needs a name: function name() ... end
---
local f = (x) => x + 1
--> 1:15: unexpected symbol near '='
--? a function is written function(x) return x end
---
class A {}
--> 1:7: '=' expected near 'A'
--? Lua has no classes; write local C = {} C.__index = C, and setmetatable({}, C)
---
local a = new A()
--> 1: undefined global 'new'
--? Lua has no new; a class has a function such as C.new()
---
local t = { 1 2 }
--> 1:15: '}' expected near '2'
--? the items of a table are separated by commas
---
local t = { a: 1, b: 2 }
--> 1:16: '<name>' expected near '1'
--? a field is written { name = value } or { ["name"] = value }
---
local t = { "a": 1 }
--> 1:16: '}' expected near ':'
--? a field is written { name = value } or { ["name"] = value }
---
f(a b)
--> 1:5: ')' expected near 'b'
--? arguments and parameters are separated by commas
---
f(a, )
--> 1:6: unexpected symbol near ')'
--? there is a comma too many before the parenthesis
---
local n = obj:name
--> 1:19: function arguments expected near '<eof>'
--? a method is called: object:name(); a field is read with a dot: object.name
---
local t.x = 1
--> 1:8: unexpected symbol near '.'
--? a local has a plain name; write t.name = value without local
---
local end = 5
--> 1:7: '<name>' expected near 'end'
--? `end` is a keyword and cannot be a name; as a key write t["end"]
---
return 1
print(2)
--> 2:1: '<eof>' expected near 'print'
--? return and break are the last statement of a block; write do return end
---
while true do
	break
	print(1)
end
--> 3:2: 'end' expected (to close 'while' at line 1) near 'print'
--? return and break are the last statement of a block; write do return end
---
break
--> 1:6: no loop to break near '<eof>'
--? break ends a loop; return ends a function
---
function f() return ... end
--> 1:21: cannot use '...' outside a vararg function near '...'
--? write function(...), or local args = {...} outside of the inner function
---
function f(x = 1) end
--> 1:14: ')' expected near '='
--? parameters are names; a default is set in the function: x = x or 1
---
local x = 3px
--> 1:11: malformed number near '3px'
--? a name does not begin with a digit; decimals are written 1.5, hexadecimals 0xff
---
local a = f
(g or h)()
--> 2:1: ambiguous syntax (function call x new statement) near '('
--? write a semicolon before the parenthesis, or put it on the line of the function
---
x = 
--> 1:4: unexpected symbol near '<eof>'
--? a value is missing behind `=`
---
"abc"
--> 1:1: unexpected symbol near '"abc"'
--? a value alone is not a statement; assign it, or pass it to a function
---
t[] = 1
--> 1:3: unexpected symbol near ']'
--? append to a list with list[#list + 1] = value or table.insert(list, value)
---
x = a ~= b and a <> c
--> 1:19: unexpected symbol near '>'
--? not equal is ~= in Lua
---
x = 2 ** 3
--> 1:8: unexpected symbol near '*'
--? a power is written a ^ b
---
x = a & b
--> 1:7: unexpected symbol near '&'
--? write require("imd.bit").band(a, b); the logical one is `and`
---
x = a << 2
--> 1:8: unexpected symbol near '<'
--? write require("imd.bit").lshift(a, n)
---
x, y := 1, 2
--> 1:7: '<name>' expected near '='
--? write local x = 1
---
@decorator
function f() end
--> 1:1: unexpected symbol near '@'
--? Lua has no @; a name is written without it
---
$x = 1
--> 1:1: unexpected symbol near '$'
--? Lua has no $; a name is written without it
---
local größe = 1
--> 1:9: unexpected symbol near 'ö'
--? names have only the letters a to z, A to Z, digits and _
---
local x = 1
--> 1:6: '<name>' expected near ' '
--? this is a no-break space; replace it by a space
---
local t = {
	1,
	2,
print(t)
--> 4:9: '}' expected (to close '{' at line 1) near '<eof>'
--? a `}` is missing
---
f(1, (2 + 3)
print(1)
--> 2:1: ')' expected (to close '(' at line 1) near 'print'
--? a `)` is missing
---
local s = [[
text
--> 1:11: unfinished long string (starting at line 1) near '<eof>'
--? a text or comment that begins with [[ ends with ]]
---
--[[ comment
x = 1
--> 1:1: unfinished long comment (starting at line 1) near '<eof>'
--? a text or comment that begins with [[ ends with ]]
---
throw "x"
--> 1: undefined global 'throw'
--? write error("text")
---
x = "\300"
--> 1:6: escape sequence too large near '"\300'
--? \ddd is a byte from \0 to \255
---
if x then
	y()
end if
--> 3:7: unexpected symbol near '<eof>'
--? a block ends with `end` alone
---
local x = nil or
--> 1:17: unexpected symbol near '<eof>'
--? a value is missing behind `or`
---
goto = 1
--> 1:6: '<name>' expected near '='
--? goto is a keyword and cannot be a name
---
raise "x"
--> 1: undefined global 'raise'
--? write error("text")
---
else
	x = 1
end
--> 1:1: '<eof>' expected near 'else'
--? no block is open to which `else` belongs; one is closed too early
---
until x
--> 1:1: '<eof>' expected near 'until'
--? no block is open to which `until` belongs; one is closed too early
---
repeat x = 1 end
--> 1:14: 'until' expected near 'end'
--? a block that begins with `repeat` ends with `until condition`
---
local function a.b() end
--> 1:17: '(' expected near '.'
--? a local function has a plain name; write function a.b() ... end for a field
---
x.1 = 2
--> 1:2: '=' expected near '.1'
--? a number as a key is written x[1]
---
a.b:c = 1
--> 1:7: function arguments expected near '='
--? a method is called: object:c(); a field is read with a dot: object.c
---
a, b += 1, 2
--> 1:6: '=' expected near '+'
--? Lua has no +=; write x = x + 1
---
f() = 1
--> 1:5: unexpected symbol near '='
--? the result of a call cannot be assigned to
---
(a) = 1
--> 1:5: syntax error near '='
---
a + b
--> 1:3: '=' expected near '+'
--? a value alone is not a statement; assign it, or pass it to a function
---
not x
--> 1:1: unexpected symbol near 'not'
--? a value alone is not a statement; assign it, or pass it to a function
---
local 1x = 2
--> 1:7: malformed number near '1x'
--? a name does not begin with a digit; decimals are written 1.5, hexadecimals 0xff
---
local x y = 1
--> 1: assignment to undeclared global 'y'
--? write local y
---
function f(a b) end
--> 1:14: ')' expected near 'b'
--? arguments and parameters are separated by commas
---
function f(a,) end
--> 1:14: <name> or '...' expected near ')'
--? there is a comma too many before the parenthesis
---
function f
	print(1)
end
--> 2:2: '(' expected near 'print'
--? a function has parentheses: function f() ... end
---
local x = function f() end
--> 1:20: '(' expected near 'f'
--? a function that is a value has no name: function() ... end
---
if x then print(1) else then print(2) end
--> 1:25: unexpected symbol near 'then'
--? `else` has no `then`
---
x = {1, 2, 3
--> 1:13: '}' expected (to close '{' at line 1) near '<eof>'
--? a `}` is missing
---
print("a"
--> 1:10: ')' expected (to close '(' at line 1) near '<eof>'
--? a `)` is missing
---
print("a"))
--> 1:11: unexpected symbol near ')'
--? there is a `)` too many
---
local x = (1 + 2
y = 3
--> 2:1: ')' expected (to close '(' at line 1) near 'y'
--? a `)` is missing
---
local f = lambda x: x + 1
--> 1:23: function arguments expected near '+'
--? a method is called: object:x(); a field is read with a dot: object.x
---
if not x then return else return 1 end end
--> 1:40: '<eof>' expected near 'end'
--? there is one `end` too many, or a block before it is closed too early
---
while x do
	if y then break
	print(1)
end
--> 3:2: 'end' expected (to close 'if' at line 2) near 'print'
--? return and break are the last statement of a block; write do return end
---
function f() {
}
--> 1:14: unexpected symbol near '{'
--? Lua has no braces; a function is written function name(x) ... end
---
x = { 1, 2; 3 4 }
--> 1:15: '}' expected near '4'
--? the items of a table are separated by commas
---
local s = "a" "b"
--> 1:15: unexpected symbol near '"b"'
--? texts are joined with ..
---
if x then y() else if z then w() end
--> 1:37: 'end' expected (to close 'if' at line 1) near '<eof>'
--? write elseif; `else if` begins another `if` that needs an `end` of its own
---
x = y z = 1 w
--> 1:14: '=' expected near '<eof>'
--? a value alone is not a statement; assign it, or pass it to a function
---
if x ~= nil then print("x" end
--> 1:28: ')' expected near 'end'
--? a `)` is missing
---
print(#)
--> 1:8: unexpected symbol near ')'
--? a value is missing behind `#`
---
x = 5;;
y = = 2
--> 2:5: unexpected symbol near '='
--? there is an = too many
---
local t = {}
print(t.x.y)
--> 2: attempt to index a nil value (field 'x') with key 'y'
---
local t = { items = {} }
t.items.add(1)
--> 2: attempt to call a nil value (field 'add')
---
local n = nil
print(n + 1)
--> 2: attempt to perform arithmetic on a nil value (local 'n')
---
print("a" + 1)
--> 1: attempt to perform arithmetic on a string value
--? texts are joined with .., and tonumber(text) makes a number
---
print("total: " .. nil)
--> 1: attempt to concatenate a nil value
--? tostring(value) makes a text of anything
---
print("n = " .. {})
--> 1: attempt to concatenate a table value
--? p(value) prints a table, table.concat(list, ", ") joins a list
---
local ok = 1 < "2"
--> 1: attempt to compare number with string
--? tonumber(text) makes a number
---
for i, v in { 1, 2 } do end
--> 1: attempt to call a table value (for ... in needs an iterator; use pairs(t) or ipairs(t))
--? write for k, v in pairs(t), or for i, v in ipairs(list)
---
local s = "abc"
print(s:length())
--> 2: attempt to call a nil value (method 'length')
---
print(#nil)
--> 1: attempt to get length of a nil value
---
local a = None
--> 1: undefined global 'None'
--? write nil
---
this.x = 1
--> 1: undefined global 'this'
--? write self, in a function that is declared with a colon: function C:name()
---
local ok = True
--> 1: undefined global 'True'
--? write true
---
local t = {}
t[nil] = 1
--> 2: table index is nil
---
local f = 5
f()
--> 2: attempt to call a number value (local 'f')
---
local a, b = {}
b.x = 1
--> 2: attempt to index a nil value (local 'b') with key 'x'
---
local function g() end
local x = g().field
--> 2: attempt to index a nil value with key 'field'
---
local t = { a = {} }
t.a.b.c = 1
--> 2: attempt to index a nil value (field 'b') with key 'c'
---
string.fmt("x")
--> 1: attempt to call a nil value (field 'fmt')
---
print(undefined)
--> 1: undefined global 'undefined'
--? write nil
---
count = count + 1
--> 1: undefined global 'count'
---
local s = "abc"
s.x.y = 1
--> 2: attempt to index a nil value (field 'x') with key 'y'
---
local t = setmetatable({}, { __index = function(t, k) return nil end })
t.run()
--> 2: attempt to call a nil value (field 'run')
---
t = {}
--> 1: assignment to undeclared global 't'
--? write local t
---
local t = { {} }
print(t[1].x.y, t[2].x)
--> 2: attempt to index a nil value (field 'x') with key 'y'
---
local t = {}
local x = t.a.b + t.c
--> 2: attempt to index a nil value (field 'a') with key 'b'
---
local t = {}
t.n = t.n + 1
--> 2: attempt to perform arithmetic on a nil value (field 'n')
---
local t = {}
local s = "x" .. t.name .. "y"
--> 2: attempt to concatenate a nil value (field 'name')
--? tostring(value) makes a text of anything
---
local t = { a = 1 }
if t.a > t.b then end
--> 2: attempt to compare nil with number
---
local t = {}
t.a, t.b = t.c.d, 1
--> 2: attempt to index a nil value (field 'c') with key 'd'
---
local a = {}
local b = a.x and a.x.y or a.z.w
--> 2: attempt to index a nil value (field 'z') with key 'w'
---
local function f(x) return x.y.z end
f({})
--> 1: attempt to index a nil value (field 'y') with key 'z'
---
local x = -{}
--> 1: attempt to perform arithmetic on a table value
---
local t = {}
t:go(1):stop()
--> 2: attempt to call a nil value (method 'go')
