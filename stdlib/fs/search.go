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

// searches returns the functions that go over a tree of directories.
func searches() []*api.Func {
	return []*api.Func{
		api.Function("walk",
			"Goes over everything below a directory, a directory before its entries. "+
				"Links are not followed. walk.skipped lists directories that may not be read.",
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
			"patterns. The field skipped of the result has the directories that could not be read "+
			"(Skipped records).",
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

// walker goes over a tree, for one task at a time. It keeps a stack of the entries still to visit.
type walker struct {
	api.Turn
	root string
	todo []*FileInfo
	left []skip // since take was called

	skipped []*api.Skipped // guarded by the interpreter lock
}

// take moves the entries of left to skipped, which scripts see.
func (w *walker) take(c *api.Call) {
	w.skipped = append(w.skipped, skippedRecords(c, w.left)...)
	w.left = nil
}

func walkClass() *api.Class {
	c := api.NewClass[*walker]("Walk", "Goes over a tree of files: `for file in walk do ... end`.")
	c.NextType = "FileInfo"
	c.String = func(w *walker) string { return "Walk<" + w.root + ">" }
	c.Next = nextFile
	c.Fields = []*api.Field{
		api.Property("skipped", "what could not be listed or described so far (Skipped records)",
			func(w *walker) api.List[*api.Skipped] { return w.skipped }),
	}
	return c
}

// nextFile returns the next file. It gives up the interpreter lock only to read a directory.
func nextFile(c *api.Call, w *walker) (next *FileInfo, err error) {
	if n := len(w.todo); n > 0 && w.todo[n-1].Kind != "directory" {
		next, err = w.next(context.Background())
	} else {
		err = do(c, func(ctx context.Context) (err error) {
			next, err = w.next(ctx)
			return err
		})
	}
	w.take(c)
	if errors.Is(err, io.EOF) {
		c.WarnSkipped(w.skipped)
		return nil, nil
	}
	return next, err
}

func walk(c *api.Call, path string) (*walker, error) {
	w := &walker{root: path}
	if err := do(c, func(context.Context) error { return w.push(path) }); err != nil {
		return nil, err
	}
	w.take(c)
	return w, nil
}

// push adds the entries of a directory to the stack in such an order that the first one is taken
// next.
func (w *walker) push(path string) error {
	entries, left, err := readDir(path)
	if err != nil {
		return err
	}
	w.left = append(w.left, left...)
	slices.Reverse(entries)
	w.todo = append(w.todo, entries...)
	return nil
}

// next returns the next file, and io.EOF at the end. A directory that may not be read is left out.
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
		err := w.push(next.Path)
		switch {
		case err == nil:
		case passable(err):
			w.left = append(w.left, skip{next.Path, err})
		default:
			return nil, err
		}
	}
	return next, nil
}

func glob(c *api.Call, pattern string) (out api.PartialTable[string], err error) {
	g, err := api.CompileGlob(filepath.ToSlash(pattern))
	if err != nil {
		return out, host.Errorf("pattern", "fs: %s", err)
	}
	root := filepath.FromSlash(g.Base())
	if root == "" {
		root = "."
	}
	if err := c.Allow(host.AccessRead, root); err != nil {
		return out, err
	}
	isPath := g.Base() == filepath.ToSlash(pattern) // it has no wildcard
	var left []skip
	err = do(c, func(ctx context.Context) error {
		_, err := os.Lstat(root)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case isPath:
			out.Items = []string{root}
			return nil
		}
		out.Items, left, err = globBelow(ctx, g, root)
		return err
	})
	slices.Sort(out.Items)
	out.Skipped = skippedRecords(c, left)
	c.WarnSkipped(out.Skipped)
	return out, err
}

// globBelow lists the files below root that match, and the directories that it could not read.
func globBelow(
	ctx context.Context, g *api.Glob, root string,
) (out []string, left []skip, err error) {
	w := &walker{}
	if err := w.push(root); err != nil {
		return nil, nil, err
	}
	for {
		f, err := w.next(ctx)
		if err == io.EOF {
			return out, w.left, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if g.Match(filepath.ToSlash(f.Path)) {
			out = append(out, f.Path)
		}
	}
}
