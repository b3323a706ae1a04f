package afc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone/files"
)

// cutConn is the device's end of a connection. It closes or stops moving data after a
// number of bytes, counted in both directions together.
type cutConn struct {
	net.Conn
	stall bool
	gone  chan struct{}

	mu   sync.Mutex
	left int
	seen int
}

func (c *cutConn) take(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	c.seen += n
	return n
}

func (c *cutConn) end() error {
	if c.stall {
		<-c.gone
	}
	c.Conn.Close()
	return net.ErrClosed
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if kept := c.take(n); kept < n || err == nil && n == 0 {
		return kept, c.end()
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:c.take(len(p))])
	if err == nil && n < len(p) {
		err = c.end()
	}
	return n, err
}

// operation is a call that handles many files.
type operation struct {
	name string
	// do makes the call and returns its result. It checks the state after a failure.
	do func(t *testing.T, ctx context.Context, c *Client, f *files.FS) (any, error)
}

// partialTree returns a tree with files of several pieces, so that cuts happen inside
// files.
func partialTree(t *testing.T) *files.FS {
	f := newFS()
	for i := range 6 {
		dir := fmt.Sprintf("/a/%d/deep", i)
		must(t, f.Mkdir(dir))
		for k := range 4 {
			must(t, f.WriteFile(fmt.Sprintf("%s/%d.bin", dir, k), noise(3000*i+k)))
		}
	}
	must(t, f.Symlink("0", "/a/link"))
	return f
}

var small = Transfer{Piece: 2000, InFlight: 3}

var operations = []operation{
	{"walk", func(_ *testing.T, ctx context.Context, c *Client, _ *files.FS) (any, error) {
		var out []string
		err := c.Walk(ctx, "/a", func(file string, _ Info, err error) error {
			if err != nil {
				return err
			}
			out = append(out, file)
			return nil
		})
		return out, err
	}},
	{"glob", func(_ *testing.T, ctx context.Context, c *Client, _ *files.FS) (any, error) {
		found, skipped, err := globPaths(c, ctx, "/a/**/*.{bin,txt}")
		if len(skipped) > 0 {
			err = errors.Join(err, errLocal)
		}
		return found, err
	}},
	{"pull", func(t *testing.T, ctx context.Context, c *Client, f *files.FS) (any, error) {
		dir := t.TempDir()
		tree, err := c.PullTree(ctx, "/a", dir, small)
		checkWhole(
			t,
			os.DirFS(dir),
			"",
			func(p string) ([]byte, error) { return f.ReadFile(path.Join("/a", p)) },
		)
		return tree, err
	}},
	{"push", func(t *testing.T, ctx context.Context, c *Client, f *files.FS) (any, error) {
		dir := t.TempDir()
		for i := range 12 {
			must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), noise(2500*i), 0o666))
		}
		tree, err := c.PushTree(ctx, dir, "/up", small)
		if err == nil {
			err = c.Mkdir(ctx, "/end") // the device has completed all earlier requests
		}
		if ctx.Err() == nil {
			c.Close()
		}
		synctest.Wait()
		names, readErr := f.ReadDir("/up")
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			t.Error(readErr)
		}
		for _, name := range names {
			if err != nil && strings.HasPrefix(name, ".imdlua-") {
				continue // the connection has ended, so no client could remove the file
			}
			got, readErr := f.ReadFile("/up/" + name)
			want, localErr := os.ReadFile(filepath.Join(dir, name))
			if err := errors.Join(readErr, localErr); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if string(got) != string(want) {
				t.Errorf("%s: %d bytes that are not the %d of its source", name, len(got),
					len(want))
			}
		}
		return tree, err
	}},
}

// checkWhole reports files that do not have the expected content.
func checkWhole(t *testing.T, f fs.FS, prefix string, want func(p string) ([]byte, error)) {
	t.Helper()
	must(t, fs.WalkDir(f, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		got, err := fs.ReadFile(f, p)
		if err != nil {
			return err
		}
		b, err := want(prefix + p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
		} else if string(b) != string(got) {
			t.Errorf("%s: %d bytes that are not the %d of the file", p, len(got), len(b))
		}
		return nil
	}))
}

// cut runs an operation against a device whose connection ends after a number of bytes.
// It returns the number of bytes that were transferred.
func (o operation) cut(t *testing.T, after int, stall bool) (out any, seen int, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := linktest.Pipe()
		f := partialTree(t)
		device := &cutConn{Conn: b, stall: stall, gone: make(chan struct{}), left: after}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = (&Device{FS: f, Model: "iPhone12,8"}).Serve(context.Background(), device)
			device.Conn.Close()
		}()
		c := New(a)
		limit := time.Hour
		if o.name == "walk" || o.name == "glob" {
			limit = time.Minute // these calls are not transfers
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		out, err = o.do(t, ctx, c, f)
		cancel()
		device.mu.Lock()
		seen = device.seen
		device.mu.Unlock()
		close(device.gone)
		c.Close()
		<-served
	})
	return out, seen, err
}

// TestPartial cuts calls that handle many files at random places. Each call fails or
// has done everything, and no file has its name before it is complete.
func TestPartial(t *testing.T) {
	t.Parallel()
	for i, o := range operations {
		want, total, err := o.cut(t, 1<<40, false)
		if err != nil {
			t.Fatalf("%s: %v", o.name, err)
		}
		for _, stall := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stall=%v", o.name, stall), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(9, uint64(i)))
				for range 50 {
					after := r.IntN(total)
					got, _, err := o.cut(t, after, stall)
					checkCut(
						t,
						fmt.Sprintf("after %d of %d bytes", after, total),
						got,
						want,
						err,
						stall,
					)
				}
			})
		}
	}
}

