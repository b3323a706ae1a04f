package savefile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var errCut = errors.New("cut off")

func write(text string, err error) func(*os.File) error {
	return func(f *os.File) error {
		if _, err := f.WriteString(text); err != nil {
			return err
		}
		return err
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := filepath.Join(dir, "a.txt")
	if err := File(p, Options{}, write("half", errCut)); !errors.Is(err, errCut) {
		t.Errorf("File = %v, want the error of write", err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("a failed File left %q", left)
	}
	when := time.Unix(1_500_000_000, 0)
	if err := File(p, Options{ModTime: when}, write("first", nil)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(when) {
		t.Errorf("time %v, want %v", info.ModTime(), when)
	}
	if err := File(p, Options{}, write("half", errCut)); !errors.Is(err, errCut) {
		t.Errorf("File = %v, want the error of write", err)
	}
	if got := content(t, p); got != "first" {
		t.Errorf("after a failed File the file holds %q", got)
	}
	if err := os.Chmod(p, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := File(p, Options{}, write("second", nil)); err != nil {
		t.Fatal(err)
	}
	info, err = os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, p); got != "second" {
		t.Errorf("the file has %q, want second", got)
	} else if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, want 0600", info.Mode())
	}
	if left := names(t, dir); !slices.Equal(left, []string{"a.txt"}) {
		t.Errorf("left %q", left)
	}
}

func TestFilePanic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = File(filepath.Join(dir, "a"), Options{}, func(*os.File) error { panic("broken") })
	}()
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestInStays: nothing is written through a link or outside of the root.
func TestInStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for _, d := range []string{in, out} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"file": "../out/file", "dir": "../out"} {
		if err := os.Symlink(target, filepath.Join(in, link)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(in)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"../out/x", "dir/x", "/x"} {
		if err := In(root, name, Options{}, write("x", nil)); err == nil {
			t.Errorf("In wrote %q", name)
		}
	}
	if err := In(root, "file", Options{}, write("x", nil)); err != nil {
		t.Error(err)
	}
	if left := names(t, out); len(left) > 0 {
		t.Errorf("outside: %q", left)
	}
	if err := os.Mkdir(filepath.Join(in, "d"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := In(root, "d", Options{}, write("x", nil)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("In over a directory: %v, want fs.ErrExist", err)
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200) // 400 bytes, 200 units
	cut := strings.Repeat("x", maxName)
	tests := []struct{ name, linux, darwin, windows string }{
		{"IMG_0001.HEIC", "", "", ""},
		{".hidden", "", "", ""},
		{"a b  c.txt", "", "", ""},
		{"com10", "", "", ""},
		{"console", "", "", ""},
		{"12:30.mov", "", "", "12_30.mov"},
		{`<a>"b"|c?*`, "", "", "_a__b__c__"},
		{`..\x`, "", "", ".._x"},
		{"tab\tline\n", "", "", "tab_line_"},
		{"dots...", "", "", "dots___"},
		{"space ", "", "", "space_"},
		{"CON", "", "", "CON_"},
		{"con.txt", "", "", "con_.txt"},
		{"nul .tar.gz", "", "", "nul _.tar.gz"},
		{"Com1", "", "", "Com1_"},
		{"LPT².log", "", "", "LPT²_.log"},
		{"CONOUT$", "", "", "CONOUT$_"},
		{"..", "__", "__", "__"},
		{".", "_", "_", "_"},
		{"", "_", "_", "_"},
		{"a/b\x00c", "a_b_c", "a_b_c", "a_b_c"},
		{"bad\xffbyte", "", "bad_byte", "bad_byte"},
		{"bad\xff/byte", "bad\xff_byte", "bad__byte", "bad__byte"},
		{long + ".mov", long[:250] + ".mov", long[:250] + ".mov", ""},
		{cut + cut[:45], cut, cut, cut},
	}
	for _, tt := range tests {
		wants := map[string]string{"linux": tt.linux, "darwin": tt.darwin, "windows": tt.windows}
		for goos, want := range wants {
			if want == "" {
				want = tt.name
			}
			if got := Name(goos, tt.name); got != want {
				t.Errorf("Name(%s, %q) = %q, want %q", goos, tt.name, got, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	in := []string{"A.txt", "a.txt", "a:b", "a_b", "cafe\u0301", "caf\u00e9", "a?b"}
	for goos, want := range map[string][]string{
		"linux":   in,
		"darwin":  {"A.txt", "a~2.txt", "a:b", "a_b", "cafe\u0301", "caf\u00e9~2", "a?b"},
		"windows": {"A.txt", "a~2.txt", "a_b~2", "a_b", "cafe\u0301", "caf\u00e9~2", "a_b~3"},
	} {
		if got := Names(goos, in); !slices.Equal(got, want) {
			t.Errorf("Names(%s) = %q, want %q", goos, got, want)
		}
	}
	same := strings.Repeat("x", 300)
	got := Names("linux", []string{same + "1.mov", same + "2.mov"})
	if got[0] == got[1] {
		t.Errorf("two long names both became %q", got[0])
	}
	if len(got[0]) != maxName {
		t.Errorf("the first name has %d bytes, want %d", len(got[0]), maxName)
	}
	if len(got[1]) != maxName {
		t.Errorf("the second name has %d bytes, want %d", len(got[1]), maxName)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a:b", "A.TXT")
	f.Add("CON", "con_")
	f.Add(strings.Repeat("x", 254)+". y", `..\..`)
	f.Add("\xff\xfe", "x. ")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, goos := range []string{"linux", "darwin", "windows"} {
			out := Names(goos, []string{a, b})
			if a != b && fold(goos, out[0]) == fold(goos, out[1]) {
				t.Errorf("%s: %q and %q are both %q", goos, a, b, out)
			}
			for _, name := range out {
				if Name(goos, name) != name {
					t.Errorf("%s: %q is not a safe name: %q", goos, name, Name(goos, name))
				}
				if !filepath.IsLocal(name) {
					t.Errorf("%s: %q is not local", goos, name)
				}
				if strings.ContainsAny(name, "/\x00") {
					t.Errorf("%s: %q is not one element", goos, name)
				}
				if length(goos, name) > maxName {
					t.Errorf("%s: %q is too long", goos, name)
				}
			}
		}
	})
}

// TestWriter checks that a file of several parts is whole, and that an error of the file
// is returned.
func TestWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	piece := make([]byte, early/2+1)
	for i := range piece {
		piece[i] = byte(i % 251)
	}
	const pieces = 5
	var closed io.Writer
	err := File(path, Options{}, func(f *os.File) error {
		w := Writer(f)
		for range pieces {
			n, err := w.Write(piece)
			if err != nil {
				return err
			}
			if n != len(piece) {
				return io.ErrShortWrite
			}
		}
		closed = w
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.Repeat(piece, pieces)) {
		t.Errorf("the file has %d bytes that differ from the %d that were written",
			len(got), pieces*len(piece))
	}
	if _, err := closed.Write(piece); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after the end: %v, want %v", err, os.ErrClosed)
	}
}
