package afc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

func TestClientOperations(t *testing.T) {
	t.Parallel()
	f := tree(t)
	c := pair(t, f)
	ctx := ctx(t)
	wantNames(t, c, "/DCIM", "100APPLE", "b.txt")
	info, err := c.Stat(ctx, "/DCIM/b.txt")
	want := Info{
		Name: "b.txt", Size: 10, Blocks: 8, Nlink: 1, Kind: Regular, ModTime: when, BirthTime: when,
	}
	if err != nil {
		t.Errorf("Stat: %v", err)
	} else if info != want {
		t.Errorf("Stat = %+v, want %+v", info, want)
	}
	if info, err := c.Stat(ctx, "."); err != nil {
		t.Errorf("Stat of the root: %v", err)
	} else if info.Kind != Directory {
		t.Errorf("Stat of the root: Kind = %v, want %v", info.Kind, Directory)
	} else if info.Name != "/" {
		t.Errorf("Stat of the root: Name = %q, want %q", info.Name, "/")
	}
	must(t, c.Mkdir(ctx, "/a/b"))
	must(t, c.Rename(ctx, "/DCIM/b.txt", "/a/c"))
	must(t, c.Symlink(ctx, "c", "/a/s"))
	must(t, c.Link(ctx, "/a/c", "/a/h"))
	must(t, c.Truncate(ctx, "/a/c", 3))
	must(t, c.SetModTime(ctx, "/a/c", time.Unix(5, 6)))
	i, err := c.Stat(ctx, "/a/h")
	if err != nil {
		t.Fatal(err)
	}
	if i.Nlink != 2 {
		t.Errorf("Stat: Nlink = %v, want 2", i.Nlink)
	}
	if i.Size != 3 {
		t.Errorf("Stat: Size = %v, want 3", i.Size)
	}
	if want := time.Unix(5, 6); !i.ModTime.Equal(want) {
		t.Errorf("Stat: time %v, want %v", i.ModTime, want)
	}
	if i, err := c.Stat(ctx, "/a/s"); err != nil {
		t.Errorf("Stat of a link: %v", err)
	} else if i.Kind != Symlink {
		t.Errorf("Stat of a link: Kind = %v, want %v", i.Kind, Symlink)
	} else if i.LinkTarget != "c" {
		t.Errorf("Stat of a link: LinkTarget = %q, want %q", i.LinkTarget, "c")
	}
	if h, err := c.Hash(ctx, "/a/c"); err != nil {
		t.Errorf("Hash: %v", err)
	} else if len(h) != 20 {
		t.Errorf("Hash has %d bytes, want 20", len(h))
	}
	if i, err := c.DeviceInfo(ctx); err != nil {
		t.Errorf("DeviceInfo: %v", err)
	} else if i.Model != "iPhone12,8" {
		t.Errorf("DeviceInfo: Model = %q, want %q", i.Model, "iPhone12,8")
	} else if i.TotalBytes != 1<<30 {
		t.Errorf("DeviceInfo: TotalBytes = %v, want %v", i.TotalBytes, 1<<30)
	} else if i.BlockSize != 4096 {
		t.Errorf("DeviceInfo: BlockSize = %v, want 4096", i.BlockSize)
	}
	if m, err := c.ConnectionInfo(ctx); err != nil {
		t.Errorf("ConnectionInfo: %v", err)
	} else if m["Version"] != "1" {
		t.Errorf("ConnectionInfo: Version = %q, want 1", m["Version"])
	}
	if err := c.Remove(ctx, "/a"); !errors.Is(err, NotEmpty) {
		t.Errorf("Remove = %v, want NotEmpty", err)
	}
	must(t, c.RemoveAll(ctx, "/a"))
	if _, err := c.Stat(ctx, "/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v, want fs.ErrNotExist", err)
	}
}

