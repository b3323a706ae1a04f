package afc

import (
	"github.com/imdlua/imdlua/runtime/phone/files"

	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// reader returns the ReadFile of a client with this context.
func reader(c *Client, ctx context.Context) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) { return c.ReadFile(ctx, name) }
}

// wantFile checks the content of a file, read by for instance os.ReadFile.
func wantFile(t *testing.T, read func(name string) ([]byte, error), name, want string) {
	t.Helper()
	b, err := read(name)
	if err != nil {
		t.Errorf("ReadFile(%q): %v", name, err)
	} else if string(b) != want {
		t.Errorf("ReadFile(%q) = %.100q (%d bytes), want %.100q (%d bytes)", name, b, len(b),
			want, len(want))
	}
}

// wantNames checks the names in a directory of the device.
func wantNames(t *testing.T, c *Client, dir string, want ...string) {
	t.Helper()
	names, err := c.ReadDir(ctx(t), dir)
	if err != nil {
		t.Errorf("ReadDir(%q): %v", dir, err)
	} else if !slices.Equal(names, want) {
		t.Errorf("ReadDir(%q) = %q, want %q", dir, names, want)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

func TestPushPull(t *testing.T) {
	t.Parallel()
	c := pair(t, newFS())
	for _, tr := range []Transfer{
		{}, {Piece: 1000, InFlight: 1}, {Piece: 1000, InFlight: 7},
		{Piece: 1 << 30, InFlight: 1 << 30},
	} {
		for _, n := range []int{0, 1, 999, 1000, 1001, 4000, 70_001, 1 << 20} {
			if tr.Piece == 1000 && n > 100_000 {
				continue
			}
			content := noise(n)
			name := fmt.Sprintf("/%d-%d-%d", tr.Piece, tr.InFlight, n)
			var done, total int64
			tr.Progress = func(d, all int64) {
				if d <= done {
					t.Errorf("%s: progress from %d to %d", name, done, d)
				}
				done, total = d, all
			}
			if m, err := c.Push(ctx(t), bytes.NewReader(content), name, tr); err != nil {
				t.Errorf("%s: Push: %v", name, err)
			} else if m != int64(n) {
				t.Errorf("%s: Push = %v, want %v", name, m, int64(n))
			}
			if done != int64(n) {
				t.Errorf("%s: %d bytes pushed, want %d", name, done, n)
			}
			if total != int64(n) {
				t.Errorf("%s: pushed of %d, want %d", name, total, n)
			}
			done, total = 0, 0
			var got bytes.Buffer
			if m, err := c.Pull(ctx(t), name, &got, tr); err != nil {
				t.Errorf("%s: Pull: %v", name, err)
			} else if m != int64(n) {
				t.Errorf("%s: Pull = %v, want %v", name, m, int64(n))
			}
			if !bytes.Equal(got.Bytes(), content) {
				t.Errorf("%s: the content is not that of the file (%d bytes)", name, got.Len())
			}
			if done != int64(n) {
				t.Errorf("%s: %d bytes pulled, want %d", name, done, n)
			}
			if total != int64(n) {
				t.Errorf("%s: pulled of %d, want %d", name, total, n)
			}
		}
	}
}

// TestPushUnknownSize pushes from a reader whose length is not known.
func TestPushUnknownSize(t *testing.T) {
	t.Parallel()
	c := pair(t, newFS())
	content := noise(100_000)
	total := int64(0)
	r := iotest.OneByteReader(bytes.NewReader(content[:50]))
	n, err := c.Push(ctx(t), io.MultiReader(r, bytes.NewReader(content[50:])), "/a",
		Transfer{Progress: func(_, all int64) { total = all }})
	if err != nil {
		t.Errorf("Push: %v", err)
	} else if n != 100_000 {
		t.Errorf("Push = %v, want 100_000", n)
	}
	if total != -1 {
		t.Errorf("Progress was called with the total %d, want -1", total)
	}
	wantFile(t, reader(c, ctx(t)), "/a", string(content))
}

func TestPullLink(t *testing.T) {
	t.Parallel()
	c := pair(t, tree(t))
	wantFile(t, reader(c, ctx(t)), "/link", "0123456789")
}

// TestShortAnswers uses a device that answers with less than requested, and files that
// are longer or shorter than their stat reported. All data arrives exactly once.
func TestShortAnswers(t *testing.T) {
	t.Parallel()
	content := noise(50_000)
	for _, told := range []int{0, 10, 49_999, 50_000, 50_001, 200_000} {
		pos := 0
		c := fake(t, func(h header, body string) []string {
			switch h.op {
			case opGetFileInfo:
				return []string{packet(h.packet, opData, "",
					fmt.Sprintf("st_size\x00%d\x00st_ifmt\x00S_IFREG\x00", told))}
			case opOpen:
				return []string{packet(h.packet, opOpenResult, u64(3), "")}
			case opRead:
				n := min(777, len(content)-pos, int(binary.LittleEndian.Uint64([]byte(body[8:]))))
				pos += n
				return []string{packet(h.packet, opData, "", string(content[pos-n:pos]))}
			}
			return []string{ok(h)}
		})
		var got bytes.Buffer
		n, err := c.Pull(ctx(t), "/a", &got, Transfer{Piece: 1000})
		if err != nil {
			t.Errorf("stat says %d: Pull: %v", told, err)
		} else if n != 50_000 {
			t.Errorf("stat says %d: Pull = %v, want 50_000", told, n)
		}
		if !bytes.Equal(got.Bytes(), content) {
			t.Errorf("stat says %d: the content is not that of the file (%d bytes)", told, got.Len())
		}
	}
}

var errLocal = errors.New("disk full here")

// TestTransferErrors checks that after any failure the file is closed on the device and
// the connection stays usable.
func TestTransferErrors(t *testing.T) {
	t.Parallel()
	f := files.NewFS(nil, 4<<20)
	must(t, f.WriteFile("/a", noise(1<<20)))
	c := pair(t, f)
	ctx := ctx(t)
	piece := Transfer{Piece: 10_000}
	_, err := c.Pull(ctx, "/a", iotest.TruncateWriter(io.Discard, 0), piece)
	must(t, err)
	_, err = c.Pull(ctx, "/a", failing{}, piece)
	if !errors.Is(err, errLocal) {
		t.Errorf("local writer: %v", err)
	}
	if _, err = c.Push(ctx,
		io.MultiReader(bytes.NewReader(noise(30_000)), iotest.ErrReader(errLocal)), "/b",
		piece); !errors.Is(err, errLocal) {
		t.Errorf("local reader: %v", err)
	}
	_, err = c.Push(ctx, bytes.NewReader(noise(8<<20)), "/c", piece)
	if !errors.Is(err, NoSpace) {
		t.Errorf("full device: %v", err)
	}
	_, err = c.Push(ctx, bytes.NewReader(nil), "/none/c", piece)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	for name, want := range map[string]error{"/": IsDirectory, "/none": fs.ErrNotExist} {
		if b, err := c.ReadFile(ctx, name); b != nil {
			t.Errorf("ReadFile(%q) = %d bytes, want none", name, len(b))
		} else if !errors.Is(err, want) {
			t.Errorf("ReadFile(%q): %v, want %v", name, err, want)
		}
	}
	wantNames(t, c, "/", "a")
	cancelled, cancel := context.WithCancel(ctx)
	r := io.MultiReader(bytes.NewReader(noise(100_000)),
		readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }))
	if _, err := c.Push(cancelled, r, "/d", piece); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled push: %v", err)
	}
	// The device has assigned the handles 1 to n; none of them may still be open.
	h, err := c.Open(ctx, "/a", ModeRead)
	must(t, err)
	for ref := uint64(1); ref < h.ref; ref++ {
		if _, err := c.do(ctx, "tell", "", request{
			op: opTell, args: numberArgs(ref), want: opTellResult,
		}); !errors.Is(err, InvalidArgument) {
			t.Errorf("handle %d: %v, want closed", ref, err)
		}
	}
	if h.ref < 6 {
		t.Errorf("only %d handles were opened", h.ref)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errLocal }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTreeRoundTrip(t *testing.T) {
	t.Parallel()
	src := t.TempDir()
	old := time.Unix(1500000000, 0)
	for i := range 40 {
		name := filepath.Join(src, fmt.Sprintf("d%d", i%3), "e", fmt.Sprintf("f%d", i))
		must(t, os.MkdirAll(filepath.Dir(name), 0o777))
		must(t, os.WriteFile(name, noise(i*1000), 0o666))
		must(t, os.Chtimes(name, old, old.Add(time.Duration(i)*time.Second)))
	}
	must(t, os.Mkdir(filepath.Join(src, "empty"), 0o777))
	must(t, os.Symlink("../d0/e/f0", filepath.Join(src, "empty", "link")))
	must(t, os.Symlink("/nowhere", filepath.Join(src, "dangling")))
	must(t, os.Chtimes(filepath.Join(src, "empty"), old, old))
	c := pair(t, newFS())
	var last, all atomic.Int64
	tr := Transfer{Progress: func(done, total int64) { last.Store(done); all.Store(total) }}
	links := func(dir string) []Link {
		return []Link{
			{Path: path.Join(dir, "dangling"), Target: "/nowhere"},
			{Path: path.Join(dir, "empty/link"), Target: "../d0/e/f0"},
		}
	}
	want := Tree{Files: 40, Directories: 8, Links: links("/up/load"), Bytes: 780_000}
	for range 2 { // the second time everything already exists
		got, err := c.PushTree(ctx(t), src, "/up/load", tr)
		if err != nil {
			t.Fatalf("PushTree: %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("PushTree = %+v, want %+v", got, want)
		}
	}
	if last.Load() != want.Bytes {
		t.Errorf("progress %d, want %d", last.Load(), want.Bytes)
	}
	if all.Load() != want.Bytes {
		t.Errorf("progress of %d, want %d", all.Load(), want.Bytes)
	}
	want.Links = links("up/load")
	dst := filepath.Join(t.TempDir(), "down", "load")
	for range 2 {
		got, err := c.PullTree(ctx(t), "up/load/", dst, tr)
		if err != nil {
			t.Fatalf("PullTree: %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("PullTree = %+v, want %+v", got, want)
		}
	}
	if a, b := snapshot(t, src), snapshot(t, dst); !reflect.DeepEqual(a, b) {
		t.Errorf("pushed and pulled:\n%s\nwas:\n%s", strings.Join(b, "\n"), strings.Join(a, "\n"))
	}
}

// snapshot describes a local tree with one line for each name.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		line := rel + " " + i.Mode().Type().String()
		switch {
		case i.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x %v", hashOf(b), i.ModTime().Unix())
		case i.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			line += " -> " + target
		case rel == "empty":
			line += fmt.Sprint(" ", i.ModTime().Unix())
		}
		out = append(out, line)
		return nil
	}))
	return out
}

