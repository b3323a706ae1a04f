package plist

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// cases returns the documents in testdata/cases, by name.
func cases(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/cases/*.plist")
	if err != nil {
		t.Fatalf("listing the cases: %v", err)
	} else if len(files) == 0 {
		t.Fatal("testdata/cases has no property lists")
	}
	out := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".plist")] = b
	}
	return out
}

func TestCases(t *testing.T) {
	t.Parallel()
	results := map[string]any{
		"b-int128":      Dict{"i": uint64(math.MaxUint64)},
		"b-intkey":      errKey,
		"b-set":         errSet,
		"b-two-data":    []any{[]byte("a"), []byte("b")},
		"x-date-offset": Dict{"d": time.Date(2016, 11, 9, 23, 25, 56, 0, time.UTC)},
		"x-latin1":      Dict{"a": "hé"},
		"x-uid-dict":    Dict{"u": UID(4)},
		"x-utf16":       Dict{"a": "hé"},
	}
	documents := cases(t)
	for name, want := range results {
		got, err := Decode(documents[name])
		if refusal, ok := want.(error); ok {
			if !errors.Is(err, refusal) {
				t.Errorf("%s: %v, %v; want %v", name, got, err, refusal)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, want %#v", name, got, want)
		}
	}
	if len(documents) != len(results) {
		t.Errorf("%d documents, %d results", len(documents), len(results))
	}
}

func toUTF16(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestCharsets(t *testing.T) {
	t.Parallel()
	big, little := binary.BigEndian, binary.LittleEndian
	const declared = `<?xml version="1.0" encoding="utf-16"?><plist><string>ü📱</string></plist>`
	const plain = `<plist><string>ü📱</string></plist>`
	prolog := func(name string) string {
		return "<?xml version='1.0' encoding = '" + name + "' ?><plist><string>"
	}
	for _, c := range []struct{ name, in, want string }{
		{"little endian", utf16LittleMark + toUTF16(declared, little), "ü📱"},
		{"big endian", utf16BigMark + toUTF16(declared, big), "ü📱"},
		{"little endian without a mark", toUTF16(declared, little), "ü📱"},
		{"big endian without a mark", toUTF16(plain, big), "ü📱"},
		{"lone surrogate", utf16BigMark + toUTF16("<plist><string>", big) + "\xd8\x3d" +
			toUTF16("x</string></plist>", big), "\uFFFDx"},
		{"Latin-1", prolog("ISO-8859-1") + "\xfc\x80</string></plist>", "ü\u0080"},
		{"ASCII", prolog("US-ASCII") + "u</string></plist>", "u"},
		{"UTF-8", prolog("utf-8") + "ü</string></plist>", "ü"},
	} {
		f, err := FormatOf([]byte(c.in))
		if f != XML {
			t.Errorf("%s: the form is %v, want %v", c.name, f, XML)
		}
		if err != nil {
			t.Errorf("%s: FormatOf: %v", c.name, err)
		}
		got, err := Decode([]byte(c.in))
		if err != nil {
			t.Errorf("%s: Decode: %v", c.name, err)
		} else if got != c.want {
			t.Errorf("%s: Decode = %q, want %q", c.name, got, c.want)
		}
	}
	for name, in := range map[string]string{
		"half a unit": utf16BigMark + toUTF16(plain, big) + "\x00",
		"UTF-16 with another name": utf16BigMark +
			toUTF16(prolog("utf-8")+"x</string></plist>", big),
		"UTF-8 with another name": prolog("utf-16") + "x</string></plist>",
		"unknown name":            prolog("x-klingon") + "x</string></plist>",
		"UTF-32":                  "\xff\xfe\x00\x00<\x00\x00\x00p\x00\x00\x00",
		"not UTF-8":               prolog("utf-8") + "\xfc</string></plist>",
	} {
		v, err := Decode([]byte(in))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: Decode = %v, want an Error", name, err)
		} else if v != nil {
			t.Errorf("%s: Decode returns %v with its error", name, v)
		}
	}
}
