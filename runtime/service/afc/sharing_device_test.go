package afc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

func TestManyHandles(t *testing.T) {
	t.Parallel()
	// Without latency: the files are opened one after the other.
	c := New(servicetest.Conn(servicetest.Prompt(t), &Device{FS: tree(t), Model: "m"}))
	defer c.Close()
	ctx := ctx(t)
	var open []*File
	for i := range maxHandles {
		h, err := c.Open(ctx, "/DCIM/b.txt", ModeRead)
		must(t, err)
		if h.ref != uint64(i+1) {
			t.Fatalf("handle %d, want %d", h.ref, i+1)
		}
		open = append(open, h)
	}
	if _, err := c.Open(ctx, "/DCIM/b.txt", ModeRead); !errors.Is(err, NoResources) {
		t.Errorf("one too many: %v, want NoResources", err)
	}
	must(t, open[7].Close(ctx))
	h, err := c.Open(ctx, "/DCIM/b.txt", ModeRead)
	if err != nil {
		t.Errorf("Open after Close: %v", err)
	} else if h.ref != maxHandles+1 {
		t.Errorf("handle %d, want %d", h.ref, maxHandles+1)
	}
}

// TestTwoClients checks that locks hold between connections and end with them, that
// handles are not valid on another connection, and that a removed file stays usable
// while it is open.
func TestTwoClients(t *testing.T) {
	t.Parallel()
	f := tree(t)
	a, b := pair(t, f), pair(t, f)
	ctx := ctx(t)
	open := func(c *Client) *File {
		t.Helper()
		h, err := c.Open(ctx, "/DCIM/b.txt", ModeReadWrite)
		must(t, err)
		return h
	}
	fa, fb := open(a), open(b)
	must(t, fa.Lock(ctx, true))
	if err := fb.Lock(ctx, false); !errors.Is(err, WouldBlock) {
		t.Errorf("lock held by another: %v, want WouldBlock", err)
	}
	must(t, fa.Unlock(ctx))
	must(t, fb.Lock(ctx, false))
	must(t, fa.Lock(ctx, false))
	if err := fa.Lock(ctx, true); !errors.Is(err, WouldBlock) {
		t.Errorf("exclusive beside shared: %v, want WouldBlock", err)
	}
	if _, err := b.do(ctx, "lock", "", request{
		op: opLock, args: numberArgs(fb.ref, 3), want: opStatus,
	}); !errors.Is(err, InvalidArgument) {
		t.Errorf("lock of both kinds: %v", err)
	}
	if _, err := fa.Write(ctx, []byte("AA")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 4)
	if _, err := fb.Read(ctx, got); err != nil {
		t.Errorf("Read of the other client: %v", err)
	} else if string(got) != "AA23" {
		t.Errorf("Read of the other client = %q, want %q", string(got), "AA23")
	}
	must(t, b.Remove(ctx, "/DCIM/b.txt"))
	if n, err := fa.Read(ctx, got); err != nil {
		t.Errorf("Read of a removed file: %v", err)
	} else if string(got[:n]) != "2345" {
		t.Errorf("Read of a removed file = %q, want %q", string(got[:n]), "2345")
	}
}

// TestLocksEndWithConnection waits for Serve to return, not for time to pass.
func TestLocksEndWithConnection(t *testing.T) {
	t.Parallel()
	f := tree(t)
	client, ended := servicetest.Dial(context.Background(), t, &Device{FS: f, Model: "m"})
	a := New(client)
	h, err := a.Open(ctx(t), "/DCIM/b.txt", ModeRead)
	must(t, err)
	must(t, h.Lock(ctx(t), true))
	must(t, a.Close())
	must(t, <-ended)
	h, err = pair(t, f).Open(ctx(t), "/DCIM/b.txt", ModeRead)
	must(t, err)
	must(t, h.Lock(ctx(t), true))
}