func checkCut(t *testing.T, when string, got, want any, err error, stall bool) {
	t.Helper()
	var own *Error
	var silent *link.SilentError
	switch {
	case err == nil:
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v or an error", when, got, want)
		}
	case !errors.As(err, &own):
		t.Errorf("%s: %T %v, want an *Error", when, err, err)
	case stall && !errors.Is(err, context.DeadlineExceeded):
		t.Errorf("%s: %v, want a time-out", when, err)
	case stall && strings.Contains(t.Name(), "pu") && !errors.As(err, &silent):
		t.Errorf("%s: %v, want a SilentError", when, err)
	case !stall && !errors.Is(err, net.ErrClosed):
		t.Errorf("%s: %v, want the end of the connection", when, err)
	}
}

// odd returns a client of a device whose root has a good file and the given others.
func odd(t *testing.T, status map[string]Status, info map[string]string, names ...string) *Client {
	t.Helper()
	return fake(t, func(h header, body string) []string {
		if h.op == opOpen {
			body = body[8:]
		}
		name, _ := cutPath([]byte(body))
		name = strings.TrimPrefix(name, "/")
		answer := func(data string) []string { return []string{packet(h.packet, opData, "", data)} }
		switch h.op {
		case opGetFileInfo:
			if data, ok := info[name]; ok {
				return answer(data)
			}
			if s, ok := status["stat "+name]; ok {
				return []string{packet(h.packet, opStatus, u64(uint64(s)), "")}
			}
			if name == "" || strings.HasSuffix(name, "+") {
				return answer("st_size\x004\x00st_ifmt\x00S_IFDIR\x00")
			}
			return answer("st_size\x000\x00st_ifmt\x00S_IFREG\x00")
		case opReadDir:
			if s, ok := status["list "+name]; ok {
				return []string{packet(h.packet, opStatus, u64(uint64(s)), "")}
			}
			if name != "" {
				return answer("")
			}
			return answer(strings.Join(names, "\x00") + "\x00")
		case opOpen:
			if s, ok := status["open "+name]; ok {
				return []string{packet(h.packet, opStatus, u64(uint64(s)), "")}
			}
			return []string{packet(h.packet, opOpenResult, u64(3), "")}
		case opRead:
			return answer("")
		}
		return []string{ok(h)}
	})
}

// TestSkipped checks that refusals and invalid descriptions cost only one file and are
// reported. Any other error ends the call.
func TestSkipped(t *testing.T) {
	t.Parallel()
	const file = "st_ifmt\x00S_IFREG\x00"
	tests := []struct {
		name   string
		status map[string]Status
		info   map[string]string
		pull   string // path that a pull skips
		glob   string // path that a glob skips
		fails  bool
	}{
		{"stat refused", map[string]Status{"stat x": PermissionDenied}, nil, "/x", "/x", false},
		{"gone", map[string]Status{"stat x": NotFound}, nil, "/x", "/x", false},
		{
			"gone, as some systems say",
			map[string]Status{"stat x": ReadError},
			nil,
			"/x",
			"/x",
			false,
		},
		{
			"directory refused",
			map[string]Status{"list d+": PermissionDenied},
			nil,
			"/d+",
			"/d+",
			false,
		},
		{"directory gone", map[string]Status{"list d+": NotFound}, nil, "/d+", "/d+", false},
		{"file refused", map[string]Status{"open x": PermissionDenied}, nil, "/x", "", false},
		{"no kind", nil, map[string]string{"x": "st_size\x001\x00"}, "/x", "", false},
		{
			"unknown kind",
			nil,
			map[string]string{"x": "st_size\x001\x00st_ifmt\x00S_IFWHT\x00"},
			"/x",
			"",
			false,
		},
		{"negative size", nil, map[string]string{"x": "st_size\x00-1\x00" + file}, "", "", false},
		{
			"enormous size",
			nil,
			map[string]string{"x": "st_size\x0099999999999999999999\x00" + file},
			"",
			"",
			false,
		},
		{"not a list of keys", nil, map[string]string{"x": "st_size"}, "/x", "/x", false},
		{
			"socket",
			nil,
			map[string]string{"x": "st_size\x000\x00st_ifmt\x00S_IFSOCK\x00"},
			"/x",
			"",
			false,
		},
		{"input/output error", map[string]Status{"stat x": IOError}, nil, "", "", true},
		{
			"directory with an internal error",
			map[string]Status{"list d+": InternalError},
			nil,
			"",
			"",
			true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := odd(t, tt.status, tt.info, "d+", "good", "x")
			dir := t.TempDir()
			tree, err := c.PullTree(ctx(t), "/", dir, Transfer{})
			if (err != nil) != tt.fails {
				t.Fatalf("PullTree: %v", err)
			}
			found, skipped, err := globPaths(c, ctx(t), "/**/*")
			if (err != nil) != tt.fails {
				t.Fatalf("Glob: %v", err)
			}
			if tt.fails {
				return
			}
			if got := pathsOf(tree.Skipped); got != tt.pull {
				t.Errorf("PullTree skipped %q, want %q", got, tt.pull)
			}
			if _, err := os.Stat(filepath.Join(dir, "good")); err != nil {
				t.Error(err)
			}
			if got := pathsOf(skipped); got != tt.glob {
				t.Errorf("Glob skipped %q, want %q", got, tt.glob)
			}
			if !slices.Contains(found, "/good") {
				t.Errorf("Glob = %q", found)
			}
		})
	}
}

func pathsOf(skipped []Skip) string {
	var out []string
	for _, s := range skipped {
		out = append(out, s.Path)
	}
	return strings.Join(out, " ")
}
