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
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

// Files is one file tree of a device. All tasks share its connection.
type Files struct {
	name string
	dev  *device.Device
	conn *link.Lazy[*afc.Client]
}

func newFiles(
	d *device.Device, name string, open func(ctx context.Context) (*afc.Client, error),
) *Files {
	f := &Files{name: name, dev: d, conn: link.NewLazy(open)}
	d.CloseWith(f.conn)
	return f
}

// use is a function that uses the connection.
type use func(ctx context.Context, client *afc.Client) error

// do runs fn with the connection and the deadline of t.
func (f *Files) do(c *api.Call, t device.Timeout, fn use) error {
	return f.dev.Do(c, t, func(ctx context.Context) error {
		client, err := f.conn.Get(ctx)
		if err != nil {
			return err
		}
		return fn(ctx, client)
	})
}

// Info is the record RemoteFileInfo of a file. Its fields have the names that the
// record FileInfo of fs uses.
type Info struct {
	Path     string    `lua:"path" doc:"path in the tree"`
	Name     string    `lua:"name" doc:"last part of the path"`
	Size     int64     `lua:"size" doc:"bytes"`
	Kind     string    `lua:"kind" doc:"file, directory, link or other"`
	Modified time.Time `lua:"modified" doc:"time of the last change"`
	Created  time.Time `lua:"created" doc:"time when it was made"`
	Target   string    `lua:"target" doc:"what a link refers to, else empty"`
}

// kindName returns the name that scripts see for a kind of file.
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

// found collects the files of a listing.
type found struct {
	files   []*Info
	skipped []afc.Skip
}

// add adds an entry. An entry that the device did not describe, or described in an
// unknown form, is also added to skipped. It stays in the listing unless the file no
// longer exists or its name cannot be part of a path.
func (l *found) add(e afc.Entry) {
	switch {
	case e.Err != nil:
		l.skipped = append(l.skipped, afc.Skip{Path: e.Path, Err: e.Err})
		if errors.Is(e.Err, fs.ErrNotExist) || errors.Is(e.Err, afc.ErrName) {
			return
		}
	case e.Info.Odd != nil:
		l.skipped = append(l.skipped, afc.Skip{Path: e.Path, Err: e.Info.Odd})
	}
	l.files = append(l.files, record(e.Path, e.Info))
}

// list returns the files in the form that scripts get, and warns if entries
// were skipped.
func (l *found) list(c *api.Call) api.Partial[*Info] {
	out := api.Partial[*Info]{Items: l.files}
	for _, s := range l.skipped {
		out.Skipped = append(out.Skipped, c.Skipped(s.Path, s.Err))
	}
	c.WarnSkipped(out.Skipped)
	return out
}

func list(
	c *api.Call, f *Files, dir *string, t device.Timeout,
) (out api.PartialTable[*Info], err error) {
	at := "/"
	if dir != nil {
		at = *dir
	}
	var l found
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		entries, err := client.List(ctx, at)
		for _, e := range entries {
			l.add(e)
		}
		return err
	})
	if err != nil {
		return out, err
	}
	return api.PartialTable[*Info](l.list(c)), nil
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

func walk(
	c *api.Call, f *Files, root *string, t device.Timeout,
) (out api.Partial[*Info], err error) {
	at := "/"
	if root != nil {
		at = *root
	}
	var l found
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		return client.Walk(ctx, at, func(p string, i afc.Info, err error) error {
			switch {
			case err != nil && (p == at || !afc.Passable(err)):
				return err
			case err != nil && i.Kind == afc.Directory:
				// The directory itself is in the list already. Its entries are missing.
				l.skipped = append(l.skipped, afc.Skip{Path: p, Err: err})
			case p != at || i.Kind != afc.Directory:
				l.add(afc.Entry{Path: p, Info: i, Err: err})
			}
			return nil
		})
	})
	if err != nil {
		return out, err
	}
	return l.list(c), nil
}

func glob(
	c *api.Call, f *Files, pattern string, t device.Timeout,
) (out api.Partial[*Info], err error) {
	var l found
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		entries, skipped, err := client.Glob(ctx, pattern)
		l.skipped = skipped
		for _, e := range entries {
			e.Err = nil // skipped has the error already
			l.add(e)
		}
		return err
	})
	switch {
	case errors.Is(err, path.ErrBadPattern):
		return out, c.ArgError(1, "bad pattern %q", pattern)
	case err != nil:
		return out, err
	}
	return l.list(c), nil
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

func (f *Files) describe() string { return fmt.Sprintf("Files<%s of %s>", f.name, f.dev.UDID()) }