// TestWithin checks that a client that is confined to Documents cannot access other
// directories, not even through symbolic links.
func TestWithin(t *testing.T) {
	t.Parallel()
	f := newFS()
	must(t, f.Mkdir("/Documents/sub"))
	must(t, f.Mkdir("/Documents2"))
	must(t, f.Mkdir("/Library"))
	must(t, f.WriteFile("/Library/secret", []byte("s")))
	must(t, f.WriteFile("/Documents/a", []byte("a")))
	for link, target := range map[string]string{
		"out": "/Library", "file": "../Library/secret", "in": "a", "loop": "loop",
		"new": "../Library/new", "chain": "out/secret",
	} {
		must(t, f.Symlink(target, "/Documents/"+link))
	}
	c := servicetest.Conn(t, &Device{FS: f, Model: "m", Within: "/Documents"})
	var steps []step
	denied := func(op Opcode, heads ...string) {
		for _, h := range heads {
			steps = append(steps, step{
				name: fmt.Sprintf("%#x %q", uint64(op), h), op: op, head: h,
				status: PermissionDenied,
			})
		}
	}
	for _, op := range []Opcode{
		opReadDir, opGetFileInfo, opHash, opMakeDir, opRemoveAll, opRemove, opDirOpen,
		opSizeOfContents,
	} {
		denied(op, "/", "", ".", "/Library", "/Documents2", "Documents/../Library",
			"/Documents/../../x", "/Documents/out/secret")
	}
	denied(opReadDir, "/Documents/out", "/Documents/sub/../out/")
	denied(opHash, "/Documents/file", "/Documents/chain", "/Documents/out/../Library/secret")
	denied(opRemove, "/Documents", "Documents/", "/Documents/out/secret")
	denied(opRemoveAll, "/Documents", "./Documents/.", "/Documents/sub/..")
	denied(opRename, "/Documents\x00/Documents/x", "/Documents/a\x00/b",
		"/Library/secret\x00/Documents/s", "/Documents/a\x00/Documents/out/a")
	denied(opMakeLink, u64(1)+"/Library/secret\x00/Documents/s", u64(2)+"x\x00/s")
	for m := ModeRead; m <= ModeAppendRead; m++ {
		denied(opOpen, u64(uint64(m))+"/Documents/new", u64(uint64(m))+"/Library/secret",
			u64(uint64(m))+"/x")
	}
	denied(opTruncate, u64(0)+"/Documents/file")
	denied(opSetModTime, u64(0)+"/Documents/out")
	steps = append(steps,
		step{
			name: "list", op: opReadDir, head: "/Documents", want: opData,
			body: ".\x00..\x00new\x00sub\x00chain\x00a\x00out\x00file\x00in\x00loop\x00",
		},
		step{name: "loop", op: opHash, head: "/Documents/loop", status: InvalidArgument},
		step{
			name: "open", op: opOpen, head: u64(1) + "Documents/in", want: opOpenResult,
			body: u64(1),
		},
		step{name: "read", op: opRead, head: u64(1, 9), want: opData, body: "a"},
		step{name: "a link goes, not its target", op: opRemove, head: "/Documents/out"},
		step{name: "make", op: opMakeDir, head: "/Documents/x/y"},
		step{name: "rename", op: opRename, head: "/Documents/x\x00/Documents/z"},
	)
	run(t, c, steps)
	wantFile(t, f.ReadFile, "/Library/secret", "s")
}

// TestConcurrentDevices uses many connections to one tree at the same time.
func TestConcurrentDevices(t *testing.T) {
	t.Parallel()
	f := tree(t)
	var wg sync.WaitGroup
	for i := range 8 {
		c := pair(t, f)
		ctx := ctx(t)
		wg.Go(func() {
			name := fmt.Sprintf("/f%d", i)
			for k := range 50 {
				want := strings.Repeat(name, k+1)
				if err := c.WriteFile(ctx, name, []byte(want)); err != nil {
					t.Error(err)
					return
				}
				wantFile(t, reader(c, ctx), name, want)
			}
		})
	}
	wg.Wait()
}
