package nskeyed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

const fixtures = "testdata/go-ios"

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// processes is the archive in the DTX fragments of the process list: the first
// is a header alone, the message in the others begins with 16 bytes.
func processes(t testing.TB) []byte {
	t.Helper()
	b := fixture(t, "fragmentedmessage.bin")
	var message []byte
	for len(b) > 0 {
		index, n := binary.LittleEndian.Uint16(b[8:]), int(binary.LittleEndian.Uint32(b[12:]))
		b = b[32:]
		if index > 0 {
			message, b = append(message, b[:n]...), b[n:]
		}
	}
	return message[16:]
}

// notation writes a value as expected.json does.
func notation(v any) any {
	switch t := v.(type) {
	case int64:
		return float64(t)
	case uint64:
		return float64(t)
	case Null:
		return map[string]any{"$NSNull": true}
	case Date:
		return map[string]any{"$date": float64(t)}
	case UUID:
		return map[string]any{"$uuid": strings.ToLower(t.String())}
	case URL:
		var base any
		if t.Base != nil {
			base = t.Base.String()
		}
		return map[string]any{"$url": []any{base, t.Relative}}
	case []byte:
		if len(t) <= 32 {
			return map[string]any{"$data": hex.EncodeToString(t)}
		}
		sum := sha256.Sum256(t)
		return map[string]any{"$data_len": float64(len(t)), "sha256": hex.EncodeToString(sum[:])}
	case Top:
		return map[string]any{"$top": list(t)}
	case Set:
		return map[string]any{"$set": list(t)}
	case []any:
		return list(t)
	case *Object:
		out := map[string]any{"$class": t.Class()}
		for _, f := range t.Fields {
			out[f.Key] = notation(f.Value)
		}
		return out
	case Dict:
		return dictNotation(t)
	}
	return v
}

func list(l []any) []any {
	out := make([]any, len(l))
	for i, v := range l {
		out[i] = notation(v)
	}
	return out
}

func dictNotation(d Dict) any {
	out, pairs, text := map[string]any{}, []any{}, true
	for _, p := range d {
		s, ok := p.Key.(string)
		text = text && ok
		out[s] = notation(p.Value)
		pairs = append(pairs, []any{notation(p.Key), notation(p.Value)})
	}
	if !text {
		return map[string]any{"$pairs": pairs}
	}
	return out
}

// TestFixtures decodes each archive of a device, and again what Encode makes of the
// value.
func TestFixtures(t *testing.T) {
	t.Parallel()
	var expected map[string]struct {
		Decoded any
		Error   string
	}
	if err := json.Unmarshal(fixture(t, "expected.json"), &expected); err != nil {
		t.Fatal(err)
	}
	if len(expected) != 16 {
		t.Fatalf("expected.json lists %d files, want 16", len(expected))
	}
	for name, want := range expected {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := Decode(fixture(t, name))
			if want.Error != "" {
				if err == nil {
					t.Fatal("Decode does not fail")
				} else if err.Error() != "nskeyed: decode: "+want.Error {
					t.Fatalf("Decode = %q, want %q", err, "nskeyed: decode: "+want.Error)
				} else if v != nil {
					t.Fatalf("Decode returns %v with its error", v)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := sorted(notation(v)); !reflect.DeepEqual(got, sorted(want.Decoded)) {
				t.Errorf("Decode = %v\nwant %v", got, want.Decoded)
			}
			b, err := Encode(v)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := Decode(b); err != nil {
				t.Errorf("Decode(Encode(v)): %v", err)
			} else if !reflect.DeepEqual(again, v) {
				t.Errorf("Decode(Encode(v)) = %v, want %v", again, v)
			}
			if twice, err := Encode(v); err != nil {
				t.Errorf("the second Encode: %v", err)
			} else if !bytes.Equal(twice, b) {
				t.Errorf("the second Encode = % x\nwant % x", twice, b)
			}
		})
	}
}

