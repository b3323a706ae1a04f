package stdlib_test

import (
	"fmt"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

const requireCollections = "local collections = require(\"imd.collections\")\n"

func TestCollections(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"map keeps its order", `
local m = collections.map()
for _, k in ipairs{ "c", "a", "b" } do m:set(k, k .. "!") end
m:set("a", 1)
m:remove("c")
m:set("c", 2)
for k, v in pairs(m) do print(k, v) end
print(#m, m:count(), m:first(), m:last())`, "a\t1\nb\tb!\nc\t2\n3\t3\ta\tc\t2\n"},
		{"keys of all kinds", `
local m, t = collections.map(), {}
for _, k in ipairs{ false, 1, "1", int64("1"), data("1"), null, t, print, version.parse("1") } do
  m:set(k, type(k))
end
print(#m, m:get(t), m:get({}), m:get(false), m:get(null))
print(m:get(uint64("1")), m:get(data("1")), m:get(version.parse("1.0")), m:get(0/0), m:get(nil, 5))
local at = time.now()
m:set(at, "date")
print(m:get(at + 0), m:get(at + 1))`,
			"9\ttable\tnil\tboolean\tuserdata\nuserdata\tuserdata\tuserdata\tnil\t5\ndate\tnil\n"},
		{"printed", `
local m = collections.map{ a = "x" }
m:set(1, { 1, { 2 } })
m:set("self", m)
print(m, collections.set{ "b", null }, collections.deque(), collections.counter{ "x", "x" })
p(m)
local many = collections.deque(require("imd.iter").range(100))
print(#tostring(many) < 100, tostring(many):sub(-8))
print(collections.deque{ { a = 1 }, { a = 2 } })`,
			"Map{\"a\" = \"x\", 1 = { 1, { 2 } }, \"self\" = Map{...}}\tSet{\"b\", " +
				"null}\tDeque{}\tCounter{\"x\" = 2}\nMap{\"a\" = \"x\", 1 = { 1, { 2 } }, " +
				"\"self\" = Map{...}}\ntrue\t20, ...}\nDeque{{ a = 1 }, { a = 2 }}\n"},
		{"encoded", `
local m = collections.map()
m:set("z", collections.set{ 1 })
m:set("a", collections.deque())
m:set("n", collections.counter{ "x" })
print(json.encode(m))
io.write(require("imd.yaml").encode(m))`,
			"{\"z\":[1],\"a\":[],\"n\":{\"x\":1}}\nz:\n  - 1\na: []\n\"n\":\n  x: 1\n"},
		{"from anything", `
local iter = require("imd.iter")
print(collections.map(iter.from{ "a", "b" }:enumerate()))
print(collections.map(collections.map{ a = 1 }), collections.set(("a b a"):gmatch("%w")))
print(collections.map{ 5, 6 }, collections.deque(collections.set{ 1, 2 }))`,
			"Map{1 = \"a\", 2 = \"b\"}\nMap{\"a\" = 1}\tSet{\"a\", \"b\"}\n" +
				"Map{1 = 5, 2 = 6}\tDeque{1, 2}\n"},
		{"equals", `
local a, b = collections.map{ x = 1 }, collections.map{ y = 2, x = 1 }
print(a:equals(b), a == b, a == a)
b:remove("y")
print(a:equals(b), a:copy():equals(a), a == b)
local deque = collections.deque
print(deque{ 1 }:equals(deque{ 1 }), deque{ 1 }:equals(deque{ 2 }), deque{ 1 }:equals(deque()))`, "false\tfalse\ttrue\ntrue\ttrue\tfalse\ntrue\tfalse\tfalse\n"},
		{"sets", `
local a, b = collections.set{ 1, 2, 3 }, collections.set{ 3, 4 }
print(a:union(b), a:intersect(b), a:difference(b), a:symmetric_difference(b))
print(a:is_subset(b), a:intersect(b):is_subset(b), a:is_superset{}, a:is_disjoint{ 5 },
  a:equals{ 3, 2, 1 })
print(a:add(1), a:add(4), a:remove(9), a:remove(1), a, #a)
for i, v in ipairs(a) do print(i, v) end
for v, is in pairs(collections.set{ "x" }) do print(v, is) end
a:update(a)
print(a)`,
			"Set{1, 2, 3, 4}\tSet{3}\tSet{1, 2}\tSet{1, 2, " +
				"4}\nfalse\ttrue\ttrue\ttrue\ttrue\nfalse\ttrue\tfalse\ttrue\tSet{2, 3, " +
				"4}\t3\n1\t2\n2\t3\n3\t4\nx\ttrue\nSet{2, 3, 4}\n"},
		{"deque", `
local d = collections.deque({}, { max_size = 3 })
for i = 1, 5 do print(d:push(i)) end
print(d)
print(d:push_front(0), d)
print(d:get(1), d:get(-1), d:get(4), d:get(0), d:first(), d:last())
d:set(2, "x")
d:update(d)
print(d)
print(d:pop(), d:pop_front(), #d)
d:clear()
print(d:pop(), d:pop_front(), d:first(), #d, json.encode(d:values()))`,
			"nil\nnil\nnil\n1\n2\nDeque{3, 4, 5}\n5\tDeque{0, 3, 4}\n0\t4\tnil\tnil\t0\t4\n" +
				"Deque{0, \"x\", 4}\n4\t0\t1\nnil\tnil\tnil\t0\t[]\n"},
		{"counter", `
local n = collections.counter{ "a", "b", "a" }
print(n:add("c", 5), n:add("b", -1), n:add("a"), n)
print(n:total(), #n, n:get("b"), n:remove("c"), n:remove("c"))
n:update{ "z", "y" }
p(n:most_common())
p(n:most_common(0))
for v, k in pairs(n) do print(v, k) end`,
			"5\t0\t3\tCounter{\"a\" = 3, \"c\" = 5}\n8\t2\t0\t5\t0\n" +
				"{ { \"a\", 3 }, { \"z\", 1 }, { \"y\", 1 } }\n{}\na\t3\nz\t1\ny\t1\n"},
		{"priority queue", `
local q = collections.priority_queue()
for i, n in ipairs{ 3, 1, 2, 1, 9, -5 } do q:push(n .. "#" .. i, n) end
print(q:peek())
for i, v in ipairs(q) do io.write(v, " ") end
while #q > 1 do io.write(q:pop(), " ") end
print(q:pop())
print(q:pop())
q = collections.priority_queue{ highest = true }
for i = 1, 3 do q:push(i, i) q:push("again", i) end
print(q)
print((q:pop()), (q:pop()))`,
			"-5#6\t-5\n-5#6 1#2 1#4 2#3 3#1 9#5 -5#6 1#2 1#4 2#3 3#1 9#5\t9\nnil\tnil\n" +
				"PriorityQueue{3, \"again\", 2, \"again\", 1, \"again\"}\n3\tagain\n"},
		{"lru", `
local cache = collections.lru(2)
cache:set("a", 1)
cache:set("b", 2)
print(cache:get("a"), cache:set("c", 3))
print(cache:get("b"), cache:peek("a"), cache:has("c"), cache)
print(cache:load("d", function(k) return k .. "!" end), cache:load("d", error), cache)
print(cache.hits, cache.misses, cache.capacity, cache:load("e", function() end), #cache)
cache:set("d", nil)
print(cache:remove("c"), cache:remove("c"), #cache)`,
			"1\tb\t2\nnil\t1\ttrue\tLRU{\"a\" = 1, \"c\" = 3}\nd!\td!\tLRU{\"c\" = 3, \"d\" = " +
				"\"d!\"}\n2\t2\t2\tnil\t2\n3\tnil\t0\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, requireCollections+tc.source, tc.want)
		})
	}
}

