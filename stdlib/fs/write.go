package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/savefile"
)

type writeOptions struct {
	Mkdir  bool   `lua:"mkdir" doc:"make missing directories"`
	Mode   string `lua:"mode" doc:"permissions of a new file in octal" default:"644"`
	Atomic bool   `lua:"atomic" doc:"write a new file, then rename it" default:"true"`
}

type removeOptions struct {
	Recursive bool `lua:"recursive" doc:"remove directories with everything in them"`
	MissingOK bool `lua:"missing_ok" doc:"do not raise an error if the path does not exist"`
}

type copyOptions struct {
	Recursive bool `lua:"recursive" doc:"copy directories with everything in them"`
}

// writes returns the functions that write, make or remove one file or directory.
func writes() []*api.Func {
	return []*api.Func{
		api.Function("write", "Replaces the content of a file, or makes it. Other programs never "+
			"see a half written file, unless atomic is false.",
			"path content opts?", writeContent,
			PathParam("path", "the file", host.AccessWrite),
			api.ParamDoc("content", "string or Data"),
			api.Perm("file-write"),
			api.Raises("not_found", "access_denied"),
			api.Example(`fs.write(path.join(fs.temp_dir(), "a.txt"), "hello")`)),
		api.Function("append", "Adds to the end of a file, or makes it.",
			"path content", appendContent,
			PathParam("path", "the file", host.AccessWrite),
			api.ParamDoc("content", "string or Data"),
			api.Perm("file-write"),
			api.Example(`local f = path.join(fs.temp_dir(), "a")
fs.append(f, "x") fs.append(f, "y")
return fs.read(f) -- => "xy"`)),
		api.Function("mkdir", "Makes a directory and those above it. It may exist already.",
			"path", mkdir,
			PathParam("path", "the directory", host.AccessWrite),
			api.Perm("file-write"),
			api.Example(`local d = path.join(fs.temp_dir(), "x/y")
fs.mkdir(d)
return fs.is_dir(d) -- => true`)),
		api.Function("remove", "Removes a file or an empty directory.",
			"path opts?", remove,
			PathParam("path", "the file", host.AccessWrite),
			api.Perm("file-write"),
			api.Raises("not_found"),
			api.Example(`fs.remove("/no/such/file", { missing_ok = true })`)),
	}
}

// moves returns the functions that have two paths.
func moves() []*api.Func {
	return []*api.Func{
		api.Function("rename", "Moves a file or directory. An existing file at the new path is replaced.",
			"from to", rename,
			PathParam("from", "what to move", host.AccessWrite),
			PathParam("to", "its new path", host.AccessWrite),
			api.Perm("file-write"),
			api.Raises("not_found"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "a"), "x")
fs.rename(path.join(d, "a"), path.join(d, "b"))
return fs.exists(path.join(d, "b")) -- => true`)),
		api.Function("copy",
			"Copies a file, or a directory with recursive. Permissions are kept. A "+
				"file gets its name when it is complete.",
			"from to opts?", copyTree,
			PathParam("from", "what to copy", host.AccessRead),
			PathParam("to", "path of the copy", host.AccessWrite),
			api.Perm("file-write"),
			api.Raises("not_found", "is_directory"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "a"), "x")
fs.copy(path.join(d, "a"), path.join(d, "b"))
return fs.read(path.join(d, "b")) -- => "x"`)),
	}
}

// temporaries returns the functions that make files which the scope removes.
func temporaries() []*api.Func {
	return []*api.Func{
		api.Function("temp_dir",
			"Makes an empty directory that is removed at the end of the scope.",
			"prefix?", tempDir,
			api.ParamDoc("prefix", "start of its name"),
			api.Perm("file-write"),
			api.Checks(host.AccessWrite), // of the system's directory for temporary files
			api.Example(`local dir = fs.temp_dir()`)),
		api.Function("temp_file", "Makes an empty file that is removed at the end of the scope.",
			"suffix?", tempFile,
			api.ParamDoc("suffix", "end of its name, such as .png"),
			api.Perm("file-write"),
			api.Checks(host.AccessWrite),
			api.Example(`return fs.read(fs.temp_file(".txt")) -- => ""`)),
	}
}

