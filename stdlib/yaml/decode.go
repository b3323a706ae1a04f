package yaml

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"go.yaml.in/yaml/v3"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Tags of YAML in the short form of the library.
const (
	tagNull   = "!!null"
	tagBool   = "!!bool"
	tagString = "!!str"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagTime   = "!!timestamp"
	tagBinary = "!!binary"
	tagMerge  = "!!merge"
)

// decoder makes Lua values of the tree that the library reads.
type decoder struct {
	L       *lua.LState
	h       *host.Host
	drop    bool // whether null values are left out
	where   string
	aliased int          // values that were expanded from aliases so far
	open    []*yaml.Node // the anchors whose aliases are being expanded
}

func newDecoder(c *api.Call, o decodeOptions, where string) *decoder {
	return &decoder{L: c.L, h: c.Host(), drop: o.Nulls == "drop", where: where}
}

// refuse returns the error of a node.
func (d *decoder) refuse(n *yaml.Node, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return host.Errorf("decode", "%s: line %d: %s", d.where, n.Line, text)
}

func (d *decoder) documents(list []*yaml.Node) (lua.LValue, error) {
	defer host.Converting(d.L).Done()
	t := d.L.CreateTable(len(list), 0)
	for _, n := range list {
		v, err := d.document(n)
		if err != nil {
			return nil, err
		}
		t.Append(v)
	}
	return d.list(t), nil
}

func (d *decoder) document(n *yaml.Node) (lua.LValue, error) {
	if len(n.Content) == 0 {
		return d.h.Null(), nil
	}
	defer host.Converting(d.L).Done()
	return d.value(n.Content[0], 0)
}

// list marks an empty table as a list, so that it stays a list when it is encoded.
func (d *decoder) list(t *lua.LTable) lua.LValue {
	if t.Len() == 0 {
		return host.ToLua(d.L, []any{})
	}
	return t
}

func (d *decoder) value(n *yaml.Node, depth int) (lua.LValue, error) {
	if depth > maxDepth {
		return nil, d.refuse(n, "nested deeper than %d levels", maxDepth)
	}
	if len(d.open) > 0 {
		d.aliased++
		if d.aliased > maxAliased {
			return nil, d.refuse(n, "the aliases stand for more than %d values", maxAliased)
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		var v lua.LValue
		err := d.alias(n, func(target *yaml.Node) (err error) {
			v, err = d.value(target, depth)
			return err
		})
		return v, err
	case yaml.SequenceNode:
		return d.sequence(n, depth)
	case yaml.MappingNode:
		return d.mapping(n, depth)
	}
	return d.scalar(n)
}

// alias calls use with the node to which an alias refers.
func (d *decoder) alias(n *yaml.Node, use func(target *yaml.Node) error) error {
	if slices.Contains(d.open, n.Alias) || len(d.open) > maxDepth {
		return d.refuse(n, "the alias *%s refers to a value that contains it", n.Value)
	}
	d.open = append(d.open, n.Alias)
	defer func() { d.open = d.open[:len(d.open)-1] }()
	return use(n.Alias)
}

func (d *decoder) sequence(n *yaml.Node, depth int) (lua.LValue, error) {
	host.Converted(d.L, host.SizeTable+len(n.Content)*host.SizeSlot)
	t := d.L.CreateTable(len(n.Content), 0)
	for _, item := range n.Content {
		v, err := d.value(item, depth+1)
		if err != nil {
			return nil, err
		}
		if !d.drop || v != d.h.Null() {
			t.Append(v)
		}
	}
	return d.list(t), nil
}

// dict is a dictionary that is being built.
type dict struct {
	t *lua.LTable
	// lines has the line of each key, 0 for a key that was merged into it.
	lines map[string]int
}

func (d *decoder) mapping(n *yaml.Node, depth int) (lua.LValue, error) {
	host.Converted(d.L, host.SizeTable)
	size := len(n.Content) / 2
	m := dict{d.L.CreateTable(0, size), make(map[string]int, size)}
	if err := d.pairs(n, depth, func(k *yaml.Node, key string, v *yaml.Node) error {
		if line := m.lines[key]; line != 0 {
			return d.refuse(k, "the key %q occurs already in line %d", key, line)
		}
		m.lines[key] = k.Line
		return d.set(m, key, v, depth)
	}, func(v *yaml.Node) error { return d.merge(m, v, depth) }); err != nil {
		return nil, err
	}
	if k, _ := m.t.Next(lua.LNil); k == lua.LNil {
		return host.ToLua(d.L, map[string]any{}), nil
	}
	return m.t, nil
}

// pairs visits the entries of a mapping: one for each key, and merge for the value of each <<.
func (d *decoder) pairs(
	n *yaml.Node, depth int, entry func(k *yaml.Node, key string, v *yaml.Node) error,
	merge func(v *yaml.Node) error,
) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		var err error
		if k.Kind == yaml.ScalarNode && k.ShortTag() == tagMerge {
			err = merge(v)
		} else {
			var key string
			key, err = d.key(k)
			if err == nil {
				err = entry(k, key, v)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) set(m dict, key string, n *yaml.Node, depth int) error {
	v, err := d.value(n, depth+1)
	if err != nil {
		return err
	}
	if d.drop && v == d.h.Null() {
		v = lua.LNil
	} else {
		host.Converted(d.L, host.SizeEntry+host.SizeString+len(key))
	}
	m.t.RawSetString(key, v)
	return nil
}

// key returns the text of a key.
func (d *decoder) key(n *yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.AliasNode:
		if n.Alias.Kind == yaml.AliasNode {
			break
		}
		return d.key(n.Alias)
	case n.Kind == yaml.ScalarNode && n.ShortTag() != tagBinary:
		return n.Value, nil
	}
	return "", d.refuse(n, "a key must be a text, a number or a boolean")
}

// merge adds the entries of a mapping, or of each mapping of a list, except those whose keys m has
// already.
func (d *decoder) merge(m dict, n *yaml.Node, depth int) error {
	if depth > maxDepth {
		return d.refuse(n, "nested deeper than %d levels", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return d.alias(n, func(target *yaml.Node) error { return d.merge(m, target, depth+1) })
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if err := d.merge(m, item, depth+1); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		return d.pairs(n, depth, func(_ *yaml.Node, key string, v *yaml.Node) error {
			if _, known := m.lines[key]; known {
				return nil
			}
			m.lines[key] = 0
			return d.set(m, key, v, depth)
		}, func(v *yaml.Node) error { return d.merge(m, v, depth+1) })
	}
	return d.refuse(n, "<< takes a mapping or a list of mappings")
}

func (d *decoder) scalar(n *yaml.Node) (lua.LValue, error) {
	switch n.ShortTag() {
	case tagNull, tagBool, tagInt, tagFloat, tagTime:
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, d.refuse(n, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if v == nil {
			return d.h.Null(), nil
		}
		return host.ToLua(d.L, v), nil
	case tagBinary:
		// White space is not part of base64.
		text := strings.Join(strings.Fields(n.Value), "")
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, d.refuse(n, "!!binary: %s", err)
		}
		host.Converted(d.L, host.SizeUserdata+len(b))
		return d.h.Data(b), nil
	}
	host.Converted(d.L, host.SizeString+len(n.Value))
	return lua.LString(n.Value), nil
}
