package version

import (
	"math"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/luanum"
)

const otherDoc = "a Version, or a text such as \"17.4\""

// Class declares the script class. One module of a host lists it.
func Class() *api.Class {
	c := api.NewClass[*Version](
		"Version",
		"A version such as 17.4.1. Parts that are missing count "+
			"as 0. Two versions can be compared by == and <; with a text, use at_least and at_most.",
	)
	c.Var, c.Perm = "v", "none"
	c.String = (*Version).String
	c.CompareHint = `compare a Version with a text by v:at_least("17.4") or v:at_most("17.4")`
	c.Meta = map[string]lua.LGFunction{
		"__eq": comparing(func(c int) bool { return c == 0 }),
		"__lt": comparing(func(c int) bool { return c < 0 }),
		"__le": comparing(func(c int) bool { return c <= 0 }),
		"__concat": func(L *lua.LState) int {
			L.Push(lua.LString(host.ToString(L, L.Get(1)) + host.ToString(L, L.Get(2))))
			return 1
		},
	}
	c.Fields = []*api.Field{
		api.Property("major", "the first number", func(v *Version) int { return v.Part(0) }),
		api.Property("minor", "the second number, or 0", func(v *Version) int { return v.Part(1) }),
		api.Property("patch", "the third number, or 0", func(v *Version) int { return v.Part(2) }),
	}
	c.Methods = methods()
	return c
}

func methods() []*api.Func {
	return []*api.Func{
		api.Method("at_least", "Whether this version is the other one or newer.",
			"other:Version|string", atLeast,
			api.ParamDoc("other", otherDoc),
			api.Raises("value"),
			api.Example(`local v = version.parse("17.10")
return v:at_least("17.4") -- => true`)),
		api.Method("at_most", "Whether this version is the other one or older. 17.4.1 is newer "+
			"than 17.4.",
			"other:Version|string", atMost,
			api.ParamDoc("other", otherDoc),
			api.Raises("value"),
			api.Example(`local v = version.parse("17.4.1")
return v:at_most("17.4") -- => false`)),
		api.Method("between", "Whether this version lies between two others, both included.",
			"first:Version|string last:Version|string", between,
			api.ParamDoc("first", "the oldest version that counts"),
			api.ParamDoc("last", "the newest version that counts"),
			api.Raises("value"),
			api.Example(`local v = version.parse("16.2")
return v:between("15", "17") -- => true`)),
		api.Method("compare", "Returns -1 if this version is older than the other one, 0 if they "+
			"are equal, and 1 if it is newer.",
			"other:Version|string", compare,
			api.ParamDoc("other", otherDoc),
			api.Raises("value"),
			api.Example(`local v = version.parse("17.0")
return v:compare("17") -- => 0`)),
	}
}

// comparing returns a metamethod for a comparison. Lua calls it only for two objects, but one of
// them may be of another class.
func comparing(holds func(c int) bool) lua.LGFunction {
	return func(L *lua.LState) int {
		a, okA := api.To[*Version](L.Get(1))
		b, okB := api.To[*Version](L.Get(2))
		L.Push(lua.LBool(okA && okB && holds(a.Compare(b))))
		return 1
	}
}

// From converts argument n of a call to a Version. The argument may be a Version, a text or a whole
// number.
func From(c *api.Call, n int, arg lua.LValue) (*Version, error) {
	if v, ok := api.To[*Version](arg); ok {
		return v, nil
	}
	switch x := arg.(type) {
	case lua.LString:
		return Parse(string(x))
	case lua.LNumber:
		if float64(x) == math.Trunc(float64(x)) {
			return Parse(luanum.Format(float64(x)))
		}
		return nil, c.ArgError(n, "write the version as a text: %q", luanum.Format(float64(x)))
	}
	return nil, c.ArgError(n, "Version or string expected, got %s", arg.Type())
}

func compare(c *api.Call, v *Version, other lua.LValue) (int, error) {
	w, err := From(c, 1, other)
	if err != nil {
		return 0, err
	}
	return v.Compare(w), nil
}

func atLeast(c *api.Call, v *Version, other lua.LValue) (bool, error) {
	n, err := compare(c, v, other)
	return n >= 0, err
}

func atMost(c *api.Call, v *Version, other lua.LValue) (bool, error) {
	n, err := compare(c, v, other)
	return n <= 0, err
}

func between(c *api.Call, v *Version, first, last lua.LValue) (bool, error) {
	from, err := From(c, 1, first)
	if err != nil {
		return false, err
	}
	to, err := From(c, 2, last)
	if err != nil {
		return false, err
	}
	return v.Compare(from) >= 0 && v.Compare(to) <= 0, nil
}
