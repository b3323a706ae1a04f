package nskeyed

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/imdlua/imdlua/runtime/codec/number"
	"github.com/imdlua/imdlua/runtime/codec/plist"
)

var (
	errNil  = errors.New("nil in a collection; Null stands for nothing there")
	errText = errors.New("string is not valid UTF-8")
)

// Encode returns a binary archive of v. In addition to the types that Decode returns,
// it accepts Mutable, Archiver, time.Time, plist.Dict (with sorted keys), []string,
// float32 and every Go integer. Equal values are encoded to equal bytes.
//
// Only a complete archive and the fields of an Object may be nil.
func Encode(v any) ([]byte, error) { return Append(nil, v) }

// Append appends a binary archive of v to b.
func Append(b []byte, v any) ([]byte, error) {
	s := newScratch()
	defer s.release()
	top, err := s.encoder.top(v)
	if err != nil {
		return nil, &Error{Op: "encode", Err: err}
	}
	s.writer.archive(top, s.encoder.objects)
	return s.writer.write(b), nil
}

// encoder numbers objects in the order of Apple's archiver: an object comes before the
// objects that it refers to, and its class comes after those. Each class is written
// once, and so are equal strings and numbers.
type encoder struct {
	objects []any // the content of $objects
	classes index[string]
	shared  index[any] // strings and numbers
	nodes   int
}

func (e *encoder) top(v any) (record, error) {
	list, ok := v.(Top)
	if !ok {
		n, err := e.object(v, 0)
		return record{{keyRoot, n}}, err
	}
	if len(list) == 0 {
		return nil, errors.New("archive without objects")
	}
	top := make(record, len(list))
	for i, x := range list {
		n, err := e.object(x, 0)
		if err != nil {
			return nil, fmt.Errorf("$%d: %w", i, err)
		}
		top[i] = entry{"$" + strconv.Itoa(i), n}
	}
	return top, nil
}

func (e *encoder) add(v any) (uid, error) {
	if len(e.objects) == MaxObjects {
		return 0, ErrLimit
	}
	e.objects = append(e.objects, v)
	return uid(len(e.objects) - 1), nil
}

// object adds v and the values in it.
func (e *encoder) object(v any, depth int) (uid, error) {
	e.nodes++
	if e.nodes > MaxNodes || depth > MaxDepth {
		return 0, ErrLimit
	}
	switch t := v.(type) {
	case nil:
		return 0, nil
	case bool, string, float64, int64, uint64:
		return e.scalar(v)
	case []byte:
		return e.add(t)
	case []any:
		return e.collection("NSArray", t, depth)
	case Dict:
		return e.dictionary("NSDictionary", t, depth)
	case Set:
		return e.collection("NSSet", t, depth)
	case OrderedSet:
		return e.collection("NSOrderedSet", t, depth)
	case Mutable:
		return e.mutable(t.Content, depth)
	case Date:
		return e.instance("NSDate", []Field{{keyTime, float64(t), true}}, depth)
	case UUID:
		return e.instance("NSUUID", []Field{{keyUUIDBytes, t[:], true}}, depth)
	case URL:
		return e.url(t, depth)
	case Null:
		return e.instance("NSNull", nil, depth)
	case Point, Size, Rect, Range:
		return e.instance("NSValue", geometryFields(v), depth)
	case *NSError:
		return e.nsError(t, depth)
	case *Object:
		return e.fields(t, depth)
	case Archiver:
		o, err := t.ArchiveObject()
		if err != nil {
			return 0, err
		}
		return e.fields(o, depth)
	}
	w, err := canonical(v)
	if err != nil {
		return 0, err
	}
	return e.object(w, depth)
}

// canonical converts other Go types to those of decoded values.
func canonical(v any) (any, error) {
	switch t := v.(type) {
	case time.Time:
		return DateOf(t), nil
	case []string:
		list := make([]any, len(t))
		for i, s := range t {
			list[i] = s
		}
		return list, nil
	case plist.Dict:
		d := make(Dict, 0, len(t))
		for _, k := range slices.Sorted(maps.Keys(t)) {
			d = append(d, Pair{k, t[k]})
		}
		return d, nil
	}
	switch w := number.Widen(v).(type) {
	case int64, uint64, float64:
		return w, nil
	}
	return nil, fmt.Errorf("%T has no archive form", v)
}

// inline returns the form of a value that is in a field or is an object by itself.
func inline(v any) (any, error) {
	switch t := v.(type) {
	case string:
		if !utf8.ValidString(t) {
			return nil, errText
		}
		return t, nil
	case uint64:
		if t <= math.MaxInt64 {
			return int64(t), nil
		}
		return t, nil
	case bool, int64, float64, []byte:
		return v, nil
	}
	if w, err := canonical(v); err == nil {
		switch w.(type) {
		case int64, uint64, float64:
			return inline(w)
		}
	}
	return nil, fmt.Errorf("%T cannot stand in its object", v)
}

// scalar adds a string or number, unless it has been added before.
func (e *encoder) scalar(v any) (uid, error) {
	v, err := inline(v)
	if err != nil {
		return 0, err
	}
	if n, ok := e.shared.find(v); ok {
		return uid(n), nil
	}
	n, err := e.add(v)
	if err == nil {
		e.shared.add(v, int32(n))
	}
	return n, err
}

