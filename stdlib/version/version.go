// Package version is the script module version, for version numbers such as 17.4.1.
//
//	print(version.parse("17.4.1"):at_least("17.4"))
package version

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/version"
)

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:    "version",
		Doc:     "Versions such as 17.4.1, compared number by number.",
		Global:  true,
		Perm:    "none",
		Classes: []*api.Class{version.Class()},
		Funcs: []*api.Func{
			api.Function("parse", "Makes a Version of a text, which is numbers separated by dots.",
				"text:Version|string", parse,
				api.ParamDoc("text", "the version; a Version is returned as it is"),
				api.Raises("value"),
				api.Example(`return version.parse("17.10") > version.parse("17.9") -- => true`)),
		},
	}
}

func parse(c *api.Call, text lua.LValue) (*version.Version, error) {
	return version.From(c, 1, text)
}
