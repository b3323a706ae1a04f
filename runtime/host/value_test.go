package host_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/hosttest"
	lua "github.com/yuin/gopher-lua"
)

// inLua runs f with the lock of a new host.
func inLua(t testing.TB, f func(h *host.Host, L *lua.LState)) {
	t.Helper()
	h := host.New(host.Options{})
	defer h.Close()
	if err := h.With(func(L *lua.LState) { f(h, L) }); err != nil {
		t.Fatal(err)
	}
}

// randomValue returns a value that a property list or an XPC message may hold.
func randomValue(r *rand.Rand, depth int) any {
	kinds := 9
	if depth > 3 {
		kinds = 7
	}
	switch r.IntN(kinds) {
	case 0:
		return r.IntN(2) == 0
	case 1:
		return int64(r.Uint64()) >> r.IntN(64)
	case 2:
		return math.MaxUint64 - r.Uint64N(1<<40)
	case 3:
		return r.NormFloat64()
	case 4:
		return strings.Repeat("ä\x00x", r.IntN(5))
	case 5:
		return []byte{byte(r.Uint32()), 0, 255}
	case 6:
		return time.Unix(r.Int64N(1<<33), r.Int64N(1e9))
	case 7:
		list := make([]any, r.IntN(4))
		for i := range list {
			list[i] = randomValue(r, depth+1)
			if r.IntN(5) == 0 {
				list[i] = nil
			}
		}
		return list
	}
	m := map[string]any{}
	for range r.IntN(4) {
		m[strings.Repeat("k", r.IntN(9))] = randomValue(r, depth+1)
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	inLua(t, func(_ *host.Host, L *lua.LState) {
		for range 2000 {
			v := randomValue(r, 0)
			got, err := host.FromLua(host.ToLua(L, v))
			if err != nil {
				t.Fatalf("FromLua(ToLua(%#v)) failed: %v", v, err)
			}
			if !reflect.DeepEqual(got, v) {
				t.Fatalf("FromLua(ToLua(%#v)) = %#v", v, got)
			}
		}
	})
}

type level int8
type names map[string]level

func TestToLua(t *testing.T) {
	t.Parallel()
	seven := 7
	inLua(t, func(h *host.Host, L *lua.LState) {
		h.RegisterType(reflect.TypeFor[struct{ X int }](), func(_ *lua.LState, v any) lua.LValue {
			return lua.LNumber(v.(struct{ X int }).X)
		})
		for _, test := range []struct {
			in   any
			want string
		}{
			{nil, "nil"}, {level(3), "3"}, {names{"b": 2, "a": 1}, "{ a = 1, b = 2 }"},
			{[]string{"x", "y"}, `{ "x", "y" }`},
			{&seven, "7"}, {(*int)(nil), "null"}, {[]any{nil, 1}, "{ null, 1 }"},
			{map[string]any{"x": nil}, "{ x = null }"},
			{int64(1 << 53), "9007199254740992"}, {int64(1<<53 + 1), "9007199254740993"},
			{uint64(math.MaxUint64), "18446744073709551615"},
			{int64(math.MinInt64), "-9223372036854775808"}, {float32(0.5), "0.5"},
			{time.Second / 2, "0.5"}, {[3]byte{1, 2, 3}, "<3 bytes: 01 02 03>"},
			{struct{ X int }{4}, "4"}, {[]map[string]int{{"a": 1}}, "{ { a = 1 } }"},
			{[]any{}, "{}"},
		} {
			got := host.Inspect(L, host.ToLua(L, test.in), host.InspectOptions{})
			if got != test.want {
				t.Errorf("ToLua(%#v) = %s, want %s", test.in, got, test.want)
			}
		}
		if kind := host.ToLua(L, int64(1<<53+1)).Type(); kind != lua.LTUserData {
			t.Errorf("an integer beyond 2^53 became a %v", kind)
		}
		if _, err := host.FromLua(lua.LNil); err != nil {
			t.Errorf("FromLua(nil) = %v", err)
		}
	})
	h := host.New(host.Options{})
	defer h.Close()
	err := h.With(func(L *lua.LState) { host.ToLua(L, make(chan int)) })
	if err == nil {
		t.Fatal("ToLua of a channel raised nothing, want an error")
	}
	if want := "cannot convert a Go chan int"; !strings.Contains(err.Error(), want) {
		t.Errorf("ToLua of a channel raised %v, want %q in it", err, want)
	}
}

func TestFromLua(t *testing.T) {
	t.Parallel()
	var got []string
	check := hosttest.Setup(func(h *host.Host) {
		h.SetGlobal("convert", h.L().NewFunction(func(L *lua.LState) int {
			v, err := host.FromLua(L.Get(1))
			if err != nil {
				got = append(got, err.(*host.Error).Message)
				return 0
			}
			got = append(got, reflect.TypeOf(v).String())
			return 0
		}))
	})
	tests := []struct{ src, want string }{
		{
			`{}`,
			"map[string]interface {}",
		}, {`array{}`, "[]interface {}"}, {`dict{}`, "map[string]interface {}"},
		{`{1, 2}`, "[]interface {}"},
		{`{a = {b = {1, print}}}`, "value.a.b[2]: cannot convert a function"},
		{`{1, 2, x = 3}`, `value is an array with the extra key "x"`},
		{`{1, nil, 3}`, "value[2] is nil inside an array; use null"},
		{`{[1.5] = 1}`, "value has the key 1.5, which is not a string"},
		{`{[true] = 1}`, "value has the key true, which is not a string"},
		{`(function() local t = {} t.x = {t} return t end)()`, "value.x[1] contains itself"},
		{`(function() local s = {1} return {s, s} end)()`, "[]interface {}"},
		{
			`3`,
			"int64",
		}, {`3.5`, "float64"}, {`2^63`, "float64"}, {`-2^53`, "int64"}, {`1/0`, "float64"},
		{`int64(3)`, "int64"}, {`uint64(3)`, "uint64"},
		{`data("x")`, "[]uint8"}, {`io.stdout`, "value: cannot convert a userdata (*lua51.file)"},
		{`select(2, pcall(fail, "x"))`, "map[string]interface {}"},
	}
	var src strings.Builder
	for _, test := range tests {
		src.WriteString("convert(" + test.src + ")\n")
	}
	run(t, src.String(), check).NoError(t)
	for i, test := range tests {
		if got[i] != test.want {
			t.Errorf("FromLua(%s) = %s, want %s", test.src, got[i], test.want)
		}
	}
}

func TestWrappers(t *testing.T) {
	t.Parallel()
	expect(t, `
		local d = data("\0bplist00 and more")
		print(d, #d, d:sub(2, 5):string(), d:sub(-4), d:byte(2), d == data(d:string()), d:sub(2, 7):base64())
		print(("x" .. d:sub(2, 3)):string(), data("") )
		local big = uint64("0xffffffffffffffff")
		print(big, big:hex(), big - 1, big == uint64("18446744073709551615"), uint64(1) < big, big:tonumber() == 2^64)
		print(pcall(function() return big + 1 end))
		print(int64("-9223372036854775808"), -int64(5), int64("010"), int64(7) % -3, int64(-7) / 2, int64(2) * 3)
		print(pcall(int64, 1.5))
		print("id " .. int64(12), tostring(null), null == null)`, `<00 62 70 6c ... 18 bytes>	18	bpli	<6d 6f 72 65>	98	true	YnBsaXN0
xbp	<>
18446744073709551615	0xffffffffffffffff	18446744073709551614	true	true	true
false	test.lua:7: 18446744073709551616 does not fit 64 bits (overflow)
-9223372036854775808	-5	10	-2	-4	6
false	bad argument #1 (number has no integer representation)
id 12	null	true
`)
}

func TestDates(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 2, 29, 13, 4, 5, 250e6, time.UTC)
	expect(t, `
		print(at, at.unix, at:iso(), at:format("%Y/%m/%d %j %H"))
		local later = at + 60
		print(later - at, later > at, later == at + 60, (later - 60) == at, at.unix_ns)
		print(pcall(function() return at < 5 end))`, `2024-02-29T13:04:05.25Z	1709211845.25	2024-02-29T13:04:05.25Z	2024/02/29 060 13
60	true	true	true	1709211845250000000
false	test.lua:5: attempt to compare userdata with number
`, hosttest.Setup(func(h *host.Host) { h.SetGlobal("at", h.Date(at)) }))
}

