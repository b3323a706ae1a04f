package yaml

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"
	"go.yaml.in/yaml/v3"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// encoder makes the tree that the library writes.
type encoder struct {
	L    *lua.LState
	sort bool
	open []*lua.LTable // the tables around the value that is being made
}

// encode writes one document for each value.
func encode(c *api.Call, o encodeOptions, values ...lua.LValue) ([]byte, error) {
	defer host.Converting(c.L).Done()
	e := &encoder{L: c.L, sort: o.Sort}
	var documents []*yaml.Node
	for _, v := range values {
		n, err := e.value(v, 0, "value")
		if err != nil {
			return nil, err
		}
		documents = append(documents, n)
	}
	w := &writer{limit: fs.Limit(c)}
	err := c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) error {
		w.ctx = ctx
		return writeDocuments(w, documents)
	})
	host.MakeString(c.L, float64(w.size))
	if err != nil {
		return nil, host.Errorf("value", "%s", err)
	}
	return w.out.Bytes(), nil
}

// writer holds a text. It refuses bytes beyond its limit.
type writer struct {
	ctx   context.Context
	out   bytes.Buffer
	size  int64 // including bytes beyond the limit
	limit int64
}

func (w *writer) Write(b []byte) (int, error) {
	w.size += int64(len(b))
	if w.size > w.limit {
		return 0, errors.New("the text is too long")
	}
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.out.Write(b)
}

func writeDocuments(w *writer, documents []*yaml.Node) error {
	if len(documents) == 0 {
		return nil
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	for _, n := range documents {
		if err := e.Encode(n); err != nil {
			return err
		}
	}
	return e.Close()
}

// refuse returns the error of the value at path.
func refuse(path, format string, args ...any) error {
	return host.Errorf("value", "yaml: %s: %s", path, fmt.Sprintf(format, args...))
}

// node makes a node. The memory limit counts it until the text is written.
func (e *encoder) node(kind yaml.Kind, tag, text string) *yaml.Node {
	host.Converted(e.L, nodeSize+len(text))
	return &yaml.Node{Kind: kind, Tag: tag, Value: text}
}

func (e *encoder) scalar(tag, text string) *yaml.Node { return e.node(yaml.ScalarNode, tag, text) }

func (e *encoder) value(v lua.LValue, depth int, path string) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, refuse("value", "nested deeper than %d levels", maxDepth)
	}
	switch x := v.(type) {
	case lua.LBool:
		return e.scalar(tagBool, strconv.FormatBool(bool(x))), nil
	case lua.LNumber:
		return e.number(float64(x)), nil
	case lua.LString:
		return e.text(string(x)), nil
	case *lua.LTable:
		return e.table(x, depth, path)
	case *lua.LUserData:
		return e.object(x, depth, path)
	}
	return nil, refuse(path, "cannot encode %s", v.Type())
}

func (e *encoder) number(f float64) *yaml.Node {
	switch {
	case math.IsNaN(f):
		return e.scalar(tagFloat, ".nan")
	case math.IsInf(f, 1):
		return e.scalar(tagFloat, ".inf")
	case math.IsInf(f, -1):
		return e.scalar(tagFloat, "-.inf")
	case f == math.Trunc(f) && math.Abs(f) < 1<<63:
		return e.scalar(tagInt, strconv.FormatInt(int64(f), 10))
	}
	return e.scalar(tagFloat, strconv.FormatFloat(f, 'g', -1, 64))
}

// otherInYAML11 matches texts that are booleans or numbers of base 60 in YAML 1.1.
var otherInYAML11 = regexp.MustCompile(
	`^([yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF` +
		`|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$`,
)

func (e *encoder) text(s string) *yaml.Node {
	if !utf8.ValidString(s) {
		return e.binary([]byte(s))
	}
	n := e.scalar(tagString, s)
	if otherInYAML11.MatchString(s) || s == "<<" || strings.Contains(s, "\n") && !isBlock(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// isBlock reports whether a text of several lines can be written as a block. It returns false for
// texts that the library would not read back unchanged.
func isBlock(s string) bool {
	if strings.ContainsRune(" \t\n", rune(s[0])) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r)
	})
}

