package files

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/host/progress"
	"github.com/imdlua/imdlua/runtime/savefile"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

type transferOptions struct {
	device.Idle
	Timeout  *time.Duration `lua:"timeout" doc:"seconds for the whole transfer; default no limit"`
	Progress lua.LValue     `lua:"progress" doc:"function of bytes done and total, or true"`
	Piece    int            `lua:"piece" doc:"bytes of one request; 1 MiB when left out"`
	InFlight int            `lua:"in_flight" doc:"requests under way at once; 4 when left out"`
}

// Transferred is the record of what a transfer did.
type Transferred struct {
	Files   int            `lua:"files" doc:"how many files were copied"`
	Bytes   int64          `lua:"bytes" doc:"how many bytes"`
	Skipped []*api.Skipped `lua:"skipped" doc:"Skipped of what was not copied, and why"`
	Renamed []*RenamedFile `lua:"renamed" doc:"RenamedFile of what got another name here"`
	Links   []*CopiedLink  `lua:"links" doc:"CopiedLink of the links that were copied"`
}

// RenamedFile is the record of a file whose name this computer cannot write.
type RenamedFile struct {
	Path string `lua:"path" doc:"path on the device"`
	Name string `lua:"name" doc:"last part of the path on this computer"`
}

// CopiedLink is the record of a symbolic link of a transfer.
type CopiedLink struct {
	Path   string `lua:"path" doc:"path on the device"`
	Target string `lua:"target" doc:"what the link refers to"`
	Kind   string `lua:"kind" doc:"what the copy is: link, or file for what the link refers to"`
}

// transferred returns the record of a copied tree.
func transferred(c *api.Call, t afc.Tree) *Transferred {
	out := &Transferred{Files: t.Files, Bytes: t.Bytes}
	for _, s := range t.Skipped {
		out.Skipped = append(out.Skipped, c.Skipped(s.Path, s.Err))
	}
	for _, r := range t.Renamed {
		out.Renamed = append(out.Renamed, &RenamedFile{r.Path, r.Name})
	}
	for _, l := range t.Links {
		kind := "link"
		if l.AsFile {
			kind = "file"
		}
		out.Links = append(out.Links, &CopiedLink{l.Path, l.Target, kind})
	}
	c.WarnSkipped(out.Skipped)
	return out
}

// timeout returns the deadline of a transfer. The default is no deadline, because the
// time depends on the size of the files.
func (o transferOptions) timeout() device.Timeout {
	if o.Timeout == nil {
		return device.Timeout{Timeout: api.NoTimeout}
	}
	return device.Timeout{Timeout: *o.Timeout}
}

// copying is a function that copies files over a connection.
type copying func(ctx context.Context, client *afc.Client, t afc.Transfer) (afc.Tree, error)

// transfer runs a copy without the interpreter lock. It holds the lock while it
// reports the progress, because a function of the script must not be called from
// another goroutine.
func (f *Files) transfer(
	c *api.Call, label string, o transferOptions, run copying,
) (out afc.Tree, err error) {
	t := afc.Transfer{Piece: o.Piece, InFlight: o.InFlight, Idle: o.Limit()}
	var client *afc.Client
	err = f.dev.Do(c, device.Timeout{}, func(ctx context.Context) (err error) {
		client, err = f.conn.Get(ctx)
		return err
	})
	if err != nil {
		return out, err
	}
	report, ended := f.reporter(c, label, o.Progress)
	if report == nil {
		err := f.dev.Do(c, o.timeout(), func(ctx context.Context) (err error) {
			out, err = run(ctx, client, t)
			return err
		})
		return out, err
	}
	w := newWorker(c.Scope(), func(ctx context.Context, tell func(done, total int64)) (err error) {
		t.Progress = tell
		out, err = run(ctx, client, t)
		return err
	})
	err = w.follow(c, f.dev, o, report)
	ended(err)
	return out, err
}

// reporter returns the function that reports the progress and the function that
// reports the end of the transfer. Both are nil if the script does not ask for the
// progress.
func (f *Files) reporter(
	c *api.Call, label string, v lua.LValue,
) (report func(amounts) error, ended func(error)) {
	switch v := v.(type) {
	case *lua.LFunction:
		return func(p amounts) error {
			_, err := c.PCall(v, lua.LNumber(p.done), lua.LNumber(p.total))
			return err
		}, func(error) {}
	case lua.LBool:
		if v {
			return bar(c, label)
		}
	}
	return nil, nil
}

