package plist

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fixture reads bytes of a real device; testdata/go-ios says where they come
// from.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/go-ios/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	frame := fixture(t, "sample-plist-plistcodec-basebandkeyhashinfotype.plist")
	if n := binary.BigEndian.Uint32(frame); int(n) != len(frame)-4 {
		t.Fatalf("fixture declares %d of %d bytes", n, len(frame)-4)
	}
	for _, c := range []struct {
		b    []byte
		want Dict
	}{
		{frame[4:], Dict{"AKeyStatus": int64(5), "SKeyHash": []byte{0}, "SKeyStatus": int64(4)}},
		{fixture(t, "usbmuxresponse.plist"), Dict{"MessageType": "ErrorName", "Number": int64(5)}},
	} {
		d, err := DecodeDict(c.b)
		if err != nil {
			t.Errorf("DecodeDict: %v", err)
		} else if !reflect.DeepEqual(d, c.want) {
			t.Errorf("DecodeDict = %v, want %v", d, c.want)
		}
		// What the device wrote is what we write.
		if b, err := Encode(c.want, XML); err != nil {
			t.Errorf("Encode: %v", err)
		} else if !bytes.Equal(b, c.b) {
			t.Errorf("Encode = %q, want %q", b, c.b)
		}
		var s struct {
			Number     uint16
			SKeyStatus int8
			Hash       []byte `plist:"SKeyHash"`
		}
		if err := Unmarshal(c.b, &s); err != nil {
			t.Error(err)
		}
		n, _ := c.want.Int("Number")
		if int64(s.Number) != n {
			t.Errorf("struct %+v", s)
		}
	}
}

