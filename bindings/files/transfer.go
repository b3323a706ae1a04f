package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/afc"
)

type transferOptions struct {
	Timeout  *time.Duration `lua:"timeout" doc:"seconds for the whole transfer; none when left out"`
	Progress lua.LValue     `lua:"progress" doc:"true for a line on standard error, or a function that gets bytes done and total"`
	Piece    int            `lua:"piece" doc:"bytes of one request; 1 MiB when left out"`
	InFlight int            `lua:"in_flight" doc:"requests under way at once; 4 when left out"`
}

// Transferred is the record of what a transfer did.
type Transferred struct {
	Files int   `lua:"files" doc:"how many files were copied"`
	Bytes int64 `lua:"bytes" doc:"how many bytes"`
}

// deadline of a transfer: how long it takes depends on its size, so there is
// none unless the script sets one.
func (o transferOptions) timeout() device.Timeout {
	if o.Timeout == nil {
		return device.Timeout{Timeout: api.NoTimeout}
	}
	return device.Timeout{Timeout: *o.Timeout}
}

type progress struct{ done, total int64 }

// transfer runs copy without the interpreter lock and reports its progress with
// it: the function of the script must not be called from copy's goroutine.
func (f *Files) transfer(c *api.Call, what string, o transferOptions, run func(ctx context.Context, client *afc.Client, t afc.Transfer) error) error {
	t := afc.Transfer{Piece: o.Piece, InFlight: o.InFlight}
	var client *afc.Client
	err := f.dev.Do(c, device.Timeout{}, func(ctx context.Context) (err error) {
		client, err = f.connect(ctx)
		return err
	})
	if err != nil {
		return err
	}
	report := f.reporter(c, what, o.Progress)
	if report == nil {
		return f.dev.Do(c, o.timeout(), func(ctx context.Context) error { return run(ctx, client, t) })
	}
	return f.reported(c, o, report, func(ctx context.Context, progress func(done, total int64)) error {
		t.Progress = progress
		return run(ctx, client, t)
	})
}

// reported runs a transfer on a goroutine of its own and hands its progress to
// report, with the interpreter lock held, until it is over.
func (f *Files) reported(c *api.Call, o transferOptions, report func(progress), run func(ctx context.Context, progress func(done, total int64)) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	latest, ended := make(chan progress, 1), make(chan error, 1)
	go func() {
		ended <- run(ctx, func(done, total int64) {
			select { // a slow script sees fewer reports, never old ones
			case <-latest:
			default:
			}
			latest <- progress{done, total}
		})
	}()
	over := false
	defer func() { // on any way out the transfer is over before the script goes on
		cancel()
		if !over {
			<-ended
		}
	}()
	until := time.Time{}
	if o.Timeout != nil && *o.Timeout >= 0 {
		until = time.Now().Add(*o.Timeout)
	}
	for !over {
		var p progress
		err := f.dev.Do(c, device.Timeout{Timeout: remaining(until)}, func(ctx context.Context) error {
			select {
			case p = <-latest:
				return nil
			case err := <-ended:
				over = true
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		if err != nil {
			return err
		}
		if !over {
			report(p)
		}
	}
	select {
	case p := <-latest:
		report(p)
	default:
	}
	return nil
}

func remaining(until time.Time) time.Duration {
	if until.IsZero() {
		return api.NoTimeout
	}
	return max(time.Until(until), time.Nanosecond)
}

// reporter returns what is done with progress, nil for nothing.
func (f *Files) reporter(c *api.Call, what string, v lua.LValue) func(progress) {
	switch v := v.(type) {
	case *lua.LFunction:
		return func(p progress) { c.Invoke(v, 0, lua.LNumber(p.done), lua.LNumber(p.total)) }
	case lua.LBool:
		if !bool(v) {
			return nil
		}
		stderr := c.Host().Stderr()
		last := int64(-1)
		return func(p progress) {
			percent := int64(100)
			if p.total > 0 {
				percent = p.done * 100 / p.total
			}
			if percent != last {
				last = percent
				fmt.Fprintf(stderr, "\r%s %3d%% %d MiB", what, percent, p.done>>20)
				if percent == 100 {
					fmt.Fprintln(stderr)
				}
			}
		}
	}
	return nil
}

func pull(c *api.Call, f *Files, remote string, local *string, o transferOptions) (*Transferred, error) {
	target := path.Base(path.Clean("/" + remote))
	if local != nil {
		target = *local
	}
	if i, err := os.Stat(target); err == nil && i.IsDir() && (local == nil || os.IsPathSeparator(target[len(target)-1])) {
		target = filepath.Join(target, path.Base(path.Clean("/"+remote)))
	}
	var out Transferred
	err := f.transfer(c, "pull "+remote, o, func(ctx context.Context, client *afc.Client, t afc.Transfer) error {
		if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
			return err
		}
		tree, err := client.PullTree(ctx, remote, target, t)
		out = Transferred{tree.Files, tree.Bytes}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

func push(c *api.Call, f *Files, local, remote string, o transferOptions) (*Transferred, error) {
	var out Transferred
	err := f.transfer(c, "push "+local, o, func(ctx context.Context, client *afc.Client, t afc.Transfer) error {
		to := remote
		if i, err := client.Stat(ctx, remote); err == nil && i.Kind == afc.Directory {
			if l, err := os.Stat(local); err == nil && !l.IsDir() {
				to = path.Join(remote, filepath.Base(local))
			}
		}
		tree, err := client.PushTree(ctx, local, to, t)
		out = Transferred{tree.Files, tree.Bytes}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// File is an open file of the device.
type File struct {
	files *Files
	file  *afc.File
}

// Close closes the file on the device.
func (f *File) Close(ctx context.Context) error { return f.file.Close(ctx) }

func openFile(c *api.Call, f *Files, p string, mode *string, t device.Timeout) (h *File, err error) {
	name := "r"
	if mode != nil {
		name = *mode
	}
	m, err := afc.ParseMode(name)
	if err != nil {
		return nil, c.ArgError(2, "unknown mode %q (known: r, r+, w, w+, a, a+)", name)
	}
	err = f.do(c, t, func(ctx context.Context, client *afc.Client) error {
		file, err := client.Open(ctx, p, m)
		h = &File{f, file}
		return err
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func fileRead(c *api.Call, f *File, n *int, t device.Timeout) (any, error) {
	size := 64 << 10
	if n != nil {
		if *n < 0 || *n > 64<<20 {
			return nil, c.ArgError(1, "between 0 and %d bytes can be read at once", 64<<20)
		}
		size = *n
	}
	buf := make([]byte, size)
	got := 0
	err := f.files.dev.Do(c, t, func(ctx context.Context) error {
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
	if errors.Is(err, io.EOF) {
		err = nil
		if got == 0 && size > 0 {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return buf[:got], nil
}

func fileWrite(c *api.Call, f *File, b []byte, t device.Timeout) error {
	return f.files.dev.Do(c, t, func(ctx context.Context) error {
		_, err := f.file.Write(ctx, b)
		return err
	})
}

func fileSeek(c *api.Call, f *File, offset int64, whence *string) (pos int64, err error) {
	from := io.SeekStart
	if whence != nil {
		var ok bool
		if from, ok = map[string]int{"set": io.SeekStart, "cur": io.SeekCurrent, "end": io.SeekEnd}[*whence]; !ok {
			return 0, c.ArgError(2, "unknown whence %q (known: set, cur, end)", *whence)
		}
	}
	err = f.files.dev.Do(c, device.Timeout{}, func(ctx context.Context) error {
		pos, err = f.file.Seek(ctx, offset, from)
		return err
	})
	return pos, err
}
