package nskeyed

import (
	"errors"
	"fmt"
)

// decoder decodes the objects of an archive, each of them once.
type decoder struct {
	reader
	classes *Classes
	objects object  // $objects
	slots   []slot  // for $objects; empty for a plain property list
	few     [4]slot // memory of slots if the archive is small
	keys    map[int]string
	room    int // how many elements of containers may still be allocated
	copied  int // how many bytes of text and data may still be allocated
	failed  int // the innermost object with an error
}

// slot is the state of one of $objects.
type slot struct {
	value any
	class *class // set when it was looked up as a class
	size  size
	state state
}

type state uint8

const (
	untouched state = iota
	onPath          // it is being decoded
	done
)

// size is what a value unfolds to.
type size struct {
	nodes  int32
	height int16
}

// over extends s to the size of a container that also holds a value of size t.
func (s *size) over(t size) error {
	s.nodes += t.nodes
	s.height = max(s.height, t.height+1)
	if s.nodes > MaxNodes {
		return ErrLimit
	}
	return nil
}

var (
	errReference = errors.New("UID is beyond the objects of the archive")
	errPlainUID  = errors.New("UID outside of an archive")
)

// open reads the trailer and sets the limits.
func (d *decoder) open(b []byte) error {
	_, err := d.reader.open(b)
	d.room = MaxNodes
	d.copied = 1<<20 + 4*len(b) // shared values are copied for each use
	return err
}

// root decodes the complete property list.
func (d *decoder) root() (any, Kind, error) {
	top, err := d.reader.open(d.b)
	if err != nil {
		return nil, Plain, err
	}
	o, err := d.object(top)
	if err != nil {
		return nil, Plain, err
	}
	if o.tag == tagDict {
		names, err := d.isArchive(o)
		if err != nil {
			return nil, Plain, err
		}
		if names {
			v, err := d.archive(o)
			return v, Archive, d.locate(err)
		}
	}
	v, _, err := d.value(top, 0)
	return v, Plain, d.locate(err)
}

func (d *decoder) locate(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: "decode", Object: d.failed, Err: err}
}

// isArchive reports whether the top dictionary has a key of an archive. If it lacks
// other keys, it is a malformed archive and not a plain property list.
func (d *decoder) isArchive(o object) (bool, error) {
	for _, key := range []string{keyArchiver, keyObjects, keyTop} {
		if _, ok, err := d.find(o, key); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// archive checks the top level of an archive and decodes the objects of $top.
func (d *decoder) archive(o object) (any, error) {
	if err := d.fixed(o, keyArchiver, archiver); err != nil {
		return nil, err
	}
	if err := d.fixed(o, keyVersion, int64(version)); err != nil {
		return nil, err
	}
	top, err := d.member(o, keyTop, tagDict)
	if err != nil {
		return nil, err
	}
	d.objects, err = d.member(o, keyObjects, tagArray)
	if err != nil {
		return nil, err
	}
	if d.objects.n > MaxObjects {
		return nil, ErrLimit
	}
	d.slots = d.few[:min(d.objects.n, len(d.few))]
	if d.objects.n > len(d.few) {
		d.slots = make([]slot, d.objects.n)
	}
	number, ok, err := d.find(top, keyRoot)
	if err != nil {
		return nil, err
	}
	if ok {
		v, _, err := d.value(number, 0)
		return v, err
	}
	numbers, err := d.numbered(top, "$")
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, errors.New("$top has neither root nor $0")
	}
	list, _, err := d.list(numbers, 0)
	return Top(list), err
}

// fixed checks a field of the top level that has the same value in every archive. It
// allocates nothing if the field has the usual form.
func (d *decoder) fixed(o object, key string, want any) error {
	number, ok, err := d.find(o, key)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("no %s key", key)
	}
	f, err := d.object(number)
	if err != nil {
		return err
	}
	switch {
	case f.tag == tagASCII && string(d.b[f.at:f.at+f.n]) == want,
		f.tag == tagInteger && f.n < 16 && int64(d.uint(f.at, f.n)) == want:
		return nil
	}
	v, _, err := d.plain(f, 0)
	if err == nil && !sameKey(v, want) {
		err = fmt.Errorf("%s is %s, must be %v", key, short(v), want)
	}
	return err
}

