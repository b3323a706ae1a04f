package xpc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

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

func fixture(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/go-ios/xpc_dict.bin")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFixture decodes Xcode's message that launches an app, and encodes it again.
func TestFixture(t *testing.T) {
	t.Parallel()
	wire := fixture(t)
	m, n, err := Decode(wire)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	} else if n != 1076 {
		t.Fatalf("Decode has read %d bytes, want 1076", n)
	}
	want := &Message{Flags: FlagsRequest, ID: 1, Body: Dict{
		{"CoreDevice.coreDeviceVersion", Dict{
			{"originalComponentsCount", int64(2)},
			{"components", []any{uint64(348), uint64(1), uint64(0), uint64(0), uint64(0)}},
			{"stringValue", "348.1"},
		}},
		{"CoreDevice.deviceIdentifier", "A7DD28AC-2911-4549-811D-85917B9AC72F"},
		{"CoreDevice.CoreDeviceDDIProtocolVersion", int64(0)},
		{"CoreDevice.invocationIdentifier", "62419FC1-5ABF-4D96-BCA8-7A5F6F9A69EE"},
		{"CoreDevice.action", Dict{}},
		{"CoreDevice.input", m.Body[5].Value},
		{"CoreDevice.featureIdentifier", "com.apple.coredevice.feature.launchapplication"},
	}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("Decode = %+v\nwant %+v", m, want)
	}
	for _, tt := range []struct {
		path string
		want any
	}{
		{"options startStopped", false}, {"options workingDirectory", Null{}},
		{"options terminateExisting", false},
		{"options standardIOUsesPseudoterminals", true}, {"options user", Dict{{"active", true}}},
		{"options environmentVariables", Dict{{"TERM", "xterm-256color"}}},
		{"options arguments", []any{}},
		{"standardIOIdentifiers", Dict{}}, {
			"applicationSpecifier",
			Dict{{"bundleIdentifier", Dict{{"_0", "xxx.xxxxxxxxx.xxxxxxxx"}}}},
		},
	} {
		got, ok := m.Body.Path(append([]string{"CoreDevice.input"}, strings.Fields(tt.path)...)...)
		if !ok || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s = %#v, %v, want %#v", tt.path, got, ok, tt.want)
		}
	}
	data, _ := m.Body.Path("CoreDevice.input", "options", "platformSpecificOptions")
	if b, ok := data.([]byte); !ok {
		t.Errorf("platformSpecificOptions is a %T, want data", data)
	} else if len(b) != 42 {
		t.Errorf("platformSpecificOptions has %d bytes, want 42", len(b))
	} else if !bytes.HasPrefix(b, []byte("bplist00")) {
		t.Errorf("platformSpecificOptions = % x, want a property list", b)
	}
	back, err := Append([]byte("head"), m)
	if err != nil {
		t.Errorf("Append of the fixture: %v", err)
	} else if !bytes.Equal(back, append([]byte("head"), wire...)) {
		t.Errorf("Append of the fixture = % x\nwant % x", back, append([]byte("head"), wire...))
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wire string
		want *Message
	}{
		{"empty dictionary", `920bb029 01000000 1400000000000000 0000000000000000
			42371342 05000000 00f00000 04000000 00000000`,
			&Message{Flags: FlagAlwaysSet, Body: Dict{}}},
		{
			"second message of stream 1", "920bb029 01020000 0000000000000000 0000000000000000",
			&Message{Flags: FlagAlwaysSet | FlagOpening},
		},
		{
			"opening of stream 3", "920bb029 01004000 0000000000000000 0000000000000000",
			&Message{Flags: FlagAlwaysSet | FlagInitHandshake},
		},
		{
			"file stream", "920bb029 01001000 0000000000000000 0700000000000000",
			&Message{Flags: FlagAlwaysSet | FlagFileTransferRequest, ID: 7},
		},
	}
	for _, tt := range tests {
		wire := unhex(t, tt.wire)
		got, n, err := Decode(append(wire, 1, 2, 3)) // another message begins behind
		if err != nil {
			t.Errorf("%s: Decode: %v", tt.name, err)
		} else if n != len(wire) {
			t.Errorf("%s: Decode has read %d bytes, want %d", tt.name, n, len(wire))
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Decode = %+v, want %+v", tt.name, got, tt.want)
		}
		if back, err := Append(nil, tt.want); err != nil {
			t.Errorf("%s: Append: %v", tt.name, err)
		} else if !bytes.Equal(back, wire) {
			t.Errorf("%s: Append = % x\nwant % x", tt.name, back, wire)
		}
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	uuid := UUID(unhex(t, "c3853dcc977641 14b6c1fd9f51944a6d"))
	tests := []struct {
		name string
		wire string
		want any
	}{
		{"string", "00900000 03000000 61620000", "ab"},
		{"string that needs no fill", "00900000 04000000 61626300", "abc"},
		{"empty string", "00900000 01000000 00000000", ""},
		{"data", "00800000 02000000 01020000", []byte{1, 2}},
		{"empty data", "00800000 00000000", []byte{}},
		{"true", "00200000 01000000", true}, {"false", "00200000 00000000", false},
		{"uint64", "00400000 0700000000000000", uint64(7)},
		{"int64", "00300000 ffffffffffffffff", int64(-1)},
		{"double", "00500000 000000000000f83f", 1.5},
		{"date", "00700000 00ca9a3b00000000", time.Unix(1, 0).UTC()},
		{"date before 1970", "00700000 ffffffffffffffff", time.Unix(0, -1).UTC()},
		{"first date", "00700000 0000000000000080", time.Unix(0, math.MinInt64).UTC()},
		{"null", "00100000", Null{}},
		{"uuid", "00a00000 c3853dcc97764114b6c1fd9f51944a6d", uuid},
		{"fd", "00b00000 05000000", FD(5)},
		{"shared memory", "00c00000 00400000 01000000", SharedMemory{0x4000, 1}},
		{"array", "00e00000 08000000 01000000 00100000", []any{Null{}}},
		{"empty array", "00e00000 04000000 00000000", []any{}},
		{"dictionary", "00f00000 10000000 01000000 6b000000 00200000 01000000", Dict{{"k", true}}},
		{
			"key of three bytes and empty key",
			"00f00000 14000000 02000000 6b657900 00100000 00000000 00100000",
			Dict{{"key", Null{}}, {"", Null{}}},
		},
		{
			"file transfer",
			"00a00100 0100000000000000 00f00000 14000000 01000000 73000000 00400000 0500000000000000",
			NewFileTransfer(1, 5),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wire := unhex(t, tt.wire)
			got, err := DecodeObject(wire)
			if err != nil {
				t.Fatalf("DecodeObject(% x): %v", wire, err)
			} else if !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("DecodeObject(% x) = %#v, want %#v", wire, got, tt.want)
			}
			if back, err := AppendObject([]byte("head"), got); err != nil {
				t.Errorf("AppendObject(%v): %v", got, err)
			} else if !bytes.Equal(back, append([]byte("head"), wire...)) {
				t.Errorf("AppendObject(%v) = % x\nwant % x", got, back,
					append([]byte("head"), wire...))
			}
		})
	}
}

