// Package csv is the script module imd.csv: tables of text as spreadsheets read
// them (RFC 4180).
//
//	local out = require("imd.csv").writer("run.csv", { "t", "cpu" })
//	out:row{ time.now(), 12.5 }
package csv

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

const (
	// maxFile is the largest file that is read, maxColumns the widest row.
	maxFile    = 64 << 20
	maxColumns = 16384
)

// byteOrderMark is what some spreadsheets begin UTF-8 with.
var byteOrderMark = []byte("\xEF\xBB\xBF")

// Writer writes rows to a file.
type Writer struct {
	path   string
	header []string

	mu   sync.Mutex
	file *os.File
	csv  *csv.Writer
	rows int
}

// Close closes the file.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}

type options struct {
	Separator string `lua:"separator" doc:"what stands between two values: one character" default:","`
}

// comma is the separator as encoding/csv takes it.
func (o options) comma(c *api.Call, n int) (rune, error) {
	r, size := utf8.DecodeRuneInString(o.Separator)
	if size != len(o.Separator) || r == utf8.RuneError || r == '"' || r == '\r' || r == '\n' {
		return 0, c.ArgError(n, "separator is one character, and no quote or end of line")
	}
	return r, nil
}

type writerOptions struct {
	options
	Append bool `lua:"append" doc:"add to a file that is there; it has its header already"`
}

func newWriter(c *api.Call, path string, header []string, o writerOptions) (*Writer, error) {
	comma, err := o.comma(c, 3)
	if err != nil {
		return nil, err
	}
	if len(header) > maxColumns {
		return nil, c.ArgError(2, "more than %d columns", maxColumns)
	}
	w := &Writer{path: path, header: header}
	err = do(c, func() error {
		mode := os.O_TRUNC
		if o.Append {
			mode = os.O_APPEND
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|mode, 0o644)
		if err != nil {
			return err
		}
		w.file, w.csv = f, csv.NewWriter(f)
		w.csv.Comma = comma
		info, err := f.Stat()
		if err == nil && len(header) > 0 && (!o.Append || info.Size() == 0) {
			err = w.write(header)
		}
		if err != nil {
			f.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// write writes one row at once: what was measured is on the disk when a script
// is stopped.
func (w *Writer) write(fields []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.csv.Write(fields); err != nil {
		return err
	}
	w.csv.Flush()
	return w.csv.Error()
}

func row(c *api.Call, w *Writer, values *lua.LTable) error {
	fields, err := w.fields(c, values)
	if err != nil {
		return err
	}
	err = do(c, func() error { return w.write(fields) })
	if err == nil {
		w.mu.Lock()
		w.rows++
		w.mu.Unlock()
	}
	return err
}

// fields are the values of a row in order: a list, in which nil leaves a field
// empty, or a table by the names of the header.
func (w *Writer) fields(c *api.Call, t *lua.LTable) ([]string, error) {
	out := make([]string, len(w.header))
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		at := 0
		switch k := k.(type) {
		case lua.LNumber:
			if f := float64(k); f == math.Trunc(f) && f >= 1 && f <= maxColumns {
				at = int(f)
			}
		case lua.LString:
			at = slices.Index(w.header, string(k)) + 1
		}
		switch {
		case at == 0:
			return nil, c.ArgError(1, "the table has no column %s", host.ToString(c.L, k))
		case len(w.header) > 0 && at > len(w.header):
			return nil, c.ArgError(1, "%d values for the %d columns of the header", at, len(w.header))
		}
		for len(out) < at {
			out = append(out, "")
		}
		text, err := field(c, v)
		if err != nil {
			return nil, err
		}
		out[at-1] = text
	}
	if len(out) == 0 {
		return nil, c.ArgError(1, "the row is empty")
	}
	return out, nil
}

// field is a value as text.
func field(c *api.Call, v lua.LValue) (string, error) {
	switch v := v.(type) {
	case lua.LString, lua.LNumber, lua.LBool:
		return host.ToString(c.L, v), nil
	case *lua.LUserData:
		switch x := v.Value.(type) {
		case host.Null:
			return "", nil
		case time.Time:
			return x.UTC().Format(time.RFC3339Nano), nil
		}
		if b, ok := host.Bytes(v); ok {
			return string(b), nil
		}
		return host.ToString(c.L, v), nil
	}
	return "", c.ArgError(1, "a %s cannot be a field", v.Type())
}

type readOptions struct {
	options
	Header bool `lua:"header" doc:"the first row names the columns: each row becomes a table by these names"`
}

func read(c *api.Call, path string, o readOptions) (any, error) {
	comma, err := o.comma(c, 2)
	if err != nil {
		return nil, err
	}
	rows := []any{}
	err = do(c, func() error {
		b, err := fs.ReadFile(path, maxFile)
		if err != nil {
			return err
		}
		rows, err = parse(b, comma, o.Header)
		return err
	})
	var bad *csv.ParseError
	if errors.As(err, &bad) {
		return nil, host.Errorf("decode", "%s: %v", path, bad)
	}
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func parse(b []byte, comma rune, header bool) ([]any, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, byteOrderMark)))
	r.Comma, r.FieldsPerRecord = comma, -1
	rows := []any{}
	var names []string
	for {
		fields, err := r.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		if header && names == nil {
			names = fields
			continue
		}
		if !header {
			list := make([]any, len(fields))
			for i, f := range fields {
				list[i] = f
			}
			rows = append(rows, list)
			continue
		}
		named := make(map[string]any, len(names))
		for i, f := range fields[:min(len(fields), len(names))] {
			named[names[i]] = f
		}
		rows = append(rows, named)
	}
}

// do runs f without the interpreter lock.
func do(c *api.Call, f func() error) error {
	if err := c.Timeout(api.NoTimeout).TryBlock(func(context.Context) error { return f() }); err != nil {
		return fmt.Errorf("csv: %w", err)
	}
	return nil
}

func writerClass() *api.Class {
	c := api.NewClass[*Writer]("CSVWriter", "Writes rows to a file. Each row is in the file when row returns.")
	c.Var, c.Closer, c.Perm = "out", true, "file-write"
	c.String = func(w *Writer) string { return "CSVWriter<" + w.path + ">" }
	c.Fields = []*api.Field{
		api.Property("path", "the file", func(w *Writer) string { return w.path }),
		api.Property("rows", "how many rows were written, without the header", func(w *Writer) int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.rows
		}),
	}
	c.Methods = []*api.Func{
		api.Method("row", "Writes a row: a list of values, or a table by the names of the header. What is nil or null stays empty; dates are written in ISO 8601.", "values", row,
			api.ParamDoc("values", "text, numbers, booleans, dates or Data"), api.Perm("file-write"),
			api.Example(`local file = fs.temp_file(".csv")
local out = require("imd.csv").writer(file, { "name", "size" })
out:row{ "a, b", 1.5 }
out:row{ size = 2 }
out:close()
return fs.read(file) -- => 'name,size\n"a, b",1.5\n,2\n'`)),
	}
	return c
}