func hashOf(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func TestTreeOfOneFile(t *testing.T) {
	t.Parallel()
	c := pair(t, tree(t))
	dir := t.TempDir()
	local := filepath.Join(dir, "x.txt")
	for _, remote := range []string{"/DCIM/b.txt", "/link"} {
		got, err := c.PullTree(ctx(t), remote, local, Transfer{})
		if err != nil {
			t.Errorf("PullTree(%q): %v", remote, err)
		} else if got.Files != 1 {
			t.Errorf("PullTree(%q): Files = %v, want 1", remote, got.Files)
		} else if got.Bytes != 10 {
			t.Errorf("PullTree(%q): Bytes = %v, want 10", remote, got.Bytes)
		}
		wantFile(t, os.ReadFile, local, "0123456789")
		must(t, os.Remove(local))
	}
	must(t, os.WriteFile(local, []byte("abc"), 0o666))
	if got, err := c.PushTree(ctx(t), local, "/new", Transfer{}); err != nil {
		t.Errorf("PushTree: %v", err)
	} else if got.Files != 1 {
		t.Errorf("PushTree: Files = %v, want 1", got.Files)
	} else if got.Bytes != 3 {
		t.Errorf("PushTree: Bytes = %v, want 3", got.Bytes)
	}
	wantFile(t, reader(c, ctx(t)), "/new", "abc")
	if _, err := c.PullTree(ctx(t), "/none", local, Transfer{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("PullTree of nothing: %v", err)
	}
	if _, err := c.PushTree(ctx(t), local+"?", "/new", Transfer{}); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("PushTree of nothing: %v", err)
	}
}

// evil returns a client of a device whose root lists the given names. A name that ends
// with "+" is a directory.
func evil(t *testing.T, names ...string) *Client {
	t.Helper()
	return fake(t, func(h header, body string) []string {
		name, _ := cutPath([]byte(body))
		switch h.op {
		case opGetFileInfo:
			kind := "S_IFREG\x00"
			if name == "/" || strings.HasSuffix(name, "+") {
				kind = "S_IFDIR\x00"
			}
			if strings.HasSuffix(name, "@") {
				kind = "S_IFLNK\x00LinkTarget\x00/\x00"
			}
			return []string{packet(h.packet, opData, "", "st_size\x004\x00st_ifmt\x00"+kind)}
		case opReadDir:
			if name != "/" {
				return []string{packet(h.packet, opData, "", "")}
			}
			return []string{packet(h.packet, opData, "", strings.Join(names, "\x00")+"\x00")}
		case opOpen:
			return []string{packet(h.packet, opOpenResult, u64(3), "")}
		case opRead:
			return []string{packet(h.packet, opData, "", "")}
		}
		return []string{ok(h)}
	})
}

// TestHostileNames checks that names that contain a slash are refused.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../x", "a/b", "/etc", "a/../../x"} {
		dir := t.TempDir()
		c := evil(t, "good", name)
		if _, err := c.PullTree(ctx(t), "/", filepath.Join(dir, "in"), Transfer{}); !errors.Is(err,
			ErrName) {
			t.Errorf("PullTree with %q: %v, want ErrName", name, err)
		}
		if left := snapshot(t, dir); len(left) > 1 {
			t.Errorf("%q: written %q", name, left)
		}
		if err := c.removeTree(ctx(t), "/", &trail{}); !errors.Is(err, ErrName) {
			t.Errorf("removeTree with %q: %v, want ErrName", name, err)
		}
	}
}

