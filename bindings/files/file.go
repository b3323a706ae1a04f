package files

import (
	"context"
	"errors"
	"io"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// File is an open file of the device. It has one position, so that only one task uses
// it at a time.
type File struct {
	api.Turn
	files *Files
	file  *afc.File
	life  *device.Life
}

// Close closes the file on the device.
func (f *File) Close(ctx context.Context) error {
	f.life.End()
	return f.file.Close(ctx)
}

// do runs fn with the deadline of t. It cancels fn when the file is closed.
func (f *File) do(c *api.Call, t device.Timeout, fn func(ctx context.Context) error) error {
	return f.files.dev.Do(c, t, f.life.Bound(fn))
}

func openFile(
	c *api.Call, f *Files, p string, mode *string, t device.Timeout,
) (api.Opened[*File], error) {
	name := "r"
	if mode != nil {
		name = *mode
	}
	m, err := afc.ParseMode(name)
	if err != nil {
		return api.Opened[*File]{}, c.ArgError(2,
			"unknown mode %q (known: r, r+, w, w+, a, a+)", name)
	}
	return device.Open(c, f.dev, t, func(ctx context.Context) (*File, error) {
		client, err := f.conn.Get(ctx)
		if err != nil {
			return nil, err
		}
		file, err := client.Open(ctx, p, m)
		if err != nil {
			return nil, err
		}
		return &File{files: f, file: file, life: device.NewLife("RemoteFile")}, nil
	})
}

const (
	maxRead     = 64 << 20 // most bytes of one read
	defaultRead = 64 << 10 // most bytes of a read without a number
)

func fileRead(c *api.Call, f *File, n *int, t device.Timeout) (any, error) {
	size := defaultRead
	if n != nil {
		size = *n
	}
	if size < 0 || size > maxRead {
		return nil, c.ArgError(1, "between 0 and %d bytes can be read at once", maxRead)
	}
	buf := make([]byte, size)
	got := 0
	err := f.do(c, t, func(ctx context.Context) error {
		for got < size {
			k, err := f.file.Read(ctx, buf[got:])
			got += k
			if err != nil {
				return err
			}
			if n == nil {
				return nil
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, io.EOF) && got == 0 && size > 0:
		return nil, nil
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	return buf[:got], nil
}

func fileWrite(c *api.Call, f *File, b []byte, t device.Timeout) error {
	return f.do(c, t, func(ctx context.Context) error {
		_, err := f.file.Write(ctx, b)
		return err
	})
}

// origins maps the values of whence to those of io.Seeker.
var origins = map[string]int{"set": io.SeekStart, "cur": io.SeekCurrent, "end": io.SeekEnd}

func fileSeek(c *api.Call, f *File, offset int64, whence *string) (pos int64, err error) {
	from := io.SeekStart
	if whence != nil {
		var ok bool
		from, ok = origins[*whence]
		if !ok {
			return 0, c.ArgError(2, "unknown whence %q (known: set, cur, end)", *whence)
		}
	}
	err = f.do(c, device.Timeout{}, func(ctx context.Context) error {
		pos, err = f.file.Seek(ctx, offset, from)
		return err
	})
	return pos, err
}
