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

// Store writes a local file and returns the results of write. The file appears under
// its name when it is complete. After an error, the previous file is unchanged. If
// path is a symbolic link, Store replaces the file that it refers to. If path is a
// FIFO or a device file, Store writes to it, and stops when ctx ends.
func Store(ctx context.Context, path string, write func(io.Writer) (int64, error)) (int64, error) {
	if Special(path) {
		return storeSpecial(ctx, path, write)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	var n int64
	err := savefile.File(path, savefile.Options{}, func(f *os.File) (err error) {
		n, err = write(savefile.Writer(f))
		return err
	})
	return n, err
}

// Special reports whether a path is a FIFO, a device file or the like. Such a file is
// written to instead of being replaced, and a write may wait for the reader.
func Special(path string) bool {
	i, err := os.Stat(path)
	return err == nil && !i.Mode().IsRegular() && !i.IsDir()
}

// storeSpecial is Store for a path for which Special is true.
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
