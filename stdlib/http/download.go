package http

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
)

const (
	defaultIdle = 30 * time.Second
	// progressTime is how often progress is called.
	progressTime = 100 * time.Millisecond
)

type downloadOptions struct {
	connectionOptions
	Headers   map[string]lua.LValue `lua:"headers" doc:"header fields"`
	Query     map[string]lua.LValue `lua:"query" doc:"added to the URL"`
	Auth      *authOptions          `lua:"auth" doc:"{user=, password=} or {bearer=}"`
	Timeout   *time.Duration        `lua:"timeout" doc:"seconds for all of it"`
	Idle      *time.Duration        `lua:"idle_timeout" doc:"seconds without data" default:"30"`
	Redirects int                   `lua:"redirects" doc:"how many to follow" default:"10"`
	Progress  *lua.LFunction        `lua:"progress" doc:"gets the bytes so far and in total or nil"`
	Resume    bool                  `lua:"resume" doc:"continue path.part, and keep it after an error"`
	SHA256    string                `lua:"sha256" doc:"checksum that the file must have, in hex"`
}

// download is a download under way.
type download struct {
	s      *sender
	path   string
	resume bool
	file   *os.File
	body   io.ReadCloser
	cancel func()
	hash   hash.Hash
	done   int64
	total  int64 // -1 if the server does not say
	buf    []byte
}

func (cl *Client) download(c *api.Call, address, path string, o downloadOptions) (int64, error) {
	request := requestOptions{
		connectionOptions: o.connectionOptions, Headers: o.Headers, Query: o.Query, Auth: o.Auth,
		Redirects: o.Redirects,
	}
	s, err := cl.sender(c, http.MethodGet, address, &request)
	if err != nil {
		return 0, err
	}
	if n := len(o.SHA256); n != 0 && n != 2*sha256.Size {
		return 0, c.ArgError(3, "option \"sha256\": 64 hexadecimal digits expected")
	}
	idle := defaultIdle
	if o.Idle != nil {
		idle = *o.Idle
	}
	d := &download{
		s: s, path: path, resume: o.Resume, hash: sha256.New(), buf: make([]byte, 64<<10),
	}
	// The file and the connection are closed at the end of this call, even if it panics.
	defer d.drop()
	end := time.Time{}
	if o.Timeout != nil && *o.Timeout != api.NoTimeout {
		end = time.Now().Add(*o.Timeout)
	}
	step := func(f func(ctx context.Context) error) error {
		limit := api.NoTimeout
		if !end.IsZero() {
			limit = max(time.Until(end), time.Nanosecond)
		}
		return c.Timeout(limit).TryBlock(f)
	}
	err = step(func(ctx context.Context) error { return d.begin(ctx, idle) })
	for over := false; err == nil && !over; {
		err = step(func(ctx context.Context) (err error) {
			over, err = d.copy(ctx, idle, o.Progress != nil)
			return err
		})
		if err == nil && o.Progress != nil {
			c.Invoke(o.Progress, 0, lua.LNumber(d.done), size(d.total))
		}
	}
	if err == nil {
		err = step(func(context.Context) error { return d.finish(o.SHA256) })
	}
	return d.done, failed(s.what, err)
}

func size(n int64) lua.LValue {
	if n < 0 {
		return lua.LNil
	}
	return lua.LNumber(n)
}

// begin opens the file and sends the request.
func (d *download) begin(ctx context.Context, idle time.Duration) error {
	if err := d.open(ctx); err != nil {
		return err
	}
	if idle != api.NoTimeout {
		var stop func()
		ctx, stop = context.WithTimeout(ctx, idle)
		defer stop()
	}
	if d.done > 0 {
		d.s.out.header.Set("Range", fmt.Sprintf("bytes=%d-", d.done))
		d.s.out.header.Set("Accept-Encoding", "identity")
	}
	r, err := d.ask(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, d.cancel)
	defer stop()
	if d.done > 0 && r.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		if r.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", d.done) {
			d.total = d.done // the file was complete already
			d.body = http.NoBody
			return r.Body.Close()
		}
		// path.part is not a part of the file that the server has.
		if err := d.restart(); err != nil {
			return err
		}
		d.cancel()
		_ = r.Body.Close()
		d.s.out.header.Del("Range")
		r, err = d.ask(ctx)
		if err != nil {
			return err
		}
	}
	return d.accept(ctx, r)
}

