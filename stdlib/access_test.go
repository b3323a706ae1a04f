package stdlib_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// accessOf names the kind of value that a function with a permission asks for.
var accessOf = map[string]host.Access{
	"file-read":  host.AccessRead,
	"file-write": host.AccessWrite,
	"env":        host.AccessEnv,
	"net":        host.AccessHost,
	"exec":       host.AccessExec,
}

// TestAccess runs the examples of every function that has a permission for something outside of
// the script. Each must ask Options.Allow for at least one value of its kind.
func TestAccess(t *testing.T) {
	t.Parallel()
	for _, m := range api.Registry(newHost(t, host.Options{})).Modules() {
		for _, f := range m.Funcs {
			testAccess(t, f, permission(f, nil, m), wrapper(m, f))
		}
		for _, c := range m.Classes {
			for _, f := range c.Methods {
				testAccess(t, f, permission(f, c, m), "watch(true)\n")
			}
		}
	}
}

// permission returns the permission of a function, or that of its class or module.
func permission(f *api.Func, c *api.Class, m *api.Module) string {
	switch {
	case f.Perm != "":
		return f.Perm
	case c != nil && c.Perm != "":
		return c.Perm
	}
	return m.Perm
}

// wrapper returns Lua text that wraps a function of a module in calls of watch(true) and
// watch(false), so that accesses of the rest of an example are ignored.
func wrapper(m *api.Module, f *api.Func) string {
	if m.Flat {
		return "watch(true)\n"
	}
	return `do
  local name = "` + f.Name + `"
  local module = package.loaded["` + m.Name + `"] or require("imd.` + m.Name + `")
  local f = module[name]
  local function finish(ok, ...)
    watch(false)
    if not ok then error((...), 0) end
    return ...
  end
  module[name] = function(...)
    watch(true)
    return finish(pcall(f, ...))
  end
end
`
}

func testAccess(t *testing.T, f *api.Func, perm, prelude string) {
	kind := accessOf[perm]
	if kind == "" || slices.Contains(f.Checks, host.AccessNone) {
		return
	}
	t.Run(f.FullName(), func(t *testing.T) {
		t.Parallel()
		var values []string
		watching := false
		h := newHost(t, host.Options{
			Env: func(name string) (string, bool) { return "/home/user", name == "HOME" },
			Allow: func(a host.Access, value string) error {
				if watching && a == kind {
					values = append(values, value)
				}
				return nil
			},
		})
		h.SetGlobal("watch", h.L().NewFunction(func(L *lua.LState) int {
			watching = L.ToBool(1)
			return 0
		}))
		for _, example := range f.Examples {
			if err := h.Run(t.Context(), "example.lua", prelude+example); err != nil {
				t.Errorf("%s\n%v", example, err)
			}
		}
		if len(values) == 0 {
			t.Errorf("asked for no value of the kind %q", kind)
		}
	})
}

// TestRefusal refuses each kind of access in turn. The script must get an error of code
// "permission", and no file, connection or variable may have been used.
func TestRefusal(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kind   host.Access
		source string
	}{
		// The file does not exist: the code would be not_found if it were opened.
		{"fs.read", host.AccessRead, `fs.read(missing)`},
		{"fs.lines", host.AccessRead, `fs.lines(missing)`},
		{"fs.stat", host.AccessRead, `fs.stat(missing)`},
		{"fs.list", host.AccessRead, `fs.list(missing)`},
		{"fs.walk", host.AccessRead, `fs.walk(missing)`},
		{"fs.glob", host.AccessRead, `fs.glob(path.join(dir, "*"))`},
		{"fs.glob of the working folder", host.AccessRead, `fs.glob("*")`},
		{"fs.copy from", host.AccessRead, `fs.copy(file, missing)`},
		{"csv.read", host.AccessRead, `require("imd.csv").read(missing)`},
		{"json.read", host.AccessRead, `json.read(missing)`},
		{"plist.read", host.AccessRead, `plist.read(missing)`},
		{"image.open", host.AccessRead, `require("imd.image").open(missing)`},
		{"image diff", host.AccessRead, `require("imd.image").new(1, 1):diff(missing)`},
		{"image find", host.AccessRead, `require("imd.image").new(1, 1):find(missing)`},
		{"yaml.read", host.AccessRead, `require("imd.yaml").read(missing)`},
		{"hash.file", host.AccessRead, `hash.file("md5", missing)`},

		{"fs.write", host.AccessWrite, `fs.write(missing, "new")`},
		{"fs.write mkdir", host.AccessWrite, `fs.write(missing .. "/x", "new", { mkdir = true })`},
		{"fs.append", host.AccessWrite, `fs.append(file, "new")`},
		{"fs.mkdir", host.AccessWrite, `fs.mkdir(missing)`},
		{"fs.remove", host.AccessWrite, `fs.remove(file)`},
		{"fs.rename", host.AccessWrite, `fs.rename(file, missing)`},
		{"fs.copy to", host.AccessWrite, `fs.copy(file, missing)`},
		{"fs.temp_dir", host.AccessWrite, `fs.temp_dir()`},
		{"fs.temp_file", host.AccessWrite, `fs.temp_file()`},
		{"csv.writer", host.AccessWrite, `require("imd.csv").writer(file)`},
		{"json.write", host.AccessWrite, `json.write(missing, {})`},
		{"plist.write", host.AccessWrite, `plist.write(missing, {})`},
		{"image save", host.AccessWrite, `require("imd.image").new(1, 1):save(missing .. ".png")`},
		{"image expect_below", host.AccessWrite, `
local image = require("imd.image")
image.new(1, 1):diff(image.new(1, 1, "red")):expect_below(0, { save = missing })`},
		{"yaml.write", host.AccessWrite, `require("imd.yaml").write(missing, {})`},
		{"log.to", host.AccessWrite, `log.to(missing)`},

		{"path.expand", host.AccessEnv, `path.expand("~/x")`},
	} {
		t.Run(tc.name, func(t *testing.T) { testRefusal(t, tc.kind, tc.source) })
	}
}

func testRefusal(t *testing.T, kind host.Access, source string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	before := tree(t, dir)
	h := newHost(t, host.Options{
		Env: func(name string) (string, bool) {
			t.Errorf("the variable %s was looked up", name)
			return "", false
		},
		Allow: func(a host.Access, value string) error {
			if a == kind {
				return host.Errorf("permission", "no %s of %q", a, value)
			}
			return nil
		},
	})
	h.SetGlobal("dir", lua.LString(dir))
	h.SetGlobal("file", lua.LString(file))
	h.SetGlobal("missing", lua.LString(filepath.Join(dir, "missing")))
	err := h.Run(t.Context(), "test.lua", source)
	var e *host.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: error = %v, want a *host.Error", source, err)
	}
	if e.Code != "permission" {
		t.Errorf("%s: code = %q (%v), want permission", source, e.Code, err)
	}
	if after := tree(t, dir); !maps.Equal(after, before) {
		t.Errorf("%s: the files are %v, want %v", source, after, before)
	}
}

// tree returns the content of all files below dir. The content of a folder is "dir".
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			out[p] = "dir"
			return nil
		}
		b, err := os.ReadFile(p)
		out[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
