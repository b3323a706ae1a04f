package savefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// onlyFile fails the test unless path is the only file of its directory, has the content
// and can be read by its owner alone.
func onlyFile(t *testing.T, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != content {
		t.Errorf("the file holds %q, want %q", b, content)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("its mode is %v, want -rw-------", mode)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the directory has %v, want one file", entries)
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "record")
	if err := Private(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, path, "one")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Private(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, path, "two")
	if err := NewPrivate(path, []byte("three")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("NewPrivate over a file: %v, want %v", err, fs.ErrExist)
	}
	onlyFile(t, path, "two")
}

// TestPrivateFails checks that nothing is left if the file cannot get its name.
func TestPrivateFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(string, []byte) error{
		"Private": Private, "NewPrivate": NewPrivate,
	} {
		if err := write(path, []byte("x")); err == nil {
			t.Errorf("%s replaced a directory", name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the directory has %v, want what it had", entries)
	}
}

// TestPrivateLink checks that a link is replaced, and that its target is not written.
func TestPrivateLink(t *testing.T) {
	t.Parallel()
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
	path := filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := os.Symlink(target, path)
	if err != nil && runtime.GOOS == "windows" {
		t.Skip("links need a privilege there:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Private(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, path, "new")
	onlyFile(t, target, "mine")
}

// TestNewPrivateOnce checks that one of several writers succeeds.
func TestNewPrivateOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "identity")
	var done atomic.Int32
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			err := NewPrivate(path, []byte("one"))
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("NewPrivate: %v, want %v", err, fs.ErrExist)
			}
		})
	}
	work.Wait()
	if n := done.Load(); n != 1 {
		t.Errorf("%d writers succeeded, want 1", n)
	}
	onlyFile(t, path, "one")
}