// ask sends the request.
func (d *download) ask(ctx context.Context) (*http.Response, error) {
	r, cancel, err := d.s.outlive(ctx)
	if err == nil {
		d.body, d.cancel = r.Body, cancel
	}
	return r, err
}

// accept checks a response and prepares to read its body.
func (d *download) accept(ctx context.Context, r *http.Response) error {
	stop := context.AfterFunc(ctx, d.cancel)
	defer stop()
	rest := fmt.Sprintf("bytes %d-", d.done)
	switch {
	case r.StatusCode == http.StatusPartialContent && d.done > 0 &&
		strings.HasPrefix(r.Header.Get("Content-Range"), rest):
	case r.StatusCode != http.StatusOK:
		text, _ := io.ReadAll(io.LimitReader(r.Body, shownBody))
		return statusError(d.s.what, r.StatusCode, string(text))
	default:
		if err := d.restart(); err != nil {
			return err
		}
	}
	d.total = -1
	if r.ContentLength >= 0 {
		d.total = d.done + r.ContentLength
	}
	return nil
}

// open opens the file that is written: path.part, or a new file in the folder of path. If path is a
// link, the file that it refers to is replaced. A file that exists keeps its permissions.
func (d *download) open(ctx context.Context) (err error) {
	if target, err := filepath.EvalSymlinks(d.path); err == nil {
		d.path = target
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(d.path); err == nil {
		mode = info.Mode().Perm()
		if !info.Mode().IsRegular() {
			return host.Errorf("argument", "http: %s is not a plain file", d.path)
		}
	}
	if !d.resume {
		d.file, err = os.CreateTemp(filepath.Dir(d.path), "."+filepath.Base(d.path)+".*")
		if err == nil {
			err = d.file.Chmod(mode)
		}
		return err
	}
	name := d.path + ".part"
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return host.Errorf("argument", "http: %s is not a plain file", name)
	}
	d.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, mode)
	if err != nil {
		return err
	}
	d.done, err = io.Copy(d.hash, localfile.Reader(ctx, d.file))
	return err
}

// restart empties a file that an earlier attempt has left.
func (d *download) restart() error {
	d.done = 0
	d.hash.Reset()
	_, err := d.file.Seek(0, io.SeekStart)
	return errors.Join(err, d.file.Truncate(0))
}

// copy writes the body to the file. It returns true at the end of the body, and false when it is
// time to report progress.
func (d *download) copy(ctx context.Context, idle time.Duration, progress bool) (bool, error) {
	var silent bool
	stop := context.AfterFunc(ctx, d.cancel)
	defer stop()
	began := time.Now()
	for {
		timer := time.AfterFunc(noTimeout(idle), d.cancel)
		n, err := d.body.Read(d.buf)
		silent = !timer.Stop() || silent
		if _, err := d.file.Write(d.buf[:n]); err != nil {
			return false, err
		}
		d.hash.Write(d.buf[:n])
		d.done += int64(n)
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil && ctx.Err() != nil:
			return false, ctx.Err()
		case err != nil && silent:
			return false, host.Errorf("timeout", "http: %s: no data for %v", d.s.what, idle)
		case err != nil:
			return false, err
		case progress && time.Since(began) >= progressTime:
			return false, nil
		}
	}
}

// noTimeout returns d, or the longest duration if d is api.NoTimeout.
func noTimeout(d time.Duration) time.Duration {
	if d == api.NoTimeout {
		return 1<<63 - 1
	}
	return d
}

// finish checks the file and gives it its name.
func (d *download) finish(sum string) error {
	if got := hex.EncodeToString(d.hash.Sum(nil)); sum != "" && !strings.EqualFold(got, sum) {
		d.resume = false // drop removes the file: it cannot be completed
		return host.Errorf("checksum", "http: %s: the file has the sha256 %s, not %s",
			d.s.what, got, strings.ToLower(sum))
	}
	name := d.file.Name()
	if err := d.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(name, d.path); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	d.file = nil
	return nil
}

// drop closes the file and the connection. It removes the file unless the download is complete or
// can be resumed. Nothing can be resumed if the file is empty.
func (d *download) drop() {
	if d.cancel != nil {
		d.cancel()
		_ = d.body.Close()
	}
	if d.file == nil {
		return
	}
	_ = d.file.Close()
	if !d.resume || d.done == 0 {
		_ = os.Remove(d.file.Name())
	}
}