// bar is the reporter that shows the progress on the terminal. The scope removes the
// bar if the task is cancelled.
func bar(c *api.Call, label string) (report func(amounts) error, ended func(error)) {
	b := progress.New(c.Host(), progress.Options{Label: label, Bytes: true})
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

// target returns the local path that a pull writes to. If local is nil, the path is the
// name of the remote file. If the path is a folder, and local is nil or ends in a
// separator, the name is added to the folder, as cp does. chosen reports whether the
// last part of the path comes from the device in this way. The name is changed if the
// system goos cannot write it.
func target(goos, remote string, local *string) (to string, chosen bool) {
	name := baseOf(remote)
	if name == "/" {
		name = "." // the root has no name, so its entries are copied into the folder
	} else {
		name = savefile.Name(goos, name)
	}
	to = name
	if local != nil {
		to = *local
	}
	i, err := os.Stat(to)
	if err != nil || !i.IsDir() {
		return to, local == nil
	}
	if local == nil || os.IsPathSeparator(to[len(to)-1]) {
		return filepath.Join(to, name), true
	}
	return to, false
}

// baseOf returns the last part of a path on the device, or "/" for the root.
func baseOf(remote string) string { return path.Base(path.Clean("/" + remote)) }

func pull(
	c *api.Call, f *Files, remote string, local *string, o transferOptions,
) (*Transferred, error) {
	to, chosen := target(runtime.GOOS, remote, local)
	if chosen {
		if err := c.Allow(host.AccessWrite, to); err != nil {
			return nil, err
		}
	}
	run := func(ctx context.Context, client *afc.Client, t afc.Transfer) (afc.Tree, error) {
		// If the device chose the name, the path is never written to as a special
		// file, because it may be a symbolic link that an earlier pull made.
		if !chosen && device.Special(to) {
			n, err := device.Store(ctx, to, func(w io.Writer) (int64, error) {
				return client.Pull(ctx, remote, w, t)
			})
			return afc.Tree{Files: 1, Bytes: n}, err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return afc.Tree{}, err
		}
		return client.PullTree(ctx, remote, to, t)
	}
	tree, err := f.transfer(c, "pull "+remote, o, run)
	if err != nil {
		return nil, err
	}
	base, name := baseOf(remote), filepath.Base(to)
	if chosen && base != "/" && base != name {
		tree.Renamed = append(tree.Renamed, afc.Renamed{Path: remote, Name: name})
	}
	return transferred(c, tree), nil
}

func push(
	c *api.Call, f *Files, local, remote string, o transferOptions,
) (*Transferred, error) {
	run := func(ctx context.Context, client *afc.Client, t afc.Transfer) (afc.Tree, error) {
		to, err := pushTo(ctx, client, local, remote, t)
		if err != nil {
			return afc.Tree{}, err
		}
		if device.Special(local) {
			return pushSpecial(ctx, client, local, to, t)
		}
		return client.PushTree(ctx, local, to, t)
	}
	tree, err := f.transfer(c, "push "+local, o, run)
	if err != nil {
		return nil, err
	}
	return transferred(c, tree), nil
}

// pushTo returns the path on the device that a push writes to. If remote is a
// directory and local is a file, the file keeps its name.
func pushTo(
	ctx context.Context, client *afc.Client, local, remote string, t afc.Transfer,
) (string, error) {
	ctx, stop := client.Watch(ctx, t)
	defer stop()
	i, err := client.Stat(ctx, remote)
	var refusal *afc.Error
	switch {
	case errors.As(err, &refusal) && refusal.Status != afc.Success:
		return remote, nil // the push itself reports the error
	case err != nil:
		return "", err
	case i.Kind != afc.Directory:
		return remote, nil
	}
	l, err := os.Stat(local)
	if err == nil && !l.IsDir() {
		return path.Join(remote, filepath.Base(local)), nil
	}
	return remote, nil
}

// pushSpecial copies from a FIFO or a device file to the device.
func pushSpecial(
	ctx context.Context, client *afc.Client, local, remote string, t afc.Transfer,
) (afc.Tree, error) {
	r, err := localfile.Open(ctx, local, os.O_RDONLY, 0)
	if err != nil {
		return afc.Tree{}, err
	}
	defer r.Close()
	var n int64
	err = localfile.Do(ctx, r, func() error {
		var err error
		n, err = client.Push(ctx, localfile.Reader(ctx, r), remote, t)
		return err
	})
	return afc.Tree{Files: 1, Bytes: n}, err
}
