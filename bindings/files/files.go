// Package files gives scripts the file trees of a device: its media folder
// (com.apple.afc), the containers of apps (com.apple.mobile.house_arrest) and
// the crash reports (com.apple.crashreportcopymobile).
package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Files is one file tree of a device. All tasks share its connection.
type Files struct {
	what string
	dev  *device.Device
	conn *device.Shared[*afc.Client]
}

func newFiles(
	d *device.Device, what string, open func(ctx context.Context) (*afc.Client, error),
) *Files {
	f := &Files{what: what, dev: d, conn: device.NewShared(open)}
	d.CloseWith(f.conn)
	return f
}

// use is a function that uses the connection.
type use func(ctx context.Context, client *afc.Client) error

// do runs fn with the connection under the option's deadline.
func (f *Files) do(c *api.Call, t device.Timeout, fn use) error {
	return f.dev.Do(c, t, func(ctx context.Context) error {
		client, err := f.conn.Get(ctx)
		if err != nil {
			return err
		}
		return fn(ctx, client)
	})
}

// Info is the record of a file. Its fields are called as those of fs.FileInfo.
type Info struct {
	Path     string    `lua:"path" doc:"path in the tree"`
	Name     string    `lua:"name" doc:"last part of the path"`
	Size     int64     `lua:"size" doc:"bytes"`
	Kind     string    `lua:"kind" doc:"file, directory, link or other"`
	Modified time.Time `lua:"modified" doc:"time of the last change"`
	Created  time.Time `lua:"created" doc:"time when it was made"`
	Target   string    `lua:"target" doc:"what a link refers to, else empty"`
}

func kindName(k afc.Kind) string {
	switch k {
	case afc.Regular:
		return "file"
	case afc.Directory:
		return "directory"
	case afc.Symlink:
		return "link"
	}
	return "other"
}

func record(p string, i afc.Info) *Info {
	return &Info{
		Path: p, Name: path.Base(p), Size: i.Size, Kind: kindName(i.Kind),
		Modified: i.ModTime, Created: i.BirthTime, Target: i.LinkTarget,
	}
}

// Usage is the record of files:df().
type Usage struct {
	Total uint64 `lua:"total" doc:"bytes of the volume"`
	Free  uint64 `lua:"free" doc:"bytes that are free"`
	Model string `lua:"model" doc:"model of the device"`
}

// statAll describes several files. It sends several requests at once.
func statAll(ctx context.Context, client *afc.Client, paths []string) ([]*Info, error) {
	out := make([]*Info, len(paths))
	errs := make([]error, len(paths))
	limit := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for n, p := range paths {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			i, err := client.Stat(ctx, p)
			errs[n] = err
			out[n] = record(p, i)
		})
	}
	wg.Wait()
	kept := out[:0]
	for n, err := range errs {
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since it was listed
		}
		if err != nil {
			return nil, err
		}
		kept = append(kept, out[n])
	}
	return kept, nil
}

func list(c *api.Call, f *Files, dir *string, t device.Timeout) (out []*Info, err error) {
	at := "/"
	if dir != nil {
		at = *dir
	}
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		names, err := client.ReadDir(ctx, at)
		if err != nil {
			return err
		}
		for i, n := range names {
			names[i] = path.Join(at, n)
		}
		out, err = statAll(ctx, client, names)
		return err
	})
	return out, err
}

func stat(c *api.Call, f *Files, p string, t device.Timeout) (i *Info, err error) {
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		a, err := client.Stat(ctx, p)
		i = record(p, a)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return i, err
}

func exists(c *api.Call, f *Files, p string, t device.Timeout) (bool, error) {
	i, err := stat(c, f, p, t)
	return i != nil && err == nil, err
}

func walk(c *api.Call, f *Files, root *string, t device.Timeout) (out api.List[*Info], err error) {
	at := "/"
	if root != nil {
		at = *root
	}
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		return client.Walk(ctx, at, func(p string, i afc.Info, err error) error {
			if err != nil {
				if p == at {
					return err
				}
				return nil // a directory that may not be read is skipped
			}
			if p != at || i.Kind != afc.Directory {
				out = append(out, record(p, i))
			}
			return nil
		})
	})
	return out, err
}

func glob(
	c *api.Call, f *Files, pattern string, t device.Timeout,
) (out api.List[*Info], err error) {
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		paths, err := client.Glob(ctx, pattern)
		if err != nil {
			return err
		}
		out, err = statAll(ctx, client, paths)
		return err
	})
	if errors.Is(err, path.ErrBadPattern) {
		return nil, c.ArgError(1, "bad pattern %q", pattern)
	}
	return out, err
}

func read(c *api.Call, f *Files, p string, t device.Timeout) (b []byte, err error) {
	limit := c.Host().Options().MaxString
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		b, err = client.ReadFileLimit(ctx, p, limit)
		return err
	})
	return b, err
}

func write(c *api.Call, f *Files, p string, b []byte, t device.Timeout) error {
	return f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		return client.WriteFile(ctx, p, b)
	})
}

func mkdir(c *api.Call, f *Files, p string, t device.Timeout) error {
	return f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		return client.Mkdir(ctx, p)
	})
}

func move(c *api.Call, f *Files, from, to string, t device.Timeout) error {
	return f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		return client.Rename(ctx, from, to)
	})
}

func symlink(c *api.Call, f *Files, target, link string, t device.Timeout) error {
	return f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		return client.Symlink(ctx, target, link)
	})
}

type removeOptions struct {
	device.Timeout
	Recursive bool `lua:"recursive" doc:"remove a directory with all that is in it"`
	MissingOK bool `lua:"missing_ok" doc:"no error when there is nothing to remove"`
}

func remove(c *api.Call, f *Files, p string, o removeOptions) error {
	err := f.do(c, o.Timeout, func(ctx context.Context, client *afc.Client) error {
		if o.Recursive {
			return client.RemoveAll(ctx, p)
		}
		return client.Remove(ctx, p)
	})
	if o.MissingOK && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func usage(c *api.Call, f *Files, t device.Timeout) (u *Usage, err error) {
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		i, err := client.DeviceInfo(ctx)
		u = &Usage{i.TotalBytes, i.FreeBytes, i.Model}
		return err
	})
	return u, err
}

func (f *Files) describe() string { return fmt.Sprintf("Files<%s of %s>", f.what, f.dev.UDID()) }
