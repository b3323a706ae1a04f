package nskeyed

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Fields of Foundation's classes.
const (
	keyKeys      = "NS.keys"      // array of UIDs
	keyValues    = "NS.objects"   // array of UIDs
	keyOldKey    = "NS.key."      // + 0, 1, ...: old archives
	keyOldValue  = "NS.object."   // + 0, 1, ...: old archives
	keyString    = "NS.string"    // string in place
	keyData      = "NS.data"      // data in place
	keyTime      = "NS.time"      // real
	keyUUIDBytes = "NS.uuidbytes" // 16 bytes in place
	keyBase      = "NS.base"      // UID of an NSURL, or 0
	keyRelative  = "NS.relative"  // UID of a string
	keyDomain    = "NSDomain"     // UID of a string
	keyCode      = "NSCode"       // integer
	keyUserInfo  = "NSUserInfo"   // UID of a dictionary, or 0
)

var errNotUID = errors.New("array of references holds something else")

// instance decodes an object of a class.
func (d *decoder) instance(o object, c *class, depth int) (any, size, error) {
	switch c.kind {
	case kindArray:
		list, sz, err := d.members(o, keyValues, keyOldValue, depth)
		return list, sz, err
	case kindSet:
		list, sz, err := d.members(o, keyValues, keyOldValue, depth)
		return Set(list), sz, err
	case kindOrderedSet:
		list, sz, err := d.members(o, keyValues, keyOldValue, depth)
		return OrderedSet(list), sz, err
	case kindDict:
		return d.dictionary(o, depth)
	case kindNull:
		return Null{}, size{nodes: 1}, nil
	case kindDate:
		v, _, err := d.field(o, keyTime, depth)
		n, ok := Real(v)
		return Date(n), size{nodes: 1}, wrong(err, ok, keyTime)
	case kindUUID:
		v, _, err := d.field(o, keyUUIDBytes, depth)
		b, _ := v.([]byte)
		err = wrong(err, len(b) == len(UUID{}), keyUUIDBytes)
		if err != nil {
			return nil, size{}, err
		}
		return UUID(b), size{nodes: 1}, nil
	case kindString:
		v, sz, err := d.field(o, keyString, depth)
		s, ok := v.(string)
		return s, sz, wrong(err, ok, keyString)
	case kindData:
		v, sz, err := d.field(o, keyData, depth)
		b, ok := v.([]byte)
		return b, sz, wrong(err, ok, keyData)
	case kindURL:
		return d.url(o, depth)
	case kindError:
		return d.nsError(o, depth)
	}
	return d.generic(o, c, depth)
}

// wrong returns an error about a field with a value that its class does not accept,
// unless err is already set.
func wrong(err error, ok bool, key string) error {
	if err == nil && !ok {
		return fmt.Errorf("%s is missing or of the wrong type", key)
	}
	return err
}

// field decodes a field. It returns nil if there is none.
func (d *decoder) field(o object, key string, depth int) (any, size, error) {
	number, ok, err := d.find(o, key)
	if !ok || err != nil {
		return nil, size{nodes: 1}, err
	}
	return d.value(number, depth)
}

// references returns the array of UIDs in a field.
func (d *decoder) references(o object, key string) (refs object, ok bool, err error) {
	number, ok, err := d.find(o, key)
	if !ok || err != nil {
		return object{}, false, err
	}
	refs, err = d.object(number)
	if err == nil && refs.tag != tagArray {
		err = fmt.Errorf("%s is not an array", key)
	}
	return refs, true, err
}

// reference decodes the i-th of the references and adds its size to the total.
func (d *decoder) reference(refs object, i, depth int, total *size) (any, error) {
	e, err := d.object(d.ref(refs, i))
	if err != nil {
		return nil, err
	}
	if e.tag != tagUID {
		return nil, errNotUID
	}
	v, sz, err := d.uid(d.uint(e.at, e.n), depth+1)
	if err == nil {
		err = total.over(sz)
	}
	return v, err
}

// members decodes the elements of a collection, which are an array of UIDs or, in old
// archives, a numbered field for each element.
func (d *decoder) members(o object, key, old string, depth int) ([]any, size, error) {
	refs, ok, err := d.references(o, key)
	if err != nil {
		return nil, size{}, err
	}
	if !ok {
		numbers, err := d.numbered(o, old)
		if err != nil {
			return nil, size{}, err
		}
		return d.list(numbers, depth)
	}
	total := size{nodes: 1}
	if err := d.reserve(refs.n); err != nil {
		return nil, total, err
	}
	list := make([]any, refs.n)
	for i := range list {
		list[i], err = d.reference(refs, i, depth, &total)
		if err != nil {
			return nil, total, err
		}
	}
	return list, total, nil
}

// numbered returns the values of the keys prefix0, prefix1 and so on, in numeric order.
func (d *decoder) numbered(o object, prefix string) ([]int, error) {
	if err := d.reserve(o.n); err != nil {
		return nil, err
	}
	found := make([]int, 0, o.n)
	values := make(map[int]int, o.n)
	for i := range o.n {
		key, err := d.key(d.ref(o, i))
		if err != nil {
			return nil, err
		}
		digits, ok := strings.CutPrefix(key, prefix)
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || n < 0 || strconv.Itoa(n) != digits {
			continue
		}
		values[n] = d.ref(o, o.n+i)
	}
	for i := range len(values) {
		number, ok := values[i]
		if !ok {
			return nil, fmt.Errorf("%s%d is missing", prefix, i)
		}
		found = append(found, number)
	}
	return found, nil
}

