// Package args is the script module args: the options that a script was started with. The header of
// the script declares them, which gives checks and --help:
//
//	---@arg bundle string        App to start
//	---@arg count integer=10     Number of launches
//	---@arg fast flag            Do not wait
//
//	local bundle = args.string("bundle")
//	for i = 1, args.number("count", 10) do ... end
package args

import (
	"math"
	"strconv"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares the module.
func Module() *api.Module {
	s := &set{}
	return &api.Module{
		Name: "args",
		Doc: "Options of the script: --name value, --name=value, --flag. args[1], args[2] and so " +
			"on are the other arguments.",
		Global: true,
		Perm:   "none",
		Setup: func(L *lua.LState, t *lua.LTable) {
			s.table = t
			s.load(L)
		},
		Funcs: append(s.single(), s.several()...),
	}
}

// defaultDoc documents the parameter of an option that may be required.
const defaultDoc = "value when the option is not given; without one the option is required"

// single returns the functions that read the value of one option.
func (s *set) single() []*api.Func {
	return []*api.Func{
		api.Function("string", "The text of an option.",
			"name default?", s.text,
			api.ParamDoc("name", "the option without its dashes"),
			api.ParamDoc("default", defaultDoc),
			api.Raises("usage"),
			api.Returns("string value"),
			api.Example(`return args.string("bundle", "com.example") -- => "com.example"`)),
		api.Function("number", "The number of an option.",
			"name default?", s.number,
			api.ParamDoc("name", "the option without its dashes"),
			api.ParamDoc("default", defaultDoc),
			api.Raises("usage"),
			api.Returns("number value"),
			api.Example(`return args.number("count", 10) -- => 10`)),
		api.Function("flag", "Whether a flag was given. --no-name turns it off.",
			"name default?", s.flag,
			api.ParamDoc("name", "the option without its dashes"),
			api.ParamDoc("default", "value if neither is given, false by default"),
			api.Raises("usage"),
			api.Returns("boolean value"),
			api.Example(`return args.flag("fast") -- => false`)),
	}
}

// several returns the functions that read lists.
func (s *set) several() []*api.Func {
	return []*api.Func{
		api.Function("list", "All texts of an option that may be given several times.",
			"name", s.list,
			api.ParamDoc("name", "the option without its dashes"),
			api.Returns("string[] values"),
			api.Example(`return #args.list("tag") -- => 0`)),
		api.Function("rest", "The arguments that belong to no option.",
			"", s.others,
			api.Returns("string[] values"),
			api.Example(`return #args.rest() -- => 0`)),
	}
}

func (s *set) list(c *api.Call, name string) []string {
	s.load(c.L)
	return s.values[name]
}

func (s *set) others(c *api.Call) []string {
	s.load(c.L)
	return s.rest()
}

func usageError(s *set, format string, a ...any) error {
	e := host.Errorf("usage", format, a...)
	if len(s.header.options) > 0 {
		e.Hint = "options: " + s.header.summary() + "; --help says more"
	}
	return e
}

// value returns the text of an option. If the option is not given, it returns the default of the
// call, and if there is none, the default in the header.
func (s *set) value(c *api.Call, name string, def *string) (string, error) {
	s.load(c.L)
	if v := s.values[name]; len(v) > 0 {
		return v[len(v)-1], nil
	}
	if _, ok := s.flags[name]; ok {
		return "", usageError(s, "option --%s needs a value", name)
	}
	if def != nil {
		return *def, nil
	}
	if o := s.header.find(name); o != nil && o.hasDefault {
		return o.def, nil
	}
	return "", usageError(s, "option --%s is missing", name)
}

func (s *set) text(c *api.Call, name string, def *string) (string, error) {
	return s.value(c, name, def)
}

func (s *set) number(c *api.Call, name string, def *float64) (float64, error) {
	var text *string
	if def != nil {
		t := strconv.FormatFloat(*def, 'g', -1, 64)
		text = &t
	}
	v, err := s.value(c, name, text)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return 0, usageError(s, "option --%s: %q is not a number", name, v)
	}
	if o := s.header.find(name); o != nil && o.typ == "integer" && n != math.Trunc(n) {
		return 0, usageError(s, "option --%s: %q is not an integer", name, v)
	}
	return n, nil
}

func (s *set) flag(c *api.Call, name string, def *bool) (bool, error) {
	s.load(c.L)
	s.release(name)
	if on, ok := s.flags[name]; ok {
		return on, nil
	}
	if v := s.values[name]; len(v) > 0 {
		on, err := strconv.ParseBool(v[len(v)-1])
		if err != nil {
			return false, usageError(s, "option --%s is a flag, not %q", name, v[len(v)-1])
		}
		return on, nil
	}
	return def != nil && *def, nil
}
