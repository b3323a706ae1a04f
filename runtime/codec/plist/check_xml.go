package plist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The library allocates up to 1.5 KB for each dictionary, even for an empty one, so the
// number of containers in an XML document is limited by its size. Most writers need at
// least twelve bytes for a container. The spare containers are for writers of <dict/>.
const (
	spareContainers   = 1 << 14
	bytesPerContainer = 12
)

// xmlCheck scans the tags of an XML property list. It knows only the part of XML that
// encoding/xml accepts in strict mode. If it takes something else for a tag, the
// library returns an error for it.
//
// It also checks the places of elements. The library ignores a key without a value and
// elements inside of text, and makes nil of a plist element inside of an array.
type xmlCheck struct {
	b          []byte
	at         int
	owned      bool // b is a copy
	open       []xmlElement
	containers int // so far
	depth      int // number of open containers
	textAt     int // start of the content of the innermost element
	textBroken bool
	done       bool
}

type xmlElement struct {
	name string
	key  bool // of a dictionary: a key has no value yet
}

var xmlNames = map[string]string{
	"plist": "plist", "dict": "dict", "array": "array", "key": "key", "string": "string",
	"integer": "integer",
	"real":    "real", "true": "true", "false": "false", "date": "date", "data": "data",
}

var errNoValue = errors.New("no value")

// checkXML checks an XML document and returns it in the form that the library reads,
// without control characters and without space around numbers and dates.
func checkXML(b []byte) ([]byte, error) {
	b = bytes.TrimPrefix(b, []byte(byteOrderMark))
	clean := blankControls(b)
	c := &xmlCheck{b: clean, owned: len(b) > 0 && &clean[0] != &b[0]}
	for !c.done {
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	return c.b, nil
}

// blankControls returns b without the control characters that devices sometimes leave
// in strings, and that no XML parser accepts. It copies b only if there is one.
func blankControls(b []byte) []byte {
	bad := func(c byte) bool { return c < 0x20 && c != '\t' && c != '\n' && c != '\r' }
	for i, c := range b {
		if !bad(c) {
			continue
		}
		out := bytes.Clone(b)
		for k := i; k < len(out); k++ {
			if bad(out[k]) {
				out[k] = ' '
			}
		}
		return out
	}
	return b
}

// next scans one piece of markup.
func (c *xmlCheck) next() error {
	i := bytes.IndexByte(c.b[c.at:], '<')
	if i < 0 {
		if len(c.open) == 0 {
			return errNoValue
		}
		return io.ErrUnexpectedEOF
	}
	c.at += i
	rest := c.b[c.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("</")):
		return c.endTag()
	case bytes.HasPrefix(rest, []byte("<!--")):
		return c.skip(4, "-->")
	case bytes.HasPrefix(rest, []byte("<![CDATA[")):
		return c.skip(9, "]]>")
	case bytes.HasPrefix(rest, []byte("<?")):
		return c.skip(2, "?>")
	case bytes.HasPrefix(rest, []byte("<!DOCTYPE")):
		return c.doctype()
	}
	return c.startTag()
}

// skip moves to the end of a construct that begins with n bytes and ends with mark.
func (c *xmlCheck) skip(n int, mark string) error {
	i := bytes.Index(c.b[c.at+n:], []byte(mark))
	if i < 0 {
		return io.ErrUnexpectedEOF
	}
	c.at += n + i + len(mark)
	c.textBroken = true
	return nil
}

func (c *xmlCheck) doctype() error {
	end, err := c.tagEnd(c.at + 1)
	if err != nil {
		return err
	}
	c.at = end + 1
	c.textBroken = true
	return nil
}

// tagEnd returns the position of the bracket that closes the tag at i. It ignores
// brackets in quotes.
func (c *xmlCheck) tagEnd(i int) (int, error) {
	quote := byte(0)
	for ; i < len(c.b); i++ {
		switch x := c.b[i]; {
		case x == quote:
			quote = 0
		case quote != 0:
		case x == '"' || x == '\'':
			quote = x
		case x == '>':
			return i, nil
		case x == '<':
			return 0, errors.New("markup inside of a tag")
		}
	}
	return 0, io.ErrUnexpectedEOF
}

