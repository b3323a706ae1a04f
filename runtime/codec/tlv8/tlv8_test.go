package tlv8

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func repeat(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func TestVectors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wire string
		want List
	}{
		{"nothing", "", nil},
		{"pair-setup M1", "00 01 00 06 01 01", List{Byte(Method, 0), Byte(State, 1)}},
		{
			"back-off of pair-setup M2", "07 01 03 08 02 7c20 06 01 02",
			List{Byte(PairingError, CodeBackOff), {RetryDelay, []byte{0x7c, 0x20}}, Byte(State, 2)},
		},
		{"empty value", "01 00 06 01 03", List{{Identifier, []byte{}}, Byte(State, 3)}},
		{
			"repeated with separator", "01 01 61 ff 00 01 01 62",
			List{Text(Identifier, "a"), {Separator, []byte{}}, Text(Identifier, "b")},
		},
		{
			"repeated behind another type", "01 01 61 06 01 04 01 01 62",
			List{Text(Identifier, "a"), Byte(State, 4), Text(Identifier, "b")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wire := unhex(t, tt.wire)
			got, err := Decode(wire)
			if err != nil {
				t.Fatalf("Decode(% x): %v", wire, err)
			} else if !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("Decode(% x) = %v, want %v", wire, got, tt.want)
			}
			if back, err := Append(nil, got); err != nil {
				t.Errorf("Append(%v): %v", got, err)
			} else if !bytes.Equal(back, wire) {
				t.Errorf("Append(%v) = % x\nwant % x", got, back, wire)
			}
		})
	}
}

func TestFragments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size int
		want []int // lengths of the fragments
	}{
		{0, []int{0}}, {1, []int{1}}, {254, []int{254}}, {255, []int{255}}, {256, []int{255, 1}},
		{310, []int{255, 55}}, {384, []int{255, 129}}, {510, []int{255, 255}},
		{511, []int{255, 255, 1}},
	} {
		value := make([]byte, tt.size)
		for i := range value {
			value[i] = byte(i * 7)
		}
		wire, err := Append([]byte("head"), List{{PublicKey, value}, Byte(State, 2)})
		if err != nil {
			t.Fatal(err)
		}
		rest, ok := bytes.CutPrefix(wire, []byte("head"))
		if !ok {
			t.Fatalf("Append did not keep what was there: % x", wire[:4])
		}
		for i, n := range tt.want {
			if rest[0] != PublicKey {
				t.Fatalf("%d bytes: fragment %d is type %d, want %d", tt.size, i, rest[0],
					PublicKey)
			} else if int(rest[1]) != n {
				t.Fatalf("%d bytes: fragment %d has the length %d, want %d", tt.size, i, rest[1], n)
			}
			rest = rest[2+n:]
		}
		if !bytes.Equal(rest, []byte{State, 1, 2}) {
			t.Fatalf("%d bytes: % x behind the fragments", tt.size, rest)
		}
		got, err := Decode(wire[4:])
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := got.Get(PublicKey); !ok {
			t.Errorf("%d bytes came back without the public key", tt.size)
		} else if !bytes.Equal(v, value) {
			t.Errorf("%d bytes came back as other %d bytes", tt.size, len(v))
		} else if len(got) != 2 {
			t.Errorf("%d bytes came back in %d items, want 2", tt.size, len(got))
		}
	}
}

// idevice cuts at 254 bytes, and nothing forbids uneven fragments.
func TestForeignFragments(t *testing.T) {
	t.Parallel()
	for _, sizes := range [][]int{{254, 130}, {255, 0}, {1, 1, 1}, {0, 5}, {254, 254, 1}} {
		var wire, want []byte
		for i, n := range sizes {
			wire = append(append(wire, PublicKey, byte(n)), repeat(byte(i), n)...)
			want = append(want, repeat(byte(i), n)...)
		}
		got, err := Decode(wire)
		if err != nil {
			t.Errorf("Decode of the fragments %v: %v", sizes, err)
		} else if len(got) != 1 {
			t.Errorf("Decode of the fragments %v has %d items, want 1", sizes, len(got))
		} else if !bytes.Equal(got[0].Value, want) {
			t.Errorf("Decode of the fragments %v = % x\nwant % x", sizes, got[0].Value, want)
		}
	}
}

