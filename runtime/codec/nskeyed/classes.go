package nskeyed

import "maps"

// Class says how objects of a class and of its derived classes are decoded.
type Class struct {
	Name string
	// Decode returns a value for an object whose fields have been decoded. The object's
	// own class may be a derived one. Decode may return the object itself. If it
	// returns an error, the archive cannot be decoded.
	Decode func(*Object) (any, error)
}

// Classes is an immutable set of classes for decoding, in addition to those of
// Foundation. nil is an empty set.
type Classes struct {
	decode map[string]func(*Object) (any, error)
}

// NewClasses returns a set. If two classes have the same name, the later one is used.
func NewClasses(list ...Class) *Classes { return (*Classes)(nil).With(list...) }

// With returns a set with further classes.
func (c *Classes) With(list ...Class) *Classes {
	out := &Classes{decode: make(map[string]func(*Object) (any, error))}
	if c != nil {
		maps.Copy(out.decode, c.decode)
	}
	for _, class := range list {
		out.decode[class.Name] = class.Decode
	}
	return out
}

func (c *Classes) find(name string) func(*Object) (any, error) {
	if c == nil {
		return nil
	}
	return c.decode[name]
}

// Archiver is a value that can be encoded as an object of its own class.
type Archiver interface {
	ArchiveObject() (*Object, error)
}

// class is a class descriptor of an archive, after it has been looked up.
type class struct {
	chain  []string // the class and its ancestors
	kind   kind
	decode func(*Object) (any, error)
}

// kind is how this package decodes a class.
type kind uint8

const (
	kindObject kind = iota // unknown, or decoded by a Class
	kindArray
	kindSet
	kindOrderedSet
	kindDict
	kindString
	kindData
	kindDate
	kindUUID
	kindURL
	kindNull
	kindError
	kindValue
)

func kindOf(name string) kind {
	switch name {
	case "NSArray", "NSMutableArray":
		return kindArray
	case "NSDictionary", "NSMutableDictionary":
		return kindDict
	case "NSDate":
		return kindDate
	case "NSString", "NSMutableString":
		return kindString
	case "NSData", "NSMutableData":
		return kindData
	case "NSUUID":
		return kindUUID
	case "NSURL":
		return kindURL
	case "NSNull":
		return kindNull
	case "NSError":
		return kindError
	case "NSSet", "NSMutableSet":
		return kindSet
	case "NSOrderedSet", "NSMutableOrderedSet":
		return kindOrderedSet
	case "NSValue":
		return kindValue
	}
	return kindObject
}

// resolve returns the nearest class of the chain that can be decoded.
func (c *class) resolve(known *Classes) {
	for _, name := range c.chain {
		c.decode = known.find(name)
		if c.decode != nil {
			return
		}
		c.kind = kindOf(name)
		if c.kind != kindObject {
			return
		}
	}
}
