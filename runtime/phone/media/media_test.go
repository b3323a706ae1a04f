package media_test

import (
	"bytes"
	"errors"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestMediaTree(t *testing.T) {
	t.Parallel()
	f := phonetest.New(t, phone.Options{}).Media
	root, err := f.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"DCIM", "Downloads", "Books", "iTunes_Control", "PhotoData", "PublicStaging", "Recordings",
		"Purchases", "MediaAnalysis", "AirFair", "Airlock",
	} {
		if !slices.Contains(root, want) {
			t.Errorf("no %s among %v", want, root)
		}
	}
	kinds := map[string]int{}
	phonetest.EachFile(t, f, "/", func(p string, i files.Info) {
		if i.Kind != files.Regular {
			return
		}
		kinds[path.Ext(p)]++
		b, err := f.ReadFile(p)
		if err != nil {
			t.Errorf("ReadFile(%q): %v", p, err)
			return
		}
		if int64(len(b)) != i.Size {
			t.Errorf("ReadFile(%q) returns %d bytes, want %d", p, len(b), i.Size)
			return
		}
		switch path.Ext(p) {
		case ".JPG":
			m, err := jpeg.Decode(bytes.NewReader(b))
			if err != nil {
				t.Errorf("%s is not a JPEG: %v", p, err)
			} else if m.Bounds().Dx() != 320 {
				t.Errorf("%s is %d pixels wide, want 320", p, m.Bounds().Dx())
			}
		case ".PNG":
			if _, err := png.Decode(bytes.NewReader(b)); err != nil {
				t.Errorf("%s is not a PNG: %v", p, err)
			}
		case ".HEIC", ".MOV", ".m4a":
			if string(b[4:8]) != "ftyp" {
				t.Errorf("%s begins with %q", p, b[:16])
			}
		case ".plist":
			if _, err := plist.DecodeDict(b); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
	if kinds[".JPG"] < 10 {
		t.Errorf("%d files .JPG, want at least 10", kinds[".JPG"])
	}
	if kinds[".HEIC"] == 0 {
		t.Error("no file .HEIC")
	}
	if kinds[".MOV"] == 0 {
		t.Error("no file .MOV")
	}
	if i, err := f.Stat("DCIM/101APPLE/IMG_1001.MOV"); err != nil {
		t.Errorf("the film: %v", err)
	} else if i.Size != 40<<20 {
		t.Errorf("the film: Size = %v, want %v", i.Size, 40<<20)
	}
}

// TestDeniedDirectory checks that a protected directory answers lstat and refuses all
// other operations.
func TestDeniedDirectory(t *testing.T) {
	t.Parallel()
	f := phonetest.New(t, phone.Options{}).Media
	if i, err := f.Stat("PhotoData/UBF"); err != nil {
		t.Errorf("Stat: %v", err)
	} else if i.Kind != files.Directory {
		t.Errorf("Stat: Kind = %v, want %v", i.Kind, files.Directory)
	}
	for name, err := range map[string]error{
		"list":   phonetest.Err(f.ReadDir("PhotoData/UBF")),
		"stat":   phonetest.Err(f.Stat("PhotoData/UBF/x")),
		"open":   phonetest.Err(f.Open("PhotoData/UBF/x", os.O_RDWR|os.O_CREATE)),
		"remove": f.RemoveAll("PhotoData/UBF"),
		"rename": f.Rename("PhotoData/UBF", "x"),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want fs.ErrPermission", name, err)
		}
	}
}

// TestPhonesShareContents checks that two phones have the same picture, and that a
// change on one phone does not affect the other.
func TestPhonesShareContents(t *testing.T) {
	t.Parallel()
	const name = "DCIM/100APPLE/IMG_0001.JPG"
	a := phonetest.New(t, phone.Options{}).Media
	b := phonetest.New(t, phone.Options{Serial: 1}).Media
	before, err := b.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	h, err := a.Open(name, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.WriteAt([]byte("changed"), 3); err != nil {
		t.Fatal(err)
	}
	after, _ := b.ReadFile(name)
	mine, _ := a.ReadFile(name)
	if !bytes.Equal(before, after) {
		t.Error("a write on one phone changes the file of the other")
	}
	if bytes.Equal(mine, after) {
		t.Error("a write on a phone does not change its file")
	}
	if len(mine) != len(after) {
		t.Errorf("the file has %d bytes after the write, want %d", len(mine), len(after))
	}
}

func BenchmarkStat(b *testing.B) {
	p := phonetest.New(b, phone.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Media.Stat("/DCIM/101APPLE/IMG_1001.MOV"); err != nil {
			b.Fatal(err)
		}
	}
}
