package plist

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Shared string
	Count  int `plist:"N"`
}

type outer struct {
	inner
	Name    string            `plist:"name"`
	Skipped string            `plist:"-"`
	Empty   string            `plist:",omitempty"`
	Opt     *int              `plist:"opt,omitempty"`
	U8      uint8             `plist:",omitempty"`
	I16     int16             `plist:",omitempty"`
	F       float64           `plist:",omitempty"`
	When    time.Time         `plist:",omitempty"`
	Blob    []byte            `plist:",omitempty"`
	Four    [4]byte           `plist:",omitempty"`
	List    []inner           `plist:",omitempty"`
	Pair    [2]int            `plist:",omitempty"`
	Map     map[string]uint32 `plist:",omitempty"`
	Any     any               `plist:",omitempty"`
	More    Dict              `plist:",omitempty"`
	Addr    netip.Addr        `plist:",omitempty"`
	Ref     UID               `plist:",omitempty"`
	private int
}

func TestStructs(t *testing.T) {
	t.Parallel()
	seven := 7
	full := outer{
		inner: inner{"s", 3}, Name: "n", Opt: &seven, U8: 255, I16: -300, F: 2.5,
		When: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC),
		Blob: []byte{1}, Four: [4]byte{1, 2, 3, 4}, List: []inner{{"x", 1}, {"y", 2}},
		Pair: [2]int{5, 6}, Map: map[string]uint32{"k": 9},
		Any:  []any{int64(1), Dict{"z": uint64(math.MaxUint64)}},
		More: Dict{"d": Dict{"e": int64(1)}}, Addr: netip.MustParseAddr("10.0.0.1"), Ref: 12,
	}
	_ = full.private
	for _, f := range []Format{XML, Binary} {
		var got outer
		if err := Unmarshal(mustEncode(t, &full, f), &got); err != nil {
			t.Errorf("format %v: %v", f, err)
		} else if !reflect.DeepEqual(got, full) {
			t.Errorf("format %v: %+v, want %+v", f, got, full)
		}
	}
	d, err := DecodeDict(mustEncode(t, outer{}, XML))
	if want := (Dict{"Shared": "", "N": int64(0), "name": ""}); err != nil {
		t.Errorf("a zero struct: %v", err)
	} else if !reflect.DeepEqual(d, want) {
		t.Errorf("a zero struct = %v, want %v", d, want)
	}
	// Fields without a key keep what they held, unknown keys are passed over.
	keep := outer{Name: "kept", inner: inner{Shared: "too"}}
	if err := Unmarshal(mustEncode(t, Dict{"N": 5, "unknown": true}, XML), &keep); err != nil {
		t.Errorf("Unmarshal of some fields: %v", err)
	} else if keep.Name != "kept" {
		t.Errorf("Name = %q, want kept", keep.Name)
	} else if keep.Shared != "too" {
		t.Errorf("Shared = %q, want too", keep.Shared)
	} else if keep.Count != 5 {
		t.Errorf("Count = %d, want 5", keep.Count)
	}
	if err := Unmarshal(mustEncode(t, Dict{"F": 3}, XML), &keep); err != nil {
		t.Errorf("Unmarshal of an integer into a real: %v", err)
	} else if keep.F != 3 {
		t.Errorf("an integer in a real = %v, want 3", keep.F)
	}
}

func TestUnmarshalRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    Dict
		text string
	}{
		{Dict{"U8": 256}, "does not fit"}, {Dict{"U8": -1}, "does not fit"},
		{Dict{"I16": 40000}, "does not fit"},
		{Dict{"N": uint64(math.MaxUint64)}, "does not fit"},
		{Dict{"name": 1}, "is integer"}, {Dict{"N": "1"}, "is string"}, {Dict{"N": 1.0}, "is real"},
		{Dict{"When": "now"}, "is string"}, {Dict{"Blob": "x"}, "is string"},
		{Dict{"Four": []byte{1}}, "has 1 bytes"}, {Dict{"Pair": []any{1}}, "has 1 elements"},
		{Dict{"List": Dict{}}, "is dictionary"},
		{Dict{"List": []any{Dict{"N": true}}}, `"List": [0]: "N": is boolean`},
		{Dict{"Map": Dict{"k": -1}}, "does not fit"}, {Dict{"Map": []any{}}, "is array"},
		{Dict{"More": []any{}}, "is array"}, {Dict{"Addr": "nowhere"}, "nowhere"},
		{Dict{"Addr": 5}, "is integer"}, {Dict{"Ref": 5}, "is integer"},
	} {
		var s outer
		err := Unmarshal(mustEncode(t, c.v, Binary), &s)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Unmarshal(%v) = %v, want an Error", c.v, err)
		} else if !strings.Contains(err.Error(), c.text) {
			t.Errorf("Unmarshal(%v) = %q, want %q in it", c.v, err, c.text)
		}
	}
	b := mustEncode(t, []any{}, XML)
	var s outer
	var d Dict
	if Unmarshal(b, &s) == nil {
		t.Error("Unmarshal of an array into a struct does not fail")
	}
	if Unmarshal(b, &d) == nil {
		t.Error("Unmarshal of an array into a Dict does not fail")
	}
	if Unmarshal(b, s) == nil {
		t.Error("Unmarshal into a value that is not a pointer does not fail")
	}
	if Unmarshal(b, nil) == nil {
		t.Error("Unmarshal into nil does not fail")
	}
	if Unmarshal([]byte("x"), new(any)) == nil {
		t.Error("Unmarshal of bytes that are not a property list does not fail")
	}
	var v any
	if err := Unmarshal(b, &v); err != nil {
		t.Errorf("Unmarshal into any: %v", err)
	} else if !reflect.DeepEqual(v, []any{}) {
		t.Errorf("Unmarshal into any = %v, want %v", v, []any{})
	}
	var list []string
	if err := Unmarshal(mustEncode(t, []string{"a", "b"}, XML), &list); err != nil {
		t.Errorf("Unmarshal into []string: %v", err)
	} else if len(list) != 2 {
		t.Errorf("Unmarshal into []string has the length %d, want %d", len(list), 2)
	}
}

func TestDictGetters(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := Dict{
		"s": "x", "b": true, "d": []byte{1}, "m": map[string]any{"k": int64(1)}, "a": []any{1},
		"t": now, "i": int64(-1), "u": uint64(math.MaxUint64), "f": 1.5, "n": uint16(7),
	}
	check := func(name string, got any, ok bool, want any, wantOK bool) {
		t.Helper()
		if ok != wantOK || ok && !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, %v; want %v, %v", name, got, ok, want, wantOK)
		}
	}
	s, ok := d.String("s")
	check("String", s, ok, "x", true)
	_, ok = d.String("b")
	check("String of a boolean", nil, ok, nil, false)
	m, ok := d.Dict("m")
	check("Dict", m, ok, Dict{"k": int64(1)}, true)
	_, ok = d.Dict("s")
	check("Dict of a string", nil, ok, nil, false)
	i, ok := d.Int("i")
	check("Int", i, ok, int64(-1), true)
	_, ok = d.Int("u")
	check("Int of a large uint64", nil, ok, nil, false)
	u, ok := d.Uint("u")
	check("Uint", u, ok, uint64(math.MaxUint64), true)
	_, ok = d.Uint("i")
	check("Uint of -1", nil, ok, nil, false)
	u, ok = d.Uint("n")
	check("Uint of uint16", u, ok, uint64(7), true)
	f, ok := d.Real("f")
	check("Real", f, ok, 1.5, true)
	f, ok = d.Real("i")
	check("Real of an integer", f, ok, -1.0, true)
	_, ok = Dict(nil).Data("d")
	check("nil Dict", nil, ok, nil, false)
	copied := d.Clone()
	copied["d"].([]byte)[0] = 9
	copied["m"].(Dict)["k"] = int64(9)
	if d["d"].([]byte)[0] != 1 {
		t.Error("Clone shares its data")
	}
	if d["m"].(map[string]any)["k"] != int64(1) {
		t.Error("Clone shares a dictionary")
	}
	if Dict(nil).Clone() != nil {
		t.Error("Clone of nil is not nil")
	}
}
