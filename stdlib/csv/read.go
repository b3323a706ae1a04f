package csv

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// byteOrderMark is what some spreadsheets put before UTF-8.
var byteOrderMark = []byte("\xEF\xBB\xBF")

const (
	// chunkRows and chunkBytes limit how much is parsed at once. Other tasks run between two
	// chunks, and a task that was cancelled ends there.
	chunkRows  = 1000
	chunkBytes = 1 << 20
)

type readOptions struct {
	options
	Header bool `lua:"header" doc:"use the first row as the names of the columns"`
}

func read(c *api.Call, path string, o readOptions) (lua.LValue, error) {
	comma, err := o.comma(c, 2)
	if err != nil {
		return nil, err
	}
	b, err := fs.ReadFile(c, "csv", path)
	if err != nil {
		return nil, err
	}
	// One line may have any number of fields, and is parsed at once.
	host.Reserve(c.L, bytes.Count(b, []byte(string(comma)))*(host.SizeSlot+host.SizeString))
	p := &parser{r: csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, byteOrderMark)))}
	p.r.Comma, p.r.FieldsPerRecord = comma, -1
	t := &table{L: c.L, rows: c.L.CreateTable(0, 0), header: o.Header}
	// The memory guard counts values on the stack, even while other tasks run.
	c.L.Push(t.rows)
	for !p.over {
		err := fs.Do(c, "csv", func(context.Context) error { return p.chunk() })
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			return nil, host.Errorf("decode", "csv: %s: %v", path, bad)
		}
		if err != nil {
			return nil, err
		}
		t.add(p.rows)
	}
	if t.rows.Len() == 0 {
		return host.ToLua(c.L, []any{}), nil
	}
	return t.rows, nil
}

// parser splits the text into rows.
type parser struct {
	r    *csv.Reader
	rows [][]string
	over bool
}

// chunk reads the next rows.
func (p *parser) chunk() error {
	p.rows = nil
	begin := p.r.InputOffset()
	for len(p.rows) < chunkRows && p.r.InputOffset()-begin < chunkBytes {
		fields, err := p.r.Read()
		if err == io.EOF {
			p.over = true
			return nil
		}
		if err != nil {
			return err
		}
		p.rows = append(p.rows, fields)
	}
	return nil
}

// table makes Lua tables of rows.
type table struct {
	L      *lua.LState
	rows   *lua.LTable
	header bool     // whether the first row has the names
	names  []string // nil until the first row was read
}

func (t *table) add(rows [][]string) {
	defer host.Converting(t.L).Done()
	for _, fields := range rows {
		switch {
		case t.header && t.names == nil:
			t.names = fields
		case t.header:
			t.rows.Append(t.named(fields))
		default:
			t.rows.Append(t.list(fields))
		}
	}
}

func (t *table) list(fields []string) *lua.LTable {
	size := host.SizeTable + host.SizeSlot
	row := t.L.CreateTable(len(fields), 0)
	for _, f := range fields {
		size += host.SizeSlot + host.SizeString + len(f)
		row.Append(lua.LString(f))
	}
	host.Converted(t.L, size)
	return row
}

// named makes a table by the names of the header. It leaves out fields that have no name.
func (t *table) named(fields []string) *lua.LTable {
	fields = fields[:min(len(fields), len(t.names))]
	size := host.SizeTable + host.SizeSlot
	row := t.L.CreateTable(0, len(fields))
	for i, f := range fields {
		size += host.SizeEntry + host.SizeString + len(f)
		row.RawSetString(t.names[i], lua.LString(f))
	}
	host.Converted(t.L, size)
	return row
}
