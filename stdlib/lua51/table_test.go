package lua51_test

import (
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
)

func TestTables(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`return table.concat({})`, `return table.concat({ 1, 2, 3 })`,
		`return table.concat({ 1, 2, 3 }, ", ")`, `return table.concat({ 1, 2, 3 }, ",", 2)`,
		`return table.concat({ 1, 2, 3 }, ",", 2, 3)`, `return table.concat({ 1, 2 }, ",", 3)`,
		`return table.concat({ 1, 2 }, ",", 1, 5)`, `return table.concat({ 1, {}, 2 })`,
		`return table.concat({ 1, true })`, `return table.concat({ "a", 1.5 }, 0)`,
		`return table.concat({ [0] = "z", "a" }, "", 0)`, `return table.concat()`,
		`return table.concat(1)`, `return table.concat({}, {})`, `return table.concat({}, "", "x")`,
		`return table.concat({ "x" }, ",", 1, 1)`, `return table.concat({}, "x", 1, 0)`,
		`local t = { 1, 2 } table.insert(t, 3) return unpack(t)`,
		`local t = { 1, 2 } table.insert(t, 1, 0) return unpack(t)`,
		`local t = { 1, 2 } table.insert(t, 2, 1.5) return unpack(t)`,
		`local t = { 1, 2 } table.insert(t, 3, 3) return unpack(t)`,
		`local t = {} table.insert(t, 1, "x") return unpack(t)`,
		`return table.insert({ 1 })`, `return table.insert({ 1 }, 1, 2, 3)`,
		`return table.insert()`,
		`return table.insert({}, "x", 1)`, `return select("#", table.insert({}, 1))`,
		`local t = { 1, 2, 3 } return table.remove(t), #t, t[3]`,
		`local t = { 1, 2, 3 } return table.remove(t, 1), #t, t[1], t[2], t[3]`,
		`local t = { 1, 2, 3 } return table.remove(t, 2), #t, t[1], t[2], t[3]`,
		`return select("#", table.remove({}))`, `return select("#", table.remove({}, 1))`,
		`return select("#", table.remove({ 1 }, 0))`, `return select("#", table.remove({ 1 }, 2))`,
		`return table.remove()`, `return table.remove({ 1 }, "1")`, `return table.remove({}, {})`,
		`local t = {} for i = 1, 10 do t[i] = i end for i = 1, 5 do t[#t] = nil end
			table.insert(t, 1, 0) return #t, table.concat(t, ","), table.remove(t, 2), #t`,
		`return unpack({ 1, 2, 3 })`, `return unpack({ 1, 2, 3 }, 2)`, `return unpack({ 1 }, 1, 3)`,
		`return unpack({}, 1, 0)`, `return select("#", unpack({}, 1, 5))`, `return unpack()`,
		`return unpack({ 1, 2 }, "2")`, `return unpack({ 1, 2 }, -1, 1)`,
		`return table.getn({ 1, 2, 3 })`, `return table.getn()`, `return table.setn({}, 1)`,
		`return table.maxn({})`, `return table.maxn({ 1, 2, [10] = 1, [2.5] = 1, x = 1 })`,
		`return table.maxn({ [-1] = 1 })`, `return table.maxn()`,
		`local n = 0 table.foreach({ a = 1, b = 2 }, function(_, v) n = n + v end) return n`,
		`return table.foreach({ 5 }, function(k, v) return k + v end)`,
		`return table.foreach({}, 1)`, `return table.foreach()`,
		`return table.foreachi({ 5, 6, x = 1 }, function(i, v) if v == 6 then return i end end)`,
		`return select("#", table.foreachi({ 5, 6 }, function() end))`,
		`return table.foreachi({ 1 })`,
		`return rawget(table, "pack"), rawget(table, "move")`,
	})
}