// TestLocalLinks checks that no symbolic link, whether it exists locally or is sent by
// the device, makes a pull write outside of the target.
func TestLocalLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, os.MkdirAll(in, 0o777))
	must(t, os.MkdirAll(out, 0o777))
	must(t, os.WriteFile(filepath.Join(out, "file"), []byte("mine"), 0o666))
	must(t, os.Symlink("../out/file", filepath.Join(in, "file")))
	must(t, os.Symlink("../out", filepath.Join(in, "d+")))
	if _, err := evil(t, "d+").PullTree(ctx(t), "/", in, Transfer{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("directory that is a link here: %v", err)
	}
	if _, err := evil(t, "file", "l@").PullTree(ctx(t), "/", in, Transfer{}); err != nil {
		t.Error(err)
	}
	wantFile(t, os.ReadFile, filepath.Join(out, "file"), "mine")
	if i, err := os.Lstat(filepath.Join(in, "file")); err != nil {
		t.Errorf("Lstat: %v", err)
	} else if !i.Mode().IsRegular() {
		t.Errorf("the link was not replaced: %v", i.Mode())
	}
	if target, err := os.Readlink(filepath.Join(in, "l@")); err != nil {
		t.Errorf("Readlink: %v", err)
	} else if target != "/" {
		t.Errorf("Readlink = %q, want %q", target, "/")
	}
	if _, err := evil(t, "d+").PullTree(ctx(t), "/", filepath.Join(in, "file"),
		Transfer{}); err == nil {
		t.Error("a directory was pulled onto a file")
	}
}

// TestTreeFailure checks that the first file that fails ends the copy of a tree, and
// that the connection stays usable.
func TestTreeFailure(t *testing.T) {
	t.Parallel()
	f := files.NewFS(nil, 1<<20)
	c := pair(t, f)
	src := t.TempDir()
	for i := range 30 {
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprint("f", i)), noise(100_000), 0o666))
	}
	got, err := c.PushTree(ctx(t), src, "/x", Transfer{Piece: 1000})
	if !errors.Is(err, NoSpace) {
		t.Errorf("PushTree: %v, want %v", err, NoSpace)
	}
	if !reflect.DeepEqual(got, Tree{}) {
		t.Errorf("PushTree = %+v, want nothing", got)
	}
	must(t, c.RemoveAll(ctx(t), "/x"))
}
