package fs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// searches are the functions that go over a tree of directories.
func searches() []*api.Func {
	return []*api.Func{
		api.Function("walk", "Goes over everything below a directory, a directory before its entries. "+
			"Links are not followed.",
			"path", walk,
			PathParam("path", "the directory", host.AccessRead),
			api.Raises("not_found"),
			api.Returns("Walk"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "x/y.txt"), "", { mkdir = true })
local t = {}
for f in fs.walk(d) do table.insert(t, f.name) end
return t -- => {"x", "y.txt"}`)),
		api.Function("glob", "Lists the files that match a pattern, sorted. See path.match for "+
			"patterns.",
			"pattern", glob,
			api.ParamDoc("pattern", "such as logs/**/*.txt"),
			api.Checks(host.AccessRead), // of the directory that all matches are in
			api.Raises("pattern"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "x/y.txt"), "", { mkdir = true })
return #fs.glob(path.join(d, "**/*.txt")) -- => 1`)),
		api.Function("cwd", "The working directory.",
			"", cwd,
			api.Checks(host.AccessNone),
			api.Example(`print(fs.cwd())`)),
	}
}

func cwd(*api.Call) (string, error) { return os.Getwd() }

// walker goes over a tree, for one task at a time. It keeps a stack of what it has still to visit.
type walker struct {
	api.Turn
	root string
	todo []*FileInfo
}

func walkClass() *api.Class {
	c := api.NewClass[*walker]("Walk", "Goes over a tree of files: `for file in walk do ... end`.")
	c.NextType = "FileInfo"
	c.String = func(w *walker) string { return "Walk<" + w.root + ">" }
	c.Next = nextFile
	return c
}

// nextFile gives the interpreter lock up only when a directory must be read.
func nextFile(c *api.Call, w *walker) (next *FileInfo, err error) {
	if n := len(w.todo); n > 0 && w.todo[n-1].Kind != "directory" {
		next, err = w.next(context.Background())
	} else {
		err = do(c, func(ctx context.Context) (err error) {
			next, err = w.next(ctx)
			return err
		})
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return next, err
}

func walk(c *api.Call, path string) (*walker, error) {
	w := &walker{root: path}
	if err := do(c, func(context.Context) error { return w.push(path) }); err != nil {
		return nil, err
	}
	return w, nil
}

// push adds the entries of a directory, so that the first is taken next.
func (w *walker) push(path string) error {
	entries, err := readDir(path)
	if err != nil {
		return err
	}
	slices.Reverse(entries)
	w.todo = append(w.todo, entries...)
	return nil
}

// next returns the next file, and io.EOF at the end. A directory that may not be read has no
// entries.
func (w *walker) next(ctx context.Context) (*FileInfo, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(w.todo) == 0 {
		return nil, io.EOF
	}
	next := w.todo[len(w.todo)-1]
	w.todo = w.todo[:len(w.todo)-1]
	if next.Kind == "directory" {
		if err := w.push(next.Path); err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
			return nil, err
		}
	}
	return next, nil
}

func glob(c *api.Call, pattern string) ([]string, error) {
	g, err := api.CompileGlob(filepath.ToSlash(pattern))
	if err != nil {
		return nil, host.Errorf("pattern", "fs: %s", err)
	}
	root := filepath.FromSlash(g.Base())
	if root == "" {
		root = "."
	}
	if err := c.Allow(host.AccessRead, root); err != nil {
		return nil, err
	}
	isPath := g.Base() == filepath.ToSlash(pattern) // it has no wildcard
	var out []string
	err = do(c, func(ctx context.Context) error {
		_, err := os.Lstat(root)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case isPath:
			out = []string{root}
			return nil
		}
		out, err = globBelow(ctx, g, root)
		return err
	})
	slices.Sort(out)
	return out, err
}

// globBelow lists the files below root that match.
func globBelow(ctx context.Context, g *api.Glob, root string) ([]string, error) {
	w := &walker{}
	if err := w.push(root); err != nil {
		return nil, err
	}
	var out []string
	for {
		f, err := w.next(ctx)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if g.Match(filepath.ToSlash(f.Path)) {
			out = append(out, f.Path)
		}
	}
}