// everything holds each type and each edge of it.
func everything() Dict {
	return Dict{
		"array": []any{}, "dict": Dict{}, "nested": []any{Dict{"a": []any{[]any{}}}},
		"true": true, "false": false,
		"data": []byte{0, 1, 0xFE, 0xFF}, "no data": []byte{}, "long data": bytes.Repeat([]byte{7},
			300),
		"text": "plain", "no text": "", "unicode": "Zoë's 📱", "xml": "<&>\"'\t\n\r]]>",
		"long": strings.Repeat("x", 70000), "long unicode": strings.Repeat("ü", 20),
		"0": int64(
			0,
		), "255": int64(255), "256": int64(256), "65536": int64(65536), "2^32": int64(1 << 32),
		"max": int64(math.MaxInt64), "min": int64(math.MinInt64), "-1": int64(-1),
		"uint": uint64(math.MaxUint64), "uint2": uint64(1 << 63),
		"real": 1.5, "zero": 0.0, "inf": math.Inf(1), "-inf": math.Inf(-1), "tiny": 5e-324,
		"date":           time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC),
		"early":          time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC),
		"late":           time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC),
		"distant past":   time.Date(0, 12, 30, 0, 0, 0, 0, time.UTC),
		"distant future": time.Date(4001, 1, 1, 0, 0, 0, 0, time.UTC),
		"end":            time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		"uid":            UID(7), "large uid": UID(70000),
		"": "key without text", "kéy": int64(1),
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{XML, Binary} {
		want := everything()
		b, err := Encode(want, f)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := FormatOf(b); got != f {
			t.Errorf("FormatOf = %v, want %v", got, f)
		}
		got, err := DecodeDict(b)
		if err != nil {
			t.Fatal(err)
		}
		for k, w := range want {
			if !reflect.DeepEqual(got[k], w) {
				t.Errorf("format %v: %q = %#v, want %#v", f, k, got[k], w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("format %v: %d keys, want %d", f, len(got), len(want))
		}
		again, _ := Encode(got, f)
		if !bytes.Equal(again, b) {
			t.Errorf("format %v: not the same bytes the second time", f)
		}
	}
	for _, f := range []Format{XML, Binary} {
		v, err := Decode(mustEncode(t, []any{math.NaN(), math.NaN()}, f))
		if err != nil {
			t.Errorf("format %v: Decode of NaN: %v", f, err)
		} else if !math.IsNaN(v.([]any)[1].(float64)) {
			t.Errorf("format %v: NaN = %v", f, v)
		}
	}
	minus := math.Copysign(0, -1)
	for _, f := range []Format{XML, Binary} {
		v, err := Decode(
			mustEncode(t, []any{0.0, minus, float32(0), float32(minus), float32(1.1)}, f),
		)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range v.([]any)[:4] {
			if x != 0.0 {
				t.Errorf("format %v: zero %d = %v", f, i, x)
			} else if math.Signbit(x.(float64)) != (i%2 == 1) {
				t.Errorf("format %v: zero %d = %v has the wrong sign", f, i, x)
			}
		}
		if x := v.([]any)[4].(float64); float32(x) != 1.1 {
			t.Errorf("format %v: 1.1 = %v", f, x)
		} else if f == XML && x != 1.1 {
			t.Errorf("format %v: 1.1 = %v, which is rounded", f, x)
		}
	}
}

func mustEncode(t testing.TB, v any, f Format) []byte {
	t.Helper()
	b, err := Encode(v, f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Two data values with the same checksum must not become one value.
func TestDataWithEqualChecksums(t *testing.T) {
	t.Parallel()
	a := []byte("first blob")
	b := append([]byte("second one"), 0, 0, 0, 0)
	want := crc32.ChecksumIEEE(a)
	binary.LittleEndian.PutUint32(b[len(b)-4:], crcTail(b[:len(b)-4], want))
	if crc32.ChecksumIEEE(b) != want {
		t.Fatal("the blobs of this test do not collide")
	}
	for _, v := range []any{
		[]any{a, b}, Dict{"x": a, "y": []any{[]byte("other"), a, Dict{"z": b}}},
	} {
		for _, f := range []Format{XML, Binary} {
			if got, err := Decode(mustEncode(t, v, f)); err != nil {
				t.Errorf("format %v: Decode: %v", f, err)
			} else if !reflect.DeepEqual(got, v) {
				t.Errorf("format %v: Decode = %q, want %q", f, got, v)
			}
		}
	}
	same := []any{a, bytes.Clone(a), []byte("other"), []byte{}, []byte{}}
	if got, err := Decode(mustEncode(t, same, Binary)); err != nil {
		t.Errorf("equal blobs: %v", err)
	} else if !reflect.DeepEqual(got, same) {
		t.Errorf("equal blobs = %q, want %q", got, same)
	}
}

// crcTail returns the four bytes that bring the CRC of head to sum.
func crcTail(head []byte, sum uint32) uint32 {
	// Run the register backwards from the wanted sum over four zero bytes.
	reg := ^sum
	for range 4 {
		for i, e := range crc32.IEEETable {
			if e>>24 == reg>>24 {
				reg = (reg^e)<<8 | uint32(i)
				break
			}
		}
	}
	return reg ^ ^crc32.ChecksumIEEE(head)
}

func TestDecodeXMLForms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want any
	}{
		{`<string>a<!-- <b> -->c<![CDATA[<d>&]]></string>`, "ac<d>&"},
		{`<string>&lt;&#65;&amp;</string>`, "<A&"},
		{"<string>a\x00b\x1fc\x08</string>", "a b c "}, // seen in application lists of devices
		{"<integer> 5\n</integer>", int64(5)},
		{
			"<dict><key>a</key><date>\t2021-03-04T05:06:07Z </date><key>b</key><integer>6\n</integer ></dict>",
			Dict{"a": time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC), "b": int64(6)},
		},
		{"<string> 5 </string>", " 5 "},
		{"<integer>-0</integer>", int64(0)},
		{"<integer>0xFF</integer>", int64(255)},
		{"<integer>-0x10</integer>", int64(-16)},
		{"<integer>-9223372036854775808</integer>", int64(math.MinInt64)},
		{"<integer>9223372036854775808</integer>", uint64(1 << 63)},
		{"<real> 1e3 </real>", 1000.0},
		{"<real>nan</real>", nil},
		{"<true></true>", true},
		{"<data>\n\tAAEC\n\tAw==\n\t</data>", []byte{0, 1, 2, 3}},
		{"<data/>", []byte{}},
		{"<date>2021-03-04T05:06:07Z</date>", time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)},
		{"<date>2021-03-04T05:06:07+01:00</date>", time.Date(2021, 3, 4, 4, 6, 7, 0, time.UTC)},
		{"<dict/>", Dict{}},
		{"<array></array>", []any{}},
		{"<dict><key>CF$UID</key><integer>3</integer></dict>", UID(3)},
		{"<dict><key>CF$UID</key><string>3</string></dict>", Dict{"CF$UID": "3"}},
		{"<dict><key>a</key><true/><key>a</key><false/></dict>", Dict{"a": false}},
		{`<array x="/>" y='>'><true/></array>`, []any{true}},
	} {
		for _, in := range []string{
			"<plist>" + c.in + "</plist>",
			"\xef\xbb\xbf \n<?xml version='1.0' encoding='utf-8'?><!DOCTYPE plist><!-- x --><plist version='1.0'>\n" +
				c.in + "\n</plist>\n\x00",
			"<?xml version='1.0'?>" + c.in,
		} {
			got, err := Decode([]byte(in))
			if f, ok := got.(float64); ok && math.IsNaN(f) {
				got = nil
			}
			if err != nil {
				t.Errorf("Decode(%q): %v", in, err)
			} else if !reflect.DeepEqual(got, c.want) {
				t.Errorf("Decode(%q) = %#v, want %#v", in, got, c.want)
			}
		}
	}
}

