package plist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// document builds a binary property list from raw objects; the first one is the
// top. Offsets and references are two bytes wide.
func document(objects ...[]byte) []byte {
	b := []byte("bplist00")
	var table []byte
	for _, o := range objects {
		table = binary.BigEndian.AppendUint16(table, uint16(len(b)))
		b = append(b, o...)
	}
	at := len(b)
	b = append(b, table...)
	b = append(b, 0, 0, 0, 0, 0, 0, 2, 2)
	b = binary.BigEndian.AppendUint64(b, uint64(len(objects)))
	b = binary.BigEndian.AppendUint64(b, 0)
	return binary.BigEndian.AppendUint64(b, uint64(at))
}

// array is an array object of at most 65535 references.
func array(refs ...int) []byte {
	b := []byte{0xAF, 0x11}
	b = binary.BigEndian.AppendUint16(b, uint16(len(refs)))
	for _, r := range refs {
		b = binary.BigEndian.AppendUint16(b, uint16(r))
	}
	return b
}

// Written by plistlib of Python 3.
func TestBinaryFromElsewhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		hex  string
		want any
		same bool // objects may come in another order, but not where there is one
	}{
		{
			"62706c6973743030d3010203040809516151625163a30506071001234004000000000000094200ff6100fc080f111315191b2425280000000000000101000000000000000a0000000000000000000000000000002b",
			Dict{"a": []any{int64(1), 2.5, true}, "b": []byte{0, 0xFF}, "c": "ü"}, false,
		},
		{
			"62706c697374303013ffffffffffffffff080000000000000101000000000000000100000000000000000000000000000011",
			int64(-1), true,
		},
		{
			"62706c6973743030140000000000000000ffffffffffffffff080000000000000101000000000000000100000000000000000000000000000019",
			uint64(math.MaxUint64), true,
		},
		{
			"62706c6973743030120001117008000000000000010100000000000000010000000000000000000000000000000d",
			int64(70000), true,
		},
		{
			"62706c69737430305f1014787878787878787878787878787878787878787808000000000000010100000000000000010000000000000000000000000000001f",
			strings.Repeat("x", 20), true,
		},
		{
			"62706c697374303062d83ddcf108000000000000010100000000000000010000000000000000000000000000000d",
			"📱", true,
		},
		{
			"62706c69737430303341c2f8511f800000080000000000000101000000000000000100000000000000000000000000000011",
			time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC), true,
		},
		{
			"62706c697374303081012c08000000000000010100000000000000010000000000000000000000000000000b",
			UID(300), true,
		},
		{
			"62706c6973743030a0080000000000000101000000000000000100000000000000000000000000000009",
			[]any{}, true,
		},
		{
			"62706c6973743030d10102516ba203035176080b0d100000000000000101000000000000000400000000000000000000000000000012",
			Dict{"k": []any{"v", "v"}}, false,
		},
	} {
		b := unhex(t, c.hex)
		if got, err := Decode(b); err != nil {
			t.Errorf("Decode(% x): %v", b, err)
		} else if !reflect.DeepEqual(got, c.want) {
			t.Errorf("Decode(% x) = %v, want %v", b, got, c.want)
		}
		if got := mustEncode(t, c.want, Binary); c.same && !bytes.Equal(got, b) {
			t.Errorf("Encode(%v) = % x, want % x", c.want, got, b)
		}
	}
}