func TestSort(t *testing.T) {
	t.Parallel()
	compare(t, []string{
		`local t = { 3, 1, 2 } table.sort(t) return unpack(t)`,
		`local t = { "b", "c", "a", "B" } table.sort(t) return unpack(t)`,
		`local t = { "b\0b", "b\0a", "" } table.sort(t) return unpack(t)`,
		`local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) return unpack(t)`,
		`local t = {} table.sort(t) return #t`, `local t = { 1 } table.sort(t) return #t`,
		`return table.sort()`, `return table.sort({}, 1)`, `return select("#", table.sort({}))`,
		`return (pcall(table.sort, { 1, "x" }))`, `return (pcall(table.sort, { {}, {} }))`,
		`return table.sort({ 3, 2, 1 }, function() error("own", 0) end)`,
		`local mt = { __lt = function(a, b) return a.n < b.n end }
			local function new(n) return setmetatable({ n = n }, mt) end
			local t = { new(3), new(1), new(2) } table.sort(t) return t[1].n, t[2].n, t[3].n`,
		`local t = {} for i = 1, 1000 do t[i] = (i * 7919) % 1009 end table.sort(t)
			for i = 2, 1000 do assert(t[i - 1] <= t[i]) end return table.concat(t, ",")`,
	})
}

// TestTablesByDesign checks intended differences from lua5.1.
func TestTablesByDesign(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ source, want string }{
		{`print(pcall(table.insert, { 1 }, 3, "x"))`,
			"false\tbad argument #2 to 'insert' (position out of bounds)\n"},
		{`print(pcall(table.insert, { 1 }, 0, "x"))`,
			"false\tbad argument #2 to 'insert' (position out of bounds)\n"},
		{`print(pcall(unpack, {}, 1, 1e8))`,
			"false\ttoo many results to unpack (100000000, limit is 100000)\n"},
		{`print(pcall(unpack, {}, -2^63, 2^63))`,
			"false\ttoo many results to unpack (0, limit is 100000)\n"},
		{`local t, n = {}, 0 for i = 1, 100 do t[i] = i end
			print(pcall(table.sort, t, function() n = n + 1 return n % 2 == 0 end))`,
			"false\tinvalid order function for sorting\n"},
		{`local t = { 3, 1, 2 } print(pcall(table.sort, t, function(a, b)
			error("own", 0) end)) print(unpack(t))`, "false\town\n3\t1\t2\n"},
		{`local t = { 2, 1, 2, 1 } table.sort(t, function(a, b) return a <= b end)
			print(unpack(t))`, "1\t1\t2\t2\n"},
	} {
		if got := runOurs(t, tc.source); got != tc.want {
			t.Errorf("%s\nprinted %q, want %q", tc.source, got, tc.want)
		}
	}
}

// TestListsOfRecords passes a userdata with __len and __index to functions that only read.
func TestListsOfRecords(t *testing.T) {
	t.Parallel()
	squares := hosttest.Setup(func(h *host.Host) {
		L := h.L()
		mt := L.NewTable()
		mt.RawSetString("__len", L.NewFunction(func(L *lua.LState) int {
			L.Push(lua.LNumber(3))
			return 1
		}))
		mt.RawSetString("__index", L.NewFunction(func(L *lua.LState) int {
			i := L.CheckNumber(2)
			L.Push(i * i)
			return 1
		}))
		h.SetGlobal("squares", &lua.LUserData{Metatable: mt})
	})
	source := `print(table.concat(squares, " "), table.concat(squares, ",", 2, 4))
		print(unpack(squares)) print(table.getn(squares))
		print(pcall(table.insert, squares, 1))
		table.foreachi(squares, print)`
	want := "1 4 9\t4,9,16\n1\t4\t9\n3\n" +
		"false\tbad argument #1 to 'insert' (table expected, got userdata)\n1\t1\n2\t4\n3\t9\n"
	got := hosttest.Run(t, source, library(t), squares).NoError(t).Stdout
	if got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
