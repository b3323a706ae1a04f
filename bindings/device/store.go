package device

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// Store writes a file of this computer and returns what write returns. When that
// fails, a regular file is removed; a FIFO or a device stays. A FIFO that nobody
// reads is given up when ctx ends.
func Store(ctx context.Context, path string, write func(io.Writer) (int64, error)) (int64, error) {
	f, err := localfile.Open(ctx, path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	var n int64
	err = localfile.Do(ctx, f, func() error {
		var err error
		n, err = write(f)
		return err
	})
	err = errors.Join(err, f.Close())
	if err != nil && info.Mode().IsRegular() {
		os.Remove(path)
	}
	return n, err
}