// dictionary decodes the arrays of keys and of values or, in old archives, a numbered
// field for each key and value.
func (d *decoder) dictionary(o object, depth int) (any, size, error) {
	keys, isNew, err := d.references(o, keyKeys)
	if err != nil {
		return nil, size{}, err
	}
	values, also, err := d.references(o, keyValues)
	if err != nil {
		return nil, size{}, err
	}
	if !isNew && !also {
		return d.oldDictionary(o, depth)
	}
	if keys.n != values.n {
		return nil, size{}, fmt.Errorf("dictionary has %d keys and %d values", keys.n, values.n)
	}
	total := size{nodes: 1}
	if err := d.reserve(2 * keys.n); err != nil {
		return nil, total, err
	}
	dict := make(Dict, keys.n)
	for i := range dict {
		dict[i].Key, err = d.reference(keys, i, depth, &total)
		if err != nil {
			return nil, total, err
		}
		dict[i].Value, err = d.reference(values, i, depth, &total)
		if err != nil {
			return nil, total, err
		}
	}
	return dedupe(dict), total, nil
}

func (d *decoder) oldDictionary(o object, depth int) (any, size, error) {
	keys, ksize, err := d.members(o, keyKeys, keyOldKey, depth)
	if err != nil {
		return nil, size{}, err
	}
	values, total, err := d.members(o, keyValues, keyOldValue, depth)
	if err == nil {
		err = total.over(ksize)
	}
	if err == nil && len(keys) != len(values) {
		err = fmt.Errorf("dictionary has %d keys and %d values", len(keys), len(values))
	}
	if err != nil {
		return nil, size{}, err
	}
	dict := make(Dict, len(keys))
	for i, k := range keys {
		dict[i] = Pair{k, values[i]}
	}
	return dedupe(dict), total, nil
}

// manyKeys is the number of entries from which a map is used to find a duplicate key.
const manyKeys = 16

// dedupe keeps the last value of a duplicate key, in the place of the first. All keys
// that are not comparable are kept.
func dedupe(d Dict) Dict {
	if len(d) < manyKeys {
		for i := 1; i < len(d); i++ {
			for k := range i {
				if sameKey(d[k].Key, d[i].Key) {
					return dedupeSlow(d)
				}
			}
		}
		return d
	}
	return dedupeSlow(d)
}

func dedupeSlow(d Dict) Dict {
	place := make(map[any]int, len(d))
	out := d[:0]
	for _, p := range d {
		if !sameKey(p.Key, p.Key) { // not comparable, or NaN
			out = append(out, p)
			continue
		}
		if i, ok := place[p.Key]; ok {
			out[i].Value = p.Value
			continue
		}
		place[p.Key] = len(out)
		out = append(out, p)
	}
	return out
}

func (d *decoder) url(o object, depth int) (any, size, error) {
	base, sz, err := d.field(o, keyBase, depth)
	if err != nil {
		return nil, size{}, err
	}
	var u URL
	switch t := base.(type) {
	case nil:
	case URL:
		u.Base = &t
	default:
		return nil, size{}, wrong(nil, false, keyBase)
	}
	relative, rsize, err := d.field(o, keyRelative, depth)
	if err == nil {
		err = sz.over(rsize)
	}
	var ok bool
	u.Relative, ok = relative.(string)
	return u, sz, wrong(err, ok, keyRelative)
}

func (d *decoder) nsError(o object, depth int) (any, size, error) {
	e := &NSError{}
	total := size{nodes: 1}
	for _, key := range []string{keyDomain, keyCode, keyUserInfo} {
		v, sz, err := d.field(o, key, depth)
		if err == nil {
			err = total.over(sz)
		}
		if err != nil {
			return nil, size{}, err
		}
		ok := false
		switch key {
		case keyDomain:
			e.Domain, ok = v.(string)
		case keyCode:
			e.Code, ok = Int(v)
		case keyUserInfo:
			e.UserInfo, ok = v.(Dict)
			ok = ok || v == nil
		}
		if !ok {
			return nil, size{}, wrong(nil, false, key)
		}
	}
	return e, total, nil
}

// generic decodes the fields of an object, and passes it to the decoder of its class if
// there is one.
func (d *decoder) generic(o object, c *class, depth int) (any, size, error) {
	total := size{nodes: 1}
	if err := d.reserve(2 * o.n); err != nil {
		return nil, total, err
	}
	out := &Object{Classes: c.chain, Fields: make([]Field, 0, max(o.n-1, 0))}
	for i := range o.n {
		key, err := d.key(d.ref(o, i))
		if err != nil {
			return nil, total, err
		}
		if key == keyClass {
			continue
		}
		f, err := d.object(d.ref(o, o.n+i))
		if err != nil {
			return nil, total, err
		}
		v, sz, err := d.plain(f, depth)
		if err == nil {
			err = total.over(sz)
		}
		if err != nil {
			return nil, total, fmt.Errorf("%s: %w", key, err)
		}
		out.Fields = append(out.Fields, Field{Key: key, Value: v, Inline: f.tag != tagUID})
	}
	switch {
	case c.decode != nil:
		v, err := c.decode(out)
		if err != nil {
			return nil, total, fmt.Errorf("%s: %w", out.Class(), err)
		}
		return v, total, nil
	case c.kind == kindValue:
		return geometry(out), total, nil
	}
	return out, total, nil
}

// typeName returns the type of a value, for messages.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64, uint64:
		return "an integer"
	case float64:
		return "a real"
	case []byte:
		return "data"
	case []any:
		return "an array"
	case Dict:
		return "a dictionary"
	}
	return fmt.Sprintf("%T", v)
}
