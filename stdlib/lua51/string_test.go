package lua51_test

import (
	"fmt"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`return ("hello"):find("l")`,
		`return ("hello"):find("xyz")`,
		`return ("hello"):find("l", -2)`,
		`return ("hello"):find("l", -100)`,
		`return ("abc"):find("", 10)`,
		`return ("abc"):find("", 4)`,
		`return ("abc"):find("")`,
		`return (""):find("")`,
		`return (""):find("", 2)`,
		`return ("a.b"):find(".", 1, true)`,
		`return ("a.b"):find(".", 2)`,
		`return ("a)b"):find(")")`,
		`return ("a]b"):find("]")`,
		`return ("a+b"):find("+", 1, true)`,
		`return ("abc"):find("b", nil, true)`,
		`return ("key = value"):find("(%w+)%s*=%s*(%w+)")`,
		`return ("abc"):find("()b()")`,
		`return ("abc"):find("^b")`,
		`return ("abc"):find("^b", 2)`,
		`return ("abc"):find("c$")`,
		`return ("a$c"):find("$c")`,
		`return ("abc"):find("$")`,
		`return ("a^c"):find("a^")`,
		`return string.find(12345, 34)`,
		`return ("abc"):find("b", "2")`,
		`return ("abc"):find()`,
		`return ("abc"):find({})`,
		`return string.find()`,
		`return ("abc"):find("b", "x")`,
		`return ("a\0b"):find("%z")`,
		`return ("a\0b"):find("b")`,
		`return ("\255\254"):find("\254")`,
		`return ("\255\254"):find("[\250-\254]")`,
	})
}

func TestMatch(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`return ("abc"):match("z")`,
		`return select("#", ("a"):match("z"))`,
		`return ("abc"):match("b")`,
		`return ("abc"):match("")`,
		`return ("abc"):match("()")`,
		`return ("2024-05-06"):match("^(%d+)-(%d+)-(%d+)$")`,
		`return ("x = 1"):match("^(%w+)%s*=%s*(%d+)$")`,
		`return ("  trim  "):match("^%s*(.-)%s*$")`,
		`return ("aaa"):match("a-")`,
		`return ("aaa"):match("^a-$")`,
		`return ("aaab"):match("a*b")`,
		`return ("aaab"):match("a+ab")`,
		`return ("aaab"):match("a?a?a?a?b")`,
		`return ("f(a(b)c)d"):match("%b()")`,
		`return ("f(a(bc"):match("%b()")`,
		`return ("THE (quick) fox"):find("%((%a+)%)")`,
		`return ("THE (quick) fox"):gsub("%f[%a]%a+", "x")`,
		`return ("hello hello"):match("(%w+) %1")`,
		`return ("hello world"):match("(%w+) %1")`,
		`return ("aa"):match("()%1")`,
		`return ("[a]"):match("[]]")`,
		`return ("[a]"):match("[^]]")`,
		`return ("a-b"):match("[a-]+")`,
		`return ("a-b"):match("[%a-]+")`,
		`return ("a-b"):match("[%a-z]+")`,
		`return ("a]b"):match("[%]]")`,
		`return ("a^b"):match("[b^]+")`,
		`return ("x"):match("[^%w]")`,
		`return ("é"):match("%w")`,
		`return ("ABC"):match("%U")`,
		`return ("a.b"):match("%.")`,
		`return ("abc"):match("((a)(b)(c))")`,
		`return ("abc"):match("(a(b)c)")`,
		`return ("abc"):match("(a)(x?)(b)")`,
		`return ("ab12"):match("%a+()%d+()")`,
		`return ("abc"):match(".", -1)`,
		`return ("abc"):match(".", 7)`,
		`return ("abc"):match("c*", 7)`,
		`return ("a,b"):match("([^,]*),([^,]*)")`,
		`return ("abc"):match("x*$")`,
		`return ("\n\r\t "):match("^%s+$") ~= nil`,
	})
}

