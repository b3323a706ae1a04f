// Package fs is the script module fs: files of the computer that runs the script. Files are
// replaced in one step, temporary files are removed with their scope, and calls that may take time
// let other tasks run.
//
//	for line in fs.lines("device.log") do print(line) end
//	fs.write("out/report.txt", text)
package fs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// FileInfo describes a file.
type FileInfo struct {
	Path     string    `lua:"path" doc:"path as it was given"`
	Name     string    `lua:"name" doc:"last part of the path"`
	Size     int64     `lua:"size" doc:"bytes"`
	Kind     string    `lua:"kind" doc:"file, directory, link or other"`
	Modified time.Time `lua:"modified" doc:"time of the last change"`
	Mode     string    `lua:"mode" doc:"permissions as in ls -l"`
	Target   string    `lua:"target" doc:"what a link refers to, else empty"`
}

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name: "fs",
		Doc: "Files of the computer that runs the script. Relative paths begin at the working " +
			"directory.",
		Global: true,
		Perm:   "file-read",
		Records: []*api.Record{
			api.NewRecord[FileInfo]("FileInfo", "What the system knows about a file."),
			api.NewRecord[api.Skipped]("Skipped", "A file of this computer or of a device that a call over "+
				"many files left out or could not describe in full."),
		},
		Classes: []*api.Class{linesClass(), walkClass()},
		Funcs:   slices.Concat(contents(), lookups(), searches(), writes(), moves(), temporaries()),
		Examples: []string{`local dir = fs.temp_dir()
fs.write(path.join(dir, "a.txt"), "one\ntwo\n")
for line in fs.lines(path.join(dir, "a.txt")) do print(line) end`},
	}
}

// do is Do for this module.
func do(c *api.Call, f func(ctx context.Context) error) error { return Do(c, "fs", f) }

// lookups returns the functions that ask the system about a path.
func lookups() []*api.Func {
	return []*api.Func{
		api.Function("stat", "Describes a file, nil if there is none. For a link it describes "+
			"the link itself, not what it refers to.",
			"path", stat,
			PathParam("path", "the file", host.AccessRead),
			api.Returns("FileInfo?"),
			api.Example(`return fs.stat("/no/such/file") -- => nil`)),
		api.Function("exists", "Whether there is a file or directory.",
			"path", exists,
			PathParam("path", "the file", host.AccessRead),
			api.Example(`return fs.exists("/no/such/file") -- => false`)),
		api.Function("is_dir", "Whether there is a directory.",
			"path", isDir,
			PathParam("path", "the file", host.AccessRead),
			api.Example(`return fs.is_dir(fs.cwd()) -- => true`)),
		api.Function("is_file", "Whether there is a plain file.",
			"path", isFile,
			PathParam("path", "the file", host.AccessRead),
			api.Example(`return fs.is_file(fs.cwd()) -- => false`)),
		api.Function("list", "Describes the entries of a directory, sorted by name. The field "+
			"skipped of the result lists entries that the system does not describe (Skipped).",
			"path", list,
			PathParam("path", "the directory", host.AccessRead),
			api.Raises("not_found"),
			api.Returns("FileInfo[]"),
			api.Example(`return #fs.list(fs.temp_dir()) -- => 0`)),
	}
}

func infoOf(path string, i fs.FileInfo) *FileInfo {
	out := &FileInfo{
		Path:     path,
		Name:     filepath.Base(path),
		Size:     i.Size(),
		Modified: i.ModTime(),
		Mode:     i.Mode().String(),
		Kind:     kindOf(i.Mode()),
	}
	if out.Kind == "link" {
		out.Target, _ = os.Readlink(path)
	}
	return out
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m.IsRegular():
		return "file"
	case m&fs.ModeSymlink != 0:
		return "link"
	}
	return "other"
}

func stat(c *api.Call, path string) (out *FileInfo, err error) {
	err = do(c, func(context.Context) error {
		i, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			out = infoOf(path, i)
		}
		return err
	})
	return out, err
}

// is reports whether there is a file that passes the test. Links are followed.
func is(c *api.Call, path string, test func(fs.FileInfo) bool) (yes bool, err error) {
	err = do(c, func(context.Context) error {
		i, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		yes = err == nil && test(i)
		return err
	})
	return yes, err
}

func exists(c *api.Call, path string) (bool, error) {
	return is(c, path, func(fs.FileInfo) bool { return true })
}

func isDir(c *api.Call, path string) (bool, error) {
	return is(c, path, func(i fs.FileInfo) bool { return i.IsDir() })
}

func isFile(c *api.Call, path string) (bool, error) {
	return is(c, path, func(i fs.FileInfo) bool { return i.Mode().IsRegular() })
}

func list(c *api.Call, path string) (out api.PartialTable[*FileInfo], err error) {
	var left []skip
	err = do(c, func(context.Context) (err error) {
		out.Items, left, err = readDir(path)
		return err
	})
	out.Skipped = skippedRecords(c, left)
	c.WarnSkipped(out.Skipped)
	return out, err
}

// skip is a file that a call over many files left out.
type skip struct {
	path string
	err  error
}

// skippedRecords returns the files that were left out as records for the script.
func skippedRecords(c *api.Call, left []skip) (out []*api.Skipped) {
	for _, s := range left {
		out = append(out, c.Skipped(s.path, s.err))
	}
	return out
}

// passable reports whether err concerns one file only, which a call over many files may leave out
// and list as skipped.
func passable(err error) bool { return os.IsNotExist(err) || os.IsPermission(err) }

// readDir describes the entries of a directory, sorted by name. left holds the entries that have
// been removed in the meantime, and those of which the system returns only the name and kind.
// It does not wait if path is a FIFO, because it opens path as a directory.
func readDir(path string) (out []*FileInfo, left []skip, err error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, nil, err
	}
	out = make([]*FileInfo, 0, len(entries))
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		i, err := e.Info()
		switch {
		case err == nil:
			out = append(out, infoOf(name, i))
			continue
		case !passable(err):
			return nil, nil, err
		case os.IsPermission(err):
			out = append(out, &FileInfo{Path: name, Name: e.Name(), Kind: kindOf(e.Type())})
		}
		left = append(left, skip{name, err})
	}
	return out, left, nil
}