func TestGetters(t *testing.T) {
	t.Parallel()
	l := List{
		Text(Identifier, "ab"), Byte(State, 4), {RetryDelay, []byte{0x7c, 0x20}}, {Separator, nil},
		{Salt, repeat(1, 16)}, Byte(State, 5),
	}
	if s, ok := l.Text(Identifier); !ok || s != "ab" {
		t.Errorf("Text = %q, %v", s, ok)
	}
	if _, ok := l.Text(Proof); ok {
		t.Error("Text finds a type that is not there")
	}
	for _, tt := range []struct {
		typ  byte
		want uint64
		ok   bool
	}{{
		State, 4, true,
	}, {RetryDelay, 0x207c, true}, {Separator, 0, false}, {Salt, 0, false}, {Proof, 0, false}} {
		if n, ok := l.Uint(tt.typ); n != tt.want || ok != tt.ok {
			t.Errorf("Uint(%#x) = %d, %v, want %d, %v", tt.typ, n, ok, tt.want, tt.ok)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	many := func(n int) (b []byte) {
		for i := range n {
			b = append(b, byte(i%2), 0)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		wire []byte
		want error
	}{
		{"type alone", []byte{6}, ErrTruncated},
		{"value missing", []byte{6, 1}, ErrTruncated},
		{"value short", []byte{6, 1, 1, 3, 255, 0}, ErrTruncated},
		{"too long", make([]byte, MaxSize+1), ErrLimit},
		{"too many items", many(MaxItems + 1), ErrLimit},
	} {
		got, err := Decode(tt.wire)
		var e *Error
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: Decode = %v, want %v", tt.name, err, tt.want)
		} else if !errors.As(err, &e) {
			t.Errorf("%s: Decode = %v, want an Error", tt.name, err)
		} else if e.Op != "decode" {
			t.Errorf("%s: Decode has Op = %v, want %v", tt.name, e.Op, "decode")
		} else if got != nil {
			t.Errorf("%s: Decode returns %v with its error", tt.name, got)
		}
	}
	if got, err := Decode(many(MaxItems)); err != nil {
		t.Errorf("Decode of %d items: %v", MaxItems, err)
	} else if len(got) != MaxItems {
		t.Errorf("Decode of %d items has %d", MaxItems, len(got))
	}
	for _, tt := range []struct {
		name string
		list List
		want error
	}{
		{"neighbours", List{Byte(State, 1), Byte(State, 2)}, ErrAdjacent},
		{"long value", List{{Salt, make([]byte, MaxSize+1)}}, ErrLimit},
		{"long with headers", List{{Salt, make([]byte, MaxSize)}}, ErrLimit},
		{"many", make(List, MaxItems+1), ErrLimit},
	} {
		got, err := Append(nil, tt.list)
		if got != nil {
			t.Errorf("%s: Append returns %d bytes", tt.name, len(got))
		} else if !errors.Is(err, tt.want) {
			t.Errorf("%s: Append = %v, want %v", tt.name, err, tt.want)
		}
	}
	_, err := Decode([]byte{6, 1, 1, 3, 255, 0})
	if want := "tlv8: decode: item at 3: list ends inside an item"; err.Error() != want {
		t.Errorf("error text %q, want %q", err, want)
	}
}

// Decoded values must not change when the caller uses its buffer again.
func TestDecodeCopies(t *testing.T) {
	t.Parallel()
	wire := []byte{6, 1, 1}
	got, err := Decode(wire)
	if err != nil {
		t.Fatal(err)
	}
	wire[2] = 9
	if n, _ := got.Uint(State); n != 1 {
		t.Errorf("State became %d with the buffer", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "000100060101", "07010308027c20060102", "0101610600", "03ff", "ff00ff00",
		"030103030104",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var list List
		var err error
		fuzztest.Bounded(t, len(b), func() { list, err = Decode(b) })
		if fuzztest.Typed[*Error](t, "Decode", err); err != nil {
			return
		}
		wire, err := Append(nil, list)
		if err != nil {
			t.Fatalf("Append(%v): %v", list, err)
		}
		again, err := Decode(wire)
		if err != nil {
			t.Fatalf("Decode(% x): %v", wire, err)
		} else if !reflect.DeepEqual(list, again) {
			t.Fatalf("Decode(% x) = %v, want %v", wire, list, again)
		}
	})
}

func setupM2() List {
	return List{Byte(State, 2), {Salt, repeat(1, 16)}, {PublicKey, repeat(2, 384)}}
}

func BenchmarkDecode(b *testing.B) {
	wire, err := Append(nil, setupM2())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	list, buf := setupM2(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(buf, list); err != nil {
			b.Fatal(err)
		}
	}
}
