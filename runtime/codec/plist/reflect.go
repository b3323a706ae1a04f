package plist

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"
)

var errNil = errors.New("nil has no property list form")

// inside and insideIndex add the position in a document to an error.
func inside(key string, err error) error { return fmt.Errorf("%q: %w", key, err) }
func insideIndex(i int, err error) error { return fmt.Errorf("[%d]: %w", i, err) }

// canonical converts v to one of the types of a document: bool, string, []byte,
// time.Time, float32, float64, int64, uint64 (only beyond int64), UID, Dict, []any. It
// does not convert the elements of containers.
func canonical(v any) (any, error) {
	switch t := v.(type) {
	case nil:
		return nil, errNil
	case bool, string, []byte, float32, float64, int64, UID, Dict, []any:
		return v, nil
	case map[string]any:
		return Dict(t), nil
	case int:
		return int64(t), nil
	case uint64:
		if t <= math.MaxInt64 {
			return int64(t), nil
		}
		return t, nil
	case time.Time:
		if y := t.UTC().Year(); y < minYear || y > maxYear {
			return nil, fmt.Errorf("year %d has no property list form", y)
		}
		return t, nil
	case encoding.TextMarshaler:
		if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.IsNil() {
			return nil, errNil
		}
		if t, ok := v.(*time.Time); ok {
			return canonical(*t)
		}
		b, err := t.MarshalText()
		return string(b), err
	}
	return canonicalKind(reflect.ValueOf(v))
}

func canonicalKind(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, errNil
		}
		return canonical(v.Elem().Interface())
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.String:
		return v.String(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Uintptr:
		return canonical(v.Uint())
	case reflect.Float32:
		return float32(v.Float()), nil
	case reflect.Float64:
		return v.Float(), nil
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return b, nil
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = v.Index(i).Interface()
		}
		return list, nil
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String {
			return nil, fmt.Errorf("%v has keys that are not strings", v.Type())
		}
		d := make(Dict, v.Len())
		for it := v.MapRange(); it.Next(); {
			d[it.Key().String()] = it.Value().Interface()
		}
		return d, nil
	case reflect.Struct:
		d := Dict{}
		for _, f := range fieldsOf(v.Type()) {
			x, err := v.FieldByIndexErr(f.index)
			if err != nil || f.omitEmpty && isEmpty(x) {
				continue // in an embedded struct that is nil, or omitted
			}
			d[f.name] = x.Interface()
		}
		return d, nil
	}
	return nil, fmt.Errorf("%v has no property list form", v.Type())
}

// isEmpty reports whether omitempty omits a value, which is zero or an empty container.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	}
	return v.IsZero()
}

// structField is a field that is encoded and decoded.
type structField struct {
	name      string
	index     []int
	omitEmpty bool
}

var structs sync.Map // reflect.Type -> []structField, a cache

func fieldsOf(t reflect.Type) []structField {
	if f, ok := structs.Load(t); ok {
		return f.([]structField)
	}
	var fields []structField
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("plist"), ",")
		embedded := f.Anonymous && tag == ""
		if tag == "-" || !f.IsExported() || embedded {
			continue // fields of an embedded struct are visited by themselves
		}
		if tag == "" {
			tag = f.Name
		}
		fields = append(fields, structField{tag, f.Index, options == "omitempty"})
	}
	structs.Store(t, fields)
	return fields
}

// assignTo stores a decoded value in the variable that target points to.
func assignTo(target, v any) error {
	p := reflect.ValueOf(target)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("target is %T, want a pointer", target)
	}
	return assign(p.Elem(), v)
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	uidType   = reflect.TypeFor[UID]()
	errNotFit = errors.New("integer does not fit its field")
)

func mismatch(dst reflect.Value, v any) error {
	return fmt.Errorf("is %s, which does not go into %v", TypeName(v), dst.Type())
}

