package lua51

import (
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// Libraries declares the functions and constants of Lua itself, for the documentation. A test
// compares the declarations with the libraries.
func Libraries() []*api.Module {
	return []*api.Module{
		globalsLibrary(),
		coroutineLibrary(),
		debugLibrary(),
		ioLibraryModule(),
		mathLibrary(),
		osLibrary(),
		packageLibrary(),
		stringLibrary(),
		tableLibrary(),
	}
}

// function declares one function. usage holds its parameters and its results, as in
// "text:string from?:integer -> string, integer count".
func function(name, usage, doc, example string, more ...api.Option) *api.Func {
	params, results, _ := strings.Cut(usage, "->")
	options := []api.Option{api.Example(example)}
	if results != "" {
		var list []string
		for _, result := range strings.Split(results, ",") {
			list = append(list, strings.TrimSpace(result))
		}
		options = append(options, api.Returns(list...))
	}
	return api.Existing(name, doc, params, append(options, more...)...)
}

// glossary documents the parameters that have no text of their own. A name means the same in all
// functions of a library.
type glossary map[string]string

// explain fills in the texts of parameters and returns the functions.
func (g glossary) explain(lists ...[]*api.Func) []*api.Func {
	funcs := slices.Concat(lists...)
	for _, f := range funcs {
		for i := range f.Params {
			p := &f.Params[i]
			if p.Doc == "" {
				p.Doc = g[p.Name]
			}
		}
	}
	return funcs
}