func TestPatternErrors(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`return ("abc"):find("%")`, `return ("abc"):find("a%")`, `return ("abc"):find("x%")`,
		`return ("abc"):find("[")`, `return ("abc"):find("[a")`, `return ("abc"):find("[^")`,
		`return ("abc"):find("[%")`, `return ("abc"):find("[]")`, `return ("abc"):find("[^]")`,
		`return ("abc"):find("[%]")`, `return ("abc"):find("x[")`, `return ("abc"):find("c[")`,
		`return ("abc"):find("(")`, `return ("abc"):find("(a")`, `return ("abc"):find("()(")`,
		`return ("abc"):match(")")`, `return ("abc"):find("a)")`, `return ("abc"):find(".)")`,
		`return ("abc"):find("%1")`, `return ("abc"):find("(a%1)")`, `return ("abc"):find("%0")`,
		`return ("abc"):find("(a)%2")`, `return ("abc"):find("%f")`, `return ("abc"):find("%fa")`,
		`return ("abc"):find("%f[")`, `return ("abc"):find("%b")`, `return ("abc"):find("%ba")`,
		`return ("abc"):gsub("(a", "x")`, `return ("abc"):gsub("a", "%1")`,
		`return ("abc"):gsub("a", "%2")`, `return ("abc"):gsub("(a)", "%2")`,
		`return ("abc"):find(("()"):rep(32)) ~= nil`,
		`return ("abc"):find(("()"):rep(33))`,
		`return ("a"):rep(300):find(("a?"):rep(100) .. "a") ~= nil`,
	})
}

func TestGmatch(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`local t = {} for w in ("one two  three"):gmatch("%a+") do t[#t + 1] = w end
			return unpack(t)`,
		`local t = {} for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do t[#t + 1] = k .. v end
			return unpack(t)`,
		`local t = {} for p in ("abc"):gmatch("()") do t[#t + 1] = p end return unpack(t)`,
		`local t = {} for p in ("abc"):gmatch("x*") do t[#t + 1] = "<" .. p .. ">" end
			return unpack(t)`,
		`local t = {} for p in ("aab"):gmatch("a*") do t[#t + 1] = "<" .. p .. ">" end
			return unpack(t)`,
		`local f = ("a b"):gmatch("%a") return f(), f()`,
		`local f = ("a b"):gmatch("%a") f() f() return f()`,
		`local f = ("a b"):gmatch("%a") f() f() f() return f()`,
		`local f = ("a b"):gmatch("%a") return f("x", 1)`,
		`local f = (""):gmatch("x*") return f(), select("#", f())`,
		`local t = {} for w in ("a^a"):gmatch("^a") do t[#t + 1] = w end return unpack(t)`,
		`local t = {} for w in ("aaa"):gmatch("a$") do t[#t + 1] = w end return unpack(t)`,
		`return type(("x"):gmatch("x"))`,
		`return string.gmatch("x")`,
		`return pcall(("x"):gmatch("("))`,
	})
}

func TestGsub(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`return ("hello"):gsub("l", "L")`,
		`return ("hello"):gsub("l", "L", 1)`,
		`return ("hello"):gsub("l", "L", 0)`,
		`return ("hello"):gsub("l", "L", -1)`,
		`return ("hello"):gsub("x", "L")`,
		`return ("hello"):gsub("", "-")`,
		`return (""):gsub("", "-")`,
		`return ("abc"):gsub("%w*", "x")`,
		`return ("hello world"):gsub("%w*", "x")`,
		`return ("hello world"):gsub("%w+", "%0 %0")`,
		`return ("hello world"):gsub("(%w+) (%w+)", "%2 %1")`,
		`return ("abc"):gsub("b", "%%")`,
		`return ("abc"):gsub("b", "%1")`,
		`return ("abc"):gsub("b", "%x")`,
		`return ("abc"):gsub("()", "%1")`,
		`return ("abc"):gsub("^a", "x")`,
		`return ("aaa"):gsub("^a", "x")`,
		`return ("abc"):gsub("c$", "x")`,
		`return ("abc"):gsub("$", "x")`,
		`return ("abc"):gsub("^", "x")`,
		`return ("abc"):gsub("%w", { a = "1", b = true and 2, c = false })`,
		`return ("abc"):gsub("(%w)(%w)", { a = "1" })`,
		`return ("abc"):gsub("%w", setmetatable({},
		{ __index = function(_, k) return k .. k end }))`,
		`return ("abc"):gsub("%w", function(c) return c:upper() end)`,
		`return ("abc"):gsub("%w", function(c) if c == "b" then return false end return 7 end)`,
		`return ("abc"):gsub("%w", function() end)`,
		`return ("abc"):gsub("(a)(b)", function(...) return select("#", ...) end)`,
		`return ("abc"):gsub("()", function(p) return p end)`,
		`return ("abc"):gsub("b", 12)`,
		`return ("abc"):gsub("b", 1.5)`,
		`return ("abc"):gsub("b")`,
		`return ("abc"):gsub("b", true)`,
		`return ("abc"):gsub("b", function() return {} end)`,
		`return ("abc"):gsub("b", { b = true })`,
		`return ("abc"):gsub("b", function() error("own", 0) end)`,
		`return ("abc"):gsub("b", "x", "2")`,
		`return (" a b "):gsub("%s", "")`,
		`return ("$name is $age"):gsub("%$(%w+)", { name = "Bo", age = 7 })`,
		`return ("abc"):gsub(".", { a = "%1" })`,
		`return ("abc"):gsub("b", function() return "%1" end)`,
	})
}

