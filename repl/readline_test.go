package repl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyboard is a LineEditor on a terminal for which the test presses the keys.
type keyboard struct {
	LineEditor
	keys *io.PipeWriter
	out  *syncBuffer
}

func newKeyboard(t *testing.T, historyFile string) *keyboard {
	t.Helper()
	r, w := io.Pipe()
	k := &keyboard{keys: w, out: &syncBuffer{}}
	nothing := func() error { return nil }
	e, err := NewReadlineEditor(ReadlineOptions{
		Stdin: r, Stdout: k.out, HistoryFile: historyFile,
		Warn:    func(err error) { t.Errorf("history: %v", err) },
		makeRaw: nothing, exitRaw: nothing, width: func() int { return 80 },
	})
	if err != nil {
		t.Fatal(err)
	}
	k.LineEditor = e
	t.Cleanup(func() { w.Close(); e.Close() })
	return k
}

// press types keys and returns the result of ReadLine.
func (k *keyboard) press(keys string) (string, error) {
	go io.WriteString(k.keys, keys)
	return k.ReadLine("> ")
}

// expect presses keys and compares the input that they make.
func (k *keyboard) expect(t *testing.T, keys, want string) {
	t.Helper()
	got, err := k.press(keys)
	if err != nil {
		t.Errorf("%q gave error %v", keys, err)
	}
	if got != want {
		t.Errorf("%q gave %q, want %q", keys, got, want)
	}
}

// expectEOF checks that ReadLine returns io.EOF and no text.
func (k *keyboard) expectEOF(t *testing.T) {
	t.Helper()
	got, err := k.ReadLine("> ")
	if err != io.EOF {
		t.Errorf("ReadLine = error %v, want EOF", err)
	}
	if got != "" {
		t.Errorf("ReadLine = %q, want nothing", got)
	}
}

const (
	up     = "\x1b[A"
	down   = "\x1b[B"
	left   = "\x1b[D"
	ctrlC  = "\x03"
	ctrlD  = "\x04"
	ctrlU  = "\x15"
	enter  = "\r"
	tabKey = "\t"
)

func TestReadlineKeys(t *testing.T) {
	k := newKeyboard(t, "")
	for _, test := range []struct {
		keys, want string
		err        error
	}{
		{"1 + 1" + enter, "1 + 1", nil},
		{"ac" + left + "b" + enter, "abc", nil},
		{"wrong" + ctrlU + "right" + enter, "right", nil},
		{"half" + ctrlC, "half", ErrInterrupt},
		{ctrlC, "", ErrInterrupt},
		{"again" + enter, "again", nil},
		{pasteBegin + "if x then\n\ty()\nend" + pasteEnd + enter, "if x then\n  y()\nend", nil},
		{"für 世界" + enter, "für 世界", nil},
		{ctrlD, "", io.EOF},
		{"after ctrl-d" + enter, "after ctrl-d", nil},
	} {
		got, err := k.press(test.keys)
		if got != test.want {
			t.Errorf("%q gave %q, want %q", test.keys, got, test.want)
		}
		if err != test.err {
			t.Errorf("%q gave error %v, want %v", test.keys, err, test.err)
		}
	}
	on, off := strings.Count(k.out.String(), pasteOn), strings.Count(k.out.String(), PasteOff)
	if on == 0 {
		t.Error("bracketed paste was not switched on")
	} else if on != off {
		t.Errorf("bracketed paste was switched on %d times and off %d times", on, off)
	}
}

func TestReadlineHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, []byte("oldest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := newKeyboard(t, path)
	k.AddHistory("do\n  x()\nend")
	k.AddHistory("newest")
	for keys, want := range map[string]string{
		up + enter:                  "newest",
		up + up + enter:             "do\n  x()\nend",
		up + up + up + enter:        "oldest",
		up + up + up + down + enter: "do\n  x()\nend",
		up + "!" + enter:            "newest!",
	} {
		k.expect(t, keys, want)
	}
	// Editing an older entry must not change the history.
	if got, _ := k.press(up + up + up + "X" + enter); got != "oldestX" {
		t.Fatalf("got %q", got)
	}
	k.AddHistory("oldestX")
	if got, _ := k.press(up + up + up + up + enter); got != "oldest" {
		t.Errorf("four up gave %q, want oldest", got)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "oldest\ndo" + newlineSign + "  x()" + newlineSign + "end\nnewest\noldestX\n"
	if string(b) != want {
		t.Errorf("the file holds %q, want %q", b, want)
	}
}

func TestReadlineCompletion(t *testing.T) {
	k := newKeyboard(t, "")
	var asked string
	k.SetCompleter(func(line string, cursor int) (string, []string) {
		asked = line[:cursor]
		if strings.HasSuffix(asked, "dev:sys") {
			return "log", nil
		}
		return "", []string{"  lock  locks it", "  log  logs"}
	})
	k.expect(t, "dev:sys"+tabKey+"()"+enter, "dev:syslog()")
	pasted := pasteBegin + "a\nb:" + pasteEnd
	k.expect(t, pasted+tabKey+"lock()"+enter, "a\nb:lock()")
	if asked != "a\nb:" {
		t.Errorf("the completer saw %q", asked)
	}
	if !strings.Contains(k.out.String(), "  lock  locks it\n  log  logs\n") {
		t.Errorf("the candidates were not listed: %q", k.out)
	}
}

// TestReadlineGone closes the terminal after half a line. Without Enter, ReadLine must
// not return the line.
func TestReadlineGone(t *testing.T) {
	k := newKeyboard(t, "")
	go func() {
		io.WriteString(k.keys, "dev:shutdown()")
		k.keys.Close()
	}()
	k.expectEOF(t)
	k.expectEOF(t)
}

func TestReadlineClose(t *testing.T) {
	for _, typed := range []string{"", "half a line"} {
		k := newKeyboard(t, "")
		go func() {
			if typed != "" {
				io.WriteString(k.keys, typed)
			}
			k.Close()
		}()
		k.expectEOF(t)
		k.Close()
		k.expectEOF(t)
	}
}

// TestReadlineAbove prints a line while another line is being typed.
func TestReadlineAbove(t *testing.T) {
	k := newKeyboard(t, "")
	k.SetCompleter(func(string, int) (string, []string) {
		fmt.Fprintln(k.Output(), "tick") // readline is certainly reading now
		return "", nil
	})
	k.expect(t, "ab"+tabKey+"c"+enter, "abc")
	if out := k.out.String(); !strings.Contains(out, "tick\n") {
		t.Errorf("nothing was printed above the prompt: %q", out)
	}
}