// TestCollectionsLoop changes collections while a loop goes over them.
func TestCollectionsLoop(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"remove the one that is visited", `
local m = collections.map(require("imd.iter").range(6):map(function(i) return i, i end))
for k in pairs(m) do m:remove(k) io.write(k, " ") end
print(#m)`, "1 2 3 4 5 6 0\n"},
		{"remove others", `
local m = collections.map(require("imd.iter").range(6):map(function(i) return i, i end))
for k in pairs(m) do
  io.write(k, " ")
  m:remove(k)
  m:remove(k - 1)
  m:remove(k + 1)
end
print(#m)`, "1 3 5 0\n"},
		{"remove backwards", `
local s = collections.set{ 1, 2, 3, 4 }
for i, v in ipairs(s) do
  io.write(i, ":", v, " ")
  if v == 3 then for _, x in ipairs{ 3, 2, 1 } do s:remove(x) end end
end
print(s)`, "1:1 2:2 3:3 4:4 Set{4}\n"},
		{"add", `
local m = collections.map{ a = 1 }
for k, v in pairs(m) do m:set(k .. "x", v) m:set(k, v + 1) end
print(m)`, "Map{\"a\" = 2, \"ax\" = 1}\n"},
		{"remove and add again", `
local m = collections.map{ a = 1 }
m:set("b", 2)
for k in pairs(m) do io.write(k, " ") m:remove("b") m:set("b", 3) end
print(m)`, "a Map{\"a\" = 1, \"b\" = 3}\n"},
		{"clear", `
local m = collections.map{ a = 1 }
m:set("b", 2)
for k in pairs(m) do io.write(k, " ") m:clear() m:set("c", 3) end
print(m)`, "a Map{\"c\" = 3}\n"},
		{"deque", `
local d = collections.deque{ 1, 2, 3, 4 }
for i, v in ipairs(d) do io.write(i, ":", v, " ") d:pop_front() d:push(v * 10) end
print(d)
for _, v in ipairs(d) do io.write(v, " ") d:clear() end
print(d)`, "1:1 2:2 3:3 4:4 Deque{10, 20, 30, 40}\n10 Deque{}\n"},
		{"lru", `
local cache = collections.lru(3)
for i = 1, 3 do cache:set(i, i) end
for k in pairs(cache) do io.write(k, " ") cache:get(k) end
print(cache)`, "1 2 3 LRU{1 = 1, 2 = 2, 3 = 3}\n"},
		{"queue", `
local q = collections.priority_queue()
for i = 1, 3 do q:push(i, i) end
for i, v in ipairs(q) do io.write(i, ":", v, " ") q:pop() q:push(v, v + 10) end
print(q)`, "1:1 2:2 3:3 PriorityQueue{1, 2, 3}\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, requireCollections+tc.source, tc.want)
		})
	}
}

func TestCollectionsErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, code, text string }{
		{`collections.map():set(nil, 1)`, "argument", "other than nil"},
		{`collections.map():set(0/0, 1)`, "argument", "nan"},
		{`collections.map():set("a")`, "argument", "value"},
		{`collections.map{ 1 }.x = 5`, "read_only", "the field x"},
		{`return collections.map().gte`, "no_field", "get"},
		{`collections.map("x")`, "argument", "gmatch"},
		{`collections.map(("a"):gmatch("a"))`, "argument", "not keys and values"},
		{`collections.map():update(nil)`, "argument", "expected"},
		{`collections.map():equals{}`, "argument", "Map expected"},
		{`collections.set{ a = 1 }`, "argument", "keys and values"},
		{`collections.set():add(nil)`, "argument", "other than nil"},
		{`collections.set():union()`, "argument", "other"},
		{`collections.set():union(5)`, "argument", "iter.range"},
		{`collections.deque():push(nil)`, "argument", "other than nil"},
		{`collections.deque({ 1 }):set(2, 5)`, "argument", "no value at 2, the deque has 1"},
		{`collections.deque({ 1 }, { maximum = 2 })`, "argument", "max"},
		{`collections.deque({ 1 }, { max_size = -1 })`, "argument", "negative"},
		{`collections.counter():add("a", 0/0)`, "argument", "finite"},
		{`collections.priority_queue():push("a")`, "argument", "priority"},
		{`collections.priority_queue():push("a", 0/0)`, "argument", "nan"},
		{`collections.lru(0)`, "argument", "at least 1"},
		{`collections.lru(1).size = 2`, "read_only", "size"},
		{`pairs(collections.priority_queue)`, "error", "table expected"},
		{`local m = collections.map() m:set("a", m) json.encode(m)`, "value", "200"},
		{`plist.encode(collections.map{ a = 1 })`, "value", "totable()"},
		{`plist.encode{ collections.deque{ 1 } }`, "value", "totable()"},
		{`json.encode(require("imd.iter").of(1))`, "value", "cannot encode"},
		{`plist.encode(require("imd.iter").of(1))`, "value", "it:collect()"},
		{`ipairs(collections.map())`, "error", "table expected"},
	} {
		t.Run(tc.source, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, requireCollections+tc.source, tc.code, tc.text)
		})
	}
}

