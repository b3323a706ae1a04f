package files

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// newTestFS makes a tree with one file, some directories and links.
func newTestFS(t testing.TB) *FS {
	t.Helper()
	at := time.Date(2024, 1, 2, 3, 4, 5, 6000, time.UTC)
	f := NewFS(func() time.Time { return at }, 1<<30)
	for _, err := range []error{
		f.Mkdir("a/b/c"), f.Mkdir("/empty"), f.WriteFile("a/file", []byte("hello")),
		f.Symlink("file", "a/link"), f.Symlink("/a/b", "abs"), f.Symlink("../../x", "a/out"),
		f.Symlink("loop", "loop"),
		f.Symlink("nowhere", "dangling"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestFSStat(t *testing.T) {
	t.Parallel()
	f := newTestFS(t)
	at := time.Date(2024, 1, 2, 3, 4, 5, 6000, time.UTC)
	for path, want := range map[string]Info{
		"/":           {Kind: Directory, Size: 7 * 32, Nlink: 7},
		"":            {Kind: Directory, Size: 7 * 32, Nlink: 7},
		".":           {Kind: Directory, Size: 7 * 32, Nlink: 7},
		"a":           {Kind: Directory, Size: 6 * 32, Nlink: 6},
		"/a/file":     {Kind: Regular, Size: 5, Blocks: 8, Nlink: 1},
		"./a//file":   {Kind: Regular, Size: 5, Blocks: 8, Nlink: 1},
		"a/b/../file": {Kind: Regular, Size: 5, Blocks: 8, Nlink: 1},
		"a/link":      {Kind: Symlink, Size: 4, Nlink: 1, LinkTarget: "file"},
		"abs":         {Kind: Symlink, Size: 4, Nlink: 1, LinkTarget: "/a/b"},
		"abs/c":       {Kind: Directory, Size: 64, Nlink: 2},
		"abs/../b":    {Kind: Directory, Size: 96, Nlink: 3},
	} {
		want.ModTime, want.BirthTime = at.Local(), at.Local()
		got, err := f.Stat(path)
		if err != nil {
			t.Errorf("Stat(%q): %v", path, err)
		} else if got != want {
			t.Errorf("Stat(%q) = %+v, want %+v", path, got, want)
		}
	}
}

// refusals lists operations that a tree refuses, with the errors.
var refusals = map[string]struct {
	do   func(*FS) error
	want error
}{
	"stat missing": {
		func(f *FS) error { _, err := f.Stat("x"); return err }, fs.ErrNotExist,
	},
	"stat below missing": {
		func(f *FS) error { _, err := f.Stat("x/y"); return err }, fs.ErrNotExist,
	},
	"stat below file": {
		func(f *FS) error { _, err := f.Stat("a/file/y"); return err }, ErrNotDir,
	},
	"stat above root": {
		func(f *FS) error { _, err := f.Stat("../x"); return err }, fs.ErrPermission,
	},
	"stat above root by detour": {
		func(f *FS) error { _, err := f.Stat("a/../../x"); return err }, fs.ErrPermission,
	},
	"stat above root by link": {
		func(f *FS) error { _, err := f.Stat("a/out/y"); return err }, fs.ErrPermission,
	},
	"stat loop": {
		func(f *FS) error { _, err := f.Stat("loop/y"); return err }, ErrInvalid,
	},
	"stat long name": {
		func(f *FS) error { _, err := f.Stat(strings.Repeat("n", maxName+1)); return err },
		ErrInvalid,
	},
	"stat long path": {
		func(f *FS) error { _, err := f.Stat(strings.Repeat("a/", MaxPath)); return err },
		ErrInvalid,
	},
	"stat NUL": {
		func(f *FS) error { _, err := f.Stat("a\x00b"); return err }, ErrInvalid,
	},
	"list file": {
		func(f *FS) error { _, err := f.ReadDir("a/file"); return err }, ErrNotDir,
	},
	"list missing": {
		func(f *FS) error { _, err := f.ReadDir("x"); return err }, fs.ErrNotExist,
	},
	"mkdir over file":       {func(f *FS) error { return f.Mkdir("a/file") }, fs.ErrExist},
	"mkdir below file":      {func(f *FS) error { return f.Mkdir("a/file/d") }, ErrNotDir},
	"mkdir outside":         {func(f *FS) error { return f.Mkdir("../d") }, fs.ErrPermission},
	"remove missing":        {func(f *FS) error { return f.Remove("x") }, fs.ErrNotExist},
	"remove full directory": {func(f *FS) error { return f.Remove("a") }, ErrNotEmpty},
	"remove root":           {func(f *FS) error { return f.Remove("/") }, fs.ErrPermission},
	"remove all of root": {
		func(f *FS) error { return f.RemoveAll("a/..") }, fs.ErrPermission,
	},
	"remove all of missing": {func(f *FS) error { return f.RemoveAll("x") }, fs.ErrNotExist},
	"rename missing": {
		func(f *FS) error { return f.Rename("x", "y") }, fs.ErrNotExist,
	},
	"rename onto directory": {
		func(f *FS) error { return f.Rename("a/file", "empty") }, fs.ErrExist,
	},
	"rename directory onto file": {
		func(f *FS) error { return f.Rename("empty", "a/file") }, ErrNotDir,
	},
	"rename into itself": {
		func(f *FS) error { return f.Rename("a", "a/b/c/d") }, ErrInvalid,
	},
	"rename root": {
		func(f *FS) error { return f.Rename("/", "x") }, fs.ErrPermission,
	},
	"rename outside": {
		func(f *FS) error { return f.Rename("a/file", "../y") }, fs.ErrPermission,
	},
	"rename to missing directory": {
		func(f *FS) error { return f.Rename("a/file", "x/y") }, fs.ErrNotExist,
	},
	"symlink over file": {
		func(f *FS) error { return f.Symlink("t", "a/file") }, fs.ErrExist,
	},
	"symlink to nothing": {func(f *FS) error { return f.Symlink("", "l") }, ErrInvalid},
	"link to directory": {
		func(f *FS) error { return f.Link("a", "l") }, fs.ErrPermission,
	},
	"link to missing": {func(f *FS) error { return f.Link("x", "l") }, fs.ErrNotExist},
	"link over file": {
		func(f *FS) error { return f.Link("a/file", "a/link") }, fs.ErrExist,
	},
	"truncate directory": {func(f *FS) error { return f.Truncate("a", 0) }, ErrIsDir},
	"truncate negative": {
		func(f *FS) error { return f.Truncate("a/file", -1) }, ErrInvalid,
	},
	"truncate beyond the volume": {
		func(f *FS) error { return f.Truncate("a/file", 1<<40) }, ErrNoSpace,
	},
	"truncate beyond all": {
		func(f *FS) error { return f.Truncate("a/file", 1<<63-1) }, ErrInvalid,
	},
	"times of missing": {
		func(f *FS) error { return f.Chtimes("x", time.Now()) }, fs.ErrNotExist,
	},
	"open missing": {
		func(f *FS) error { _, err := f.Open("x", os.O_RDONLY); return err }, fs.ErrNotExist,
	},
	"open directory": {
		func(f *FS) error { _, err := f.Open("a", os.O_RDONLY); return err }, ErrIsDir,
	},
	"create over directory": {
		func(f *FS) error { _, err := f.Open("a", os.O_RDWR|os.O_CREATE); return err }, ErrIsDir,
	},
	"create exclusively": {func(f *FS) error {
		_, err := f.Open("a/file",
			os.O_RDWR|os.O_CREATE|os.O_EXCL)
		return err
	}, fs.ErrExist},
	"create in missing directory": {
		func(f *FS) error { _, err := f.Open("x/y", os.O_RDWR|os.O_CREATE); return err },
		fs.ErrNotExist,
	},
	"create outside by link": {
		func(f *FS) error { _, err := f.Open("a/out", os.O_RDWR|os.O_CREATE); return err },
		fs.ErrPermission,
	},
	"synthetic over file": {
		func(f *FS) error { return f.AddSynthetic("a/file", 1, 1, time.Now()) }, fs.ErrExist,
	},
	"synthetic of negative size": {
		func(f *FS) error { return f.AddSynthetic("n", -1, 1, time.Now()) }, ErrInvalid,
	},
	"synthetic beyond the volume": {
		func(f *FS) error { return f.AddSynthetic("n", 1<<31, 1, time.Now()) }, ErrNoSpace,
	},
}

// TestFSRefuses checks the errors, and that a refused operation takes no space.
func TestFSRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range refusals {
		f := newTestFS(t)
		_, free, _ := f.Usage()
		err := c.do(f)
		var e *failure.Error
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if !errors.As(err, &e) {
			t.Errorf("%s: %#v is not a %T", name, err, e)
		}
		if _, now, _ := f.Usage(); now != free {
			t.Errorf("%s: cost %d bytes", name, int64(free)-int64(now))
		}
	}
}

func TestFSChanges(t *testing.T) {
	t.Parallel()
	f := newTestFS(t)
	list := func(dir string, want ...string) {
		t.Helper()
		got, err := f.ReadDir(dir)
		if err != nil {
			t.Errorf("ReadDir(%q): %v", dir, err)
		} else if !slices.Equal(got, want) {
			t.Errorf("ReadDir(%q) = %q, want %q", dir, got, want)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	// The order of APFS, computed with another CRC-32C.
	for range 3 {
		if got, err := f.ListDir("/"); err != nil {
			t.Errorf("ListDir: %v", err)
		} else if want := []string{"dangling", "empty", "a", "abs", "loop"}; !slices.Equal(got,
			want) {
			t.Errorf("ListDir = %q, want %q", got, want)
		}
	}
	list("/", "a", "abs", "dangling", "empty", "loop")
	list("abs", "c")
	ok(f.Mkdir("a/b/c")) // exists already
	ok(f.Mkdir("abs/d/e"))
	list("a/b", "c", "d")
	ok(f.Rename("a/b", "moved"))
	list("a", "file", "link", "out")
	list("moved/d", "e")
	ok(f.WriteFile("other", []byte("other")))
	ok(f.Rename("other", "a/file")) // replaces
	if b, err := f.ReadFile("a/link"); err != nil {
		t.Errorf("ReadFile through a link: %v", err)
	} else if string(b) != "other" {
		t.Errorf("ReadFile through a link = %q, want %q", string(b), "other")
	}
	ok(f.Rename("a/file", "./a/file")) // has no effect
	ok(f.Link("a/file", "hard"))
	if i, _ := f.Stat("hard"); i.Nlink != 2 {
		t.Errorf("hard link: Nlink = %v, want 2", i.Nlink)
	} else if i.Size != 5 {
		t.Errorf("hard link: Size = %v, want 5", i.Size)
	}
	ok(f.Remove("a/file"))
	if b, err := f.ReadFile("hard"); err != nil {
		t.Errorf("ReadFile of the other name: %v", err)
	} else if string(b) != "other" {
		t.Errorf("ReadFile of the other name = %q, want %q", string(b), "other")
	}
	ok(f.WriteFile("dangling", []byte("made"))) // makes the target
	list("/", "a", "abs", "dangling", "empty", "hard", "loop", "moved", "nowhere")
	ok(f.Remove("loop"))
	ok(f.Remove("empty"))
	ok(f.RemoveAll("moved"))
	when := time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)
	ok(f.Chtimes("hard", when))
	if i, _ := f.Stat("hard"); !i.ModTime.Equal(when) {
		t.Errorf("ModTime = %v, want %v", i.ModTime, when)
	}
	ok(f.Truncate("hard", 2))
	ok(f.Truncate("hard", 4))
	if b, _ := f.ReadFile("hard"); string(b) != "ot\x00\x00" {
		t.Errorf("after truncation %q", b)
	}
	for _, name := range []string{"a", "abs", "dangling", "hard", "nowhere"} {
		ok(f.RemoveAll(name))
	}
	if total, free, _ := f.Usage(); total != free {
		t.Errorf("the empty tree takes %d bytes", total-free)
	}
}

func TestFSNoSpace(t *testing.T) {
	t.Parallel()
	f := NewFS(nil, 3*BlockSize)
	h, err := f.Open("x", os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt(make([]byte, 2*BlockSize+1), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := h.WriteAt([]byte("x"), 3*BlockSize); n != 0 {
		t.Errorf("WriteAt = %v, want 0", n)
	} else if !errors.Is(err, ErrNoSpace) {
		t.Errorf("WriteAt: %v, want %v", err, ErrNoSpace)
	}
	if h.Size() != 2*BlockSize+1 {
		t.Errorf("a refused write left %d bytes", h.Size())
	}
	if _, err := h.WriteAt([]byte("x"), 3*BlockSize-1); err != nil {
		t.Errorf("the last byte: %v", err)
	}
	if err := f.WriteFile("y", []byte("y")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("WriteFile = %v, want ErrNoSpace", err)
	}
}

// TestFSRemovedWhileOpen checks that the content of a removed file is released with its
// last handle.
func TestFSRemovedWhileOpen(t *testing.T) {
	t.Parallel()
	f := newTestFS(t)
	h, err := f.Open("a/file", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("a/file"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if n, err := h.ReadAt(b, 0); err != nil {
		t.Errorf("ReadAt: %v", err)
	} else if n != 5 {
		t.Errorf("ReadAt = %v, want 5", n)
	} else if string(b) != "hello" {
		t.Errorf("ReadAt = %q, want %q", string(b), "hello")
	}
	if total, free, _ := f.Usage(); total-free != BlockSize {
		t.Errorf("%d bytes taken while open, want %d", total-free, BlockSize)
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if total, free, _ := f.Usage(); total != free {
		t.Errorf("%d bytes taken after Close", total-free)
	}
	if _, err := h.ReadAt(b, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ReadAt after Close = %v", err)
	}
	if err := h.Lock(true); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Lock after Close = %v", err)
	}
}

func TestFSConcurrent(t *testing.T) {
	t.Parallel()
	f := newTestFS(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := "shared/" + string(rune('a'+i%4))
			for k := range 200 {
				_ = f.Mkdir("shared")
				_ = f.WriteFile(name, []byte(name))
				_, _ = f.Stat(name)
				_, _ = f.ReadDir("shared")
				_, _ = f.ReadFile(name)
				_ = f.Rename(name, name+"x")
				if k%10 == 0 {
					_ = f.RemoveAll("shared")
				}
			}
		})
	}
	wg.Wait()
	_ = f.RemoveAll("shared") // the directory may not exist
	if err := f.RemoveAll("a"); err != nil {
		t.Fatal(err)
	}
	if total, free, _ := f.Usage(); total != free {
		t.Errorf("%d bytes lost", total-free)
	}
}
