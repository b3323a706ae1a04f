package opack

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
)

// hostInfo is the vector of docs for remote pairing, made by another program.
const hostInfo = `e7 46 616c7449524b 80 e9e82dc06a49796b566f540019b1c77b
 46 627441646472 51 31313a32323a33333a34343a35353a3636
 43 6d6163 76 112233445566
 5b 72656d6f746570616972696e675f73657269616c5f6e756d626572 4c 414141414141414141414141
 49 6163636f756e744944 48 6c6f6c7373737373
 45 6d6f64656c 4e 636f6d70757465722d6d6f64656c
 44 6e616d65 46 726565656565`

// deviceInfo is the Info of a device in the last message of pair-setup.
const deviceInfo = `e546616c7449524b80320a7a6463f35ccda4bbd6ebe3abec8b496163636f756e744944612441414141414141412d424242422d434343432d444444442d454545454545454545454545456d6f64656c4a6950686f6e6531352c33446e616d65466950686f6e655272656d6f746570616972696e675f756469645930303030383132302d30303141324433453446353637383930`

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hostDict(t testing.TB) Dict {
	return Dict{
		{"altIRK", unhex(t, "e9e82dc06a49796b566f540019b1c77b")},
		{"btAddr", "11:22:33:44:55:66"},
		{"mac", unhex(t, "112233445566")},
		{"remotepairing_serial_number", "AAAAAAAAAAAA"},
		{"accountID", "lolsssss"},
		{"model", "computer-model"},
		{"name", "reeeee"},
	}
}

// numbers returns n small integers, for containers of each size.
func numbers(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = int64(i % 40)
	}
	return list
}

func pairs(n int) Dict {
	d := make(Dict, n)
	for i := range d {
		d[i] = Pair{string(rune('A' + i)), true}
	}
	return d
}

func small(n int) string {
	var s strings.Builder
	for i := range n {
		s.WriteString(hex.EncodeToString([]byte{byte(0x08 + i%40)}))
	}
	return s.String()
}

func pairsHex(n int) string {
	var s strings.Builder
	for i := range n {
		s.WriteString("41" + hex.EncodeToString([]byte{byte('A' + i)}) + "01")
	}
	return s.String()
}

// TestVectors compares both directions with encodings that were made elsewhere, or by
// hand from the table of the package comment.
func TestVectors(t *testing.T) {
	t.Parallel()
	uuid := UUID(unhex(t, "00112233445566778899aabbccddeeff"))
	a32, a33, a256 := strings.Repeat("a", 32), strings.Repeat("a", 33), strings.Repeat("a", 256)
	tests := []struct {
		name string
		wire string
		want any
	}{
		{"host info", hostInfo, hostDict(t)},
		{"device info", deviceInfo, Dict{
			{"altIRK", unhex(t, "320a7a6463f35ccda4bbd6ebe3abec8b")},
			{"accountID", "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE"},
			{"model", "iPhone15,3"}, {"name", "iPhone"},
			{"remotepairing_udid", "00008120-001A2D3E4F567890"},
		}},
		{"true", "01", true}, {"false", "02", false}, {"null", "04", nil},
		{"uuid", "05 00112233445566778899aabbccddeeff", uuid},
		{"time", "06 0102030405060708", Time(0x0807060504030201)},
		{"0", "08", int64(0)}, {"39", "2f", int64(39)}, {"40", "30 28", int64(40)},
		{"255", "30 ff", int64(255)},
		{"256", "31 0001", int64(256)}, {"65536", "32 00000100", int64(65536)},
		{"2^32", "33 0000000001000000", int64(1 << 32)},
		{"largest int64", "33 ffffffffffffff7f", int64(math.MaxInt64)},
		{"largest uint64", "33 ffffffffffffffff", uint64(math.MaxUint64)},
		{"float32", "35 0000c03f", float32(1.5)}, {"float64", "36 000000000000f83f", 1.5},
		{"empty string", "40", ""}, {"short string", "42 c3a4", "ä"},
		{"32 bytes of string", "60" + hex.EncodeToString([]byte(a32)), a32},
		{"33 bytes of string", "61 21" + hex.EncodeToString([]byte(a33)), a33},
		{"256 bytes of string", "62 0001" + hex.EncodeToString([]byte(a256)), a256},
		{"empty data", "70", []byte{}},
		{"32 bytes of data", "90" + hex.EncodeToString([]byte(a32)), []byte(a32)},
		{"33 bytes of data", "91 21" + hex.EncodeToString([]byte(a33)), []byte(a33)},
		{"256 bytes of data", "92 0001" + hex.EncodeToString([]byte(a256)), []byte(a256)},
		{"empty array", "d0", []any{}},
		{"14 elements", "de" + small(14), numbers(14)},
		{"15 elements", "df" + small(15) + "03", numbers(15)},
		{"empty dictionary", "e0", Dict{}},
		{"14 pairs", "ee" + pairsHex(14), pairs(14)},
		{"15 pairs", "ef" + pairsHex(15) + "03", pairs(15)},
		{"40 pairs", "ef" + pairsHex(40) + "03", pairs(40)},
		{"nested", "e1 41 61 d2 e0 04", Dict{{"a", []any{Dict{}, nil}}}},
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
			if back, err := Append([]byte("head"), got); err != nil {
				t.Errorf("Append(%v): %v", got, err)
			} else if !bytes.Equal(back, append([]byte("head"), wire...)) {
				t.Errorf("Append(%v) = % x\nwant % x", got, back, append([]byte("head"), wire...))
			}
		})
	}
}