func writeContent(c *api.Call, path string, content []byte, o writeOptions) error {
	mode, err := strconv.ParseUint(o.Mode, 8, 12)
	if err != nil {
		return c.ArgError(3, "option \"mode\": %q is not an octal number", o.Mode)
	}
	return do(c, func(ctx context.Context) error {
		if o.Mkdir {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		return replace(ctx, path, content, fs.FileMode(mode), o.Atomic)
	})
}

func appendContent(c *api.Call, path string, content []byte) error {
	return do(c, func(ctx context.Context) error {
		return write(ctx, path, os.O_APPEND, content, 0o644)
	})
}

func mkdir(c *api.Call, path string) error {
	return do(c, func(context.Context) error { return os.MkdirAll(path, 0o755) })
}

func remove(c *api.Call, path string, o removeOptions) error {
	return do(c, func(context.Context) error {
		_, err := os.Lstat(path)
		if err == nil && o.Recursive {
			err = os.RemoveAll(path)
		} else if err == nil {
			err = os.Remove(path)
		}
		if o.MissingOK && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func rename(c *api.Call, from, to string) error {
	return do(c, func(context.Context) error { return os.Rename(from, to) })
}

func copyTree(c *api.Call, from, to string, o copyOptions) error {
	return do(c, func(ctx context.Context) error {
		i, err := os.Stat(from)
		if err != nil {
			return err
		}
		if !i.IsDir() {
			return copyFile(ctx, from, to, i.Mode().Perm())
		}
		if !o.Recursive {
			return host.Errorf("is_directory", "fs: copy %s: is a directory, set recursive = true",
				from)
		}
		if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
			return host.Errorf("argument", "fs: copy %s: the copy would be inside it", from)
		}
		return copyDir(ctx, from, to)
	})
}

func copyDir(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		i, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(target, i.Mode().Perm()|0o700)
		case i.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case i.Mode().IsRegular():
			return copyFile(ctx, p, target, i.Mode().Perm())
		}
		return fmt.Errorf("copy %s: neither a file nor a directory", p)
	})
}

func copyFile(ctx context.Context, from, to string, mode fs.FileMode) error {
	in, err := localfile.Open(ctx, from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	a, errA := in.Stat()
	if b, err := os.Stat(to); err == nil && errA == nil && os.SameFile(a, b) {
		return fmt.Errorf("copy %s: %s is the same file", from, to)
	}
	content := func(out *os.File) error {
		return localfile.Do(ctx, in, func() error {
			return localfile.Do(ctx, out, func() error { return copyContent(ctx, out, in) })
		})
	}
	if target, err := filepath.EvalSymlinks(to); err == nil {
		to = target
	}
	if b, err := os.Stat(to); err == nil && !b.Mode().IsRegular() {
		out, err := localfile.Open(ctx, to, os.O_TRUNC|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		return errors.Join(content(out), out.Close())
	}
	return savefile.File(to, savefile.Options{Perm: mode}, content)
}

// copyChunk is how much is copied between two checks of the context.
const copyChunk = 8 << 20

func copyContent(ctx context.Context, out, in *os.File) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(out, in, copyChunk)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func tempDir(c *api.Call, prefix *string) (string, error) {
	name := "imdlua-"
	if prefix != nil {
		name = *prefix
	}
	return temporary(c, func(dir string) (string, error) { return os.MkdirTemp(dir, name) })
}

func tempFile(c *api.Call, suffix *string) (string, error) {
	name := "imdlua-*"
	if suffix != nil {
		name += *suffix
	}
	return temporary(c, func(dir string) (string, error) {
		f, err := os.CreateTemp(dir, name)
		if err != nil {
			return "", err
		}
		return f.Name(), f.Close()
	})
}

// temporary makes a file or directory in the system's directory for temporary files. It registers
// it with the scope at once, because the task may be cancelled right after it was made.
func temporary(c *api.Call, create func(dir string) (string, error)) (path string, err error) {
	dir, scope := os.TempDir(), c.Scope()
	if err := c.Allow(host.AccessWrite, dir); err != nil {
		return "", err
	}
	err = do(c, func(context.Context) error {
		made, err := create(dir)
		if made != "" {
			scope.Add(host.CloserFunc(func(context.Context) error { return os.RemoveAll(made) }))
		}
		path = made
		return err
	})
	return path, err
}