// churn holds loops that add and remove N times. The collection is small at any time.
var churn = map[string]string{
	"map": `
local m = collections.map()
for i = 1, N do m:set(i, text) if i > 10 then m:remove(i - 10) end end print(#m)`,
	"set": `
local s = collections.set()
for i = 1, N do s:add(i) if i > 10 then s:remove(i - 10) end end print(#s)`,
	"deque": `
local d = collections.deque()
for i = 1, N do d:push(i) if i > 10 then d:pop_front() end end print(#d)`,
	"counter": `local n = collections.counter()
for i = 1, N do n:add(i) if i > 10 then n:add(i - 10, -1) end end print(#n)`,
	"priority_queue": `local q = collections.priority_queue()
for i = 1, N do q:push(text, -i) if i > 10 then q:pop() end end print(#q)`,
	"lru": `
local l = collections.lru(10)
for i = 1, N do l:set(i, text) l:get(i - 5) end print(#l)`,
}

// TestCollectionsGiveBack runs churn with a memory limit that a Lua table, which does not free its
// slots, would exceed many times.
func TestCollectionsGiveBack(t *testing.T) {
	for name, source := range churn {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := "200000"
			if name == "map" {
				n = "1000000"
			}
			out, err := run(t, host.Options{MaxMemory: 8 << 20},
				requireCollections+"local N, text = "+n+", ('x'):rep(100)\n"+source)
			if err != nil {
				t.Fatal(err)
			}
			if out != "10\n" {
				t.Errorf("printed %q, want 10", out)
			}
		})
	}
}

// TestCollectionsMemory fills collections. The memory limit must count their values.
func TestCollectionsMemory(t *testing.T) {
	for _, source := range []string{
		`local m = collections.map() for i = 1, math.huge do m:set(i, ("x"):rep(100000) .. i) end`,
		`local m = collections.map() for i = 1, math.huge do m:set(("x"):rep(100000) .. i, 1) end`,
		`local m = collections.map() for i = 1, math.huge do m:set(i, 1) end`,
		`local s = collections.set() for i = 1, math.huge do s:add(i) end`,
		`local d = collections.deque() for i = 1, math.huge do d:push({ i }) end`,
		`local n = collections.counter() for i = 1, math.huge do n:add(i) end`,
		`local q = collections.priority_queue() for i = 1, math.huge do q:push({}, i) end`,
		`local l = collections.lru(1e9) for i = 1, math.huge do l:set(i, i) end`,
		`collections.set(require("imd.iter").range(math.huge))`,
		`collections.deque(require("imd.iter").range(math.huge))`,
		`collections.map(require("imd.iter").of(50000000):zip{ 1 }):totable()`,
	} {
		t.Run(source, func(t *testing.T) {
			o := host.Options{MaxMemory: 16 << 20, MaxInstructions: 1e9}
			fails(t, o, requireCollections+source, "memory", "")
		})
	}
}

func BenchmarkCollections(b *testing.B) {
	for name, source := range churn {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			h := newHost(b, host.Options{})
			n := fmt.Sprint(max(b.N, 11))
			source := requireCollections + "local N, text = " + n + ", ('x'):rep(100)\n" + source
			if err := h.Run(b.Context(), "bench.lua", source); err != nil {
				b.Fatal(err)
			}
		})
	}
}