func assign(dst reflect.Value, v any) error {
	if dst.Kind() == reflect.Pointer {
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		return assign(dst.Elem(), v)
	}
	if reflect.TypeOf(v) == dst.Type() || dst.Kind() == reflect.Interface && dst.NumMethod() == 0 {
		dst.Set(reflect.ValueOf(v))
		return nil
	}
	if dst.Type() == timeType || dst.Type() == uidType {
		return mismatch(dst, v)
	}
	if u, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, ok := v.(string)
		if !ok {
			return mismatch(dst, v)
		}
		return u.UnmarshalText([]byte(s))
	}
	switch t := v.(type) {
	case int64:
		return assignInt(dst, t)
	case uint64:
		if dst.CanUint() && !dst.OverflowUint(t) {
			dst.SetUint(t)
			return nil
		}
		if dst.CanInt() || dst.CanUint() {
			return errNotFit
		}
	case UID:
		return assignInt(dst, int64(t))
	case float64:
		if dst.CanFloat() {
			dst.SetFloat(t)
			return nil
		}
	case bool:
		if dst.Kind() == reflect.Bool {
			dst.SetBool(t)
			return nil
		}
	case string:
		if dst.Kind() == reflect.String {
			dst.SetString(t)
			return nil
		}
	case []byte:
		return assignData(dst, t)
	case []any:
		return assignArray(dst, t)
	case Dict:
		return assignDict(dst, t)
	}
	return mismatch(dst, v)
}

// assignInt also stores an integer in a real, because devices write 1 for 1.0.
func assignInt(dst reflect.Value, n int64) error {
	switch {
	case dst.CanInt() && !dst.OverflowInt(n):
		dst.SetInt(n)
	case dst.CanUint() && n >= 0 && !dst.OverflowUint(uint64(n)):
		dst.SetUint(uint64(n))
	case dst.CanFloat():
		dst.SetFloat(float64(n))
	case dst.CanInt() || dst.CanUint():
		return errNotFit
	default:
		return mismatch(dst, n)
	}
	return nil
}

func assignData(dst reflect.Value, b []byte) error {
	switch k := dst.Kind(); {
	case k == reflect.Slice && dst.Type().Elem().Kind() == reflect.Uint8:
		dst.SetBytes(b)
	case k == reflect.Array && dst.Type().Elem().Kind() == reflect.Uint8:
		if len(b) != dst.Len() {
			return fmt.Errorf("has %d bytes, want %d", len(b), dst.Len())
		}
		reflect.Copy(dst, reflect.ValueOf(b))
	default:
		return mismatch(dst, b)
	}
	return nil
}

func assignArray(dst reflect.Value, list []any) error {
	switch dst.Kind() {
	case reflect.Slice:
		dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
	case reflect.Array:
		if len(list) != dst.Len() {
			return fmt.Errorf("has %d elements, want %d", len(list), dst.Len())
		}
	default:
		return mismatch(dst, list)
	}
	for i, e := range list {
		if err := assign(dst.Index(i), e); err != nil {
			return insideIndex(i, err)
		}
	}
	return nil
}

func assignDict(dst reflect.Value, d Dict) error {
	switch t := dst.Type(); {
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		m := reflect.MakeMapWithSize(t, len(d))
		for k, e := range d {
			x := reflect.New(t.Elem()).Elem()
			if err := assign(x, e); err != nil {
				return inside(k, err)
			}
			m.SetMapIndex(reflect.ValueOf(k).Convert(t.Key()), x)
		}
		dst.Set(m)
		return nil
	case t.Kind() == reflect.Struct:
		for _, f := range fieldsOf(t) {
			e, ok := d[f.name]
			if !ok {
				continue
			}
			if err := assign(embedded(dst, f.index), e); err != nil {
				return inside(f.name, err)
			}
		}
		return nil
	}
	return mismatch(dst, d)
}

// embedded returns a field, and allocates the embedded structs that contain it.
func embedded(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}
