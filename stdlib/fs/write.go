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
)

type writeOptions struct {
	Mkdir  bool   `lua:"mkdir" doc:"make missing folders"`
	Mode   string `lua:"mode" doc:"permissions of a new file in octal" default:"644"`
	Atomic bool   `lua:"atomic" doc:"write beside the file and rename, so that nobody sees half of it" default:"true"`
}

type removeOptions struct {
	Recursive bool `lua:"recursive" doc:"also folders with what is in them"`
	MissingOK bool `lua:"missing_ok" doc:"no error when there is nothing"`
}

type copyOptions struct {
	Recursive bool `lua:"recursive" doc:"copy folders with what is in them"`
}

func writing() []*api.Func {
	out := []*api.Func{
		declare("write", "Replaces the content of a file, or makes it.", "path content opts?", write,
			api.ParamDoc("content", "string or Data"), api.Raises("not_found", "access_denied"),
			api.Example(`fs.write(path.join(fs.temp_dir(), "a.txt"), "hello")`)),
		declare("append", "Adds to the end of a file, or makes it.", "path content", appendTo, api.ParamDoc("content", "string or Data"),
			api.Example(`local f = path.join(fs.temp_dir(), "a")
fs.append(f, "x") fs.append(f, "y")
return fs.read(f) -- => "xy"`)),
		declare("mkdir", "Makes a folder and those above it. It may exist already.", "path", func(c *api.Call, p string) error {
			return do(c, func(context.Context) error { return os.MkdirAll(p, 0o755) })
		}, api.Example(`local d = path.join(fs.temp_dir(), "x/y")
fs.mkdir(d)
return fs.is_dir(d) -- => true`)),
		declare("remove", "Removes a file or an empty folder.", "path opts?", remove, api.Raises("not_found"),
			api.Example(`fs.remove("/no/such/file", { missing_ok = true })`)),
		api.Function("rename", "Moves a file or folder; what is there is replaced.", "from to", func(c *api.Call, from, to string) error {
			return do(c, func(context.Context) error { return os.Rename(from, to) })
		}, api.ParamDoc("from", "what to move"), api.ParamDoc("to", "its new path"), api.Raises("not_found"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "a"), "x")
fs.rename(path.join(d, "a"), path.join(d, "b"))
return fs.exists(path.join(d, "b")) -- => true`)),
		api.Function("copy", "Copies a file, or a folder with recursive. Permissions are kept.", "from to opts?", copyTree,
			api.ParamDoc("from", "what to copy"), api.ParamDoc("to", "path of the copy"), api.Raises("not_found"),
			api.Example(`local d = fs.temp_dir()
fs.write(path.join(d, "a"), "x")
fs.copy(path.join(d, "a"), path.join(d, "b"))
return fs.read(path.join(d, "b")) -- => "x"`)),
		api.Function("temp_dir", "Makes an empty folder that is removed at the end of the scope.", "prefix?", tempDir,
			api.ParamDoc("prefix", "begin of its name"), api.Example(`local dir = fs.temp_dir()`)),
		api.Function("temp_file", "Makes an empty file that is removed at the end of the scope.", "suffix?", tempFile,
			api.ParamDoc("suffix", "end of its name, such as .png"), api.Example(`return fs.read(fs.temp_file(".txt")) -- => ""`)),
	}
	for _, f := range out {
		f.Perm = "file-write"
	}
	return out
}

func write(c *api.Call, p string, content []byte, o writeOptions) error {
	mode, err := strconv.ParseUint(o.Mode, 8, 12)
	if err != nil {
		return c.ArgError(3, "option \"mode\": %q is no octal number", o.Mode)
	}
	return do(c, func(context.Context) error {
		if o.Mkdir {
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				return err
			}
		}
		return WriteFile(p, content, fs.FileMode(mode), o.Atomic)
	})
}

// WriteFile writes a file. An atomic write goes to a new file beside it, which then takes its place; a file
// that exists keeps its permissions, a link keeps leading to what is written, and what is no plain file
// (a pipe, a device) is written directly.
func WriteFile(p string, content []byte, mode fs.FileMode, atomic bool) error {
	target := p
	if t, err := filepath.EvalSymlinks(p); err == nil {
		target = t
	}
	if i, err := os.Stat(target); err == nil {
		mode = i.Mode().Perm()
		atomic = atomic && i.Mode().IsRegular()
	}
	if !atomic {
		return os.WriteFile(target, content, mode)
	}
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return &fs.PathError{Op: "write", Path: p, Err: cause(err)}
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// cause takes the name of the temporary file out of an error.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func appendTo(c *api.Call, p string, content []byte) error {
	return do(c, func(context.Context) error {
		f, err := os.OpenFile(p, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return errors.Join(err, f.Close())
	})
}

func remove(c *api.Call, p string, o removeOptions) error {
	return do(c, func(context.Context) error {
		_, err := os.Lstat(p)
		if err == nil && o.Recursive {
			err = os.RemoveAll(p)
		} else if err == nil {
			err = os.Remove(p)
		}
		if o.MissingOK && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
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
			return host.Errorf("is_dir", "fs: copy %s: is a folder, give recursive = true", from)
		}
		if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
			return host.Errorf("argument", "fs: copy %s: the copy would lie inside it", from)
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
		return fmt.Errorf("copy %s: neither a file nor a folder", p)
	})
}

// copyChunk is how much is copied between two looks at the context.
const copyChunk = 8 << 20

func copyFile(ctx context.Context, from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	a, errA := in.Stat()
	if b, err := os.Stat(to); err == nil && errA == nil && os.SameFile(a, b) {
		return fmt.Errorf("copy %s: %s is the same file", from, to)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(out, in, copyChunk)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, out.Close())
}

// forget removes a temporary file when the scope ends.
func forget(c *api.Call, p string) {
	c.Scope().Add(host.CloserFunc(func(context.Context) error { return os.RemoveAll(p) }))
}

func tempDir(c *api.Call, prefix *string) (p string, err error) {
	name := "imdlua-"
	if prefix != nil {
		name = *prefix
	}
	err = do(c, func(context.Context) (err error) {
		p, err = os.MkdirTemp("", name)
		return err
	})
	if err == nil {
		forget(c, p)
	}
	return p, err
}

func tempFile(c *api.Call, suffix *string) (p string, err error) {
	name := "imdlua-*"
	if suffix != nil {
		name += *suffix
	}
	err = do(c, func(context.Context) error {
		f, err := os.CreateTemp("", name)
		if err != nil {
			return err
		}
		p = f.Name()
		return f.Close()
	})
	if err == nil {
		forget(c, p)
	}
	return p, err
}
