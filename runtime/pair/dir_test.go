package pair

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

var _ Store = (*Dir)(nil)

const testUDID = "00008030-001A35E40212345E"

func TestDir(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	folder := filepath.Join(t.TempDir(), "a", "lockdown")
	d := NewDir(folder)
	if _, err := d.Load(ctx, testUDID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load from nothing = %v", err)
	}
	if err := d.Delete(ctx, testUDID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Delete from nothing = %v", err)
	}
	r := testRecord(t)
	for range 2 { // the second replaces the first
		if err := d.Save(ctx, testUDID, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Load(ctx, testUDID)
	if err != nil {
		t.Errorf("Load: %v", err)
	} else if !reflect.DeepEqual(got, r) {
		t.Errorf("Load = %v, want %v", got, r)
	}
	entries, _ := os.ReadDir(folder)
	if len(entries) != 1 {
		t.Errorf("the folder has %v, want one file", entries)
	} else if entries[0].Name() != testUDID+".plist" {
		t.Errorf("the folder has the file %s, want %s.plist", entries[0].Name(), testUDID)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]fs.FileMode{
			folder: 0o700, filepath.Join(folder, testUDID+".plist"): 0o600,
		} {
			if i, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", filepath.Base(path), err)
			} else if i.Mode().Perm() != want {
				t.Errorf("%s has the mode %v, want %v", filepath.Base(path), i.Mode(), want)
			}
		}
	}
	if err := d.Delete(ctx, testUDID); err != nil {
		t.Error(err)
	}
	if _, err := d.Load(ctx, testUDID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load after Delete = %v", err)
	}
}

func TestDirNames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	root := t.TempDir()
	d := NewDir(filepath.Join(root, "lockdown"))
	r := testRecord(t)
	for _, id := range []string{
		"", ".", "..", "../x", "a/b", `a\b`, "/x", "a..b", ".hidden", "x\x00", "x\n",
		"SystemConfiguration", "systemconfiguration", strings.Repeat("x", 300),
	} {
		_, err := d.Load(ctx, id)
		for op, err := range map[string]error{
			"Load": err, "Save": d.Save(ctx, id, r), "Delete": d.Delete(ctx, id),
		} {
			var e *Error
			if !errors.Is(err, ErrName) {
				t.Errorf("%s %q = %v, want %v", op, id, err, ErrName)
			}
			if !errors.As(err, &e) {
				t.Errorf("%s %q = %v, want an *Error", op, id, err)
			}
		}
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("something was written: %v", entries)
	}
}

func TestDirBUID(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	folder := filepath.Join(t.TempDir(), "lockdown")
	// Programs that start together agree on one.
	buids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range buids {
		wg.Go(func() {
			var err error
			buids[i], err = NewDir(folder).BUID(ctx)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range buids {
		if b != buids[0] {
			t.Errorf("the BUIDs differ: %v", buids)
			break
		} else if !isUUID(b) {
			t.Errorf("the BUID %q is not a UUID", b)
			break
		}
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("folder holds %v", entries)
	}
	// What another program keeps in the same file stays.
	name := filepath.Join(folder, "SystemConfiguration.plist")
	os.WriteFile(name, []byte("<plist><dict><key>HostID</key><string>H</string></dict></plist>"),
		0o600)
	buid, err := NewDir(folder).BUID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(name)
	config, err := plist.DecodeDict(b)
	if want := (plist.Dict{"HostID": "H", "SystemBUID": buid}); err != nil {
		t.Errorf("reading the configuration: %v", err)
	} else if !reflect.DeepEqual(config, want) {
		t.Errorf("configuration = %v, want %v", config, want)
	}
	os.WriteFile(name, []byte("junk"), 0o600)
	if s, err := NewDir(folder).BUID(ctx); err == nil {
		t.Errorf("BUID from junk = %q: an identity must not be replaced by accident", s)
	}
}

func TestDirFailures(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	file := filepath.Join(root, "file")
	os.WriteFile(file, nil, 0o600)
	d := NewDir(filepath.Join(file, "lockdown")) // below a file nothing can be made
	ctx := context.Background()
	_, errBUID := d.BUID(ctx)
	for op, err := range map[string]error{
		"Save": d.Save(ctx, testUDID, testRecord(t)), "BUID": errBUID,
	} {
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s = %v, want an *Error", op, err)
		}
	}
	good := NewDir(root)
	os.WriteFile(filepath.Join(root, testUDID+".plist"), []byte("junk"), 0o600)
	if r, err := good.Load(ctx, testUDID); err == nil {
		t.Error("Load of junk does not fail")
	} else if r != nil {
		t.Errorf("Load of junk returns %v with its error", r)
	} else if errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of junk = %v, which says that there is no file", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err1 := good.Load(gone, testUDID)
	_, err2 := good.BUID(gone)
	for _, err := range []error{
		err1, err2, good.Save(gone, testUDID, testRecord(t)), good.Delete(gone, testUDID),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	f := NewDir(t.TempDir()).Files()
	if _, err := f.Read("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read = %v", err)
	}
	if err := f.Write("x", []byte("bytes")); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Read("x"); err != nil {
		t.Errorf("Read: %v", err)
	} else if string(b) != "bytes" {
		t.Errorf("Read = %q, want bytes", b)
	}
	if err := f.Delete("x"); err != nil {
		t.Error(err)
	}
	if err := f.Delete("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Delete = %v", err)
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		goos, system, own string
		env               map[string]string
	}{
		{
			"linux", "/var/lib/lockdown", "/home/a/.config/imdlua/lockdown",
			map[string]string{"HOME": "/home/a"},
		},
		{
			"linux", "/var/lib/lockdown", "/conf/imdlua/lockdown",
			map[string]string{"HOME": "/home/a", "XDG_CONFIG_HOME": "/conf/"},
		},
		{"linux", "/var/lib/lockdown", "", nil},
		{
			"darwin", "/var/db/lockdown", "/Users/a/Library/Application Support/imdlua/lockdown",
			map[string]string{"HOME": "/Users/a"},
		},
		{"windows", `C:\ProgramData\Apple\Lockdown`, "", nil},
		{
			"windows", `D:\All\Apple\Lockdown`, `D:\a\imdlua\lockdown`,
			map[string]string{"ALLUSERSPROFILE": `D:\All`, "APPDATA": `D:\a`},
		},
	} {
		env := func(k string) (string, bool) { v, ok := c.env[k]; return v, ok }
		if got := SystemDir(c.goos, env); got != c.system {
			t.Errorf("SystemDir(%s) = %q, want %q", c.goos, got, c.system)
		}
		if got := OwnDir(c.goos, env); got != c.own {
			t.Errorf("OwnDir(%s, %v) = %q, want %q", c.goos, c.env, got, c.own)
		}
	}
}

// TestDirList lists the records of a folder, and nothing else that is in it.
func TestDirList(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	folder := filepath.Join(t.TempDir(), "lockdown")
	dir := NewDir(folder)
	none, err := dir.List(ctx)
	if err != nil {
		t.Errorf("List of a folder that does not exist: %v", err)
	}
	if len(none) != 0 {
		t.Errorf("List of a folder that does not exist = %q", none)
	}
	if _, err := dir.BUID(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"b", "a"} {
		if err := dir.Files().Write(id, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"c.txt", ".hidden.plist", ".plist"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "d.plist"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := dir.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("List = %q, want %q", got, want)
	}
	ended, end := context.WithCancel(ctx)
	end()
	if _, err := dir.List(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("List with an ended context = %v, want %v", err, context.Canceled)
	}
}
