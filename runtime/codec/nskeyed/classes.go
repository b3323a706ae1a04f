package nskeyed

import "maps"

// Class says how objects of a class, and of those derived from it, are decoded.
type Class struct {
	Name string
	// Decode makes a value of an object whose fields are decoded already. The
	// object's own class may be a derived one. To keep an object as it is,
	// Decode returns it; an error makes the whole archive unreadable.
	Decode func(*Object) (any, error)
}

// Classes is a set of classes for decoding, beside those of Foundation. It
// cannot change; nil is an empty set.
type Classes struct {
	decode map[string]func(*Object) (any, error)
}

// NewClasses makes a set. Of two classes of one name the later one counts.
func NewClasses(list ...Class) *Classes { return (*Classes)(nil).With(list...) }

// With returns a set that holds further classes.
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

// class is a class descriptor of an archive that was looked up.
type class struct {
	chain  []string // the class, its ancestors
	kind   kind
	decode func(*Object) (any, error)
}

// kind is how this package decodes a class.
type kind uint8

const (
	kindObject kind = iota // nothing is known, or a Class decodes it
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

// resolve finds the nearest class of the chain that can be decoded.
func (c *class) resolve(known *Classes) {
	for _, name := range c.chain {
		if c.decode = known.find(name); c.decode != nil {
			return
		}
		if c.kind = kindOf(name); c.kind != kindObject {
			return
		}
	}
}