func TestSimpleFunctions(t *testing.T) {
	t.Parallel()
	chunks := []string{
		`return ("x"):rep(3)`, `return ("x"):rep(0)`, `return ("x"):rep(-1)`,
		`return (""):rep(1e3)`,
		`return ("ab"):rep(2.7)`, `return ("x"):rep("2")`, `return ("x"):rep({})`,
		`return ("x"):rep()`,
		`return string.rep("x", {})`, `return string.rep()`,
		`return ("abc"):byte()`, `return ("abc"):byte(2)`, `return ("abc"):byte(1, -1)`,
		`return ("abc"):byte(4)`, `return ("abc"):byte(-1)`, `return ("abc"):byte(0)`,
		`return (""):byte()`, `return ("abc"):byte(10, 20)`, `return ("\255\0"):byte(1, 2)`,
		`return string.char()`, `return string.char(0, 65, 255)`, `return string.char(256)`,
		`return string.char(-1)`, `return string.char("65")`, `return string.char(65, "x")`,
		`return ("abc"):reverse()`, `return (""):reverse()`, `return ("a\0b"):reverse()`,
		`return ("abc"):len()`, `return ("a\0b"):len()`, `return string.len()`,
		`return ("aZ\255é"):lower()`, `return ("aZ\255é"):upper()`, `return ("ABC"):lower()`,
		`return string.lower()`, `return (""):upper()`, `return ("a\0b"):upper()`,
		`return ("abc"):sub()`, `return string.sub()`, `return ("abc"):sub({})`,
		`return string.gfind == nil or true`, `return type(string.format)`,
		`return #string.format("%s", ("x"):rep(1000))`,
	}
	for from := -5; from <= 5; from++ {
		chunks = append(chunks, fmt.Sprintf(`return ("abc"):sub(%d)`, from))
		for to := -5; to <= 5; to++ {
			chunks = append(chunks, fmt.Sprintf(`return ("abc"):sub(%d, %d)`, from, to),
				fmt.Sprintf(`return ("abc"):byte(%d, %d)`, from, to))
		}
	}
	compare(t, chunks)
}

// TestStringsByDesign checks intended differences from lua5.1.
func TestStringsByDesign(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, want string }{
		{`print(("abc"):sub(1, math.huge), ("abc"):sub(-math.huge, 2))`, "abc\tab\n"},
		{`print(("x"):rep(3, ","))`, "x,x,x\n"},
		{`print(("a\0b"):find("\0b"))`, "2\t3\n"},
		{`print(string.gfind, string.__index)`, "nil\tnil\n"},
		{`print(getmetatable(""), (""):rep(1e15))`, "string\t\n"},
		{`print(pcall(string.dump, print))`,
			"false\tstring.dump is not supported: a function cannot be written as a string\n"},
		{`print(pcall(string.gsub, "a", "a", "%"))`,
			"false\tinvalid use of '%' in replacement string\n"},
		{`print(pcall(string.byte, ("x"):rep(2e5), 1, -1))`,
			"false\tstring slice too long (200000 bytes, limit is 100000)\n"},
		{`print(pcall(string.find, ("a"):rep(300), ("a?"):rep(300)))`,
			"false\tpattern too complex\n"},
	} {
		if got := runOurs(t, tc.source); got != tc.want {
			t.Errorf("%s\nprinted %q, want %q", tc.source, got, tc.want)
		}
	}
}