func TestDecodeRefusals(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "junk", "{a = 1;}", "<data>", "bplist", "bplist00", "\xff\xfe<\x00?\x00",
		"<plist", "<plist>", "<plist/>", "<plist></plist>", "<?xml version='1.0'?>",
		"<!-- only -->", "<plist><dict>", "<plist><array><true/>",
		"<plist><string>x", "<plist><string>x</plist>", "<plist><string><b/></string></plist>",
		"<plist><string>\xff</string></plist>", "<plist><string>&x;</string></plist>",
		"<plist><integer/></plist>", "<plist><integer>x</integer></plist>",
		"<plist><integer>1.5</integer></plist>",
		"<plist><integer>18446744073709551616</integer></plist>",
		"<plist><integer>-9223372036854775809</integer></plist>",
		"<plist><integer>--1</integer></plist>", "<plist><integer>+1</integer></plist>",
		"<plist><real>x</real></plist>", "<plist><date>yesterday</date></plist>",
		"<plist><data>A</data></plist>", "<plist><data>!!!!</data></plist>",
		"<plist><dict><true/></dict></plist>", "<plist><dict><key>a</key></dict></plist>",
		"<plist><dict><key>a</key><key>b</key></dict></plist>",
		"<plist><dict><key><b/></key><true/></dict></plist>",
		"<plist><dict><string>a</string><true/></dict></plist>",
		"<plist><true>", "<plist><true><b/></true></plist>", "<plist><integer>5",
		"<plist><date>0000-01-01T00:00:00+01:00</date></plist>",
		"<plist><dict><key>CF$UID</key><integer>-1</integer></dict></plist>",
		"<plist><plist><true/></plist></plist>", "<plist><array><plist/></array></plist>",
		"<plist><array><plist></plist></array></plist>",
		"<plist><dict><key>a</key><plist/></dict></plist>",
		"<plist><dict><key>a</key><key>b</key><true/></dict></plist>",
		"<plist><array><key>a</key></array></plist>", "<plist><data><string/></data></plist>",
		"<plist><key><dict/></key></plist>",
		"<plist><array></array ", "<plist><array a='></array>",
		"<plist><array a=/></array></plist>", "<plist><array a></array></plist>",
		"<plist>< array/></plist>", "<plist><x:array/></plist>", "<plist></plist", "</plist>",
		"<plist></array></plist>", "<plist><array/ ></plist>",
		"<!DOCTYPE plist [<!ENTITY a 'b'>]><plist><string>&a;</string></plist>", "<!DOCTYPE plist",
		"<!-- <plist><true/></plist>", "<?xml <plist><true/></plist>",
		"<plist><![CDATA[<true/></plist>", "<plist><!ELEMENT a><true/></plist>",
		"<plist><key>a</key></plist>", "<plist><thing/></plist>", "<plist><array></dict></plist>",
		"<?xml version='1.0' encoding='utf-16'?><plist><true/></plist>",
	} {
		v, err := Decode([]byte(in))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Decode(%q) = %v, want an Error", in, err)
		} else if e.Op != "decode" {
			t.Errorf("Decode(%q) has Op = %v, want %v", in, e.Op, "decode")
		} else if v != nil {
			t.Errorf("Decode(%q) returns %v with its error", in, v)
		}
	}
	if _, err := Decode([]byte("{a = 1;}")); !errors.Is(err, ErrFormat) {
		t.Errorf("old text form: %v, want ErrFormat", err)
	}
	if d, err := DecodeDict([]byte("<plist><array/></plist>")); err == nil {
		t.Error("DecodeDict of an array does not fail")
	} else if !strings.Contains(err.Error(), "root is array") {
		t.Errorf("DecodeDict of an array = %q, want %q in it", err, "root is array")
	} else if d != nil {
		t.Errorf("DecodeDict of an array returns %v with its error", d)
	}
}

