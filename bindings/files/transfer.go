package files

import (
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/host/progress"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

type transferOptions struct {
	Timeout  *time.Duration `lua:"timeout" doc:"seconds for the whole transfer; default no limit"`
	Progress lua.LValue     `lua:"progress" doc:"function of bytes done and total, or true"`
	Piece    int            `lua:"piece" doc:"bytes of one request; 1 MiB when left out"`
	InFlight int            `lua:"in_flight" doc:"requests under way at once; 4 when left out"`
}

// Transferred is the record of what a transfer did.
type Transferred struct {
	Files int   `lua:"files" doc:"how many files were copied"`
	Bytes int64 `lua:"bytes" doc:"how many bytes"`
}

// timeout is the deadline of a transfer. How long one takes depends on its size,
// so there is none unless the script sets one.
func (o transferOptions) timeout() device.Timeout {
	if o.Timeout == nil {
		return device.Timeout{Timeout: api.NoTimeout}
	}
	return device.Timeout{Timeout: *o.Timeout}
}

// copying copies files over a connection.
type copying func(ctx context.Context, client *afc.Client, t afc.Transfer) (*Transferred, error)

// transfer runs a copy without the interpreter lock. It reports the progress with
// the lock: the function of the script must not be called from another goroutine.
func (f *Files) transfer(
	c *api.Call, what string, o transferOptions, run copying,
) (*Transferred, error) {
	t := afc.Transfer{Piece: o.Piece, InFlight: o.InFlight}
	var client *afc.Client
	err := f.dev.Do(c, device.Timeout{}, func(ctx context.Context) (err error) {
		client, err = f.conn.Get(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out *Transferred
	report, ended := f.reporter(c, what, o.Progress)
	if report == nil {
		err := f.dev.Do(c, o.timeout(), func(ctx context.Context) (err error) {
			out, err = run(ctx, client, t)
			return err
		})
		return out, err
	}
	w := newWorker(c.Scope(), func(ctx context.Context, told func(done, total int64)) (err error) {
		t.Progress = told
		out, err = run(ctx, client, t)
		return err
	})
	err = w.follow(c, f.dev, o, report)
	ended(err)
	return out, err
}

// reporter returns what is done with progress, nil for nothing, and with the end of
// the transfer.
func (f *Files) reporter(
	c *api.Call, what string, v lua.LValue,
) (report func(amounts) error, ended func(error)) {
	switch v := v.(type) {
	case *lua.LFunction:
		return func(p amounts) error {
			_, err := c.PCall(v, lua.LNumber(p.done), lua.LNumber(p.total))
			return err
		}, func(error) {}
	case lua.LBool:
		if v {
			return bar(c, what)
		}
	}
	return nil, nil
}

// bar shows the progress on the terminal. When the task is cancelled, the scope removes
// the bar.
func bar(c *api.Call, what string) (report func(amounts) error, ended func(error)) {
	b := progress.New(c.Host(), progress.Options{Label: what, Bytes: true})
	entry := c.Scope().Add(host.CloserFunc(func(context.Context) error { return b.Close() }))
	report = func(p amounts) error {
		done := float64(p.done)
		b.SetTotal(float64(p.total))
		b.Update(&done, nil)
		return nil
	}
	return report, func(err error) {
		if err == nil {
			b.Finish("")
		}
		b.Close()
		entry.Remove()
	}
}

// target is the local path that a pull writes to. A name is added to the path of
// a folder that ends in a separator, as cp does.
func target(remote string, local *string) string {
	name := path.Base(path.Clean("/" + remote))
	to := name
	if local != nil {
		to = *local
	}
	i, err := os.Stat(to)
	if err != nil || !i.IsDir() {
		return to
	}
	if local == nil || os.IsPathSeparator(to[len(to)-1]) {
		return filepath.Join(to, name)
	}
	return to
}

// special reports whether a path is a FIFO, a device or the like: copies go
// through it instead of replacing it, and may wait for its other end.
func special(name string) bool {
	i, err := os.Stat(name)
	return err == nil && !i.Mode().IsRegular() && !i.IsDir()
}

func pull(
	c *api.Call, f *Files, remote string, local *string, o transferOptions,
) (*Transferred, error) {
	to := target(remote, local)
	if local == nil || to != *local {
		if err := c.Allow(host.AccessWrite, to); err != nil {
			return nil, err
		}
	}
	run := func(ctx context.Context, client *afc.Client, t afc.Transfer) (*Transferred, error) {
		if special(to) {
			n, err := device.Store(ctx, to, func(w io.Writer) (int64, error) {
				return client.Pull(ctx, remote, w, t)
			})
			return &Transferred{Files: 1, Bytes: n}, err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return nil, err
		}
		tree, err := client.PullTree(ctx, remote, to, t)
		return &Transferred{Files: tree.Files, Bytes: tree.Bytes}, err
	}
	return f.transfer(c, "pull "+remote, o, run)
}

func push(
	c *api.Call, f *Files, local, remote string, o transferOptions,
) (*Transferred, error) {
	run := func(ctx context.Context, client *afc.Client, t afc.Transfer) (*Transferred, error) {
		to := remote
		if i, err := client.Stat(ctx, remote); err == nil && i.Kind == afc.Directory {
			if l, err := os.Stat(local); err == nil && !l.IsDir() {
				to = path.Join(remote, filepath.Base(local))
			}
		}
		if special(local) {
			return pushSpecial(ctx, client, local, to, t)
		}
		tree, err := client.PushTree(ctx, local, to, t)
		return &Transferred{Files: tree.Files, Bytes: tree.Bytes}, err
	}
	return f.transfer(c, "push "+local, o, run)
}

func pushSpecial(
	ctx context.Context, client *afc.Client, local, remote string, t afc.Transfer,
) (*Transferred, error) {
	r, err := localfile.Open(ctx, local, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var n int64
	err = localfile.Do(ctx, r, func() error {
		var err error
		n, err = client.Push(ctx, localfile.Reader(ctx, r), remote, t)
		return err
	})
	return &Transferred{Files: 1, Bytes: n}, err
}
