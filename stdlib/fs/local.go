package fs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// The functions of this file open, read and write files whose paths come from a script, for all
// modules of the library. Such a file may be a FIFO or a device, so that each of these operations
// may wait. They end when the task is cancelled or its deadline passes.

// PathParam declares that the parameter name is the path of a file of this computer, and that the
// function reads or writes that file.
func PathParam(name, doc string, access host.Access) api.Option {
	options := []api.Option{
		api.ParamDoc(name, doc),
		api.StringKind(name, "path"),
		api.Access(name, access),
	}
	return func(f *api.Func) {
		for _, o := range options {
			o(f)
		}
	}
}

// Do runs f without the interpreter lock and passes its error to Failed. It sets no deadline; that
// of the task applies.
func Do(c *api.Call, module string, f func(ctx context.Context) error) error {
	return Failed(module, c.Timeout(api.NoTimeout).TryBlock(f))
}

// Failed returns the error of a file operation for the script. The text of the system names the
// operation and the file, so Failed only puts the module before it. An error that has a code keeps
// it.
func Failed(module string, err error) error {
	var coded *host.Error
	var limit *localfile.LimitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return err
	case errors.As(err, &limit):
		e := host.Errorf("too_large", "%s: %s", module, limit)
		return e.WithHint("raise the limit with --max-string")
	}
	return fmt.Errorf("%s: %w", module, err)
}

// Limit returns the size of the largest file that is read into one string.
func Limit(c *api.Call) int64 { return c.Host().Options().MaxString }

// ReadFile reads a whole file. The error of a file that is larger than Limit has code "too_large".
func ReadFile(c *api.Call, module, path string) ([]byte, error) {
	return readFile(c, module, path, Limit(c))
}

func readFile(c *api.Call, module, path string, limit int64) (b []byte, err error) {
	err = Do(c, module, func(ctx context.Context) (err error) {
		b, err = localfile.ReadFile(ctx, path, limit)
		return err
	})
	return b, err
}

// WriteFile replaces a file in one step, or makes it. See replace.
func WriteFile(c *api.Call, module, path string, content []byte) error {
	return Do(c, module, func(ctx context.Context) error {
		return replace(ctx, path, content, 0o644, true)
	})
}

// replace writes a file. An atomic write makes a new file in the same directory and renames it. A
// file that exists keeps its permissions. If path is a link, the file that it refers to is written
// and the link stays. A path that is not a plain file (a FIFO, a device) is written directly.
func replace(ctx context.Context, path string, content []byte, mode fs.FileMode, atomic bool,
) error {
	target := path
	if t, err := filepath.EvalSymlinks(path); err == nil {
		target = t
	}
	if info, err := os.Stat(target); err == nil {
		mode = info.Mode().Perm()
		atomic = atomic && info.Mode().IsRegular()
	}
	if !atomic {
		return write(ctx, target, os.O_TRUNC, content, mode)
	}
	f, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*") // a plain file
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: cause(err)}
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

// write opens a file, or makes it, and writes to it. flag is O_TRUNC or O_APPEND.
func write(ctx context.Context, path string, flag int, content []byte, mode fs.FileMode) error {
	f, err := localfile.Open(ctx, path, flag|os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	err = localfile.Do(ctx, f, func() error {
		_, err := f.Write(content)
		return err
	})
	return errors.Join(err, f.Close())
}

// cause removes the name of the temporary file from an error.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
