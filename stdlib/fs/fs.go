// Package fs is the script module fs: files of the machine that runs the script. Writing is atomic, what is
// temporary goes away with its scope, and everything that may take time lets other tasks run.
//
//	for line in fs.lines("device.log") do print(line) end
//	fs.write("out/report.txt", text)
package fs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// FileInfo describes a file.
type FileInfo struct {
	Path     string    `lua:"path" doc:"path as it was asked for"`
	Name     string    `lua:"name" doc:"last part of the path"`
	Size     int64     `lua:"size" doc:"bytes"`
	Kind     string    `lua:"kind" doc:"file, dir, link or other"`
	Modified time.Time `lua:"modified" doc:"time of the last change"`
	Mode     string    `lua:"mode" doc:"permissions as in ls -l"`
	Target   string    `lua:"target" doc:"where a link leads, else empty"`
}

// Module declares the module.
func Module() *api.Module {
	m := &api.Module{
		Name: "fs", Doc: "Files of the machine that runs the script. Paths count from the working folder.", Global: true, Perm: "file-read",
		Records: []*api.Record{api.NewRecord[FileInfo]("FileInfo", "What the system knows about a file.")},
		Classes: []*api.Class{linesClass(), walkClass()},
		Examples: []string{`local dir = fs.temp_dir()
fs.write(path.join(dir, "a.txt"), "one\ntwo\n")
for line in fs.lines(path.join(dir, "a.txt")) do print(line) end`},
	}
	m.Funcs = append(reading(), writing()...)
	return m
}

var pathDoc = []api.Option{api.ParamDoc("path", "the file"), api.StringKind("path", "path")}

// declare adds what all functions with a path have in common.
func declare(name, doc, params string, fn any, more ...api.Option) *api.Func {
	return api.Function(name, doc, params, fn, append(append([]api.Option{}, pathDoc...), more...)...)
}

// failed adds the module to an error; the text of the system already says what was tried on which file.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("fs: %w", err)
}

// do runs f without the interpreter lock. Local disks have no deadline.
func do(c *api.Call, f func(ctx context.Context) error) error {
	return failed(c.Timeout(api.NoTimeout).TryBlock(f))
}

func reading() []*api.Func {
	return []*api.Func{
		declare("read", "Reads a whole file.", "path opts?", read, api.Raises("not_found", "too_large"), api.Returns("string content"),
			api.Example(`local f = path.join(fs.temp_dir(), "a")
fs.write(f, "hello")
return fs.read(f) -- => "hello"`)),
		declare("lines", "Goes over the lines of a file, without their ends: for line in fs.lines(path) do.", "path", openLines, api.Raises("not_found"),
			api.Example(`local f = path.join(fs.temp_dir(), "a")
fs.write(f, "one\r\ntwo")
local t = {}
for line in fs.lines(f) do table.insert(t, line) end
return t -- => {"one", "two"}`)),
		declare("stat", "Describes a file, nil when there is none. A link is described itself.", "path", stat, api.Returns("FileInfo?"),
			api.Example(`return fs.stat("/no/such/file") -- => nil`)),
		declare("exists", "Whether there is a file or folder.", "path", exists, api.Example(`return fs.exists("/no/such/file") -- => false`)),
		declare("is_dir", "Whether there is a folder.", "path", func(c *api.Call, p string) (bool, error) {
			return is(c, p, func(i fs.FileInfo) bool { return i.IsDir() })
		}, api.Example(`return fs.is_dir(fs.cwd()) -- => true`)),
		declare("is_file", "Whether there is a plain file.", "path", func(c *api.Call, p string) (bool, error) {
			return is(c, p, func(i fs.FileInfo) bool { return i.Mode().IsRegular() })
		}, api.Example(`return fs.is_file(fs.cwd()) -- => false`)),
		declare("list", "Describes what is in a folder, by name.", "path", list, api.Raises("not_found"), api.Returns("FileInfo[]"),
			api.Example(`return #fs.list(fs.temp_dir()) -- => 0`)),
		declare("walk", "Goes over everything below a folder, folders before what is in them. Links are not followed.", "path", walk,
			api.Raises("not_found"), api.Returns("Walk"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "x/y.txt"), "", { mkdir = true })
local t = {}
for f in fs.walk(d) do table.insert(t, f.name) end
return t -- => {"x", "y.txt"}`)),
		api.Function("glob", "Lists the files that fit a pattern, sorted. See path.match for patterns.", "pattern", glob,
			api.ParamDoc("pattern", "such as logs/**/*.txt"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "x/y.txt"), "", { mkdir = true })
return #fs.glob(path.join(d, "**/*.txt")) -- => 1`)),
		api.Function("cwd", "The working folder.", "", func(*api.Call) (string, error) { return os.Getwd() },
			api.Example(`print(fs.cwd())`)),
	}
}

func infoOf(p string, i fs.FileInfo) *FileInfo {
	out := &FileInfo{Path: p, Name: filepath.Base(p), Size: i.Size(), Modified: i.ModTime(), Mode: i.Mode().String(), Kind: "other"}
	switch {
	case i.IsDir():
		out.Kind = "dir"
	case i.Mode().IsRegular():
		out.Kind = "file"
	case i.Mode()&fs.ModeSymlink != 0:
		out.Kind = "link"
		out.Target, _ = os.Readlink(p)
	}
	return out
}

func stat(c *api.Call, p string) (out *FileInfo, err error) {
	err = do(c, func(context.Context) error {
		i, err := os.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			out = infoOf(p, i)
		}
		return err
	})
	return out, err
}

func is(c *api.Call, p string, test func(fs.FileInfo) bool) (yes bool, err error) {
	err = do(c, func(context.Context) error {
		i, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		yes = err == nil && test(i)
		return err
	})
	return yes, err
}

func exists(c *api.Call, p string) (bool, error) {
	return is(c, p, func(fs.FileInfo) bool { return true })
}

func list(c *api.Call, p string) (out []*FileInfo, err error) {
	err = do(c, func(context.Context) (err error) {
		out, err = readDir(p)
		return err
	})
	return out, err
}

// readDir describes the entries of a folder by name; those that vanish meanwhile are left out.
func readDir(p string) ([]*FileInfo, error) {
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, err
	}
	out := make([]*FileInfo, 0, len(entries))
	for _, e := range entries {
		if i, err := e.Info(); err == nil {
			out = append(out, infoOf(filepath.Join(p, e.Name()), i))
		}
	}
	return out, nil
}

// maxRead is the largest file that becomes one string, as large as strings may get.
const maxRead = 256 << 20

type readOptions struct {
	Max int64 `lua:"max" doc:"refuse larger files, in bytes" default:"268435456"`
}

func read(c *api.Call, p string, o readOptions) (text string, err error) {
	err = do(c, func(context.Context) error {
		b, err := ReadFile(p, min(o.Max, maxRead))
		text = string(b)
		return err
	})
	return text, err
}

func tooLarge(p string, limit int64) error {
	return host.Errorf("too_large", "fs: read %s: larger than %d bytes", p, limit)
}
