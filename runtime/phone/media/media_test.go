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
		if err != nil || int64(len(b)) != i.Size {
			t.Errorf("%s: %d bytes of %d, %v", p, len(b), i.Size, err)
			return
		}
		switch path.Ext(p) {
		case ".JPG":
			m, err := jpeg.Decode(bytes.NewReader(b))
			if err != nil || m.Bounds().Dx() != 320 {
				t.Errorf("%s is not a JPEG: %v", p, err)
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
	if kinds[".JPG"] < 10 || kinds[".HEIC"] == 0 || kinds[".MOV"] == 0 {
		t.Errorf("kinds of files: %v", kinds)
	}
	if i, err := f.Stat("DCIM/101APPLE/IMG_1001.MOV"); err != nil || i.Size != 40<<20 {
		t.Errorf("the film: %+v, %v", i, err)
	}
}

// TestDeniedDirectory: some directories answer lstat and nothing else.
func TestDeniedDirectory(t *testing.T) {
	t.Parallel()
	f := phonetest.New(t, phone.Options{}).Media
	if i, err := f.Stat("PhotoData/UBF"); err != nil || i.Kind != files.Directory {
		t.Errorf("Stat = %+v, %v", i, err)
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

// TestPhonesShareContents: the same picture, but changes stay with a phone.
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
	if !bytes.Equal(before, after) || bytes.Equal(mine, after) || len(mine) != len(after) {
		t.Error("a write on one phone shows on the other, or not at all")
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