// TestForeignForms decodes encodings of other writers that Append never makes.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wire string
		want any
	}{
		{"wide integer", "31 0500", int64(5)},
		{"wide length", "62 0100 61", "a"},
		{"open array", "df 08 03", []any{int64(0)}},
		{"open dictionary in array", "d1 ef 41 61 01 03", []any{Dict{{"a", true}}}},
		{"reference to a string", "d3 42 6162 08 a0", []any{"ab", int64(0), "ab"}},
		{"second reference", "d4 42 6162 42 6364 a1 a0", []any{"ab", "cd", "cd", "ab"}},
		{
			"repeated scalar counts once", "d4 42 6162 42 6162 42 6364 a1",
			[]any{"ab", "ab", "cd", "cd"},
		},
		{"one byte scalars do not count", "d4 40 70 42 6162 a0", []any{"", []byte{}, "ab", "ab"}},
		{
			"key by reference", "d2 e1 42 6162 01 e1 a0 02",
			[]any{Dict{{"ab", true}}, Dict{{"ab", false}}},
		},
		{"reference to a number", "d2 30 c8 a0", []any{int64(200), int64(200)}},
	}
	for _, tt := range tests {
		wire := unhex(t, tt.wire)
		if got, err := Decode(wire); err != nil {
			t.Errorf("%s: Decode(% x): %v", tt.name, wire, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Decode(% x) = %v, want %v", tt.name, wire, got, tt.want)
		}
	}
	// Of 40 distinct scalars the first 33 can be named by a reference.
	var wire []byte
	for i := range 40 {
		wire = append(wire, 0x30, byte(100+i))
	}
	wire = append(append([]byte{0xdf}, wire...), 0xc0, 0x03)
	got, err := Decode(wire)
	if list, ok := got.([]any); err != nil {
		t.Errorf("reference c0: %v", err)
	} else if !ok {
		t.Errorf("reference c0 = %T, want an array", got)
	} else if list[40] != int64(132) {
		t.Errorf("reference c0 = %v, want 132", list[40])
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wire []byte
		want error // nil: any
	}{
		{"nothing", nil, ErrTruncated},
		{"undefined tag", []byte{0x00}, ErrTag},
		{"tag 07", []byte{0x07}, ErrTag},
		{"disputed string length", []byte{0x63, 0, 0, 0, 0}, ErrTag},
		{"disputed data length", []byte{0x94, 0, 0, 0, 0}, ErrTag},
		{"wide reference", []byte{0xC1, 0}, ErrTag},
		{"end mark alone", []byte{0x03}, errEnd},
		{"end mark in counted array", []byte{0xD1, 0x03}, errEnd},
		{"bytes behind", []byte{0x01, 0x01}, errTrailing},
		{"string short", []byte{0x42, 'a'}, ErrTruncated},
		{"length missing", []byte{0x62, 1}, ErrTruncated},
		{"data short", []byte{0x92, 0xff, 0xff, 0}, ErrTruncated},
		{"array short", []byte{0xDE, 0x01}, ErrTruncated},
		{"array not closed", []byte{0xDF, 0x01}, ErrTruncated},
		{"value missing", []byte{0xE1, 0x41, 'a'}, ErrTruncated},
		{"end mark for a value", []byte{0xEF, 0x41, 'a', 0x03}, errEnd},
		{"integer short", []byte{0x33, 1}, ErrTruncated},
		{"uuid short", []byte{0x05, 1}, ErrTruncated},
		{"reference to nothing", []byte{0xA0}, errReference},
		{"reference ahead", []byte{0xD2, 0xA0, 0x30, 0x01}, errReference},
		{"not UTF-8", []byte{0x41, 0xFF}, errUTF8},
		{"key is a number", []byte{0xE1, 0x08, 0x08}, nil},
		{"key twice", []byte{0xE2, 0x41, 'a', 0x01, 0x41, 'a', 0x02}, nil},
		{
			"key twice of many",
			append(append([]byte{0xEF}, unhex(t, pairsHex(30)+pairsHex(1))...), 0x03), nil,
		},
		{"nested too deep", append(bytes.Repeat([]byte{0xD1}, MaxDepth+1), 0x01), ErrLimit},
		{"nested without end", bytes.Repeat([]byte{0xDF}, MaxSize), ErrLimit},
		{"too long", make([]byte, MaxSize+1), ErrLimit},
		{"references unfold", append(append([]byte{0xDF, 0x92, 0, 0x40}, make([]byte, 0x4000)...),
			bytes.Repeat([]byte{0xA0}, 0x8000)...), ErrLimit},
	}
	for _, tt := range tests {
		got, err := Decode(tt.wire)
		var e *Error
		if err == nil {
			t.Errorf("%s: Decode does not fail", tt.name)
		} else if tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Decode = %v, want %v", tt.name, err, tt.want)
		} else if !errors.As(err, &e) {
			t.Errorf("%s: Decode = %v, want an Error", tt.name, err)
		} else if e.Op != "decode" {
			t.Errorf("%s: Decode has Op = %v, want %v", tt.name, e.Op, "decode")
		} else if got != nil {
			t.Errorf("%s: Decode returns %v with its error", tt.name, got)
		}
	}
	if _, err := Decode(append(bytes.Repeat([]byte{0xD1}, MaxDepth), 0x01)); err != nil {
		t.Errorf("Decode at the depth limit: %v", err)
	}
	if d, err := DecodeDict([]byte{0xD0}); err == nil {
		t.Error("DecodeDict of an array does not fail")
	} else if d != nil {
		t.Errorf("DecodeDict of an array returns %v with its error", d)
	}
}

