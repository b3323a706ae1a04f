package nskeyed

import "sync"

// index finds a key again that was added. A short list is searched; a map is made
// when its capacity is used up.
type index[K comparable] struct {
	list []indexed[K] // in the order in which they were added
	many map[K]int32
}

type indexed[K comparable] struct {
	key   K
	value int32
}

// find returns the value of a key.
func (x *index[K]) find(key K) (int32, bool) {
	if x.many != nil {
		v, ok := x.many[key]
		return v, ok
	}
	for i := range x.list {
		if x.list[i].key == key {
			return x.list[i].value, true
		}
	}
	return 0, false
}

// add adds a key that is not there, and returns its place in the list.
func (x *index[K]) add(key K, value int32) int32 {
	if x.many == nil && len(x.list) == cap(x.list) {
		x.many = make(map[K]int32, 2*len(x.list))
		for _, e := range x.list {
			x.many[e.key] = e.value
		}
	}
	if x.many != nil {
		x.many[key] = value
	}
	x.list = append(x.list, indexed[K]{key, value})
	return int32(len(x.list) - 1)
}

// How much of a small archive an encoder has room for without further memory.
const (
	fewItems   = 24
	fewObjects = 8
	fewTexts   = 16
	fewRefs    = 32
	fewShared  = 4
)

// scratch is what encoding a small archive takes, in one piece of memory that is used
// again. A large archive takes more, which is not kept.
type scratch struct {
	encoder encoder
	writer  writer

	items   [fewItems]item
	objects [fewObjects]any
	texts   [fewTexts]indexed[string]
	refs    [fewRefs]int32
	shared  [fewShared]indexed[any]
	ints    [fewShared]indexed[any]
	classes [fewShared]indexed[string]
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func newScratch() *scratch {
	s := scratches.Get().(*scratch)
	s.encoder.objects = append(s.objects[:0], null)
	s.encoder.shared.list = s.shared[:0]
	s.encoder.classes.list = s.classes[:0]
	s.writer.items = s.items[:0]
	s.writer.refs = s.refs[:0]
	s.writer.texts.list = s.texts[:0]
	s.writer.ints.list = s.ints[:0]
	return s
}

// release gives s back without the values that it refers to.
func (s *scratch) release() {
	*s = scratch{}
	scratches.Put(s)
}
