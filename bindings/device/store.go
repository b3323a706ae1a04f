package device

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/savefile"
)

// Store writes a file of this computer and returns what write returns. The file
// has its name when it is complete; after an error what was there before is
// unchanged. A link stays a link: the file that it refers to is replaced. A FIFO
// or a device is written to, and given up when ctx ends if nobody reads it.
func Store(ctx context.Context, path string, write func(io.Writer) (int64, error)) (int64, error) {
	if Special(path) {
		return storeSpecial(ctx, path, write)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	var n int64
	err := savefile.File(path, savefile.Options{}, func(f *os.File) (err error) {
		n, err = write(f)
		return err
	})
	return n, err
}

// Special reports whether a path is a FIFO, a device or the like: what is written
// goes through it instead of replacing it, and may wait for its other end.
func Special(path string) bool {
	i, err := os.Stat(path)
	return err == nil && !i.Mode().IsRegular() && !i.IsDir()
}

func storeSpecial(
	ctx context.Context, path string, write func(io.Writer) (int64, error),
) (int64, error) {
	f, err := localfile.Open(ctx, path, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	var n int64
	err = localfile.Do(ctx, f, func() error {
		var err error
		n, err = write(f)
		return err
	})
	return n, errors.Join(err, f.Close())
}
