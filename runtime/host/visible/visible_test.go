package visible

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShown(t *testing.T) {
	t.Parallel()
	const bold, red = "\x1b[1m", "\x1b[31m"
	for _, test := range []struct{ name, in, text, line, styled, label string }{
		{"plain", "Ana's iPhone", "Ana's iPhone", "Ana's iPhone", "Ana's iPhone", "Ana's iPhone"},
		{"other scripts", "é 日本 🙂 שלום", "é 日本 🙂 שלום", "é 日本 🙂 שלום", "é 日本 🙂 שלום",
			"é 日本 🙂 שלום"},
		{"title", "a\x1b]0;owned\x07b", `a\x1b]0;owned\x07b`, `a\x1b]0;owned\x07b`,
			`a\x1b]0;owned\x07b`, `a\x1b]0;owned\x07b`},
		{"cursor", "\x1b[2J\x1b[H", `\x1b[2J\x1b[H`, `\x1b[2J\x1b[H`, `\x1b[2J\x1b[H`,
			`\x1b[2J\x1b[H`},
		{"colour", red + "x", `\x1b[31mx`, `\x1b[31mx`, red + "x" + reset, red + "x" + reset},
		{"hidden", "\x1b[0;8mx", `\x1b[0;8mx`, `\x1b[0;8mx`, `\x1b[0;8mx`, `\x1b[0;8mx`},
		{"blink", "\x1b[05mx", `\x1b[05mx`, `\x1b[05mx`, `\x1b[05mx`, `\x1b[05mx`},
		{"colour 8", "\x1b[38;5;8mx", `\x1b[38;5;8mx`, `\x1b[38;5;8mx`, "\x1b[38;5;8mx" + reset,
			"\x1b[38;5;8mx" + reset},
		{"hidden behind a colour", "\x1b[38;5;8;8mx", `\x1b[38;5;8;8mx`, `\x1b[38;5;8;8mx`,
			`\x1b[38;5;8;8mx`, `\x1b[38;5;8;8mx`},
		{"cut off", bold + "\x1b[3", `\x1b[1m\x1b[3`, `\x1b[1m\x1b[3`, bold + `\x1b[3` + reset,
			bold + `\x1b[3` + reset},
		{"lines", "a\tb\nc\r\nd\re", "a\tb\nc\r\nd\\re", `a\tb\nc\r\nd\re`, "a\tb\nc\r\nd\\re",
			"a b c d e"},
		{"C1", "\u009b31m\u0085\u007f", `\u009b31m\u0085\u007f`, `\u009b31m\u0085\u007f`,
			`\u009b31m\u0085\u007f`, `\u009b31m\u0085\u007f`},
		{"bytes", "\x9b31m\xff", `\x9b31m\xff`, `\x9b31m\xff`, `\x9b31m\xff`, `\x9b31m\xff`},
		{"bidi", "a\u202etxt.exe\u2066b", `a\u202etxt.exe\u2066b`, `a\u202etxt.exe\u2066b`,
			`a\u202etxt.exe\u2066b`, `a\u202etxt.exe\u2066b`},
		{"replacement", "a\ufffdb", "a\ufffdb", "a\ufffdb", "a\ufffdb", "a\ufffdb"},
		{"ended", red + "x\x1b[m\n", `\x1b[31mx\x1b[m` + "\n", `\x1b[31mx\x1b[m\n`,
			red + "x\x1b[m\n", red + "x\x1b[m "},
		{"open at the end of a line", red + "x\r\n", `\x1b[31mx` + "\r\n", `\x1b[31mx\r\n`,
			red + "x" + reset + "\r\n", red + "x " + reset},
		{"empty", "", "", "", "", ""},
	} {
		for _, f := range []struct {
			name string
			f    func(string) string
			want string
		}{
			{"Text", Text, test.text}, {"Line", Line, test.line},
			{"Styled", Styled, test.styled}, {"Label", Label, test.label},
		} {
			if got := f.f(test.in); got != f.want {
				t.Errorf("%s: %s(%q) = %q, want %q", test.name, f.name, test.in, got, f.want)
			}
		}
	}
}

func TestRow(t *testing.T) {
	t.Parallel()
	if got, want := Row("a\nb\rc\td\x1b"), `a\nb\rc\td`+"\x1b"; got != want {
		t.Errorf("Row = %q, want %q", got, want)
	}
}

// TestJSON escapes JSON. The result must still have the same value.
func TestJSON(t *testing.T) {
	t.Parallel()
	const value = "a\x1b\x7f\u009b\u202e\u2069\n"
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal([]byte(Text(string(b))), &got); err != nil {
		t.Fatal(err)
	}
	if got != value {
		t.Errorf("the escaped JSON has the value %q, want %q", got, value)
	}
}

func FuzzShown(f *testing.F) {
	f.Add("a\x1b[31mb\x9b\u202e\r\n")
	f.Add("\x1b[38;5;8;8m")
	f.Fuzz(func(t *testing.T, s string) {
		line := Line(s)
		if strings.IndexFunc(line, obeyed) >= 0 {
			t.Errorf("Line(%q) = %q, want no control characters", s, line)
		}
		if !utf8.ValidString(line) {
			t.Errorf("Line(%q) = %q, want valid UTF-8", s, line)
		}
		rest := Styled(s)
		for at := strings.IndexByte(rest, 0x1b); at >= 0; at = strings.IndexByte(rest, 0x1b) {
			n := Style(rest[at:])
			if n == 0 {
				t.Fatalf("Styled(%q) keeps %q", s, rest[at:])
			}
			rest = rest[at+n:]
		}
		text := Text(s)
		if again := Text(text); again != text {
			t.Errorf("Text(%q) = %q, and Text of that is %q, want no change", s, text, again)
		}
		if strings.ContainsRune(text, 0x1b) {
			t.Errorf("Text(%q) = %q, want no escape character", s, text)
		}
	})
}

// TestMarked checks that every line but the first gets a mark.
func TestMarked(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"plain\ttext":           "plain\ttext",
		"a\n  hint: b":          "a\n  |   hint: b",
		"a\r\n\nb":              "a\n  | \n  | b",
		"a\rb":                  "a\n  | b",
		"a\vb\fc":               "a\n  | b\n  | c",
		"a\u0085b":              "a\n  | b",
		"a\u2028b\u2029c\u2028": "a\n  | b\n  | c",
		"ends\r\n\n":            "ends",
	} {
		if got := Marked(in); got != want {
			t.Errorf("Marked(%q) = %q, want %q", in, got, want)
		}
		if got := Joined(in); strings.ContainsAny(got, breaks) {
			t.Errorf("Joined(%q) = %q, want one line", in, got)
		}
	}
}
