package nskeyed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
)

// write returns a property list.
func write(root record) []byte {
	var w writer
	w.numberRecord(root)
	return w.write(nil)
}

// archiveOf returns an archive with these elements of $objects after "$null". Object 1
// is the root.
func archiveOf(objects ...any) []byte {
	return write(record{
		{keyVersion, int64(version)}, {keyArchiver, archiver}, {keyTop, record{{keyRoot, uid(1)}}},
		{keyObjects, append([]any{null}, objects...)},
	})
}

func classRecord(names ...string) record {
	return record{{keyClassName, names[0]}, {keyClasses, names}}
}

func arrayRecord(class uid, refs ...uid) record {
	return record{{keyValues, refs}, {keyClass, class}}
}

// TestLenient decodes archives of other writers that Foundation can read.
func TestLenient(t *testing.T) {
	t.Parallel()
	var (
		object = classRecord("Thing", rootClass)
		dict   = classRecord("NSDictionary", rootClass)
	)
	tests := []struct {
		name    string
		objects []any
		want    any
	}{
		{"old array", []any{
			record{{"NS.object.1", uid(4)}, {"NS.object.0", uid(3)}, {keyClass, uid(2)}},
			classRecord("NSArray"), "a", "b",
		}, []any{"a", "b"}},
		{"old array of eleven", []any{record{
			{"NS.object.10", uid(4)}, {"NS.object.9", uid(3)}, {"NS.object.8", uid(3)},
			{"NS.object.7", uid(3)}, {"NS.object.6", uid(3)}, {"NS.object.5", uid(3)},
			{"NS.object.4", uid(3)}, {"NS.object.3", uid(3)}, {"NS.object.2", uid(3)},
			{"NS.object.1", uid(3)}, {"NS.object.0", uid(3)}, {keyClass, uid(2)},
		}, classRecord("NSOrderedSet"), "a", "b"},
			OrderedSet{"a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "b"}},
		{"old dictionary", []any{
			record{{"NS.key.0", uid(3)}, {"NS.object.0", uid(4)}, {keyClass, uid(2)}}, dict, "a",
			"b",
		}, Dict{{"a", "b"}}},
		{"key twice", []any{
			record{{keyKeys, []uid{3, 4, 3}}, {keyValues, []uid{3, 4, 4}}, {keyClass, uid(2)}},
			dict, "a", "b",
		}, Dict{{"a", "b"}, {"b", "b"}}},
		{"array as key", []any{
			record{{keyKeys, []uid{3, 3}}, {keyValues, []uid{5, 5}}, {keyClass, uid(2)}}, dict,
			arrayRecord(4), classRecord("NSArray"), "a",
		},
			Dict{{[]any{}, "a"}, {[]any{}, "a"}}},
		{"string by reference", []any{
			record{{keyString, uid(3)}, {keyClass, uid(2)}}, classRecord("NSMutableString"), "a",
		}, "a"},
		{"data by reference", []any{
			record{{keyData, uid(3)}, {keyClass, uid(2)}}, classRecord("NSMutableData"), []byte{1},
		}, []byte{1}},
		{
			"integer date",
			[]any{record{{keyTime, int64(5)}, {keyClass, uid(2)}}, classRecord("NSDate")}, Date(5),
		},
		{"error without dictionary", []any{record{
			{keyCode, int64(-3)}, {keyDomain, uid(3)}, {keyUserInfo, uid(0)}, {keyClass, uid(2)},
		}, classRecord("NSError"), "D"}, &NSError{Domain: "D", Code: -3}},
		{"derived class", []any{
			arrayRecord(2, 3), classRecord("__NSCFArray", "NSMutableArray", "NSArray", rootClass),
			"a",
		}, []any{"a"}},
		{
			"class without ancestors",
			[]any{arrayRecord(2, 3), record{{keyClassName, "NSSet"}}, "a"}, Set{"a"},
		},
		{"class hints", []any{arrayRecord(2), record{
			{keyClassName, "NSSet"}, {keyClasses, []string{"NSSet"}},
			{"$classhints", []string{"X"}},
		}}, Set{}},
		{"unknown class", []any{record{
			{"a", uid(3)}, {"b", int64(1)}, {"c", uid(0)}, {"d", []uid{3, 0}}, {keyClass, uid(2)},
		}, object, "x"},
			&Object{Classes: []string{"Thing", rootClass}, Fields: []Field{
				{"a", "x", false}, {"b", int64(1), true}, {"c", nil, false},
				{"d", []any{"x", nil}, true},
			}}},
		{"unknown geometry",
			[]any{record{{keySpecial, int64(9)}, {keyClass, uid(2)}}, classRecord("NSValue")},
			&Object{Classes: []string{"NSValue"}, Fields: []Field{{keySpecial, int64(9), true}}}},
		{"broken geometry", []any{
			record{{keySpecial, int64(1)}, {keyPoint, "{1, x}"}, {keyClass, uid(2)}},
			classRecord("NSValue"),
		},
			&Object{
				Classes: []string{"NSValue"},
				Fields:  []Field{{keySpecial, int64(1), true}, {keyPoint, "{1, x}", true}},
			}},
		{"object nobody names", []any{"a", record{{keyClass, uid(99)}}}, "a"},
		{"text $null", []any{"$null"}, "$null"},
		{
			"shared child",
			[]any{arrayRecord(2, 3, 3), classRecord("NSArray"), arrayRecord(2, 4), "a"},
			[]any{[]any{"a"}, []any{"a"}},
		},
	}
	for _, tt := range tests {
		if got, err := Decode(archiveOf(tt.objects...)); err != nil {
			t.Errorf("%s: Decode: %v", tt.name, err)
		} else if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Decode = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	var d Dict
	for i := range 100 {
		d = append(d, Pair{int64(i), "x"}, Pair{fmt.Sprint(i), int64(i)})
	}
	b, err := Encode(append(d[:len(d):len(d)], Pair{int64(7), "last"}, Pair{"8", "last"}))
	if err != nil {
		t.Fatal(err)
	}
	v, err := Decode(b)
	got, _ := v.(Dict)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	} else if len(got) != 200 {
		t.Fatalf("Decode has the length %d, want %d", len(got), 200)
	}
	for key, want := range map[any]any{7: "last", "8": "last", int64(9): "x", "9": int64(9)} {
		if v, ok := got.Get(key); !ok || v != want {
			t.Errorf("Get(%v) = %v, %v, want %v", key, v, ok, want)
		}
	}
}

// chain returns n nested arrays.
func chain(n int, field string) []any {
	objects := make([]any, 0, n+2)
	for i := range n {
		refs := any([]uid{uid(i + 2)})
		if field != keyValues {
			refs = uid(i + 2)
		}
		objects = append(objects, record{{field, refs}, {keyClass, uid(n + 2)}})
	}
	name := "NSArray"
	if field != keyValues {
		name = "Thing"
	}
	return append(objects, "end", classRecord(name))
}

func TestHostile(t *testing.T) {
	t.Parallel()
	array := classRecord("NSArray")
	laughs := []any{}
	for i := range 10 {
		refs := make([]uid, 10)
		for k := range refs {
			refs[k] = uid(i + 2)
		}
		laughs = append(laughs, arrayRecord(12, refs...))
	}
	laughs = append(laughs, "ha", array)
	tests := []struct {
		name    string
		objects []any
		want    string
	}{
		{
			"reference beyond", []any{arrayRecord(2, 3), array},
			"object 1: UID is beyond the objects of the archive: 3 of 3",
		},
		{
			"large reference", []any{arrayRecord(2, 1<<32-1), array},
			"object 1: UID is beyond the objects of the archive: 4294967295 of 3",
		},
		{
			"class beyond", []any{arrayRecord(9)},
			"object 1: $class: UID is beyond the objects of the archive",
		},
		{"class is nil", []any{arrayRecord(0)}, "object 1: class is not a dictionary"},
		{"class is a string", []any{arrayRecord(2), "NSArray"},
			"object 1: class is not a dictionary"},
		{
			"class without a name",
			[]any{arrayRecord(2), record{{keyClasses, []string{"NSArray"}}}},
			"object 1: class has no $classname",
		},
		{
			"class name is a number", []any{arrayRecord(2), record{{keyClassName, int64(1)}}},
			"object 1: $classname: key of a property list is not a string",
		},
		{
			"ancestors are not array",
			[]any{arrayRecord(2), record{{keyClassName, "A"}, {keyClasses, "A"}}},
			"object 1: $classes is not an array",
		},
		{
			"ancestor is a number",
			[]any{arrayRecord(2), record{{keyClassName, "A"}, {keyClasses, []any{"A", int64(1)}}}},
			"object 1: key of a property list is not a string",
		},
		{"class in place", []any{record{{keyClass, "NSArray"}}}, "object 1: $class is not a UID"},
		{
			"class is the object", []any{record{{keyClass, uid(1)}}},
			"object 1: class has no $classname",
		},
		{"own element", []any{arrayRecord(2, 1), array}, "object 1: object contains itself"},
		{
			"mutual elements", []any{arrayRecord(3, 2), arrayRecord(3, 1), array},
			"object 2: object contains itself",
		},
		{
			"own field", []any{record{{"x", uid(1)}, {keyClass, uid(2)}}, classRecord("Thing")},
			"object 1: x: object contains itself",
		},
		{"own base", []any{
			record{{keyBase, uid(1)}, {keyRelative, uid(3)}, {keyClass, uid(2)}},
			classRecord("NSURL"), "a",
		}, "object 1: object contains itself"},
		{"own user info", []any{record{
			{keyCode, int64(1)}, {keyDomain, uid(3)}, {keyUserInfo, uid(1)}, {keyClass, uid(2)},
		}, classRecord("NSError"), "a"}, "object 1: object contains itself"},
		{"itself", []any{uid(1)}, "object 1: object contains itself"},
		{"keys without values", []any{
			record{{keyKeys, []uid{2}}, {keyValues, []uid{}}, {keyClass, uid(2)}},
			classRecord("NSDictionary"),
		}, "object 1: dictionary has 1 keys and 0 values"},
		{
			"no values",
			[]any{record{{keyKeys, []uid{2}}, {keyClass, uid(2)}}, classRecord("NSDictionary")},
			"object 1: dictionary has 1 keys and 0 values",
		},
		{
			"element in place", []any{record{{keyValues, []any{"a"}}, {keyClass, uid(2)}}, array},
			"object 1: array of references holds something else",
		},
		{
			"elements are a string", []any{record{{keyValues, "a"}, {keyClass, uid(2)}}, array},
			"object 1: NS.objects is not an array",
		},
		{
			"gap in an old array",
			[]any{record{{"NS.object.1", uid(2)}, {keyClass, uid(2)}}, array},
			"object 1: NS.object.0 is missing",
		},
		{
			"short UUID",
			[]any{record{{keyUUIDBytes, []byte{1}}, {keyClass, uid(2)}}, classRecord("NSUUID")},
			"object 1: NS.uuidbytes is missing or of the wrong type",
		},
		{
			"date of a string",
			[]any{record{{keyTime, "a"}, {keyClass, uid(2)}}, classRecord("NSDate")},
			"object 1: NS.time is missing or of the wrong type",
		},
		{
			"string without text",
			[]any{record{{keyClass, uid(2)}}, classRecord("NSMutableString")},
			"object 1: NS.string is missing or of the wrong type",
		},
		{
			"data without bytes", []any{record{{keyClass, uid(2)}}, classRecord("NSMutableData")},
			"object 1: NS.data is missing or of the wrong type",
		},
		{"base is a string", []any{
			record{{keyBase, uid(3)}, {keyRelative, uid(3)}, {keyClass, uid(2)}},
			classRecord("NSURL"), "a",
		}, "object 1: NS.base is missing or of the wrong type"},
		{
			"URL without text",
			[]any{record{{keyBase, uid(0)}, {keyClass, uid(2)}}, classRecord("NSURL")},
			"object 1: NS.relative is missing or of the wrong type",
		},
		{
			"error without domain",
			[]any{record{{keyCode, int64(1)}, {keyClass, uid(2)}}, classRecord("NSError")},
			"object 1: NSDomain is missing or of the wrong type",
		},
		{"error with a list", []any{
			record{{keyCode, int64(1)}, {keyDomain, "D"}, {keyUserInfo, "x"}, {keyClass, uid(2)}},
			classRecord("NSError"),
		}, "object 1: NSUserInfo is missing or of the wrong type"},
		{"ten to the tenth", laughs, "object 5: " + ErrLimit.Error()},
		{
			"deep arrays", chain(MaxDepth+1, keyValues),
			fmt.Sprintf("object %d: %v", MaxDepth, ErrLimit),
		},
	}
	for _, tt := range tests {
		v, err := Decode(archiveOf(tt.objects...))
		var e *Error
		if err == nil {
			t.Errorf("%s: Decode does not fail", tt.name)
		} else if err.Error() != "nskeyed: decode: "+tt.want {
			t.Errorf("%s: Decode = %q, want %q", tt.name, err, "nskeyed: decode: "+tt.want)
		} else if !errors.As(err, &e) {
			t.Errorf("%s: Decode = %v, want an Error", tt.name, err)
		} else if v != nil {
			t.Errorf("%s: Decode returns %v with its error", tt.name, v)
		}
	}
	if v, err := Decode(archiveOf(chain(MaxDepth+1, "x")...)); !errors.Is(err, ErrLimit) {
		t.Errorf("Decode of deep objects = %v, want %v", err, ErrLimit)
	} else if v != nil {
		t.Errorf("Decode of deep objects returns %v with its error", v)
	}
	for _, field := range []string{keyValues, "x"} {
		if _, err := Decode(archiveOf(chain(MaxDepth-1, field)...)); err != nil {
			t.Errorf("Decode at the depth limit: %v", err)
		}
	}
}

// TestDepthFromTheMiddle decodes the inner half of a chain first. Its depth must count
// where the outer half refers to it.
func TestDepthFromTheMiddle(t *testing.T) {
	t.Parallel()
	objects := []any{arrayRecord(uid(MaxDepth+3), uid(MaxDepth/2), 2)}
	for i := range MaxDepth {
		objects = append(objects, arrayRecord(uid(MaxDepth+3), uid(i+3)))
	}
	objects = append(objects, "end", classRecord("NSArray"))
	// Objects 2 to MaxDepth+1 are the chain, MaxDepth+2 is its end.
	if v, err := Decode(archiveOf(objects...)); !errors.Is(err, ErrLimit) {
		t.Errorf("Decode = %v, want %v", err, ErrLimit)
	} else if v != nil {
		t.Errorf("Decode returns %v with its error", v)
	}
}

// plain makes a binary property list by hand: objects, then which is the top.
func plainList(top byte, objects ...string) []byte {
	b := []byte(header)
	var offsets []byte
	for _, o := range objects {
		offsets = append(offsets, byte(len(b)))
		b = append(b, o...)
	}
	table := len(b)
	b = append(b, offsets...)
	b = append(b, 0, 0, 0, 0, 0, 0, 1, 1)
	b = binary.BigEndian.AppendUint64(b, uint64(len(objects)))
	b = binary.BigEndian.AppendUint64(b, uint64(top))
	return binary.BigEndian.AppendUint64(b, uint64(table))
}

func TestHostilePropertyList(t *testing.T) {
	t.Parallel()
	edit := func(fromEnd int, v byte) []byte {
		b := plainList(0, "\x09")
		b[len(b)-fromEnd] = v
		return b
	}
	var arrays []string // each holds the next ten times, without an archive around
	for i := range 20 {
		arrays = append(arrays, "\xaa"+strings.Repeat(string(rune(i+1)), 10))
	}
	tests := []struct {
		name string
		b    []byte
		want error // nil: any
	}{
		{"header alone", []byte(header), ErrTruncated},
		{"offset size 0", edit(26, 0), ErrTruncated},
		{"offset size 9", edit(26, 9), ErrTruncated},
		{"reference size 0", edit(25, 0), ErrTruncated},
		{"too many objects", edit(17, 2), ErrTruncated},
		{"very many objects", edit(24, 0xff), ErrTruncated},
		{"no object", edit(17, 0), ErrTruncated},
		{"top beyond", edit(9, 1), ErrTruncated},
		{"table in the header", edit(1, 3), ErrTruncated},
		{"table beyond", edit(8, 1), ErrTruncated},
		{"offset beyond", edit(33, 0xff), ErrTruncated},
		{"offset in the header", edit(33, 2), ErrTruncated},
		{"null", plainList(0, "\x00"), nil},
		{"unknown tag", plainList(0, "\x70"), ErrTruncated},
		{"integer of 32 bytes", plainList(0, "\x15"+strings.Repeat("\x00", 32)), ErrTruncated},
		{"wide integer", plainList(0, "\x14"+strings.Repeat("\x7f", 16)), nil},
		{"short integer", plainList(0, "\x13\x00"), ErrTruncated},
		{"short real", plainList(0, "\x23\x00"), ErrTruncated},
		{"odd real", plainList(0, "\x21\x00\x00"), ErrTruncated},
		{"odd date", plainList(0, "\x32\x00\x00\x00\x00"), ErrTruncated},
		{"wide UID", plainList(0, "\x88"+strings.Repeat("\x00", 9)), ErrTruncated},
		{"UID without an archive", plainList(0, "\x80\x01"), errPlainUID},
		{"UID 0 without an archive", plainList(0, "\x80\x00"), errPlainUID},
		{"short data", plainList(0, "\x4f\x10\xff"), ErrTruncated},
		{"count of no integer", plainList(0, "\x4f\x50"), ErrTruncated},
		{
			"count of eight bytes", plainList(0, "\xaf\x13\xff\xff\xff\xff\xff\xff\xff\xff"),
			ErrTruncated,
		},
		{"count missing", plainList(0, "\x4f"), ErrTruncated},
		{"short array", plainList(0, "\xa2\x00"), ErrTruncated},
		{"element beyond", plainList(0, "\xa1\x05"), ErrTruncated},
		{"key is a number", plainList(0, "\xd1\x01\x01", "\x10\x01"), nil},
		{"array in itself", plainList(0, "\xa1\x00"), ErrLimit},
		{"dictionary in itself", plainList(0, "\xd1\x01\x00", "\x51a"), ErrLimit},
		{"ten to the twentieth", plainList(0, append(arrays, "\x09")...), ErrLimit},
	}
	for _, tt := range tests {
		v, kind, err := Unarchive(tt.b)
		var e *Error
		if err == nil {
			t.Errorf("%s: Unarchive does not fail", tt.name)
		} else if kind != Plain {
			t.Errorf("%s: Unarchive = %v, want %v", tt.name, kind, Plain)
		} else if tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Unarchive = %v, want %v", tt.name, err, tt.want)
		} else if !errors.As(err, &e) {
			t.Errorf("%s: Unarchive = %v, want an Error", tt.name, err)
		} else if e.Op != "decode" {
			t.Errorf("%s: Unarchive has Op = %v, want %v", tt.name, e.Op, "decode")
		} else if v != nil {
			t.Errorf("%s: Unarchive returns %v with its error", tt.name, v)
		}
	}
	whole := fixture(t, "xctestconfiguration.bin")
	for n := range whole {
		if v, _, err := Unarchive(whole[:n]); n >= 8 && err == nil {
			t.Fatalf("Unarchive of %d bytes = %v", n, v)
		}
	}
}

// TestMemory refers to one megabyte of data many times. Memory must stay near the size
// of the archive. The test is not parallel, because it measures the memory of the
// process.
func TestMemory(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	data := plainList(1, "\x51a", "\xaf\x11\xff\xff"+strings.Repeat("\x00", 0xffff))
	objects := make([]any, 5000)
	refs := make([]uid, len(objects))
	for i := range objects {
		objects[i], refs[i] = big, uid(i+3)
	}
	shared := archiveOf(
		append([]any{arrayRecord(2, refs...), classRecord("NSArray")}, objects...)...,
	)
	for name, b := range map[string][]byte{"in place": data, "as objects": shared} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := Unarchive(b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 16*uint64(len(b))+8<<20 {
			t.Errorf("%s: Unarchive of %d bytes takes %d, %v", name, len(b), n, err)
		}
	}
	if _, err := Decode(shared); !errors.Is(err, ErrLimit) {
		t.Errorf("Decode of 5 GB in 1 MB = %v, want %v", err, ErrLimit)
	}
}

func TestArchiveOutside(t *testing.T) {
	t.Parallel()
	good := record{
		{keyVersion, int64(version)}, {keyArchiver, archiver}, {keyTop, record{{keyRoot, uid(1)}}},
		{keyObjects, []any{null, "a"}},
	}
	for _, tt := range []struct {
		name  string
		key   string
		value any
		want  string
	}{
		{"version", keyVersion, int64(18), "$version is 18, must be 100000"},
		{"version text", keyVersion, "100000", `$version is "100000", must be 100000`},
		{
			"archiver", keyArchiver, "NSArchiver",
			`$archiver is "NSArchiver", must be NSKeyedArchiver`,
		},
		{"archiver number", keyArchiver, []byte{1}, "$archiver is data, must be NSKeyedArchiver"},
		{"top", keyTop, "x", "$top is of the wrong type"},
		{"objects", keyObjects, "x", "$objects is of the wrong type"},
		{"empty top", keyTop, record{}, "$top has neither root nor $0"},
		{"gap in top", keyTop, record{{"$1", uid(1)}}, "$0 is missing"},
		{"no objects", keyObjects, []any{}, "UID is beyond the objects of the archive: 1 of 0"},
	} {
		r := append(record{}, good...)
		for i := range r {
			if r[i].key == tt.key {
				r[i].value = tt.value
			}
		}
		if v, err := Decode(write(r)); err == nil {
			t.Errorf("%s: Decode does not fail", tt.name)
		} else if err.Error() != "nskeyed: decode: "+tt.want {
			t.Errorf("%s: Decode = %q, want %q", tt.name, err, "nskeyed: decode: "+tt.want)
		} else if v != nil {
			t.Errorf("%s: Decode returns %v with its error", tt.name, v)
		}
	}
	top := record{}
	for i := range 12 { // $10 comes behind $9, not behind $1
		top = append(record{{fmt.Sprintf("$%d", i), uid(i)}}, top...)
	}
	objects := []any{null}
	want := Top{nil}
	for i := 1; i < 12; i++ {
		objects, want = append(objects, int64(i)), append(want, int64(i))
	}
	v, err := Decode(write(record{
		{keyVersion, int64(version)}, {keyArchiver, archiver}, {keyTop, top}, {keyObjects, objects},
	}))
	if err != nil {
		t.Errorf("Decode: %v", err)
	} else if !reflect.DeepEqual(v, want) {
		t.Errorf("Decode = %v, want %v", v, want)
	}
}

func TestEncodeRefusals(t *testing.T) {
	t.Parallel()
	deep := any("end")
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	loop := &Object{Classes: []string{"A"}}
	loop.Set("me", loop)
	for _, tt := range []struct {
		v    any
		want string
	}{
		{[]any{nil}, "[0]: nil in a collection; Null stands for nothing there"},
		{Dict{{"a", nil}}, `"a": nil in a collection; Null stands for nothing there`},
		{Dict{{nil, "a"}}, "dictionary key is nil"},
		{"\xff", "string is not valid UTF-8"},
		{Dict{{"a", []any{struct{}{}}}}, `"a": [0]: struct {} has no archive form`},
		{Mutable{5}, "int has no mutable class"},
		{&Object{}, "object without a class"},
		{
			&Object{Classes: []string{"A"}, Fields: []Field{{"x", Dict{}, true}}},
			"A.x: nskeyed.Dict cannot stand in its object",
		},
		{Top{}, "archive without objects"},
	} {
		if b, err := Encode(tt.v); err == nil {
			t.Errorf("Encode(%v) does not fail", tt.v)
		} else if err.Error() != "nskeyed: encode: "+tt.want {
			t.Errorf("Encode(%v) = %q, want %q", tt.v, err, "nskeyed: encode: "+tt.want)
		} else if b != nil {
			t.Errorf("Encode(%v) returns %v with its error", tt.v, b)
		}
	}
	for _, v := range []any{deep, loop} {
		if b, err := Encode(v); !errors.Is(err, ErrLimit) {
			t.Errorf("Encode = %v, want %v", err, ErrLimit)
		} else if b != nil {
			t.Errorf("Encode returns %v with its error", b)
		}
	}
}

func FuzzUnarchive(f *testing.F) {
	for _, name := range []string{
		"DTSysmonTapMessage.bin", "XCTCapabilities.bin", "arrays.bin", "ax_statechange.bin",
		"dict.bin", "dict.xml", "dttapstatusmessage.bin",
		"nsuuid.bin", "onevalue.bin", "onevalue.xml", "uint64-key-dictionary.bin",
		"xctestconfiguration.bin", "missing_top.xml",
	} {
		f.Add(fixture(f, name))
	}
	f.Add(archiveOf(arrayRecord(2, 1), classRecord("NSArray")))
	f.Add(archiveOf(record{{"NS.key.0", uid(3)}, {"NS.object.0", uid(4)}, {keyClass, uid(2)}},
		classRecord("NSDictionary"), "a", "b"))
	f.Add(plainList(0, "\xa1\x00"))
	classes := NewClasses(append(XCTest(), Instruments()...)...)
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		var kind Kind
		var err error
		fuzztest.Bounded(t, len(b), func() { v, kind, err = classes.Unarchive(b) })
		if fuzztest.Typed[*Error](t, "Unarchive", err); err != nil || kind == Raw {
			return
		}
		// Containers with nil where Foundation allows none must not be encoded.
		wire, err := Encode(v)
		if err != nil {
			return
		}
		again, err := classes.Decode(wire)
		if err != nil {
			t.Fatalf("Decode(Encode(%v)): %v", v, err)
		}
		if twice, err := Encode(again); err != nil {
			t.Fatalf("Encode(%v): %v", again, err)
		} else if !bytes.Equal(twice, wire) {
			t.Fatalf("Encode(%v) = % x\nwant % x", again, twice, wire)
		}
	})
}

func BenchmarkDecodeProcesses(b *testing.B) {
	wire := processes(b)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlistProcesses measures the property list of the same archive.
func BenchmarkPlistProcesses(b *testing.B) {
	wire := processes(b)
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plist.Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeProcesses(b *testing.B) {
	v, err := Decode(processes(b))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1<<17)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Append(buf, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSelector(b *testing.B) {
	const selector = "_requestChannelWithCode:identifier:"
	wire, err := Encode(selector)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Append", func(b *testing.B) {
		buf := make([]byte, 0, 256)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Append(buf, selector); err != nil {
				b.Fatal(err)
			}
		}
	})
}
