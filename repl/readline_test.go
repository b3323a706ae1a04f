package repl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyboard is a terminal whose keys the test presses.
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

// press types keys and returns the input that they make.
func (k *keyboard) press(keys string) (string, error) {
	go io.WriteString(k.keys, keys)
	return k.ReadLine("> ")
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
		if got != test.want || err != test.err {
			t.Errorf("%q gave %q, %v, want %q, %v", test.keys, got, err, test.want, test.err)
		}
	}
	on, off := strings.Count(k.out.String(), pasteOn), strings.Count(k.out.String(), PasteOff)
	if on == 0 || on != off {
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
		if got, err := k.press(keys); got != want || err != nil {
			t.Errorf("%q gave %q, %v, want %q", keys, got, err, want)
		}
	}
	// An older entry that was changed must not change the history.
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
	if got, err := k.press("dev:sys" + tabKey + "()" + enter); got != "dev:syslog()" || err != nil {
		t.Errorf("gave %q, %v", got, err)
	}
	pasted := pasteBegin + "a\nb:" + pasteEnd
	if got, err := k.press(pasted + tabKey + "lock()" + enter); got != "a\nb:lock()" || err != nil {
		t.Errorf("gave %q, %v", got, err)
	}
	if asked != "a\nb:" {
		t.Errorf("the completer saw %q", asked)
	}
	if !strings.Contains(k.out.String(), "  lock  locks it\n  log  logs\n") {
		t.Errorf("the candidates were not listed: %q", k.out)
	}
}

// TestReadlineGone has the terminal vanish behind half a line: nobody pressed
// Enter, so it is not run.
func TestReadlineGone(t *testing.T) {
	k := newKeyboard(t, "")
	go func() {
		io.WriteString(k.keys, "dev:shutdown()")
		k.keys.Close()
	}()
	if got, err := k.ReadLine("> "); got != "" || err != io.EOF {
		t.Errorf("ReadLine = %q, %v, want EOF", got, err)
	}
	if _, err := k.ReadLine("> "); err != io.EOF {
		t.Errorf("ReadLine = %v, want EOF again", err)
	}
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
		if got, err := k.ReadLine("> "); got != "" || err != io.EOF {
			t.Errorf("%q: ReadLine = %q, %v, want EOF", typed, got, err)
		}
		k.Close()
		if _, err := k.ReadLine("> "); err != io.EOF {
			t.Errorf("ReadLine after Close = %v, want EOF", err)
		}
	}
}

// TestReadlineAbove prints while a line is being typed, as background tasks do.
func TestReadlineAbove(t *testing.T) {
	k := newKeyboard(t, "")
	k.SetCompleter(func(string, int) (string, []string) {
		fmt.Fprintln(k.Output(), "tick") // a moment at which it certainly reads
		return "", nil
	})
	if got, err := k.press("ab" + tabKey + "c" + enter); got != "abc" || err != nil {
		t.Errorf("gave %q, %v", got, err)
	}
	if out := k.out.String(); !strings.Contains(out, "tick\n") {
		t.Errorf("nothing was printed above the prompt: %q", out)
	}
}
