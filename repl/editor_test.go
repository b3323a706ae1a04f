package repl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestPasteFilter(t *testing.T) {
	t.Parallel()
	const sign = newlineSign
	for in, want := range map[string]string{
		"plain\r":                                  "plain\r",
		"\x1b[A\x1b[200x":                          "\x1b[A\x1b[200x",
		pasteBegin + "a\nb" + pasteEnd + "\r":      "a" + sign + "b\r",
		pasteBegin + "a\r\nb\rc\n" + pasteEnd:      "a" + sign + "b" + sign + "c" + sign,
		pasteBegin + "a\tb\x03\x7f\x1b[A":          "a  b[A",
		pasteBegin + "a\r":                         "a" + sign,
		"x" + pasteBegin + pasteEnd + "y\t":        "xy\t",
		pasteBegin + pasteBegin + "z" + pasteEnd:   "[200~z",
		pasteBegin + "ü\n世" + pasteEnd + "\x1b":    "ü" + sign + "世\x1b",
		"\x1b[200~one\x1b[201~\x1b[200~two\n\x1b[": "onetwo" + sign + "[",
	} {
		for name, r := range map[string]io.Reader{
			"at once":      strings.NewReader(in),
			"byte by byte": iotest.OneByteReader(strings.NewReader(in)),
			"with the end": iotest.DataErrReader(strings.NewReader(in)),
		} {
			got, err := io.ReadAll(newPasteFilter(r))
			if err != nil {
				t.Errorf("%s: reading %q failed: %v", name, in, err)
			}
			if string(got) != want {
				t.Errorf("%s: %q became %q, want %q", name, in, got, want)
			}
		}
	}
}

func TestPasteFilterClose(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	f := newPasteFilter(r)
	done := make(chan error)
	go func() {
		_, err := f.Read(make([]byte, 10))
		done <- err
	}()
	f.Close()
	f.Close()
	if err := <-done; err != io.EOF {
		t.Errorf("the waiting Read gave %v, want EOF", err)
	}
	if _, err := f.Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("Read after Close gave %v, want EOF", err)
	}
	if !f.ended() {
		t.Error("ended() = false after Close, want true")
	}
}

// TestPasteFilterNotAhead checks that the filter does not read ahead from the
// terminal, because later input may be for a script.
func TestPasteFilterNotAhead(t *testing.T) {
	t.Parallel()
	reads := make(chan int, 10)
	src := readerFunc(func(p []byte) (int, error) { reads <- 1; return copy(p, "line\r"), nil })
	f := newPasteFilter(src)
	defer f.Close()
	n, err := f.Read(make([]byte, 100))
	if err != nil {
		t.Fatalf("Read failed: %v", err)
	}
	if n != len("line\r") {
		t.Fatalf("Read = %d bytes, want %d", n, len("line\r"))
	}
	if len(reads) != 1 {
		t.Errorf("%d reads of the terminal, want 1", len(reads))
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func FuzzPasteFilter(f *testing.F) {
	f.Add([]byte(pasteBegin + "a\r\n\t" + pasteEnd))
	f.Add([]byte("\x1b[20"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := io.ReadAll(newPasteFilter(strings.NewReader(string(in))))
		if err != nil {
			t.Fatal(err)
		}
		parts, err := io.ReadAll(
			newPasteFilter(iotest.OneByteReader(strings.NewReader(string(in)))),
		)
		if err != nil {
			t.Fatal(err)
		}
		if string(parts) != string(whole) {
			t.Errorf("%q: in one piece %q, byte by byte %q", in, whole, parts)
		}
	})
}

func TestHistory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "history")
	h, err := loadHistory(path)
	if err != nil {
		t.Fatalf("loadHistory of a missing file failed: %v", err)
	}
	if len(h.entries) != 0 {
		t.Fatalf("a missing file has the entries %q, want none", h.entries)
	}
	for _, e := range []string{"one", "two\nlines\n", "one", " secret", "", "one", "three"} {
		if err := h.add(e); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"two\nlines", "one", "three"}
	if !slices.Equal(h.entries, want) {
		t.Errorf("entries %q, want %q", h.entries, want)
	}
	again, err := loadHistory(path)
	if err != nil {
		t.Fatalf("loading again failed: %v", err)
	}
	if !slices.Equal(again.entries, want) {
		t.Errorf("loaded %q, want %q", again.entries, want)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "two" + newlineSign + "lines\none\nthree\n"; string(b) != want {
		t.Errorf("the file contains %q, want %q", b, want)
	}
	checkPrivate(t, path)
}

// checkPrivate checks that only the user may read a file.
func checkPrivate(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return // Windows does not have these modes
	}
	if got := st.Mode().Perm(); got != 0o600 {
		t.Errorf("the mode of the file is %v, want 0600", got)
	}
}

func TestHistoryTightensMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, []byte("x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadHistory(path); err != nil {
		t.Fatal(err)
	}
	checkPrivate(t, path)
}