// member returns a container that the top level of an archive must have.
func (d *decoder) member(o object, key string, tag byte) (object, error) {
	number, ok, err := d.find(o, key)
	if err != nil {
		return object{}, err
	}
	if !ok {
		return object{}, fmt.Errorf("no %s key", key)
	}
	m, err := d.object(number)
	if err == nil && m.tag != tag {
		err = fmt.Errorf("%s is of the wrong type", key)
	}
	return m, err
}

// short describes a value in an error.
func short(v any) string {
	switch t := v.(type) {
	case string:
		if len(t) > 64 {
			t = t[:64] + "..."
		}
		return fmt.Sprintf("%q", t)
	case bool, int64, uint64, float64:
		return fmt.Sprint(t)
	}
	return typeName(v)
}

// uid decodes one of $objects.
func (d *decoder) uid(n uint64, depth int) (any, size, error) {
	switch {
	case d.objects.tag != tagArray:
		return nil, size{}, errPlainUID
	case n == 0:
		return nil, size{nodes: 1}, nil
	case n >= uint64(len(d.slots)):
		return nil, size{}, fmt.Errorf("%w: %d of %d", errReference, n, len(d.slots))
	}
	s := &d.slots[n]
	switch {
	case s.state == onPath:
		return nil, size{}, ErrCycle
	case depth > MaxDepth, s.state == done && depth+int(s.size.height) > MaxDepth:
		return nil, size{}, ErrLimit
	case s.state == done:
		return s.value, s.size, nil
	}
	s.state = onPath
	v, sz, err := d.element(d.ref(d.objects, int(n)), depth)
	if err != nil {
		if d.failed == 0 {
			d.failed = int(n)
		}
		return nil, size{}, err
	}
	s.value, s.size, s.state = v, sz, done
	return v, sz, nil
}

// element decodes an element of $objects, which is an instance or a plain value.
func (d *decoder) element(number, depth int) (any, size, error) {
	o, err := d.object(number)
	if err != nil {
		return nil, size{}, err
	}
	if o.tag == tagDict {
		c, err := d.classOf(o)
		if err != nil {
			return nil, size{}, err
		}
		if c != nil {
			return d.instance(o, c, depth)
		}
	}
	return d.plain(o, depth)
}

// value decodes the value of a field, which is a UID or an inline value.
func (d *decoder) value(number, depth int) (any, size, error) {
	o, err := d.object(number)
	if err != nil {
		return nil, size{}, err
	}
	return d.plain(o, depth)
}

func (d *decoder) plain(o object, depth int) (any, size, error) {
	one := size{nodes: 1}
	switch o.tag {
	case tagUID:
		return d.uid(d.uint(o.at, o.n), depth+1)
	case tagInteger:
		v, err := d.integer(o)
		return v, one, err
	case tagReal:
		return d.real(o), one, nil
	case tagDate:
		return Date(d.real(o)), one, nil
	case tagSimple:
		if o.low != lowFalse && o.low != lowTrue {
			return nil, size{}, errors.New("property list holds a null")
		}
		return o.low == lowTrue, one, nil
	case tagASCII, tagUTF16, tagData:
		d.copied -= o.n
		if d.copied < 0 {
			return nil, size{}, ErrLimit
		}
		one.nodes += int32(min(o.n/nodeBytes, MaxNodes))
		if o.tag == tagData {
			return append(make([]byte, 0, o.n), d.b[o.at:o.at+o.n]...), one, nil
		}
		return d.text(o), one, nil
	case tagDict:
		return d.plainDict(o, depth+1)
	}
	return d.elements(o, depth+1)
}

// reserve counts n elements before memory is allocated for them.
func (d *decoder) reserve(n int) error {
	d.room -= n
	if d.room < 0 {
		return ErrLimit
	}
	return nil
}

