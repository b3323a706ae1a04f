// Package api is the declaration layer between Go and scripts. A module, class, record or function
// is declared once, as a Go value beside the code that does the work; the binding, the argument
// checks, help(), completion, the editor stubs and the reference are all made from that value.
//
// A module with one function and one class:
//
//	var Module = &api.Module{
//		Name: "files", Doc: "Files of the device.", Perm: "read",
//		Funcs: []*api.Func{
//			api.Function("open", "Opens a file of the device.", "path opts?", open,
//				api.ParamDoc("path", "absolute path on the device"),
//				api.Raises("not_found"), api.Example(`files.open("/a.txt")`)),
//		},
//		Classes: []*api.Class{fileClass},
//	}
//
//	type openOptions struct {
//		Mode string `lua:"mode" doc:"r or w" default:"r" enum:"r|w"`
//	}
//
//	func open(c *api.Call, path string, o openOptions) (*File, error) {
//		var f *File
//		err := c.TryBlock(func(ctx context.Context) (err error) { f, err = dial(ctx, path, o.Mode); return })
//		return f, err
//	}
//
// A call works as follows. The arguments are converted by a plan, which is built by reflection at
// the first call of the function. A wrong argument raises code "argument" with the name of the
// parameter. The function then runs; it may wait only inside Block. An error result is raised. A
// class instance becomes userdata and, if it can be closed, belongs to the current scope. Other
// results are converted as host.ToLua converts them.
//
// Libraries of the language, whose functions are written by hand, are documented by Describe with
// declarations of the same form. Their functions are called directly.
//
// Nothing is built before it is used: Install creates one empty table for each module, the first
// access to the table makes its functions, and the first call of a function makes its plan. Three
// hundred functions therefore cost well below a millisecond at start-up.
//
// All functions of this package that take an *lua.LState must be called by the holder of the
// interpreter lock.
package api