// ancestors are the classes between a Foundation class and NSObject.
func ancestors(name string) []string {
	switch name {
	case "NSMutableArray":
		return []string{name, "NSArray", rootClass}
	case "NSMutableDictionary":
		return []string{name, "NSDictionary", rootClass}
	case "NSMutableSet":
		return []string{name, "NSSet", rootClass}
	case "NSMutableOrderedSet":
		return []string{name, "NSOrderedSet", rootClass}
	case "NSMutableString":
		return []string{name, "NSString", rootClass}
	case "NSMutableData":
		return []string{name, "NSData", rootClass}
	}
	return []string{name, rootClass}
}

const rootClass = "NSObject"

// class adds a class descriptor, unless it has been added before.
func (e *encoder) class(chain []string) (uid, error) {
	if n, ok := e.classes.find(chain[0]); ok {
		return uid(n), nil
	}
	n, err := e.add(record{{keyClassName, chain[0]}, {keyClasses, chain}})
	if err == nil {
		e.classes.add(chain[0], int32(n))
	}
	return n, err
}

// finish stores an object after its fields have been added.
func (e *encoder) finish(n uid, r record, chain []string) (uid, error) {
	c, err := e.class(chain)
	e.objects[n] = append(r, entry{keyClass, c})
	return n, err
}

func (e *encoder) instance(name string, fields []Field, depth int) (uid, error) {
	return e.fields(&Object{Classes: ancestors(name), Fields: fields}, depth)
}

// members adds the elements of a collection.
func (e *encoder) members(list []any, depth int) ([]uid, error) {
	refs := make([]uid, len(list))
	for i, v := range list {
		if v == nil {
			return nil, fmt.Errorf("[%d]: %w", i, errNil)
		}
		n, err := e.object(v, depth+1)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		refs[i] = n
	}
	return refs, nil
}

func (e *encoder) collection(name string, list []any, depth int) (uid, error) {
	n, err := e.add(nil)
	if err != nil {
		return 0, err
	}
	refs, err := e.members(list, depth)
	if err != nil {
		return 0, err
	}
	return e.finish(n, append(make(record, 0, 2), entry{keyValues, refs}), ancestors(name))
}

func (e *encoder) dictionary(name string, d Dict, depth int) (uid, error) {
	n, err := e.add(nil)
	if err != nil {
		return 0, err
	}
	keys, values := make([]uid, len(d)), make([]uid, len(d))
	for i, p := range d {
		if p.Key == nil {
			return 0, errors.New("dictionary key is nil")
		}
		keys[i], err = e.object(p.Key, depth+1)
		if err != nil {
			return 0, fmt.Errorf("key %s: %w", short(p.Key), err)
		}
	}
	for i, p := range d {
		if p.Value == nil {
			err = errNil
		} else {
			values[i], err = e.object(p.Value, depth+1)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", short(p.Key), err)
		}
	}
	return e.finish(n, append(make(record, 0, 3), entry{keyKeys, keys}, entry{keyValues, values}),
		ancestors(name))
}

func (e *encoder) mutable(v any, depth int) (uid, error) {
	switch t := v.(type) {
	case string:
		return e.instance("NSMutableString", []Field{{keyString, t, true}}, depth)
	case []byte:
		return e.instance("NSMutableData", []Field{{keyData, t, true}}, depth)
	case []any:
		return e.collection("NSMutableArray", t, depth)
	case Dict:
		return e.dictionary("NSMutableDictionary", t, depth)
	case Set:
		return e.collection("NSMutableSet", t, depth)
	case OrderedSet:
		return e.collection("NSMutableOrderedSet", t, depth)
	}
	return 0, fmt.Errorf("%T has no mutable class", v)
}

func (e *encoder) url(u URL, depth int) (uid, error) {
	var base any
	if u.Base != nil {
		base = *u.Base
	}
	return e.instance("NSURL", []Field{{keyBase, base, false}, {keyRelative, u.Relative, false}},
		depth)
}

// nsError always writes a dictionary, because go-ios ends the connection when it receives
// an error without one.
func (e *encoder) nsError(err *NSError, depth int) (uid, error) {
	if err == nil {
		return 0, nil
	}
	info := err.UserInfo
	if info == nil {
		info = Dict{}
	}
	return e.instance("NSError", []Field{
		{keyCode, err.Code, true}, {keyDomain, err.Domain, false}, {keyUserInfo, info, false},
	}, depth)
}

// fields adds an object.
func (e *encoder) fields(o *Object, depth int) (uid, error) {
	if o == nil {
		return 0, nil
	}
	if o.Class() == "" {
		return 0, errors.New("object without a class")
	}
	n, err := e.add(nil)
	if err != nil {
		return 0, err
	}
	r := make(record, 0, len(o.Fields)+1)
	for _, f := range o.Fields {
		var v any
		if f.Inline {
			v, err = e.inline(f.Value, depth)
		} else {
			v, err = e.object(f.Value, depth+1)
		}
		if err != nil {
			return 0, fmt.Errorf("%s.%s: %w", o.Class(), f.Key, err)
		}
		if !utf8.ValidString(f.Key) {
			return 0, errText
		}
		r = append(r, entry{f.Key, v})
	}
	chain := o.Classes
	for _, name := range chain {
		if !utf8.ValidString(name) {
			return 0, errText
		}
	}
	if chain[len(chain)-1] != rootClass {
		chain = append(slices.Clip(chain), rootClass)
	}
	return e.finish(n, r, chain)
}

// inline returns the form of a value inside an object. The elements of an inline array
// are references.
func (e *encoder) inline(v any, depth int) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return inline(v)
	}
	refs := make([]uid, len(list))
	for i, x := range list {
		n, err := e.object(x, depth+1)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		refs[i] = n
	}
	return refs, nil
}
