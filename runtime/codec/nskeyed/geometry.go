package nskeyed

import (
	"strconv"
	"strings"
)

// NSValue represents geometry as text, in the form of NSStringFromRect. NS.special is
// the kind of its value.
const (
	specialPoint = 1 // NS.pointval "{x, y}"
	specialSize  = 2 // NS.sizeval "{w, h}"
	specialRect  = 3 // NS.rectval "{{x, y}, {w, h}}"
	specialRange = 4 // NS.rangeval.location, NS.rangeval.length: integers

	keySpecial  = "NS.special"
	keyPoint    = "NS.pointval"
	keySize     = "NS.sizeval"
	keyRect     = "NS.rectval"
	keyLocation = "NS.rangeval.location"
	keyLength   = "NS.rangeval.length"
)

// Point is an NSValue that holds a point.
type Point struct{ X, Y float64 }

// Size is an NSValue that holds a size.
type Size struct{ Width, Height float64 }

// Rect is an NSValue that holds a rectangle.
type Rect struct{ X, Y, Width, Height float64 }

// Range is an NSValue that holds a range.
type Range struct{ Location, Length uint64 }

func pair(a, b float64) string {
	return "{" + strconv.FormatFloat(a, 'g', -1, 64) + ", " + strconv.FormatFloat(b, 'g', -1, 64) +
		"}"
}

func (p Point) String() string { return pair(p.X, p.Y) }
func (s Size) String() string  { return pair(s.Width, s.Height) }
func (r Rect) String() string {
	return "{" + pair(r.X, r.Y) + ", " + pair(r.Width, r.Height) + "}"
}

// geometry returns the value of an NSValue object, or the object itself if it has
// another kind of value.
func geometry(o *Object) any {
	d := o.Dict()
	special, _ := d.Int(keySpecial)
	switch special {
	case specialPoint:
		if n, ok := numbers(d, keyPoint, 2); ok {
			return Point{n[0], n[1]}
		}
	case specialSize:
		if n, ok := numbers(d, keySize, 2); ok {
			return Size{n[0], n[1]}
		}
	case specialRect:
		if n, ok := numbers(d, keyRect, 4); ok {
			return Rect{n[0], n[1], n[2], n[3]}
		}
	case specialRange:
		location, ok := d.Uint(keyLocation)
		length, both := d.Uint(keyLength)
		if ok && both {
			return Range{location, length}
		}
	}
	return o
}

// numbers parses the numbers between braces.
func numbers(d Dict, key string, count int) ([]float64, bool) {
	s, ok := d.String(key)
	if !ok || len(s) > nodeBytes {
		return nil, false
	}
	parts := strings.Split(strings.NewReplacer("{", "", "}", "", " ", "").Replace(s), ",")
	if len(parts) != count {
		return nil, false
	}
	out := make([]float64, count)
	for i, p := range parts {
		n, err := strconv.ParseFloat(p, 64)
		if err != nil {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// geometryFields is the inverse of geometry.
func geometryFields(v any) []Field {
	special := func(n int64) Field { return Field{keySpecial, n, true} }
	switch t := v.(type) {
	case Point:
		return []Field{{keyPoint, t.String(), false}, special(specialPoint)}
	case Size:
		return []Field{{keySize, t.String(), false}, special(specialSize)}
	case Rect:
		return []Field{{keyRect, t.String(), false}, special(specialRect)}
	case Range:
		return []Field{
			{keyLocation, t.Location, true}, {keyLength, t.Length, true}, special(specialRange),
		}
	}
	return nil
}
