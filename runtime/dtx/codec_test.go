package dtx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
)

func TestArgs(t *testing.T) {
	t.Parallel()
	list := []Arg{
		Int32(-5), Int64(1 << 40), Double(2.5), Buffer(nil),
		{Kind: ArgString, Bytes: []byte("text")}, {Kind: ArgNull},
		{Kind: ArgUint32, Bits: 1<<32 - 1},
		{Kind: ArgFloat, Bits: uint64(math.Float32bits(0.25))},
		{Kind: ArgDict, Pairs: []Arg{{Kind: ArgNull}, Int32(7)}},
		Buffer([]byte("no archive")),
	}
	b := AppendArgs(nil, list)
	got, err := DecodeArgs(b)
	if err != nil {
		t.Fatal(err)
	}
	want := Args{
		int64(-5), int64(1 << 40), 2.5, nil, "text", nil, int64(1<<32 - 1), 0.25,
		[]any{nil, int64(7)}, []byte("no archive"),
	}
	for i, a := range got {
		v, err := a.Value(nil)
		if err != nil {
			t.Errorf("argument %d: %v", i, err)
			continue
		}
		if !reflect.DeepEqual(v, want[i]) {
			t.Errorf("argument %d = %v, want %v", i, v, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d arguments, want %d", len(got), len(want))
	}
	if again := AppendArgs(nil, got); !bytes.Equal(again, b) {
		t.Errorf("encoded again: % x, want % x", again, b)
	}

	// Sizes are set in the upper bits of some tags.
	odd := bytes.Clone(b)
	odd[auxHeaderSize+1] = 0x80
	got, err = DecodeArgs(odd)
	if err != nil {
		t.Errorf("tag with upper bits: %v", err)
	}
	if len(got) != len(list) {
		t.Errorf("tag with upper bits: %d arguments, want %d", len(got), len(list))
	}
	values, err := appendValues(nil, []any{Int32(1), nil, "x"})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := nskeyed.Encode("x")
	if err != nil {
		t.Fatal(err)
	}
	if want := AppendArgs(nil, []Arg{Int32(1), Buffer(nil), Buffer(archive)}); !bytes.Equal(values,
		want) {
		t.Errorf("appendValues = % x, want % x", values, want)
	}
	if b, err := appendValues(nil, []any{make(chan int)}); err == nil {
		t.Errorf("a channel became % x", b)
	}
}

// TestCapacity checks the size of the buffer that a list claims to be in, over
// the lengths at which it steps.
func TestCapacity(t *testing.T) {
	t.Parallel()
	for body, want := range map[int]uint32{496: 0x1F0, 497: 0x3F0, 1008: 0x3F0, 1009: 0x5F0} {
		b := AppendArgs(nil, []Arg{Buffer(make([]byte, body-12))})
		got := binary.LittleEndian.Uint32(b)
		if got != want {
			t.Errorf("body of %d: capacity %#x, want %#x", body, got, want)
		}
		if len(b) != body+16 {
			t.Errorf("body of %d: %d bytes, want %d", body, len(b), body+16)
		}
	}
}

func TestArgsRefusals(t *testing.T) {
	t.Parallel()
	good := AppendArgs(nil, []Arg{Buffer([]byte("0123456789ab"))})
	deep := Arg{Kind: ArgDict}
	for range maxArgsDepth {
		deep = Arg{Kind: ArgDict, Pairs: []Arg{{Kind: ArgNull}, deep}}
	}
	for name, b := range map[string][]byte{
		"header cut":         good[:15],
		"no dictionary":      patched(good, 0, 0x1F1),
		"length over all":    patched(good, 8, 1000),
		"length 64 bits":     patched(good, 12, 0xFFFFFFFF),
		"length too short":   patched(good, 8, 20),
		"left over":          append(bytes.Clone(good), 0),
		"unknown kind":       patched(good, 20, 7),
		"key without value":  AppendArgs(nil, []Arg{{Kind: ArgNull}})[:auxHeaderSize+4],
		"buffer over all":    patched(good, 24, 13),
		"buffer by far":      patched(good, 24, 0xFFFFFFFF),
		"dictionary by far":  AppendArgs(nil, []Arg{deep}),
		"too many arguments": AppendArgs(nil, make([]Arg, 0, 1)),
	} {
		if name == "too many arguments" {
			b = AppendArgs(nil, func() (l []Arg) {
				for range maxArgs + 1 {
					l = append(l, Arg{Kind: ArgNull})
				}
				return l
			}())
		}
		if name == "key without value" {
			b = patched(b, 8, 4)
		}
		a, err := DecodeArgs(b)
		if a != nil {
			t.Errorf("%s: arguments %v beside an error", name, a)
		}
		if !errors.Is(err, ErrPrimitive) {
			t.Errorf("%s: %v, want ErrPrimitive", name, err)
		}
	}
}

func TestArgGetters(t *testing.T) {
	t.Parallel()
	a := Args{
		int64(3), 4.0, true, "s", []byte("d"), nskeyed.Dict{{Key: "k", Value: int64(1)}},
		[]any{"x"}, nskeyed.Set{"y"}, nil, 4.5, uint64(math.MaxUint64), nskeyed.OrderedSet{"z"},
	}
	for i, want := range []struct {
		n  int64
		ok bool
	}{{3, true}, {4, true}, {1, true}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}} {
		if n, ok := a.Int(i); ok != want.ok || ok && n != want.n {
			t.Errorf("Int(%d) = %d, %v, want %v", i, n, ok, want)
		}
	}
	check := func(what string, ok, want bool) {
		t.Helper()
		if ok != want {
			t.Errorf("%s = %v, want %v", what, ok, want)
		}
	}
	s, ok := a.String(3)
	check("String(3)", ok && s == "s", true)
	_, ok = a.String(99)
	check("String(99)", ok, false)
	_, ok = a.String(-1)
	check("String(-1)", ok, false)
	d, ok := a.Data(4)
	check("Data(4)", ok && string(d) == "d", true)
	dict, ok := a.Dict(5)
	check("Dict(5)", ok && len(dict) == 1, true)
	for i, want := range map[int]bool{6: true, 7: true, 11: true, 3: false} {
		list, ok := a.Array(i)
		check(fmt.Sprintf("Array(%d)", i), ok && len(list) == 1, want)
	}
	for i, want := range map[int]bool{0: true, 2: true, 3: false} {
		v, ok := a.Bool(i)
		check(fmt.Sprintf("Bool(%d)", i), v && ok, want)
	}
	r, ok := a.Real(9)
	check("Real(9)", ok && r == 4.5, true)
}

// TestDecompress expands a capture whose blocks refer to the ones before: with
// an empty window for each, the second fails.
func TestDecompress(t *testing.T) {
	t.Parallel()
	m, _, err := Decode(fixture(t, "instruments-metrics-dtx.bin"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	const want = "f9d950f7ca6a8d9b932b2cdc72d2584e44946fdebbcf401e76e1cc23d69d6470"
	if len(b) != 158592 {
		t.Errorf("%d bytes, want 158592", len(b))
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != want {
		t.Errorf("the bytes have the SHA-256 %s, want %s", got, want)
	}
	v, err := m.Object(nil)
	if err != nil {
		t.Fatalf("Object: %v", err)
	}
	if !reflect.DeepEqual(v, b) {
		t.Errorf("Object = %.50v, want the %d bytes", v, len(b))
	}
	if cap(b) > 2*len(b) {
		t.Errorf("%d bytes in a buffer of %d", len(b), cap(b))
	}
}

func block(kind string, fields []uint32, data string) []byte {
	b := []byte(kind)
	for _, f := range fields {
		b = binary.LittleEndian.AppendUint32(b, f)
	}
	return append(b, data...)
}

func compressed(total uint32, blocks ...[]byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, total), bytes.Join(blocks, nil)...)
}

func TestDecompressBlocks(t *testing.T) {
	t.Parallel()
	end := block("bv4$", nil, "")
	// 3 literals, then 9 bytes from 3 back: a match that overlaps itself.
	overlap := block("bv41", []uint32{13, 8}, "\x35abc\x03\x00\x10d")
	run := block("bv41", []uint32{300 + 4 + 1 + 15, 5 + 1}, "\x1fz\x01\x00\xff\x2d")
	for _, c := range []struct {
		name, want string
		b          []byte
	}{
		{"nothing", "", compressed(0, end)},
		{"stored", "hello", compressed(5, block("bv4-", []uint32{5}, "hello"), end)},
		{"overlap", "abcabcabcabcd", compressed(13, overlap, end)},
		{"linked", "helloellohe", compressed(11, block("bv4-", []uint32{5}, "hello"),
			block("bv41", []uint32{6, 6}, "\x00\x04\x00\x20he"), end)},
		{"long run", string(bytes.Repeat([]byte("z"), 320)), compressed(320, run, end)},
	} {
		got, err := Decompress(c.b)
		if err != nil {
			t.Errorf("%s: Decompress(% x): %v", c.name, c.b, err)
			continue
		}
		if string(got) != c.want {
			t.Errorf("%s: Decompress(% x) = %q, want %q", c.name, c.b, got, c.want)
		}
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrCompressed},
		{"huge", compressed(MaxInflated+1, end), ErrTooLarge},
		{"no end", compressed(5, block("bv4-", []uint32{5}, "hello")), ErrCompressed},
		{
			"less than declared", compressed(6, block("bv4-", []uint32{5}, "hello"), end),
			ErrCompressed,
		},
		{
			"more than declared", compressed(4, block("bv4-", []uint32{5}, "hello"), end),
			ErrCompressed,
		},
		{"after the end", compressed(0, end, end), ErrCompressed},
		{"unknown block", compressed(5, block("bv42", []uint32{5}, "hello"), end), ErrCompressed},
		{"fields cut", compressed(5, []byte("bv41\x05\x00")), ErrCompressed},
		{
			"stored over all", compressed(500, block("bv4-", []uint32{500}, "hello"), end),
			ErrCompressed,
		},
		{"impossible ratio", compressed(1<<20,
			block("bv41", []uint32{1 << 20, 8}, "\x35abc\x03\x00\x10d"), end), ErrCompressed},
		{
			"offset 0", compressed(13, block("bv41", []uint32{13, 8}, "\x35abc\x00\x00\x10d"), end),
			ErrCompressed,
		},
		{"offset before all", compressed(13, block("bv41", []uint32{13, 8}, "\x35abc\x04\x00\x10d"),
			end), ErrCompressed},
		{"block too short", compressed(14, block("bv41", []uint32{14, 8}, "\x35abc\x03\x00\x10d"),
			end), ErrCompressed},
		{"block too long", compressed(12, block("bv41", []uint32{12, 8}, "\x35abc\x03\x00\x10d"),
			end), ErrCompressed},
		{
			"literals over all", compressed(13, block("bv41", []uint32{13, 3}, "\x95ab"), end),
			ErrCompressed,
		},
		{
			"length never ends",
			compressed(13, block("bv41", []uint32{13, 3}, "\xf0\xff\xff"), end), ErrCompressed,
		},
		{
			"offset cut", compressed(13, block("bv41", []uint32{13, 5}, "\x35abc\x03"), end),
			ErrCompressed,
		},
		{
			"match length cut",
			compressed(13, block("bv41", []uint32{13, 6}, "\x3fabc\x03\x00"), end), ErrCompressed,
		},
	} {
		got, err := Decompress(c.b)
		if got != nil {
			t.Errorf("%s: %q beside an error", c.name, got)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	m, _, err := Decode(fixture(f, "instruments-metrics-dtx.bin"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Payload)
	f.Add(compressed(13, block("bv41", []uint32{13, 8}, "\x35abc\x03\x00\x10d"),
		block("bv4$", nil, "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := Decompress(b)
		if err == nil && len(out) != int(binary.LittleEndian.Uint32(b)) {
			t.Fatalf("%d bytes of %d", len(out), binary.LittleEndian.Uint32(b))
		}
	})
}