// sorted puts the elements of sets into one order.
func sorted(v any) any {
	switch t := v.(type) {
	case []any:
		for i := range t {
			t[i] = sorted(t[i])
		}
	case map[string]any:
		for k := range t {
			t[k] = sorted(t[k])
		}
		if set, ok := t["$set"].([]any); ok {
			count := map[string]int{}
			for _, e := range set {
				s, _ := json.Marshal(e)
				count[string(s)]++
			}
			t["$set"] = count
		}
	}
	return v
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	v, err := Decode(processes(t))
	if err != nil {
		t.Fatal(err)
	}
	all, ok := v.([]any)
	if !ok {
		t.Fatalf("Decode = %T, want an array", v)
	} else if len(all) != 349 {
		t.Fatalf("Decode has %d elements, want 349", len(all))
	}
	apps, pids, keys := 0, int64(0), map[string]bool{}
	for _, p := range all {
		d := p.(Dict)
		if app, ok := d.Bool("isApplication"); app && ok {
			apps++
		}
		pid, _ := d.Int("pid")
		pids += pid
		for _, e := range d {
			keys[e.Key.(string)] = true
		}
	}
	if apps != 30 {
		t.Errorf("%d applications, want 30", apps)
	}
	if pids != 97984 {
		t.Errorf("the pids add up to %d, want 97984", pids)
	}
	if len(keys) != 6 {
		t.Errorf("%d keys, want 6", len(keys))
	}
	first, last := all[0].(Dict), all[348].(Dict)
	want := Dict{
		{"name", "configd"}, {"startDate", Date(639298142.279407)}, {"isApplication", false},
		{"pid", int64(40)}, {"realAppName", "/usr/libexec/configd"},
	}
	if !reflect.DeepEqual(first, want) {
		t.Errorf("first = %v, want %v", first, want)
	}
	if name, _ := last.String("name"); name != "Mach Kernel" {
		t.Errorf("last = %v", last)
	}
	if _, ok := last.Date("startDate"); ok {
		t.Error("the kernel has a start date")
	}
	b, err := Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Decode(b); err != nil {
		t.Errorf("decoding the encoded list: %v", err)
	} else if !reflect.DeepEqual(again, v) {
		t.Error("the decoded list differs from the one that was encoded")
	}
}

// TestSameBytes encodes what Xcode and devices have encoded.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	request := fixture(t, "requestChannelWithCodeIdentifier.bin")
	selector := request[len(request)-175:]
	at := bytes.Index(request, []byte(header))
	tests := []struct {
		name string
		v    any
		want []byte
	}{
		{"selector", "_requestChannelWithCode:identifier:", selector},
		{
			"argument",
			"dtxproxy:XCTestManager_IDEInterface:XCTestManager_DaemonConnectionInterface",
			request[at : at+0xd7],
		},
		{"NSUUID", UUID{
			0x54, 0xcd, 0x55, 0x74, 0xe9, 0x57, 0x44, 0x99, 0x8a, 0x09, 0xda, 0xb6, 0x88, 0xc0,
			0xb5, 0x86,
		}, fixture(t, "nsuuid.bin")},
		{"several", Top{true}, fixture(t, "onevalue.bin")},
	}
	for _, tt := range tests {
		got, err := Append([]byte("head"), tt.v)
		if err != nil {
			t.Errorf("%s: Append: %v", tt.name, err)
		} else if !bytes.Equal(got, append([]byte("head"), tt.want...)) {
			t.Errorf("%s: Append = % x\nwant % x", tt.name, got, append([]byte("head"), tt.want...))
		}
	}
	for _, tt := range []struct {
		v    any
		want int
	}{{1, 139}, {true, 138}, {1.5, 146}} {
		if got, err := Encode(tt.v); err != nil {
			t.Errorf("Encode(%v): %v", tt.v, err)
		} else if len(got) != tt.want {
			t.Errorf("Encode(%v) has the length %d, want %d", tt.v, len(got), tt.want)
		}
	}
}

