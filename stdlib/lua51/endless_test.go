package lua51_test

import (
	"errors"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	"github.com/imdlua/imdlua/stdlib"
)

// endless holds programs that compute in one library function for very long, or call one in an
// endless loop. One interrupt and task.timeout must end each of them.
var endless = map[string]string{
	"quadratic find":      `("a"):rep(1e6):find(".-b")`,
	"quadratic class":     `("a"):rep(1e6):find("%a-%d")`,
	"quadratic most":      `("a"):rep(1e6):find("a*b")`,
	"quadratic set":       `("a"):rep(1e6):find("[a-c]*b")`,
	"quadratic balance":   `("("):rep(1e6):find("%b()")`,
	"quadratic reference": `("a"):rep(1e6):find("(a*)%1b")`,
	"quadratic match":     `("a"):rep(1e6):match("(.-)b")`,
	"quadratic gsub":      `("a"):rep(1e6):gsub(".-b", "")`,
	"quadratic gmatch":    `for _ in ("a"):rep(1e6):gmatch(".-b") do end`,
	"quadratic iterator":  `("a"):rep(1e6):gmatch(".-b")()`,
	"exponential":         `("a"):rep(40):match(("a?"):rep(40) .. ("a"):rep(40))`,
	"exponential most":    `("a"):rep(60):find(("a*"):rep(30) .. "b")`,
	"exponential fewest":  `("a"):rep(60):find(("a-"):rep(30) .. "b")`,
	"exponential capture": `("a"):rep(60):find(("(a*)"):rep(30) .. "b")`,
	"gsub text":           `local s = ("a"):rep(1e6) while true do s:gsub("a", "b") end`,
	"gsub expanding":      `local s = ("a"):rep(1e6) while true do s:gsub("(a)", "%1%0") end`,
	"gsub table":          `local s = ("a"):rep(1e6) while true do s:gsub("a", { a = "b" }) end`,
	"gsub function":       `("a"):rep(1e6):gsub("a", function() while true do end end)`,
	"gsub in pcall":       `local s = ("a"):rep(1e6) while true do pcall(s.gsub, s, ".-b", "") end`,
	"gmatch": `local s = ("a"):rep(1e6)
		while true do for _ in s:gmatch(".") do end end`,
	"concat": `local t = {} for i = 1, 1e5 do t[i] = i end
		while true do table.concat(t) end`,
	"sort": `local t = {} while true do for i = 1, 1e5 do t[i] = (i * 7919) % 10007 end
		table.sort(t) end`,
	"sort by function": `local t = {} for i = 1, 3e5 do t[i] = (i * 7919) % 10007 end
		while true do table.sort(t, function(a, b) return a < b end) end`,
	"sort by metamethod": `local mt = { __lt = function() while true do end end }
		table.sort({ setmetatable({}, mt), setmetatable({}, mt) })`,
	"rep":      `while true do local s = ("x"):rep(1e7) end`,
	"reverse":  `local s = ("x"):rep(1e6) while true do s:reverse() s:upper() end`,
	"format":   `local s = ("x"):rep(1e5) while true do ("%s%s"):format(s, s) end`,
	"foreach":  `table.foreach({ 1 }, function() while true do end end)`,
	"foreachi": `table.foreachi({ 1 }, function() while true do end end)`,
	"atomic":   `task.atomic(function() ("a"):rep(1e6):find(".-b") end)`,
}

func TestEndlessCalls(t *testing.T) {
	hosttest.Endless{
		Programs: endless,
		Limit:    20 * time.Millisecond,
		Host: func(t *testing.T) *host.Host {
			h := host.New(host.Options{MaxMemory: 4 << 30})
			if err := stdlib.Install(h); err != nil {
				t.Fatal(err)
			}
			return h
		},
	}.Run(t)
}

// TestOtherTasksRunDuringMatch counts in another task while one match computes.
func TestOtherTasksRunDuringMatch(t *testing.T) {
	source := `
local s, n, done = ("a"):rep(8000), 0, false
local other = task.spawn(function()
	while not done do n = n + 1 task.sleep(0.0001) end
end)
task.sleep(0.001)
local before = n
while n - before < 5 do
	local at = n
	s:find(".-b")
	if n > at then before = before - 1 end
end
done = true
other:join()
print("fine")`
	if got := runOurs(t, source); got != "fine\n" {
		t.Errorf("printed %q, want fine", got)
	}
}

// TestTasksShareIterator calls one iterator of gmatch in two tasks, while its matches take long.
func TestTasksShareIterator(t *testing.T) {
	source := `
local s = (("a"):rep(3000) .. "c"):rep(4)
local next = s:gmatch("(a-)b?c")
local other = task.spawn(function() while next() do end end)
while next() do end
other:join()
print("fine")`
	if got := runOurs(t, source); got != "fine\n" {
		t.Errorf("printed %q, want fine", got)
	}
}

// TestMatchCountsAsInstructions ends a match by the limit of instructions.
func TestMatchCountsAsInstructions(t *testing.T) {
	h := host.New(host.Options{MaxInstructions: 100000})
	defer h.Close()
	if err := stdlib.Install(h); err != nil {
		t.Fatal(err)
	}
	err := h.Run(t.Context(), "test.lua", `("a"):rep(1e6):find(".-b")`)
	var e *host.Error
	if !errors.As(err, &e) {
		t.Fatalf("Run() = %v, want a *host.Error", err)
	}
	if e.Code != "instructions" {
		t.Errorf("Run() = %v, want code instructions", err)
	}
}

// TestLargeResults makes results that exceed the limits of the host.
func TestLargeResults(t *testing.T) {
	for _, tc := range []struct{ source, code string }{
		{`("x"):rep(1e11)`, "memory"},
		{`("x"):rep(2000)`, "memory"},
		{`("x"):rep(900):gsub("x", "xx")`, "memory"},
		{`("x"):rep(900):gsub("x", function() return "xx" end)`, "memory"},
		{`local s = ("x"):rep(900) table.concat({ s, s })`, "memory"},
		{`local s = ("x"):rep(900) ; ("%s%s"):format(s, s)`, "memory"},
	} {
		h := host.New(host.Options{MaxString: 1000})
		if err := stdlib.Install(h); err != nil {
			t.Fatal(err)
		}
		err := h.Run(t.Context(), "test.lua", tc.source)
		h.Close()
		var e *host.Error
		if !errors.As(err, &e) {
			t.Errorf("%s\nerror = %v, want a *host.Error", tc.source, err)
			continue
		}
		if e.Code != tc.code {
			t.Errorf("%s\nerror = %v, want code %s", tc.source, err, tc.code)
		}
	}
}