func TestEncodeRefusals(t *testing.T) {
	t.Parallel()
	deep := any(true)
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"negative", -1, "opack: encode: at byte 0: negative number has no OPACK form"},
		{"other type", struct{}{}, "opack: encode: at byte 0: struct {} has no OPACK form"},
		{"not UTF-8", []any{"\xff"}, "opack: encode: at byte 1: [0]: string is not valid UTF-8"},
		{
			"key twice", Dict{{"a", 1}, {"a", 2}},
			`opack: encode: at byte 4: dictionary holds "a" twice`,
		},
		{
			"inside", Dict{{"a", Dict{{"b", -1}}}},
			`opack: encode: at byte 6: "a": "b": negative number has no OPACK form`,
		},
		{
			"long string", strings.Repeat("a", MaxContent+1),
			"opack: encode: at byte 0: object is too large or nests too deep",
		},
	} {
		got, err := Append(nil, tt.v)
		if err == nil {
			t.Errorf("%s: Append does not fail", tt.name)
		} else if err.Error() != tt.want {
			t.Errorf("%s: Append = %q, want %q", tt.name, err, tt.want)
		} else if got != nil {
			t.Errorf("%s: Append returns %v with its error", tt.name, got)
		}
	}
	for _, v := range []any{deep, numbers(MaxSize)} {
		if got, err := Append(nil, v); got != nil {
			t.Errorf("Append returns %d bytes", len(got))
		} else if !errors.Is(err, ErrLimit) {
			t.Errorf("Append = %v, want %v", err, ErrLimit)
		}
	}
}

func TestGetters(t *testing.T) {
	t.Parallel()
	d := Dict{
		{"s", "x"}, {"d", []byte{1}}, {"b", true}, {"i", int64(7)}, {"m", Dict{}}, {"l", []any{}},
	}
	if v, ok := d.String("s"); v != "x" || !ok {
		t.Errorf("String = %q, %v", v, ok)
	}
	if v, ok := d.Data("d"); !bytes.Equal(v, []byte{1}) || !ok {
		t.Errorf("Data = % x, %v", v, ok)
	}
	if v, ok := d.Bool("b"); !v || !ok {
		t.Errorf("Bool = %v, %v", v, ok)
	}
	if v, ok := d.Int("i"); v != 7 || !ok {
		t.Errorf("Int = %v, %v", v, ok)
	}
	if v, ok := d.Dict("m"); v == nil || !ok {
		t.Errorf("Dict = %v, %v", v, ok)
	}
	if v, ok := d.Array("l"); v == nil || !ok {
		t.Errorf("Array = %v, %v", v, ok)
	}
	if _, ok := d.String("i"); ok {
		t.Error("String returns a number")
	}
	if _, ok := d.Int("missing"); ok {
		t.Error("Int returns a missing key")
	}
}

func TestUUIDString(t *testing.T) {
	t.Parallel()
	u := UUID(unhex(t, "00112233445566778899aabbccddeeff"))
	if want := "00112233-4455-6677-8899-AABBCCDDEEFF"; u.String() != want {
		t.Errorf("String() = %s, want %s", u, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		hostInfo, deviceInfo, "df0803", "ef41610103", "d342616208a0", "d26100a0",
		"33ffffffffffffffff", "d1d1d1d0", "350000c07f",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		var err error
		fuzztest.Bounded(t, len(b), func() { v, err = Decode(b) })
		if fuzztest.Typed[*Error](t, "Decode", err); err != nil {
			return
		}
		wire, err := Append(nil, v)
		if errors.Is(err, ErrLimit) {
			return // references made it longer than the limit
		}
		if err != nil {
			t.Fatalf("Append(%v): %v", v, err)
		}
		again, err := Decode(wire)
		if err != nil {
			t.Fatalf("Decode(% x): %v", wire, err)
		}
		// Compared as bytes, since not-a-number does not equal itself.
		if twice, err := Append(nil, again); err != nil {
			t.Fatalf("Append(%v): %v", again, err)
		} else if !bytes.Equal(twice, wire) {
			t.Fatalf("Append(%v) = % x\nwant % x", again, twice, wire)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	wire := unhex(b, hostInfo)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	v, buf := any(hostDict(b)), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}