// TestSloppyWriters decodes invalid encodings that other programs are known to write.
func TestSloppyWriters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wire string
		want any
	}{
		{"array length without its count", "00e00000 04000000 01000000 00100000", []any{Null{}}},
		{
			"lengths of nonsense", "00f00000 ffffffff 01000000 6b000000 00e00000 00000000 00000000",
			Dict{{"k", []any{}}},
		},
		{"string without NUL", "00900000 02000000 61620000", "ab"},
		{"string with more NULs", "00900000 04000000 61000000", "a"},
		{"true with more bits", "00200000 01020304", true},
		{"bool by its first byte", "00200000 00010000", false},
	}
	for _, tt := range tests {
		if got, err := DecodeObject(unhex(t, tt.wire)); err != nil {
			t.Errorf("%s: DecodeObject: %v", tt.name, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: DecodeObject = %#v, want %#v", tt.name, got, tt.want)
		}
	}
}

func TestGoNumbers(t *testing.T) {
	t.Parallel()
	got, err := AppendObject(nil, []any{
		nil, 1, int8(-1), int16(2), int32(3), uint(4), uint8(5), uint16(6), uint32(7), float32(0.5),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []any{
		Null{}, int64(1), int64(-1), int64(2), int64(3), uint64(4), uint64(5), uint64(6), uint64(7),
		0.5,
	}
	if v, err := DecodeObject(got); err != nil {
		t.Errorf("decoding the numbers: %v", err)
	} else if !reflect.DeepEqual(v, want) {
		t.Errorf("numbers come back as %#v, want %#v", v, want)
	}
}

// body returns a message with an object, given in hex.
func body(t testing.TB, object string) []byte {
	o := unhex(t, object)
	b := unhex(t, "920bb029 01010000 0000000000000000 0000000000000000 42371342 05000000")
	binary.LittleEndian.PutUint64(b[8:], uint64(8+len(o)))
	return append(b, o...)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const empty = "00f00000 04000000 00000000"
	deep := strings.Repeat("00e00000 08000000 01000000 ", MaxDepth+1) + "00100000"
	edit := func(at int, v ...byte) []byte {
		b := body(t, empty)
		copy(b[at:], v)
		return b
	}
	tests := []struct {
		name string
		wire []byte
		want error // nil: any
	}{
		{"nothing", nil, ErrTruncated},
		{"wrapper short", body(t, empty)[:23], ErrTruncated},
		{"body short", body(t, empty)[:43], ErrTruncated},
		{"wrapper magic", edit(0, 0), ErrMagic},
		{"body magic", edit(24, 0), ErrMagic},
		{"version", edit(28, 6), errVersion},
		{"body shorter than its head", append(edit(8, 4), 0)[:28], ErrTruncated},
		{"body head alone", body(t, ""), ErrTruncated},
		{"length beyond the limit", edit(8, 1, 0, 0, 0x10), ErrLimit},
		{"length beyond int64", edit(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrLimit},
		{"not a dictionary", body(t, "00100000"), errNotDict},
		{"bytes behind", body(t, empty+"00000000"), errTrailing},
		{"count beyond the bytes", body(t, "00f00000 04000000 ffffffff"), ErrTruncated},
		{
			"array count beyond the bytes",
			body(t, "00f00000 10000000 01000000 6b000000 00e00000 04000000 ffffffff"), ErrTruncated,
		},
		{
			"string beyond the bytes",
			body(t, "00f00000 10000000 01000000 6b000000 00900000 ffffffff"), ErrTruncated,
		},
		{
			"data without fill",
			body(t, "00f00000 10000000 01000000 6b000000 00800000 01000000 01"), ErrTruncated,
		},
		{"key without NUL", body(t, "00f00000 10000000 01000000 6b6b6b6b 6b6b6b6b"), ErrTruncated},
		{"key without fill", body(t, "00f00000 10000000 01000000 6b6b6b6b 6b6b6b00 6b00"), nil},
		{
			"key twice", body(t, "00f00000 14000000 02000000 6b000000 00100000 6b000000 00100000"),
			nil,
		},
		{"pointer", body(t, "00f00000 10000000 01000000 6b000000 00600000"), ErrType},
		{"unknown type", body(t, "00f00000 10000000 01000000 6b000000 01100000"), ErrType},
		{"file transfer of a string", body(t,
			"00f00000 10000000 01000000 6b000000 00a00100 0100000000000000 00900000 01000000 00000000"),
			nil},
		{"nested too deep", body(t, "00f00000 10000000 01000000 6b000000"+deep), ErrLimit},
	}
	for _, tt := range tests {
		got, n, err := Decode(tt.wire)
		var e *Error
		if err == nil {
			t.Errorf("%s: Decode does not fail", tt.name)
		} else if n != 0 {
			t.Errorf("%s: Decode has n = %v, want %v", tt.name, n, 0)
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
	if _, err := DecodeObject(unhex(t, deep[27:])); err != nil {
		t.Errorf("DecodeObject at the depth limit: %v", err)
	}
	for _, cut := range []int{0, 1, 23, 24, 500, 1075} {
		if m, _, err := Decode(fixture(t)[:cut]); !errors.Is(err, ErrTruncated) {
			t.Errorf("Decode of %d bytes = %v, want %v", cut, err, ErrTruncated)
		} else if m != nil {
			t.Errorf("Decode of %d bytes returns %v with its error", cut, m)
		}
	}
}

// TestNodeLimit sends more nulls than a body may hold; four bytes each.
func TestNodeLimit(t *testing.T) {
	t.Parallel()
	wire := unhex(t, "00e00000 00000000 00000000")
	binary.LittleEndian.PutUint32(wire[8:], MaxNodes)
	wire = append(wire, bytes.Repeat([]byte{0, 0x10, 0, 0}, MaxNodes)...)
	if v, err := DecodeObject(wire); !errors.Is(err, ErrLimit) {
		t.Errorf("DecodeObject of %d nulls = %v, want %v", MaxNodes, err, ErrLimit)
	} else if v != nil {
		t.Errorf("DecodeObject of %d nulls returns %v with its error", MaxNodes, v)
	}
}

func TestDuplicateOfMany(t *testing.T) {
	t.Parallel()
	var d Dict
	for i := range 100 {
		d = append(d, Pair{string(rune('a'+i/10)) + string(rune('a'+i%10)), Null{}})
	}
	wire, err := AppendObject(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeObject(wire); err != nil {
		t.Fatalf("100 keys: %v", err)
	} else if !reflect.DeepEqual(got, d) {
		t.Fatalf("100 keys = %v, want %v", got, d)
	}
	i := bytes.LastIndex(wire, []byte("jj"))
	copy(wire[i:], "ba")
	if got, err := DecodeObject(wire); err == nil {
		t.Error("a key twice among 100: DecodeObject does not fail")
	} else if !strings.Contains(err.Error(), `"ba" twice`) {
		t.Errorf("a key twice among 100: DecodeObject = %q, want %q in it", err, `"ba" twice`)
	} else if got != nil {
		t.Errorf("a key twice among 100: DecodeObject returns %v with its error", got)
	}
	d[99].Key = "ba"
	if got, err := AppendObject(nil, d); err == nil {
		t.Error("a key twice among 100: AppendObject does not fail")
	} else if got != nil {
		t.Errorf("a key twice among 100: AppendObject returns %v with its error", got)
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
		{"other type", struct{}{}, "xpc: encode: at byte 0: struct {} has no XPC form"},
		{"NUL in string", "a\x00", "xpc: encode: at byte 0: string holds a NUL"},
		{
			"NUL in key", Dict{{"a\x00", 1}},
			`xpc: encode: at byte 12: key "a\x00": string holds a NUL`,
		},
		{
			"key twice", Dict{{"a", 1}, {"a", 2}},
			`xpc: encode: at byte 28: dictionary holds "a" twice`,
		},
		{
			"inside", Dict{{"a", []any{1, struct{}{}}}},
			`xpc: encode: at byte 40: "a": [1]: struct {} has no XPC form`,
		},
		{
			"date", time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC),
			"xpc: encode: at byte 0: year 3000 has no XPC form",
		},
	} {
		got, err := AppendObject([]byte("head"), tt.v)
		if err == nil {
			t.Errorf("%s: AppendObject does not fail", tt.name)
		} else if err.Error() != tt.want {
			t.Errorf("%s: AppendObject = %q, want %q", tt.name, err, tt.want)
		} else if got != nil {
			t.Errorf("%s: AppendObject returns %v with its error", tt.name, got)
		}
		if got, err := Append([]byte("head"), &Message{Body: Dict{{"k", tt.v}}}); err == nil {
			t.Errorf("%s: Append does not fail", tt.name)
		} else if got != nil {
			t.Errorf("%s: Append returns %v with its error", tt.name, got)
		}
	}
	if got, err := AppendObject(nil, deep); got != nil {
		t.Errorf("AppendObject too deep returns %d bytes", len(got))
	} else if !errors.Is(err, ErrLimit) {
		t.Errorf("AppendObject too deep = %v, want %v", err, ErrLimit)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	wire := fixture(t)
	two := append(append([]byte{}, wire...), wire...)
	r := iotest.OneByteReader(bytes.NewReader(two))
	for range 2 {
		m, err := Read(r)
		if err != nil {
			t.Fatalf("Read: %v", err)
		} else if len(m.Body) != 7 {
			t.Fatalf("Read has %d fields, want 7", len(m.Body))
		}
	}
	if m, err := Read(r); m != nil {
		t.Errorf("Read at the end returns %v", m)
	} else if err != io.EOF {
		t.Errorf("Read at the end = %v, want %v", err, io.EOF)
	}
	for _, cut := range []int{1, 24, 1075} {
		if m, err := Read(bytes.NewReader(wire[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Read of %d bytes = %v, want %v", cut, err, io.ErrUnexpectedEOF)
		} else if m != nil {
			t.Errorf("Read of %d bytes returns %v with its error", cut, m)
		}
	}
	broken := errors.New("broken")
	if _, err := Read(
		io.MultiReader(bytes.NewReader(wire[:100]), iotest.ErrReader(broken)),
	); !errors.Is(err, broken) {
		t.Errorf("Read of a broken stream: %v, want %v", err, broken)
	}
	if _, err := Read(strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\n")); !errors.Is(err,
		ErrMagic) {
		t.Errorf("Read of text: %v, want %v", err, ErrMagic)
	}
}

// TestReadMemory declares the longest body and sends a few bytes of it. Memory must
// depend on what arrives. The test is not parallel, because it measures the memory of
// the process.
func TestReadMemory(t *testing.T) {
	wire := body(t, "00f00000 04000000 00000000")
	binary.LittleEndian.PutUint64(wire[8:], MaxBody)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Read(bytes.NewReader(wire)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read = %v, want %v", err, io.ErrUnexpectedEOF)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<16 {
		t.Errorf("Read takes %d bytes of memory for %d that arrive", n, len(wire))
	}
}

func TestDict(t *testing.T) {
	t.Parallel()
	uuid := UUID{1}
	now := time.Unix(5, 0)
	d := Dict{{"s", "x"}, {"b", true}, {"d", []byte{1}}, {"u", uuid}, {"t", now},
		{"m", Dict{{"k", Null{}}}}, {"l", []any{}},
		{"i", int64(-1)}, {"n", uint64(math.MaxUint64)}, {"p", uint64(5)}, {"f", 0.5}}
	check := func(name string, got any, ok bool, want any) {
		t.Helper()
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, %v, want %v", name, got, ok, want)
		}
	}
	s, ok := d.String("s")
	check("String", s, ok, "x")
	b, ok := d.Bool("b")
	check("Bool", b, ok, true)
	data, ok := d.Data("d")
	check("Data", data, ok, []byte{1})
	u, ok := d.UUID("u")
	check("UUID", u, ok, uuid)
	tm, ok := d.Time("t")
	check("Time", tm, ok, now)
	m, ok := d.Dict("m")
	check("Dict", m, ok, Dict{{"k", Null{}}})
	l, ok := d.Array("l")
	check("Array", l, ok, []any{})
	i, ok := d.Int("i")
	check("Int", i, ok, int64(-1))
	i, ok = d.Int("p")
	check("Int of a uint64", i, ok, int64(5))
	n, ok := d.Uint("n")
	check("Uint", n, ok, uint64(math.MaxUint64))
	f, ok := d.Real("f")
	check("Real", f, ok, 0.5)
	f, ok = d.Real("i")
	check("Real of an int64", f, ok, -1.0)
	for name, found := range map[string]bool{
		"Int of a large uint64": second(d.Int("n")), "Uint of a negative": second(d.Uint("i")),
		"Uint of a string":   second(d.Uint("s")),
		"String of a number": second(d.String("i")), "a missing key": second(d.String("none")),
		"Real of a string":        second(d.Real("s")),
		"a path through a string": second(d.Path("s", "x")),
		"a path to a missing key": second(d.Path("m", "x")),
	} {
		if found {
			t.Errorf("%s is found", name)
		}
	}
	d.Set("s", "y")
	d.Set("z", int64(1))
	if d[0] != (Pair{"s", "y"}) {
		t.Errorf("Set of s gives %v", d[0])
	}
	if d[len(d)-1] != (Pair{"z", int64(1)}) {
		t.Errorf("Set of z gives %v", d[len(d)-1])
	}
	if len(d) != 12 {
		t.Errorf("after Set there are %d pairs, want 12", len(d))
	}
	if size, ok := NewFileTransfer(1, 99).Size(); size != 99 || !ok {
		t.Errorf("Size = %d, %v", size, ok)
	}
}

func second[T any](_ T, ok bool) bool { return ok }

func TestUUID(t *testing.T) {
	t.Parallel()
	const s = "C3853DCC-9776-4114-B6C1-FD9F51944A6D"
	for _, form := range []string{s, strings.ToLower(s)} {
		if u, err := ParseUUID(form); err != nil {
			t.Errorf("ParseUUID(%s): %v", form, err)
		} else if u.String() != s {
			t.Errorf("ParseUUID(%s) has %v, want %v", form, u.String(), s)
		}
	}
	for _, bad := range []string{
		"", s[1:], s + "0", strings.ReplaceAll(s, "-", ""), "G" + s[1:],
		"C3853DCC9-776-4114-B6C1-FD9F51944A6D", s[:35] + "-",
	} {
		if u, err := ParseUUID(bad); err == nil {
			t.Errorf("ParseUUID(%q) = %v", bad, u)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(fixture(f))
	f.Add(body(f, "00f00000 04000000 00000000"))
	f.Add(body(f, "00f00000 10000000 01000000 6b000000 00e00000 04000000 01000000 00100000"))
	f.Add(body(f,
		"00f00000 10000000 01000000 6b000000 00a00100 0100000000000000 00f00000 14000000 01000000 73000000 00400000 0500000000000000"))
	f.Add(unhex(f, "920bb029 01020000 0000000000000000 0000000000000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m *Message
		var n int
		var err error
		fuzztest.Bounded(t, len(b), func() { m, n, err = Decode(b) })
		if fuzztest.Typed[*Error](t, "Decode", err); err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("Decode took %d of %d bytes", n, len(b))
		}
		wire, err := Append(nil, m)
		if err != nil {
			t.Fatalf("Append(%+v): %v", m, err)
		}
		again, _, err := Decode(wire)
		if err != nil {
			t.Fatalf("Decode(% x): %v", wire, err)
		}
		if twice, err := Append(nil, again); err != nil {
			t.Fatalf("Append: %v", err)
		} else if !bytes.Equal(twice, wire) {
			t.Fatalf("Append = % x\nwant % x", twice, wire)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	wire := fixture(b)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	m, _, err := Decode(fixture(b))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeData decodes a message that is a file, 1 MiB.
func BenchmarkDecodeData(b *testing.B) {
	wire, err := Append(nil, &Message{Flags: FlagsReply, Body: Dict{{"data", make([]byte, 1<<20)}}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}