// Module declares the module.
func Module() *api.Module {
	path := api.StringKind("path", "path")
	return &api.Module{
		Name: "csv", Doc: "Comma-separated values, as spreadsheets read them.", Perm: "none", Classes: []*api.Class{writerClass()},
		Funcs: []*api.Func{
			api.Function("writer", "Makes a file, or empties it, and returns what writes rows to it.", "path header? opts?", newWriter,
				api.ParamDoc("path", "the file"), path, api.ParamDoc("header", "names of the columns, written as the first row"), api.ParamDoc("opts", "separator, append"),
				api.Raises("not_found", "access_denied"), api.Returns("CSVWriter out"), api.Perm("file-write"),
				api.Example(`local out = require("imd.csv").writer(fs.temp_file(".csv"), { "t", "cpu" })
out:row{ time.now(), 12.5 }
return out.rows -- => 1`)),
			api.Function("read", "Reads a file as a list of rows, each a list of texts. With header=true each row is a table by the names in the first one.", "path opts?", read,
				api.ParamDoc("path", "the file"), path, api.ParamDoc("opts", "header, separator"),
				api.Raises("not_found", "too_large", "decode"), api.Returns("table[] rows"), api.Perm("file-read"),
				api.Example(`local file = fs.temp_file(".csv")
fs.write(file, 'name,size\n"a, b",1\n')
return require("imd.csv").read(file, { header = true }) -- => { { name = "a, b", size = "1" } }`)),
		},
	}
}