func TestBinaryObjects(t *testing.T) {
	t.Parallel()
	date := func(s float64) []byte {
		return binary.BigEndian.AppendUint64([]byte{0x33},
			math.Float64bits(s))
	}
	for _, c := range []struct {
		name string
		in   []byte
		want any
	}{
		{"4 bytes are unsigned", []byte{0x12, 0xFF, 0xFF, 0xFF, 0xFF}, int64(math.MaxUint32)},
		{"16 bytes negative", append([]byte{0x14}, bytes.Repeat([]byte{0xFF}, 16)...), int64(-1)},
		{"16 bytes small", append([]byte{0x14}, append(make([]byte, 15), 5)...), int64(5)},
		{"short real", []byte{0x22, 0x3F, 0xC0, 0, 0}, 1.5},
		{"UTF-8 as ASCII", []byte{0x52, 0xC3, 0xBC}, "ü"},
		{"Latin-1 as ASCII", []byte{0x51, 0xFC}, "ü"},
		{"half a surrogate", []byte{0x61, 0xD8, 0x00}, "\uFFFD"},
		{"date with a fraction", date(0.5), time.Date(2001, 1, 1, 0, 0, 0, 5e8, time.UTC)},
		{"distant past", date(-63114076800), time.Date(0, 12, 30, 0, 0, 0, 0, time.UTC)},
		{"first date", date(minDate), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"last date", date(endDate - 1), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"uid of three bytes", []byte{0x82, 1, 0, 0}, UID(65536)},
		{"empty array", []byte{0xA0}, []any{}},
		{"empty dictionary", []byte{0xD0}, Dict{}},
	} {
		if got, err := Decode(document(c.in)); err != nil {
			t.Errorf("%s: Decode: %v", c.name, err)
		} else if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: Decode = %#v, want %#v", c.name, got, c.want)
		}
	}
	for name, in := range map[string][]byte{
		"set": {0xC0}, "null": {0x00}, "fill": {0x0F}, "url": {0x0C}, "uuid": {0x0D},
		"8 byte real of 16": {0x24}, "1 byte real": {0x20, 0}, "32 byte integer": {0x15},
		"integer cut": {0x13, 0}, "real cut": {0x23, 0},
		"integer wider than 64 bits": append([]byte{0x14, 1}, make([]byte, 15)...),
		"integer below int64": append(
			[]byte{0x14}, append(bytes.Repeat([]byte{0xFF}, 8), make([]byte, 8)...)...,
		),
		"date of another size": {0x32, 0, 0, 0, 0}, "date cut": {0x33, 0},
		"no date": date(math.NaN()), "date too late": date(endDate),
		"date too early": date(minDate - 1), "endless date": date(math.Inf(1)),
		"data cut": {0x45, 0}, "text cut": {0x55, 'a'}, "utf-16 cut": {0x63, 0, 1, 0},
		"uid of nine bytes": append([]byte{0x88}, make([]byte, 9)...), "uid cut": {0x83, 0},
		"array cut": {0xA1}, "dictionary cut": {0xD1, 0, 0}, "count cut": {0x4F},
		"count no integer": {0x4F, 0x51, 'a'}, "count cut inside": {0x4F, 0x13, 0},
		"count huge":    {0x4F, 0x13, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
		"array of 2^63": {0xAF, 0x13, 0x80, 0, 0, 0, 0, 0, 0, 0}, "count of 16 bytes": append(
			[]byte{0x4F, 0x14}, make([]byte, 16)...,
		),
		"reserved 7": {0x70}, "reserved 9": {0x90}, "reserved b": {0xB0}, "reserved f": {0xF0},
		"reference outside": {0xA1, 0, 9}, "itself": {0xA1, 0, 0},
		"key no text": {0xD1, 0, 1, 0, 1},
	} {
		if v, err := Decode(document(in, []byte{0x09})); err == nil {
			t.Errorf("%s: Decode does not fail", name)
		} else if v != nil {
			t.Errorf("%s: Decode returns %v with its error", name, v)
		}
	}
	if _, err := Decode(document(array(1), array(2), array(0))); err == nil ||
		!strings.Contains(err.Error(), "itself") {
		t.Errorf("a circle of three: %v", err)
	}
}

