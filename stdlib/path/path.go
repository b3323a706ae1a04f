// Package path is the script module path: file names of the machine that runs the script. Nothing here
// touches the disk.
//
//	path.join("photos", "IMG_0001.HEIC") -- => "photos/IMG_0001.HEIC"
package path

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares the module.
func Module() *api.Module {
	one := api.ParamDoc("path", "a file name")
	return &api.Module{
		Name: "path", Doc: "File names of the machine that runs the script.", Global: true, Perm: "none",
		Consts: []api.Const{{Name: "separator", Doc: "What stands between folders: / or \\.", Value: string(filepath.Separator)}},
		Funcs: []*api.Func{
			api.Function("join", "Joins parts to one path and cleans it.", "parts...", func(_ *api.Call, parts ...string) string { return filepath.Join(parts...) },
				api.ParamDoc("parts", "parts of the path"), api.Example(`return path.join("a", "../b", "c.txt") -- => "b/c.txt"`)),
			api.Function("base", "The last part.", "path", func(_ *api.Call, p string) string { return filepath.Base(p) }, one,
				api.Example(`return path.base("a/b.txt") -- => "b.txt"`)),
			api.Function("dir", "Everything but the last part.", "path", func(_ *api.Call, p string) string { return filepath.Dir(p) }, one,
				api.Example(`return path.dir("a/b.txt") -- => "a"`)),
			api.Function("ext", "The extension with its dot, or an empty string.", "path", func(_ *api.Call, p string) string { return filepath.Ext(p) }, one,
				api.Example(`return path.ext("a/b.txt") -- => ".txt"`)),
			api.Function("stem", "The last part without its extension.", "path", stem, one,
				api.Example(`return path.stem("a/b.txt") -- => "b"`)),
			api.Function("clean", "The shortest equal path.", "path", func(_ *api.Call, p string) string { return filepath.Clean(p) }, one,
				api.Example(`return path.clean("a//b/../c") -- => "a/c"`)),
			api.Function("split", "The parts of a path.", "path", split, one,
				api.Example(`return path.split("/a/b") -- => {"/", "a", "b"}`)),
			api.Function("is_abs", "Whether the path begins at the root.", "path", func(_ *api.Call, p string) bool { return filepath.IsAbs(p) }, one,
				api.Example(`return path.is_abs("a/b") -- => false`)),
			api.Function("abs", "The path from the root, counted from the working folder.", "path",
				func(_ *api.Call, p string) (string, error) { return filepath.Abs(p) }, one, api.Example(`print(path.abs("a"))`)),
			api.Function("rel", "The path to target as seen from base.", "base target",
				func(_ *api.Call, base, target string) (string, error) { return filepath.Rel(base, target) },
				api.ParamDoc("base", "folder to start from"), api.ParamDoc("target", "where to go"),
				api.Example(`return path.rel("a/b", "a/c/d") -- => "../c/d"`)),
			api.Function("expand", "Replaces a leading ~ by the home folder.", "path", expand, one, api.Perm("env"),
				api.Example(`return path.expand("a/~") -- => "a/~"`)),
			api.Function("match", "Whether the path fits a pattern: * and ? stay within a part, ** goes over any number of parts, {a,b} are alternatives.",
				"pattern path", match, one, api.ParamDoc("pattern", "such as DCIM/**/*.{HEIC,MOV}"),
				api.Example(`return path.match("**/*.txt", "a/b/c.txt") -- => true`)),
		},
	}
}

func stem(_ *api.Call, p string) string {
	base := filepath.Base(p)
	if s := strings.TrimSuffix(base, filepath.Ext(base)); s != "" {
		return s
	}
	return base // .profile has a name, not an extension
}

func split(_ *api.Call, p string) []string {
	p = filepath.Clean(p)
	var out []string
	if filepath.IsAbs(p) {
		root := filepath.VolumeName(p) + string(filepath.Separator)
		out, p = append(out, root), strings.TrimPrefix(p, root)
	}
	for part := range strings.SplitSeq(p, string(filepath.Separator)) {
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}

func expand(c *api.Call, p string) (string, error) {
	if p != "~" && !strings.HasPrefix(p, "~/") {
		return p, nil
	}
	env := c.Host().Options().Env
	if env == nil {
		return "", errors.New("path: no home folder is known")
	}
	home, ok := env("HOME")
	if !ok && os.PathSeparator == '\\' {
		home, ok = env("USERPROFILE")
	}
	if !ok {
		return "", errors.New("path: no home folder is known")
	}
	return filepath.Join(home, p[1:]), nil
}

func match(_ *api.Call, pattern, p string) (lua.LValue, error) {
	g, err := api.CompileGlob(pattern)
	if err != nil {
		return nil, err
	}
	return lua.LBool(g.Match(filepath.ToSlash(p))), nil
}
