// Package path is the script module path: file names of the computer that runs the script. Its
// functions do not access the disk.
//
//	path.join("photos", "IMG_0001.HEIC") -- => "photos/IMG_0001.HEIC"
package path

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:   "path",
		Doc:    "File names of the computer that runs the script.",
		Global: true,
		Perm:   "none",
		Consts: []api.Const{{
			Name:  "separator",
			Doc:   "The separator of folders: / or \\.",
			Value: string(filepath.Separator),
		}},
		Funcs: append(parts(), forms()...),
	}
}

// parts returns the functions that join and split paths.
func parts() []*api.Func {
	return []*api.Func{
		api.Function("join", "Joins parts to one path and cleans it.",
			"parts...", join,
			api.ParamDoc("parts", "parts of the path"),
			api.Example(`return path.join("a", "../b", "c.txt") -- => "b/c.txt"`)),
		api.Function("base", "The last part.",
			"path", text(filepath.Base),
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.base("a/b.txt") -- => "b.txt"`)),
		api.Function("dir", "Everything but the last part.",
			"path", text(filepath.Dir),
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.dir("a/b.txt") -- => "a"`)),
		api.Function("ext", "The extension with its dot, or an empty string.",
			"path", text(filepath.Ext),
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.ext("a/b.txt") -- => ".txt"`)),
		api.Function("stem", "The last part without its extension.",
			"path", text(stem),
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.stem("a/b.txt") -- => "b"`)),
		api.Function("clean", "The shortest path that means the same.",
			"path", text(filepath.Clean),
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.clean("a//b/../c") -- => "a/c"`)),
		api.Function("split", "The parts of a path.",
			"path", split,
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.split("/a/b") -- => {"/", "a", "b"}`)),
	}
}

// forms returns the functions that compare paths or change their beginning.
func forms() []*api.Func {
	return []*api.Func{
		api.Function("is_abs", "Whether the path begins at the root.",
			"path", isAbs,
			api.ParamDoc("path", "a file name"),
			api.Example(`return path.is_abs("a/b") -- => false`)),
		api.Function("abs", "The path from the root. A relative path begins at the working folder.",
			"path", abs,
			api.ParamDoc("path", "a file name"),
			api.Example(`print(path.abs("a"))`)),
		api.Function("rel", "The path of target relative to base.",
			"base target", rel,
			api.ParamDoc("base", "folder to start from"),
			api.ParamDoc("target", "path that is made relative"),
			api.Example(`return path.rel("a/b", "a/c/d") -- => "../c/d"`)),
		api.Function("expand", "Replaces a leading ~ by the home folder.",
			"path", expand,
			api.ParamDoc("path", "a file name"),
			api.Perm("env"),
			api.Checks(host.AccessEnv),
			api.Example(`return path.expand("a/~") -- => "a/~"`),
			api.Example(`print(path.expand("~/Downloads"))`)),
		api.Function("match", "Whether the path matches a pattern: * and ? stay within a part, ** "+
			"goes over any number of parts, {a,b} are alternatives.",
			"pattern path", match,
			api.ParamDoc("pattern", "such as DCIM/**/*.{HEIC,MOV}"),
			api.ParamDoc("path", "a file name"),
			api.Raises("pattern"),
			api.Example(`return path.match("**/*.txt", "a/b/c.txt") -- => true`)),
	}
}

// text makes a script function of a function that converts a path.
func text(f func(string) string) func(*api.Call, string) string {
	return func(_ *api.Call, path string) string { return f(path) }
}

func join(_ *api.Call, parts ...string) string { return filepath.Join(parts...) }

func isAbs(_ *api.Call, path string) bool { return filepath.IsAbs(path) }

func abs(_ *api.Call, path string) (string, error) { return filepath.Abs(path) }

func rel(_ *api.Call, base, target string) (string, error) { return filepath.Rel(base, target) }

func stem(path string) string {
	base := filepath.Base(path)
	if s := strings.TrimSuffix(base, filepath.Ext(base)); s != "" {
		return s
	}
	return base // a name such as .bashrc has no extension
}

func split(_ *api.Call, path string) []string {
	path = filepath.Clean(path)
	var out []string
	if filepath.IsAbs(path) {
		root := filepath.VolumeName(path) + string(filepath.Separator)
		out, path = append(out, root), strings.TrimPrefix(path, root)
	}
	for part := range strings.SplitSeq(path, string(filepath.Separator)) {
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}

// errNoHome means that no environment variable names the home folder.
var errNoHome = errors.New("path: no home folder is known")

// homes lists the variables that may name the home folder.
func homes() []string {
	if os.PathSeparator == '\\' {
		return []string{"HOME", "USERPROFILE"}
	}
	return []string{"HOME"}
}

func expand(c *api.Call, path string) (string, error) {
	if path != "~" && !strings.HasPrefix(path, "~/") {
		return path, nil
	}
	env := c.Host().Options().Env
	for _, name := range homes() {
		if err := c.Allow(host.AccessEnv, name); err != nil {
			return "", err
		}
		if env == nil {
			continue
		}
		if home, ok := env(name); ok {
			return filepath.Join(home, path[1:]), nil
		}
	}
	return "", errNoHome
}

func match(_ *api.Call, pattern, path string) (bool, error) {
	g, err := api.CompileGlob(pattern)
	if err != nil {
		return false, host.Errorf("pattern", "path: %s", err)
	}
	return g.Match(filepath.ToSlash(path)), nil
}