// Every prefix, and every change of a byte, must give a value or an error.
func TestBinaryBent(t *testing.T) {
	t.Parallel()
	whole := mustEncode(t, Dict{
		"a": []any{int64(1), "x", []byte{1, 2}, Dict{"k": 1.5}}, "b": strings.Repeat("é", 20),
		"c": UID(1),
	}, Binary)
	for n := range whole {
		if v, err := Decode(whole[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes give %v", n, len(whole), v)
		}
	}
	refused := 0
	for i := range whole {
		for _, x := range []byte{0, 1, 0x7F, 0x80, 0xFF, whole[i] ^ 1, whole[i] + 1} {
			bent := bytes.Clone(whole)
			bent[i] = x
			if _, err := Decode(bent); err != nil {
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	for i := len(whole) - 24; i < len(whole); i += 8 { // the trailer's wide numbers
		for _, x := range []uint64{
			0, 1, 8, uint64(len(whole)), 1 << 31, 1 << 32, 1 << 63, math.MaxUint64,
			math.MaxUint64 - 31,
		} {
			bent := bytes.Clone(whole)
			if binary.BigEndian.PutUint64(bent[i:], x); bytes.Equal(bent, whole) {
				continue
			}
			if v, err := Decode(bent); err == nil && x > uint64(len(whole)) {
				t.Errorf("trailer with %d at %d gives %v", x, i, v)
			}
		}
	}
}

// A kilobyte that unfolds to 2^60 values must be refused. One megabyte with a million
// references must stay a megabyte.
func TestBillionLaughs(t *testing.T) {
	t.Parallel()
	var objects [][]byte
	for i := range 60 {
		objects = append(objects, array(i+1, i+1))
	}
	objects = append(objects, []byte{0x51, 'x'})
	if _, err := Decode(document(objects...)); !errors.Is(err, ErrLimit) {
		t.Errorf("2^60 values: %v, want ErrLimit", err)
	}
	refs := make([]int, 60000)
	for i := range refs {
		refs[i] = 1
	}
	blob := append([]byte{0x4F, 0x12, 0, 0x0F, 0, 0}, make([]byte, 0x0F0000)...)
	doc := wideDocument(array(refs...), blob)
	v, err := Decode(doc)
	if err != nil {
		t.Fatalf("a blob named often: %v", err)
	} else if len(v.([]any)) != len(refs) {
		t.Fatalf("a blob named often has the length %d, want %d", len(v.([]any)), len(refs))
	}
	a, b := v.([]any)[0].([]byte), v.([]any)[1].([]byte)
	if len(a) != 0x0F0000 {
		t.Errorf("the blob has %d bytes, want %d", len(a), 0x0F0000)
	} else if &a[0] != &b[0] {
		t.Error("the blob was copied for each reference")
	}
}

// Objects that overlap, and strings that cost something for each reference.
func TestAmplification(t *testing.T) {
	t.Parallel()
	// A thousand strings over the same bytes: objects 2 and up begin inside of
	// the first string, which holds their tags.
	const n = 1000
	body := bytes.Repeat([]byte{0x6F, 0x12, 0, 0, 0x40, 0}, 6000)
	b := append([]byte("bplist00"), array(make([]int, n)...)...)
	for i := range n {
		binary.BigEndian.PutUint16(b[12+2*i:], uint16(i+1))
	}
	start := len(b)
	b = append(b, body...)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, 8)
	for i := range n {
		b = binary.BigEndian.AppendUint32(b, uint32(start+6*(i%500)))
	}
	b = append(b, 0, 0, 0, 0, 0, 0, 4, 2)
	b = binary.BigEndian.AppendUint64(b, n+1)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	if _, err := Decode(b); !errors.Is(err, errOverlap) {
		t.Errorf("strings over each other: %v", err)
	}

	refs := make([]int, 60000)
	for i := range refs {
		refs[i] = 1
	}
	text := func(c byte) []byte {
		return append([]byte{0x5F, 0x12, 0, 0x0F, 0, 0}, bytes.Repeat([]byte{c}, 0x0F0000)...)
	}
	for name, doc := range map[string][]byte{
		"one key often": wideDocument(
			append([]byte{0xDF, 0x11, 30000 >> 8, 30000 & 0xFF}, array(refs...)[4:]...), text('a'),
		),
		"Latin-1 named":     wideDocument(array(refs...), text(0xFC)),
		"Latin-1 few times": wideDocument(array(1, 1, 1), text(0xFC)),
	} {
		if _, err := Decode(doc); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, want ErrLimit", name, err)
		}
	}
	if v, err := Decode(wideDocument(array(1, 1, 1), text('a'))); err != nil {
		t.Errorf("a long string three times: %v", err)
	} else if len(v.([]any)) != 3 {
		t.Errorf("a long string three times has the length %d, want %d", len(v.([]any)), 3)
	}
	v, err := Decode(
		document([]byte{0xD2, 0, 1, 0, 2, 0, 1, 0, 2}, []byte{0x51, 0xFC}, []byte{0x52, 0xFC, 'x'}),
	)
	if want := (Dict{"ü": "ü", "üx": "üx"}); err != nil {
		t.Errorf("Latin-1 keys: %v", err)
	} else if !reflect.DeepEqual(v, want) {
		t.Errorf("Latin-1 keys = %v, want %v", v, want)
	}
}

// Decoded data is not part of a string, wherever the document puts the two.
func TestDataIsApart(t *testing.T) {
	t.Parallel()
	b := document([]byte{0xA2, 0, 1, 0, 2}, []byte{0x42, 0x51, 'a'}, []byte{0x09})
	at := len(b) - trailerSize - 2
	binary.BigEndian.PutUint16(b[at:],
		binary.BigEndian.Uint16(b[at-2:])+1) // the last object is inside of the data
	v, err := Decode(b)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	} else if !reflect.DeepEqual(v, []any{[]byte{0x51, 'a'}, "a"}) {
		t.Fatalf("Decode = %q, want the data and the string a", v)
	}
	v.([]any)[0].([]byte)[1] = 'X'
	if s := v.([]any)[1]; s != "a" {
		t.Errorf("writing to data changed a string to %q", s)
	}
}

// wideDocument is document with offsets of four bytes.
func wideDocument(objects ...[]byte) []byte {
	b := []byte("bplist00")
	var table []byte
	for _, o := range objects {
		table = binary.BigEndian.AppendUint32(table, uint32(len(b)))
		b = append(b, o...)
	}
	at := len(b)
	b = append(b, table...)
	b = append(b, 0, 0, 0, 0, 0, 0, 4, 2)
	b = binary.BigEndian.AppendUint64(b, uint64(len(objects)))
	b = binary.BigEndian.AppendUint64(b, 0)
	return binary.BigEndian.AppendUint64(b, uint64(at))
}

func TestDeepBinary(t *testing.T) {
	t.Parallel()
	chain := func(n int) []byte { // the top holds object 1, and so on
		var objects [][]byte
		for i := range n {
			objects = append(objects, array(i+1))
		}
		return document(append(objects, []byte{0x09})...)
	}
	if _, err := Decode(chain(MaxDepth)); err != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
	for _, n := range []int{MaxDepth + 1, 10000} {
		if _, err := Decode(chain(n)); !errors.Is(err, ErrLimit) {
			t.Errorf("depth %d: %v, want ErrLimit", n, err)
		}
	}
	// The top names the links of one long chain from its end: each is shallow
	// when it is looked at, because the rest of it is known by then.
	const n = 8000
	var links, refs = [][]byte{}, []int{}
	for i := range n {
		links = append(links, array(i+2))
		if (i+1)%200 == 0 {
			refs = append([]int{i + 2}, refs...)
		}
	}
	refs = append(refs, 1)
	objects := append([][]byte{array(refs...)}, links...)
	objects = append(objects, []byte{0x09})
	if _, err := Decode(document(objects...)); !errors.Is(err, ErrLimit) {
		t.Errorf("a chain in pieces: %v, want ErrLimit", err)
	}
}

// Appending to decoded data must not change other values.
func TestDataHasNoSpareCapacity(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{XML, Binary} {
		v, err := Decode(mustEncode(t, []any{[]byte{1, 2}, "text behind it"}, f))
		if err != nil {
			t.Fatal(err)
		}
		list := v.([]any)
		_ = append(list[0].([]byte), "XXXXXXXXXXXXXX"...)
		if list[1] != "text behind it" {
			t.Errorf("format %v: appending to data changed %q", f, list[1])
		}
	}
}