// The two ways around a check that only counts tags: tags inside comments, and
// attributes that hold a bracket.
func TestDeepXML(t *testing.T) {
	t.Parallel()
	const deep = 1_000_000
	for name, in := range map[string]string{
		"arrays": "<plist>" + strings.Repeat("<array>", deep),
		"closed in front": "<plist><!--" + strings.Repeat("</a>", deep) + "-->" +
			strings.Repeat("<array>", deep),
		"attributes":   "<plist>" + strings.Repeat(`<array a="/>">`, deep/2),
		"dictionaries": "<plist>" + strings.Repeat("<dict><key>a</key>", deep),
	} {
		if _, err := Decode([]byte(in)); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, want ErrLimit", name, err)
		}
	}
	nest := func(n int) string {
		return "<plist>" + strings.Repeat("<array>", n) + strings.Repeat("</array>", n) + "</plist>"
	}
	if _, err := Decode([]byte(nest(MaxDepth))); err != nil {
		t.Errorf("depth %d: %v", MaxDepth, err)
	}
	if _, err := Decode([]byte(nest(MaxDepth + 2))); !errors.Is(err, ErrLimit) {
		t.Errorf("depth %d: %v, want ErrLimit", MaxDepth+2, err)
	}
	if _, err := Decode(
		[]byte("<plist><array><!--" + strings.Repeat("<a>", 1000) + "--></array></plist>"),
	); err != nil {
		t.Errorf("a comment counts as nesting: %v", err)
	}
}

// Empty containers must not cost the reader more than a fixed amount and a bounded
// multiple of their size.
func TestXMLMemory(t *testing.T) {
	spam := func(n int) []byte {
		return []byte("<plist><array>" + strings.Repeat("<dict/>", n) + "</array></plist>")
	}
	for _, n := range []int{100_000, 1_000_000} {
		if _, err := Decode(spam(n)); !errors.Is(err, ErrLimit) {
			t.Errorf("%d empty dictionaries: %v, want ErrLimit", n, err)
		}
	}
	in := spam(35_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode(in); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(
		spareContainers*1500+125*len(in),
	); got > limit {
		t.Errorf("%d bytes taken to read %d, want at most %d", got, len(in), limit)
	}
	// Everything that is written must be readable.
	list := make([]any, 4*spareContainers)
	for i := range list {
		list[i] = Dict{}
	}
	if v, err := Decode(mustEncode(t, list, XML)); err != nil {
		t.Errorf("many empty dictionaries: %v", err)
	} else if len(v.([]any)) != len(list) {
		t.Errorf("many empty dictionaries: %d, want %d", len(v.([]any)), len(list))
	}
}

func TestEncodeRefusals(t *testing.T) {
	t.Parallel()
	deep := any("x")
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	loop := Dict{}
	loop["self"] = loop
	for name, v := range map[string]any{
		"nil": nil, "nil inside": Dict{"a": []any{nil}}, "nil pointer": (*int)(nil),
		"nil pointer in a struct":   struct{ P *int }{},
		"nil interface in a struct": struct{ V any }{}, "nil in typed slices": []*int{
			nil,
		}, "nil in typed maps": map[string]any{"x": nil},
		"keys": map[int]string{1: "a"}, "channel": make(chan int), "function": func() {},
		"complex":  1i,
		"too deep": deep, "loop": loop, "text": "a\xffb", "key": Dict{"\xff": true},
		"date":        time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		"date before": time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), "nil time": (*time.Time)(nil),
		"large uid": UID(1 << 63),
	} {
		for _, f := range []Format{XML, Binary} {
			b, err := Encode(v, f)
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s in format %v: Encode = %v, want an Error", name, f, err)
			} else if e.Op != "encode" {
				t.Errorf("%s in format %v: Encode has Op = %v, want %v", name, f, e.Op, "encode")
			} else if b != nil {
				t.Errorf("%s in format %v: Encode returns %v with its error", name, f, b)
			}
		}
	}
	for _, s := range []string{"a\x00", "\x1b[0m", "\uffff"} {
		if b, err := Encode(s, XML); !errors.Is(err, ErrNotXML) {
			t.Errorf("XML of %q = %q: the text is lost", s, b)
		}
		if v, err := Decode(mustEncode(t, s, Binary)); err != nil {
			t.Errorf("binary of %q: %v", s, err)
		} else if v != s {
			t.Errorf("binary of %q = %q", s, v)
		}
	}
	if b, err := Encode([]any{Dict{"CF$UID": -1}}, XML); !errors.Is(err, errUID) {
		t.Errorf("a dictionary that reads as a UID = %q, %v", b, err)
	}
	if _, err := Encode(Dict{"a": []any{true, Dict{"b": nil}}}, XML); err == nil {
		t.Error("Encode of nil does not fail")
	} else if err.Error() != `plist: encode: "a": [1]: "b": nil has no property list form` {
		t.Errorf("Encode of nil = %q, want %q", err,
			`plist: encode: "a": [1]: "b": nil has no property list form`)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