func TestHistoryLimit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history")
	var b strings.Builder
	for i := range historyLimit + 10 {
		fmt.Fprintln(&b, "entry", i)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := loadHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	checkEntries(t, h, "entry 10")
	if err := h.add("one more"); err != nil {
		t.Fatal(err)
	}
	checkEntries(t, h, "entry 11")
	lines, err := readHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := historyLimit + 1; len(lines) != want {
		t.Errorf("the file has %d lines, want %d: the limit and the new one", len(lines), want)
	}
}

// checkEntries checks that a history is full and begins with an entry.
func checkEntries(t *testing.T, h *history, first string) {
	t.Helper()
	if len(h.entries) != historyLimit {
		t.Fatalf("%d entries, want %d", len(h.entries), historyLimit)
	}
	if h.entries[0] != first {
		t.Errorf("the first entry is %q, want %q", h.entries[0], first)
	}
}

func TestHistoryUnreadable(t *testing.T) {
	t.Parallel()
	h, err := loadHistory(t.TempDir()) // a folder
	if err == nil {
		t.Error("a folder was read as a history")
	}
	if err := h.add("x"); err == nil {
		t.Error("add() = nil, want the error of the file")
	}
	if want := []string{"x"}; !slices.Equal(h.entries, want) {
		t.Errorf("entries %q, want %q in memory", h.entries, want)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	var direct, above strings.Builder
	o := NewOutput(&direct)
	fmt.Fprint(o, "no newline")
	o.prompt(&above)
	fmt.Fprint(o, "ha")
	fmt.Fprint(o, "lf\nrest")
	if got, want := above.String(), "half\n"; got != want {
		t.Errorf("above the prompt %q, want %q", got, want)
	}
	o.run()
	fmt.Fprint(o, " of it\n")
	o.prompt(&above)
	if got, want := direct.String(), "no newline\nrest of it\n"; got != want {
		t.Errorf("directly %q, want %q", got, want)
	}
	fmt.Fprint(o, strings.Repeat("x", maxPartial+1))
	if got := above.Len(); got <= maxPartial {
		t.Errorf("an endless line was held back: %d bytes shown", got)
	}
}

func TestOutputError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe")
	o := NewOutput(io.Discard)
	o.prompt(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := fmt.Fprintln(o, "x"); !errors.Is(err, broken) {
		t.Errorf("Write = %v, want the terminal's error", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestGlobalise(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"local a = 1":                    "      a = 1",
		"local a":                        "      a = nil",
		"local a, b; c = 1":              "      a, b = nil; c = 1",
		"local a, b = f()":               "      a, b = f()",
		"local function f() local x end": "      function f() local x end",

		"if x then local a elseif y then local b else local c end local d": "if x then local a elseif y then local b else local c end       d = nil",

		"for i = 1, 2 do local a end\nlocal b = 1": "for i = 1, 2 do local a end\n      b = 1",
		"while x do local a end local b":           "while x do local a end       b = nil",
		"repeat local a until a local b":           "repeat local a until a       b = nil",

		"t = { f = function() local a end } local b": "t = { f = function() local a end }       b = nil",

		"s = 'local a' -- local b": "s = 'local a' -- local b",
		"s = [[local a]] local b":  "s = [[local a]]       b = nil",
		"s = [==[ ]] local a ]==]": "s = [==[ ]] local a ]==]",
		"--[[ local a ]] local b":  "--[[ local a ]]       b = nil",
		`s = "\"local a" local b`:  `s = "\"local a"       b = nil`,
		"localx = 1":               "localx = 1",
		"local a == 1":             "      a = nil == 1",
		"local":                    "local",
	} {
		if got := globalise(in); got != want {
			t.Errorf("globalise(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzGlobalise(f *testing.F) {
	f.Add("local a, b = 1 local function f() end --[[ x")
	f.Add("local a,")
	f.Add("local 0,local 0,local")
	f.Fuzz(func(t *testing.T, src string) {
		if got := globalise(src); strings.Count(got, "\n") != strings.Count(src, "\n") {
			t.Errorf("globalise(%q) = %q has other lines", src, got)
		}
	})
}

func TestPlainEditor(t *testing.T) {
	t.Parallel()
	e := NewPlainEditor(strings.NewReader("one\r\n"+strings.Repeat("x", 100_000)+"\nlast"),
		io.Discard)
	for _, want := range []string{"one", strings.Repeat("x", 100_000), "last"} {
		got, err := e.ReadLine("> ")
		if err != nil {
			t.Fatalf("ReadLine failed: %v", err)
		}
		if got != want {
			t.Fatalf("ReadLine = %.20q (%d bytes), want %.20q (%d)", got, len(got), want, len(want))
		}
	}
	if _, err := e.ReadLine("> "); err != io.EOF {
		t.Errorf("ReadLine at the end = %v, want EOF", err)
	}
	e = NewPlainEditor(readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	}), io.Discard)
	if _, err := e.ReadLine("> "); err == nil || err == io.EOF {
		t.Errorf("ReadLine of an endless line = %v, want an error about its length", err)
	}
}