// TestAppleLayout compares the numbering of objects with that of Apple's archiver.
func TestAppleLayout(t *testing.T) {
	t.Parallel()
	b, err := Encode(TestIdentifier{[]string{"none", "none"}, TestOptionLeaf})
	if err != nil {
		t.Fatal(err)
	}
	root, err := plist.DecodeDict(b)
	if err != nil {
		t.Fatal(err)
	}
	want := plist.Dict{
		"$version": int64(100000), "$archiver": "NSKeyedArchiver",
		"$top": plist.Dict{"root": plist.UID(1)},
		"$objects": []any{
			"$null",
			plist.Dict{"c": plist.UID(2), "o": int64(2), "$class": plist.UID(5)},
			plist.Dict{"NS.objects": []any{plist.UID(3), plist.UID(3)}, "$class": plist.UID(4)},
			"none",
			plist.Dict{"$classname": "NSArray", "$classes": []any{"NSArray", "NSObject"}},
			plist.Dict{
				"$classname": "XCTTestIdentifier",
				"$classes":   []any{"XCTTestIdentifier", "NSObject"},
			},
		},
	}
	if !reflect.DeepEqual(root, want) {
		t.Errorf("Encode = %v\nwant %v", root, want)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	classes := NewClasses(append(XCTest(), Instruments()...)...)
	uuid := UUID{1, 2, 3}
	config := NewTestConfiguration()
	config.Set("sessionIdentifier", uuid)
	config.Set("testBundleURL", URL{Relative: "file:///x"})
	config.Set("IDECapabilities", Capabilities{{"XCTIssue capability", int64(1)}})
	values := []any{
		nil, true, false, "", "text", "ä€😀", int64(0), int64(-1), int64(math.MinInt64),
		int64(math.MaxInt64), uint64(math.MaxUint64),
		1.5, math.Inf(1), []byte{}, []byte{1, 2}, []any{}, []any{int64(1), "a", "a", true, 1.0},
		Dict{}, Set{}, Set{"a"}, OrderedSet{"b", "a"},
		Dict{{"a", int64(1)}, {int64(40400), "b"}, {int64(-1), Null{}}, {uuid, Date(1)}},
		Date(-1.25), uuid, Null{},
		URL{Relative: "file:///a"}, URL{Base: &URL{Relative: "file:///a/"}, Relative: "b"},
		&NSError{
			Domain: "D", Code: 3,
			UserInfo: Dict{{"NSUnderlyingError", &NSError{Domain: "E", Code: 1, UserInfo: Dict{}}}},
		},
		Point{1, -2.5}, Size{3, 4}, Rect{1, 2, 3, 4e100}, Range{5, 6}, Top{"a", nil, int64(1)},
		&Object{Classes: []string{
			"A", "B", "NSObject",
		}, Fields: []Field{{"x", nil, false}, {"y", int64(1), true}, {"z", []any{"q", nil}, true}}},
		TapMessage{"DTTapStatusMessage", Dict{{"k", int64(8)}}}, TapMessage{"DTTapMessage", Dict{}},
		CPUCluster{1, 2},
		Capabilities{{"a", true}}, TestIdentifierSet{{[]string{"A", "b"}, 2}, {[]string{"A"}, 3}},
		config,
	}
	for _, v := range values {
		b, err := Encode(v)
		if err != nil {
			t.Errorf("Encode(%v): %v", v, err)
			continue
		}
		want := v
		if o, ok := v.(*Object); ok && o.Classes[len(o.Classes)-1] != rootClass {
			c := *o
			c.Classes = append(c.Classes[:1:1], rootClass)
			want = &c
		}
		if got, err := classes.Decode(b); err != nil {
			t.Errorf("Decode(Encode(%v)): %v", v, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(Encode(%v)) = %v, want %v", v, got, want)
		}
		if _, err := plist.Decode(b); err != nil {
			t.Errorf("plist.Decode(Encode(%v)): %v", v, err)
		}
	}
}

// TestEncodeOnly encodes the types that decoding never returns.
func TestEncodeOnly(t *testing.T) {
	t.Parallel()
	when := time.Date(2020, 1, 2, 3, 4, 5, 5e8, time.FixedZone("", 3600))
	tests := []struct {
		v, want any
		class   string // that the archive must name
	}{
		{Mutable{"a"}, "a", "NSMutableString"}, {Mutable{[]byte{1}}, []byte{1}, "NSMutableData"},
		{Mutable{[]any{"a"}}, []any{"a"}, "NSMutableArray"},
		{Mutable{Dict{{"a", 1}}}, Dict{{"a", int64(1)}}, "NSMutableDictionary"},
		{Mutable{Set{}}, Set{}, "NSMutableSet"},
		{Mutable{OrderedSet{"a"}}, OrderedSet{"a"}, "NSMutableOrderedSet"},
		{when, Date(599623445.5), "NSDate"}, {[]string{"b", "a"}, []any{"b", "a"}, "NSArray"},
		{
			plist.Dict{"b": 1, "a": []byte{2}}, Dict{{"a", []byte{2}}, {"b", int64(1)}},
			"NSDictionary",
		},
		{[]any{int8(-1), int16(2), int32(3), uint(4), uint8(5), uint16(6), uint32(7), float32(0.5)},
			[]any{int64(-1), int64(2), int64(3), int64(4), int64(5), int64(6), int64(7), 0.5},
			"NSArray"},
		{&NSError{Domain: "D"}, &NSError{Domain: "D", UserInfo: Dict{}}, "NSError"},
	}
	for _, tt := range tests {
		b, err := Encode(tt.v)
		if err != nil {
			t.Errorf("Encode(%v): %v", tt.v, err)
			continue
		} else if !bytes.Contains(b, []byte(tt.class)) {
			t.Errorf("Encode(%v) does not contain the class %s", tt.v, tt.class)
			continue
		}
		if got, err := Decode(b); err != nil {
			t.Errorf("Decode(Encode(%v)): %v", tt.v, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("Decode(Encode(%v)) = %v, want %v", tt.v, got, tt.want)
		}
	}
}

func TestUnarchive(t *testing.T) {
	t.Parallel()
	plain, err := plist.Encode(plist.Dict{"b": []any{1, "x"}, "a": plist.Dict{"$class": true}},
		plist.Binary)
	if err != nil {
		t.Fatal(err)
	}
	text, err := plist.Encode([]any{1.5}, plist.XML)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want any
		kind Kind
	}{
		{"archive", fixture(t, "onevalue.bin"), Top{true}, Archive},
		{"archive in XML", fixture(t, "onevalue.xml"), Top{true}, Archive},
		{"plain", plain, Dict{{"a", Dict{{"$class", true}}}, {"b", []any{int64(1), "x"}}}, Plain},
		{"plain in XML", text, []any{1.5}, Plain},
		{"raw", []byte{0x89, 'P', 'N', 'G'}, []byte{0x89, 'P', 'N', 'G'}, Raw},
		{"empty", []byte{}, []byte{}, Raw},
	} {
		if v, kind, err := Unarchive(tt.b); err != nil {
			t.Errorf("%s: Unarchive: %v", tt.name, err)
		} else if kind != tt.kind {
			t.Errorf("%s: Unarchive has the kind %v, want %v", tt.name, kind, tt.kind)
		} else if !reflect.DeepEqual(v, tt.want) {
			t.Errorf("%s: Unarchive = %v, want %v", tt.name, v, tt.want)
		}
		if tt.kind == Archive {
			continue
		}
		if v, err := Decode(tt.b); err == nil {
			t.Errorf("%s: Decode does not fail", tt.name)
		} else if want := "nskeyed: decode: not a keyed archive"; err.Error() != want {
			t.Errorf("%s: Decode = %q, want %q", tt.name, err, want)
		} else if v != nil {
			t.Errorf("%s: Decode returns %v with its error", tt.name, v)
		}
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	b := fixture(t, "DTSysmonTapMessage.bin")
	one := NewClasses(
		Class{"DTTapMessage", func(o *Object) (any, error) { return "one of " + o.Class(), nil }},
	)
	two := one.With(Class{"DTSysmonTapMessage", func(*Object) (any, error) { return "two", nil }})
	for _, tt := range []struct {
		classes *Classes
		want    any
	}{
		{one, "one of DTSysmonTapMessage"}, // by its ancestor
		{two, "two"},
		{
			NewClasses(Instruments()...),
			TapMessage{"DTSysmonTapMessage", Dict{{"k", int64(0)}, {"tv", int64(65536)}}},
		},
	} {
		if v, err := tt.classes.Decode(b); err != nil {
			t.Errorf("Decode: %v", err)
		} else if !reflect.DeepEqual(v, tt.want) {
			t.Errorf("Decode = %v, want %v", v, tt.want)
		}
	}
	v, err := Decode(b)
	if err != nil {
		t.Fatalf("Decode without classes: %v", err)
	}
	names := []string{"DTSysmonTapMessage", "DTTapMessage", "NSObject"}
	if o, ok := v.(*Object); !ok {
		t.Errorf("Decode without classes = %T, want an *Object", v)
	} else if !reflect.DeepEqual(o.Classes, names) {
		t.Errorf("Decode without classes has the classes %q, want %q", o.Classes, names)
	}
	if v, err := NewClasses(XCTest()...).Decode(fixture(t, "XCTCapabilities.bin")); err != nil {
		t.Errorf("Decode: %v", err)
	} else if len(v.(Capabilities)) != 7 {
		t.Errorf("Decode has %d capabilities, want 7", len(v.(Capabilities)))
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d    Date
		want string
	}{
		{0, "2001-01-01T00:00:00Z"}, {639298142.25, "2021-04-05T06:49:02.25Z"},
		{-0.5, "2000-12-31T23:59:59.5Z"},
		{Date(math.NaN()), "0001-01-01T00:00:00Z"}, {Date(math.Inf(1)), "9999-12-31T23:59:59Z"},
		{-1e300, "0001-01-01T00:00:00Z"},
	} {
		if got := tt.d.Time().Format(time.RFC3339Nano); got != tt.want {
			t.Errorf("Date(%v).Time() = %s, want %s", float64(tt.d), got, tt.want)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	base := &URL{Relative: "file:///a/b/"}
	for _, tt := range []struct {
		u    URL
		want string
	}{
		{URL{Relative: "file:///x"}, "file:///x"}, {URL{base, "c"}, "file:///a/b/c"},
		{URL{base, "../c"}, "file:///a/c"},
		{URL{&URL{Relative: ":"}, "c"}, "c"}, {URL{base, "%"}, "%"},
	} {
		if got := tt.u.String(); got != tt.want {
			t.Errorf("%+v = %s, want %s", tt.u, got, tt.want)
		}
	}
}