// TestRefusedHere checks that the client refuses paths that it cannot transmit
// unchanged.
func TestRefusedHere(t *testing.T) {
	t.Parallel()
	c := fake(t, func(header, string) []string { t.Error("something was sent"); return nil })
	ctx := ctx(t)
	_, open := c.Open(ctx, "a\x00b", ModeRead)
	_, list := c.ReadDir(ctx, strings.Repeat("a", maxPath+1))
	for name, err := range map[string]error{
		"open": open, "list": list,
		"rename":   c.Rename(ctx, "a", "b\x00"),
		"truncate": c.Truncate(ctx, "a", -1),
		"time":     c.SetModTime(ctx, "a", time.Unix(-1, 0)),
	} {
		if !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v, want fs.ErrInvalid", name, err)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	c := pair(t, newFS())
	ctx := ctx(t)
	f, err := c.Open(ctx, "/x", ModeWriteRead)
	must(t, err)
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // several pieces
	if n, err := f.Write(ctx, big); err != nil {
		t.Errorf("Write: %v", err)
	} else if n != len(big) {
		t.Errorf("Write = %v, want %v", n, len(big))
	}
	if n, err := f.Write(ctx, nil); err != nil {
		t.Errorf("Write of nothing: %v", err)
	} else if n != 0 {
		t.Errorf("Write of nothing = %v, want 0", n)
	}
	if pos, err := f.Seek(ctx, -6, io.SeekEnd); err != nil {
		t.Errorf("Seek: %v", err)
	} else if pos != int64(len(big))-6 {
		t.Errorf("Seek = %v, want %v", pos, int64(len(big))-6)
	}
	if b, err := io.ReadAll(f.Stream(ctx)); err != nil {
		t.Errorf("ReadAll: %v", err)
	} else if string(b) != "abcdef" {
		t.Errorf("ReadAll = %q, want %q", string(b), "abcdef")
	}
	if _, err := f.Seek(ctx, -1, io.SeekStart); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Seek before the beginning: %v", err)
	}
	must(t, f.Truncate(ctx, 5))
	if _, err := f.Stream(ctx).Seek(3, io.SeekStart); err != nil {
		t.Error(err)
	}
	b := make([]byte, 10)
	if n, err := f.Read(ctx, b); err != nil {
		t.Errorf("Read: %v", err)
	} else if string(b[:n]) != "34" {
		t.Errorf("Read = %q, want %q", string(b[:n]), "34")
	}
	if n, err := f.Read(ctx, b); n != 0 {
		t.Errorf("Read at the end = %v, want 0", n)
	} else if err != io.EOF {
		t.Errorf("Read at the end: %v, want io.EOF", err)
	}
	if pos, err := f.Tell(ctx); err != nil {
		t.Errorf("Tell: %v", err)
	} else if pos != 5 {
		t.Errorf("Tell = %v, want 5", pos)
	}
	must(t, f.Close(ctx))
	must(t, f.Close(ctx))
	if _, err := f.Read(ctx, b); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}

// TestGoroutinesShareClient makes calls from many goroutines on one connection.
func TestGoroutinesShareClient(t *testing.T) {
	t.Parallel()
	c := pair(t, newFS())
	ctx := ctx(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("/f%d", i)
			content := bytes.Repeat([]byte(name), 20_000)
			if _, err := c.Push(ctx, bytes.NewReader(content), name,
				Transfer{Piece: 5000}); err != nil {
				t.Error(err)
				return
			}
			var got bytes.Buffer
			if _, err := c.Pull(ctx, name, &got, Transfer{Piece: 7001}); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if !bytes.Equal(got.Bytes(), content) {
				t.Errorf("%s: %d bytes that are not the content", name, got.Len())
			}
			if _, err := c.Stat(ctx, name+"?"); !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// refusing returns a client of a device that does not support one operation.
func refusing(t *testing.T, d *Device, op Opcode) *Client {
	t.Helper()
	up := servicetest.Conn(t, d)
	return fake(t, func(h header, body string) []string {
		if h.op == op {
			return []string{packet(h.packet, opStatus, u64(uint64(NotSupported)), "")}
		}
		n := h.this - headerLen
		a, answer := exchange(t, up, packet(h.packet, h.op, body[:n], body[n:]))
		return []string{string(appendHeader(nil, a)) + answer}
	})
}

func TestRemoveAllOfOldDevices(t *testing.T) {
	t.Parallel()
	f := tree(t)
	must(t, f.Symlink("/empty", "/DCIM/out"))
	c := refusing(t, &Device{FS: f, Model: "m"}, opRemoveAll)
	must(t, c.RemoveAll(ctx(t), "/DCIM"))
	wantNames(t, pair(t, f), "/", "empty", "link")
	if err := c.RemoveAll(ctx(t), "/DCIM"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("again: %v", err)
	}
}