// elements decodes an array that is not an object.
func (d *decoder) elements(o object, depth int) ([]any, size, error) {
	total := size{nodes: 1}
	if err := d.reserve(o.n); err != nil {
		return nil, total, err
	}
	if depth > MaxDepth {
		return nil, total, ErrLimit
	}
	list := make([]any, o.n)
	for i := range list {
		v, sz, err := d.value(d.ref(o, i), depth)
		if err == nil {
			err = total.over(sz)
		}
		if err != nil {
			return nil, total, err
		}
		list[i] = v
	}
	return list, total, nil
}

// list decodes objects, given their numbers.
func (d *decoder) list(numbers []int, depth int) ([]any, size, error) {
	total := size{nodes: 1}
	list := make([]any, len(numbers))
	for i, n := range numbers {
		v, sz, err := d.value(n, depth)
		if err == nil {
			err = total.over(sz)
		}
		if err != nil {
			return nil, total, err
		}
		list[i] = v
	}
	return list, total, nil
}

// plainDict decodes a dictionary that is not an object.
func (d *decoder) plainDict(o object, depth int) (any, size, error) {
	total := size{nodes: 1}
	if err := d.reserve(2 * o.n); err != nil {
		return nil, total, err
	}
	if depth > MaxDepth {
		return nil, total, ErrLimit
	}
	dict := make(Dict, o.n)
	for i := range dict {
		key, err := d.key(d.ref(o, i))
		if err != nil {
			return nil, total, err
		}
		v, sz, err := d.value(d.ref(o, o.n+i), depth)
		if err == nil {
			err = total.over(sz)
		}
		if err != nil {
			return nil, total, err
		}
		dict[i] = Pair{key, v}
	}
	return dedupe(dict), total, nil
}

// key returns the text of a key. It allocates each key once, however many objects have
// it.
func (d *decoder) key(number int) (string, error) {
	if s, ok := d.keys[number]; ok {
		return s, nil
	}
	o, err := d.object(number)
	if err != nil {
		return "", err
	}
	if o.tag != tagASCII && o.tag != tagUTF16 {
		return "", errors.New("key of a property list is not a string")
	}
	d.copied -= o.n
	if d.copied < 0 {
		return "", ErrLimit
	}
	s := d.text(o)
	if d.keys == nil {
		d.keys = make(map[int]string)
	}
	d.keys[number] = s
	return s, nil
}

// classOf returns the class of an object, or nil for a dictionary without one.
func (d *decoder) classOf(o object) (*class, error) {
	number, ok, err := d.find(o, keyClass)
	if !ok || err != nil {
		return nil, err
	}
	u, err := d.object(number)
	if err != nil {
		return nil, err
	}
	if u.tag != tagUID {
		return nil, errors.New("$class is not a UID")
	}
	n := d.uint(u.at, u.n)
	if n >= uint64(len(d.slots)) {
		return nil, fmt.Errorf("$class: %w", errReference)
	}
	s := &d.slots[n]
	if s.class == nil {
		c, err := d.descriptor(d.ref(d.objects, int(n)))
		if err != nil {
			return nil, err
		}
		c.resolve(d.classes)
		s.class = c
	}
	return s.class, nil
}

// descriptor decodes a class: {$classname, $classes}. It ignores $classhints, which are
// for readers without the class.
func (d *decoder) descriptor(number int) (*class, error) {
	o, err := d.object(number)
	if err != nil {
		return nil, err
	}
	if o.tag != tagDict {
		return nil, errors.New("class is not a dictionary")
	}
	number, ok, err := d.find(o, keyClassName)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("class has no $classname")
	}
	name, err := d.key(number)
	if err != nil {
		return nil, fmt.Errorf("$classname: %w", err)
	}
	c := &class{chain: []string{name}}
	number, ok, err = d.find(o, keyClasses)
	if !ok || err != nil {
		return c, err
	}
	list, err := d.object(number)
	if err == nil && list.tag != tagArray {
		err = errors.New("$classes is not an array")
	}
	if err == nil {
		err = d.reserve(list.n)
	}
	for i := 0; i < list.n && err == nil; i++ {
		var s string
		s, err = d.key(d.ref(list, i))
		if err == nil && (i > 0 || s != name) {
			c.chain = append(c.chain, s)
		}
	}
	return c, err
}
