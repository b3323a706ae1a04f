package csv

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"math"
	"os"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// maxColumns is the number of columns of the widest row that is written.
const maxColumns = 16384

// Writer writes rows to a file, for one task at a time.
type Writer struct {
	api.Turn
	path   string
	header []string
	comma  rune
	file   *os.File
	rows   int
}

// Close closes the file.
func (w *Writer) Close() error { return w.file.Close() }

func writerClass() *api.Class {
	c := api.NewClass[*Writer]("CSVWriter", "Writes rows to a file. Each row is in the file when "+
		"row returns.")
	c.Var, c.Closer, c.Perm = "out", true, "file-write"
	c.String = func(w *Writer) string { return "CSVWriter<" + w.path + ">" }
	c.Fields = []*api.Field{
		api.Property("path", "the file", func(w *Writer) string { return w.path }),
		api.Property("rows", "how many rows were written, without the header",
			func(w *Writer) int { return w.rows }),
	}
	c.Methods = []*api.Func{
		api.Method("row", "Writes a row: a list of values, or a table with the names of the header. "+
			"A value that is nil or null stays empty, and dates are written in ISO 8601.",
			"values", row,
			api.ParamDoc("values", "text, numbers, booleans, dates or Data"),
			api.Perm("file-write"),
			api.Checks(host.AccessNone), // writer asked for the path
			api.Example(`local file = fs.temp_file(".csv")
local out = require("imd.csv").writer(file, { "name", "size" })
out:row{ "a, b", 1.5 }
out:row{ size = 2 }
out:close()
return fs.read(file) -- => 'name,size\n"a, b",1.5\n,2\n'`)),
	}
	return c
}

type writerOptions struct {
	options
	Append bool `lua:"append" doc:"add to an existing file, which has its header already"`
}

func newWriter(c *api.Call, path string, header []string, o writerOptions) (
	opened api.Opened[*Writer], err error,
) {
	comma, err := o.comma(c, 3)
	if err != nil {
		return opened, err
	}
	if len(header) > maxColumns {
		return opened, c.ArgError(2, "more than %d columns", maxColumns)
	}
	flag := os.O_TRUNC
	if o.Append {
		flag = os.O_APPEND
	}
	c.Timeout(api.NoTimeout)
	opened, err = api.Open(c, func(ctx context.Context) (*Writer, error) {
		f, err := localfile.Open(ctx, path, os.O_WRONLY|os.O_CREATE|flag, 0o644)
		if err != nil {
			return nil, err
		}
		w := &Writer{path: path, header: header, comma: comma, file: f}
		if err := w.begin(ctx, o.Append); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return w, nil
	})
	return opened, fs.Failed("csv", err)
}

// begin writes the header, unless the file has one already.
func (w *Writer) begin(ctx context.Context, add bool) error {
	info, err := w.file.Stat()
	if err != nil || len(w.header) == 0 || add && info.Size() > 0 {
		return err
	}
	return w.write(ctx, w.header)
}

// write writes one row without buffering, so that a script that is stopped loses no row.
func (w *Writer) write(ctx context.Context, fields []string) error {
	var line bytes.Buffer
	enc := csv.NewWriter(&line)
	enc.Comma = w.comma
	if err := enc.Write(fields); err != nil {
		return err
	}
	enc.Flush()
	return localfile.Do(ctx, w.file, func() error {
		_, err := w.file.Write(line.Bytes())
		return err
	})
}

func row(c *api.Call, w *Writer, values *lua.LTable) error {
	fields, err := w.fields(c, values)
	if err != nil {
		return err
	}
	err = fs.Do(c, "csv", func(ctx context.Context) error { return w.write(ctx, fields) })
	if err == nil {
		w.rows++
	}
	return err
}

// fields returns the values of a row in order. t is a list, or a table whose keys are names of the
// header. A value that is nil leaves a field empty.
func (w *Writer) fields(c *api.Call, t *lua.LTable) ([]string, error) {
	out := make([]string, len(w.header))
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		at := w.column(k)
		switch {
		case at == 0:
			return nil, c.ArgError(1, "the table has no column %s", host.ToString(c.L, k))
		case len(w.header) > 0 && at > len(w.header):
			return nil, c.ArgError(1, "%d values for %d columns of the header", at, len(w.header))
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

// column returns the number of the column with the name k, 0 if there is none.
func (w *Writer) column(k lua.LValue) int {
	switch k := k.(type) {
	case lua.LNumber:
		if f := float64(k); f == math.Trunc(f) && f >= 1 && f <= maxColumns {
			return int(f)
		}
	case lua.LString:
		return slices.Index(w.header, string(k)) + 1
	}
	return 0
}

// field returns a value as text.
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
