package nskeyed

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/number"
)

// Pair is an entry of a Dict.
type Pair struct{ Key, Value any }

// Dict is an NSDictionary in the order of the archive. Its keys are usually strings;
// some services use numbers. A getter takes a string key, and reports false if the key
// is missing or has a value of another type.
type Dict []Pair

// Set is an NSSet in the order of the archive.
type Set []any

// OrderedSet is an NSOrderedSet.
type OrderedSet []any

// Top has the objects of an archive with several objects, $0 and up.
type Top []any

// Null is NSNull, which replaces nil in arrays and dictionaries.
type Null struct{}

// Mutable is encoded as the mutable class of its content, which is a string, []byte,
// []any, Dict, Set or OrderedSet. Decoding never returns it.
type Mutable struct{ Content any }

// Get returns the value of a key. The key may be an int if the archive has numbers as
// keys.
func (d Dict) Get(key any) (any, bool) {
	if n, ok := key.(int); ok {
		key = int64(n)
	}
	for i := range d {
		if sameKey(d[i].Key, key) {
			return d[i].Value, true
		}
	}
	return nil, false
}

// sameKey compares keys. Keys that are not comparable are never the same.
func sameKey(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && a == b
	case bool, int64, uint64, float64, Date, UUID, Null:
		switch b.(type) {
		case bool, int64, uint64, float64, Date, UUID, Null:
			return a == b
		}
	}
	return false
}

func get[T any](d Dict, key string) (T, bool) {
	for i := range d {
		if k, ok := d[i].Key.(string); ok && k == key {
			t, ok := d[i].Value.(T)
			return t, ok
		}
	}
	var zero T
	return zero, false
}

// String returns a string value.
func (d Dict) String(key string) (string, bool) { return get[string](d, key) }

// Bool returns a boolean value.
func (d Dict) Bool(key string) (bool, bool) { return get[bool](d, key) }

// Data returns a data value; the bytes belong to the archive.
func (d Dict) Data(key string) ([]byte, bool) { return get[[]byte](d, key) }

// Dict returns a nested dictionary.
func (d Dict) Dict(key string) (Dict, bool) { return get[Dict](d, key) }

// Array returns an array value.
func (d Dict) Array(key string) ([]any, bool) { return get[[]any](d, key) }

// Date returns a date value.
func (d Dict) Date(key string) (Date, bool) { return get[Date](d, key) }

// UUID returns a UUID value.
func (d Dict) UUID(key string) (UUID, bool) { return get[UUID](d, key) }

// Int returns an integer that fits into int64.
func (d Dict) Int(key string) (int64, bool) { v, _ := get[any](d, key); return Int(v) }

// Uint returns a non-negative integer.
func (d Dict) Uint(key string) (uint64, bool) { v, _ := get[any](d, key); return Uint(v) }

// Real returns a real or integer value as a float64.
func (d Dict) Real(key string) (float64, bool) { v, _ := get[any](d, key); return Real(v) }

// Int returns a decoded integer that fits into int64.
func Int(v any) (int64, bool) { return number.Int(v) }

// Uint returns a non-negative decoded integer.
func Uint(v any) (uint64, bool) { return number.Uint(v) }

// Real returns a decoded real or integer.
func Real(v any) (float64, bool) { return number.Real(v) }

// Date is an NSDate: seconds since 2001-01-01 UTC, as sent. It may be any number, and
// also NaN.
type Date float64

const (
	epoch = 978307200 // 2001-01-01, in Unix seconds
	// Dates in the years 1 to 9999 can be converted to a time.Time.
	minDate, endDate = -63113904000, 252423993600
)

// DateOf returns the date of a time.
func DateOf(t time.Time) Date {
	return Date(float64(t.Unix()-epoch) + float64(t.Nanosecond())/1e9)
}

// Time returns the date in UTC. It returns the zero time for NaN, and the nearest time
// for a date outside of the years 1 to 9999.
func (d Date) Time() time.Time {
	s := float64(d)
	if math.IsNaN(s) {
		return time.Time{}
	}
	whole, part := math.Modf(min(max(s, minDate), endDate-1))
	return time.Unix(int64(whole)+epoch, int64(math.Round(part*1e9))).UTC()
}

// UUID is an NSUUID, 16 bytes in the order of RFC 4122.
type UUID [16]byte

// String returns the upper-case text form that Apple uses.
func (u UUID) String() string {
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// URL is an NSURL. Its text may be relative to another URL.
type URL struct {
	Base     *URL // usually nil
	Relative string
}

// String returns the complete URL. If the text is not a URL, it returns the text.
func (u URL) String() string {
	if u.Base == nil {
		return u.Relative
	}
	base, err := url.Parse(u.Base.String())
	if err != nil {
		return u.Relative
	}
	whole, err := base.Parse(u.Relative)
	if err != nil {
		return u.Relative
	}
	return whole.String()
}

// NSError is an error object, which services send to refuse a request.
type NSError struct {
	Domain   string
	Code     int64
	UserInfo Dict // nil if there was none, which is encoded as an empty dictionary
}

// Description returns the error's text for users, or "".
func (e *NSError) Description() string {
	s, _ := e.UserInfo.String("NSLocalizedDescription")
	return s
}

// Underlying returns the cause of this error, or nil.
func (e *NSError) Underlying() *NSError {
	u, _ := get[*NSError](e.UserInfo, "NSUnderlyingError")
	return u
}

// maxErrorText bounds each part of an error's text, because the peer may send anything.
const maxErrorText = 2000

func (e *NSError) Error() string {
	domain := clip(e.Domain)
	if s := e.Description(); s != "" {
		return fmt.Sprintf("%s (%s %d)", clip(s), domain, e.Code)
	}
	return fmt.Sprintf("%s %d", domain, e.Code)
}

func clip(s string) string {
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "..."
	}
	return s
}

// Unwrap returns the underlying error.
func (e *NSError) Unwrap() error {
	if u := e.Underlying(); u != nil {
		return u
	}
	return nil
}

// Object is an object of any class.
type Object struct {
	// Classes are the object's class and its ancestors, the most derived class first.
	// Encoding adds NSObject at the end if it is missing.
	Classes []string
	Fields  []Field
}

// Field is a field of an object.
type Field struct {
	Key   string
	Value any
	// Inline reports whether the value is in the object itself, as numbers are that are
	// not an NSNumber. The elements of an inline array are references.
	Inline bool
}

// Class returns the name of the object's own class.
func (o *Object) Class() string {
	if len(o.Classes) == 0 {
		return ""
	}
	return o.Classes[0]
}

// Get returns the value of a field.
func (o *Object) Get(key string) (any, bool) {
	for i := range o.Fields {
		if o.Fields[i].Key == key {
			return o.Fields[i].Value, true
		}
	}
	return nil, false
}

// Set replaces the value of a field, or adds a field that is not inline.
func (o *Object) Set(key string, v any) {
	for i := range o.Fields {
		if o.Fields[i].Key == key {
			o.Fields[i].Value = v
			return
		}
	}
	o.Fields = append(o.Fields, Field{Key: key, Value: v})
}

// Dict returns the fields as a dictionary, which has getters.
func (o *Object) Dict() Dict {
	d := make(Dict, len(o.Fields))
	for i, f := range o.Fields {
		d[i] = Pair{f.Key, f.Value}
	}
	return d
}