// name reads the name at i, which must be that of a property list element.
func (c *xmlCheck) name(i int) (name string, end int, err error) {
	for end = i; end < len(c.b) && bytes.IndexByte([]byte(" \t\r\n/>"), c.b[end]) < 0; end++ {
	}
	name, ok := xmlNames[string(c.b[i:end])]
	if !ok {
		if end == len(c.b) {
			return "", 0, io.ErrUnexpectedEOF
		}
		return "", 0, fmt.Errorf("unknown element <%.40q>", c.b[i:end])
	}
	return name, end, nil
}

func (c *xmlCheck) startTag() error {
	name, i, err := c.name(c.at + 1)
	if err != nil {
		return err
	}
	end, err := c.tagEnd(i)
	if err != nil {
		return err
	}
	if err := c.place(name); err != nil {
		return err
	}
	c.open = append(c.open, xmlElement{name: name})
	if name == "dict" || name == "array" {
		c.containers++
		c.depth++
		if c.containers > spareContainers+len(c.b)/bytesPerContainer {
			return ErrLimit
		}
	}
	c.at = end + 1
	c.textAt, c.textBroken = c.at, false
	if c.b[end-1] == '/' {
		return c.close()
	}
	return nil
}

// place returns an error if an element may not begin here.
func (c *xmlCheck) place(name string) error {
	if len(c.open) == 0 {
		if name == "key" {
			return errors.New("<key> outside of a dictionary")
		}
		return nil
	}
	in := &c.open[len(c.open)-1]
	switch {
	case in.name != "plist" && in.name != "dict" && in.name != "array":
		return fmt.Errorf("<%s> inside of <%s>", name, in.name)
	case name == "plist":
		return errors.New("<plist> is not the root")
	case name == "key" && (in.name != "dict" || in.key):
		return errors.New("<key> where a value should be")
	case name == "key":
		return nil
	case in.name == "dict" && !in.key:
		return fmt.Errorf("<%s> where a key should be", name)
	case c.depth > MaxDepth:
		return ErrLimit
	}
	in.key = false
	return nil
}

func (c *xmlCheck) endTag() error {
	at := c.at
	name, i, err := c.name(at + 2)
	if err != nil {
		return err
	}
	end, err := c.tagEnd(i)
	if err != nil {
		return err
	}
	if len(c.open) == 0 || c.open[len(c.open)-1].name != name {
		return fmt.Errorf("</%s> closes nothing", name)
	}
	c.at = end + 1
	if !c.textBroken && (name == "integer" || name == "real" || name == "date") {
		c.trim(at)
	}
	return c.close()
}

// trim moves the space around a number, whose text ends at end, after its end tag,
// because the library reads only the number.
func (c *xmlCheck) trim(end int) {
	text := c.b[c.textAt:end]
	bare := bytes.TrimSpace(text)
	if len(bare) == len(text) {
		return
	}
	if !c.owned {
		c.b, c.owned = bytes.Clone(c.b), true
	}
	moved := append(bytes.Clone(bare), c.b[end:c.at]...)
	region := c.b[c.textAt:c.at]
	for i := copy(region, moved); i < len(region); i++ {
		region[i] = ' '
	}
}

// close ends the innermost element.
func (c *xmlCheck) close() error {
	e := c.open[len(c.open)-1]
	c.open = c.open[:len(c.open)-1]
	switch {
	case e.name == "plist":
		return errNoValue // with a value, the scan has ended there
	case e.key:
		return errors.New("key without a value")
	case e.name == "dict" || e.name == "array":
		c.depth--
	case e.name == "key":
		c.open[len(c.open)-1].key = true
		return nil
	}
	c.done = len(c.open) == 0 || c.open[len(c.open)-1].name == "plist"
	return nil
}