func (e *encoder) binary(b []byte) *yaml.Node {
	return e.scalar(tagBinary, base64.StdEncoding.EncodeToString(b))
}

func (e *encoder) table(t *lua.LTable, depth int, path string) (*yaml.Node, error) {
	if slices.Contains(e.open, t) {
		return nil, refuse(path, "contains itself")
	}
	e.open = append(e.open, t)
	defer func() { e.open = e.open[:len(e.open)-1] }()
	keys, list, err := host.Keys(t)
	if err != nil {
		return nil, refuse(path, "%v", err)
	}
	if list {
		return e.list(t, depth, path)
	}
	if e.sort {
		slices.Sort(keys)
	}
	n := e.node(yaml.MappingNode, "", "")
	for _, k := range keys {
		v, err := e.value(t.RawGetString(k), depth+1, path+"."+k)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, e.text(k), v)
	}
	return n, nil
}

func (e *encoder) list(t *lua.LTable, depth int, path string) (*yaml.Node, error) {
	n := e.node(yaml.SequenceNode, "", "")
	for i := 1; i <= t.Len(); i++ {
		v, err := e.value(t.RawGetInt(i), depth+1, path+"["+strconv.Itoa(i)+"]")
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, v)
	}
	return n, nil
}

// object makes a node of userdata: a record in the order of its fields, a collection as a table,
// anything else by its Go value.
func (e *encoder) object(ud *lua.LUserData, depth int, path string) (*yaml.Node, error) {
	if t, ok := api.Table(e.L, ud); ok {
		return e.table(t, depth, path)
	}
	n := e.node(yaml.MappingNode, "", "")
	isRecord, err := api.EachField(ud, func(name string, v any) error {
		field, err := e.goValue(v, depth+1, path+"."+name)
		n.Content = append(n.Content, e.text(name), field)
		return err
	})
	if isRecord || err != nil {
		return n, err
	}
	v, err := api.Plain(ud)
	if err != nil {
		return nil, refuse(path, "cannot encode %s", ud.Type())
	}
	return e.goValue(v, depth, path)
}

func (e *encoder) goValue(v any, depth int, path string) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, refuse("value", "nested deeper than %d levels", maxDepth)
	}
	switch x := v.(type) {
	case nil:
		return e.scalar(tagNull, "null"), nil
	case []byte:
		return e.binary(x), nil
	case time.Time:
		return e.scalar(tagTime, x.UTC().Format(time.RFC3339Nano)), nil
	case []any:
		n := e.node(yaml.SequenceNode, "", "")
		for i, item := range x {
			child, err := e.goValue(item, depth+1, path+"["+strconv.Itoa(i+1)+"]")
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case map[string]any:
		n := e.node(yaml.MappingNode, "", "")
		for _, k := range slices.Sorted(maps.Keys(x)) {
			child, err := e.goValue(x[k], depth+1, path+"."+k)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, e.text(k), child)
		}
		return n, nil
	}
	return e.other(v, path)
}

// other makes a node of the remaining types of plain values.
func (e *encoder) other(v any, path string) (*yaml.Node, error) {
	switch rv := reflect.ValueOf(v); {
	case rv.CanInt():
		return e.scalar(tagInt, strconv.FormatInt(rv.Int(), 10)), nil
	case rv.CanUint():
		return e.scalar(tagInt, strconv.FormatUint(rv.Uint(), 10)), nil
	case rv.CanFloat():
		return e.number(rv.Float()), nil
	case rv.Kind() == reflect.String:
		return e.text(rv.String()), nil
	case rv.Kind() == reflect.Bool:
		return e.scalar(tagBool, strconv.FormatBool(rv.Bool())), nil
	}
	return nil, refuse(path, "cannot encode a Go %T", v)
}