func TestInspect(t *testing.T) {
	t.Parallel()
	show := hosttest.Setup(func(h *host.Host) {
		h.SetGlobal("p", h.L().NewFunction(func(L *lua.LState) int {
			opts := host.InspectOptions{
				Width:     40,
				MaxItems:  5,
				MaxString: 10,
				Sort:      lua.LVAsBool(L.Get(2)),
			}
			L.Push(lua.LString(host.Inspect(L, L.Get(1), opts)))
			return 1
		}))
	})
	expect(t, `
		print(p(nil), p(1.5), p(true), p("a\n\"b\"\1"), p("0123456789abc"), p("\255\0"), p({}))
		print(p({1, 2, {x = "y", ["a b"] = 1, [3.5] = 2}}))
		print(p({z = 1, a = 2}), p({z = 1, a = 2}, true))
		print(p({"a long string", {"another one", "and one more"}, 3}))
		print(p({1, 2, 3, 4, 5, 6, 7}))
		print(p({{{{{1, 2}}}}}))
		local t = {} t.self = {t} print(p(t))
		print(p(setmetatable({}, {__tostring = function() error("bad", 0) end})))
		print(p(setmetatable({}, {__tostring = function() return "mine" end})))
		print(p({{name = "a", n = 1}, {name = "bcd", n = 22}}))
		print(p(function() end), p(print), p(int64(5)), p(null), p({data("abc")}))`, `nil	1.5	true	"a\n\"b\"\001"	"0123456789"... (13 characters)	<2 bytes: ff 00>	{}
{
  1,
  2,
  { x = "y", ["a b"] = 1, [3.5] = 2 }
}
{ z = 1, a = 2 }	{ a = 2, z = 1 }
{
  "a long str"... (13 characters),
  {
    "another on"... (11 characters),
    "and one mo"... (12 characters)
  },
  3
}
{ 1, 2, 3, 4, 5, ... 2 more }
{ { { { {...2} } } } }
{ self = { <cycle: root> } }
<error in __tostring: bad>
mine
 name | n
------+----
 a    | 1
 bcd  | 22
function <test.lua:12>	function <builtin>	5	null	{ <3 bytes: 61 62 63> }
`, show)
}
