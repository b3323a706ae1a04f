package term

import (
	"context"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

const (
	maxColumns = 200
	maxCells   = 1 << 20
	// minWidth is the smallest width of a column in a table that is wider than the terminal.
	minWidth = 3
	gap      = "  "
)

type tableOptions struct {
	Columns []lua.LValue `lua:"columns" doc:"names, or tables of name, title, align, width"`
	Header  bool         `lua:"header" doc:"show the titles of the columns" default:"true"`
	Width   *int         `lua:"width" doc:"longest line, the width of the terminal by default"`
}

type columnOptions struct {
	Name  string `lua:"name" doc:"field of a record; its title as well" required:"true"`
	Title string `lua:"title" doc:"text of the header"`
	Align string `lua:"align" doc:"right for numbers by default" enum:"left|right|center"`
	Width int    `lua:"width" doc:"most columns of a cell"`
}

func tableFunc() *api.Func {
	return api.Function("table", "Returns rows as a text with columns, for print. Rows are "+
		"records or tables with names, or lists. Cells that are too wide are cut off and end "+
		"with ~. Without `columns` all fields are shown.",
		"rows:table opts?", table,
		api.ParamDoc("rows", "list of rows"),
		api.ParamDoc("opts", "columns, header, width"),
		api.Raises("too_large"),
		api.Returns("string text"),
		api.Example(`local rows = { { name = "Ana", age = 7 }, { name = "Bo", age = 42 } }
local text = require("imd.term").table(rows, { columns = { "name", "age" } })
return text -- => "name  age\n----  ---\nAna     7\nBo     42"`))
}

// column is one column of a table.
type column struct {
	columnOptions
	numbers bool // whether all cells are numbers
	wide    int  // width in cells of the terminal
}

// grid holds the texts of a table.
type grid struct {
	columns []column
	titled  bool // whether the columns have titles
	rows    [][]string
}

func table(c *api.Call, rows lua.LValue, o tableOptions) (string, error) {
	g, err := newGrid(c, o.Columns)
	if err != nil {
		return "", err
	}
	if err := g.fill(c, rows); err != nil {
		return "", err
	}
	if !o.Header {
		g.titled = false
	}
	limit := 1 << 20
	if terminal(c).Stdout {
		limit = terminal(c).Columns()
	}
	if o.Width != nil {
		if *o.Width < 1 {
			return "", c.ArgError(2, "option \"width\": must be 1 or more")
		}
		limit = *o.Width
	}
	total := 0
	err = c.TryBlock(func(ctx context.Context) (err error) {
		total, err = g.measure(ctx, limit)
		return err
	})
	if err != nil {
		return "", err
	}
	host.MakeString(c.L, float64(total)*float64(len(g.rows)+2))
	var b strings.Builder
	err = c.TryBlock(func(ctx context.Context) error { return g.write(ctx, &b) })
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// newGrid reads the columns.
func newGrid(c *api.Call, list []lua.LValue) (*grid, error) {
	g := &grid{titled: len(list) > 0}
	if len(list) > maxColumns {
		return nil, c.ArgError(2, "more than %d columns", maxColumns)
	}
	for i, v := range list {
		var o columnOptions
		if name, ok := v.(lua.LString); ok {
			o.Name = string(name)
		} else if err := c.Index().Options(c.L, v, &o); err != nil {
			return nil, c.ArgError(2, "option \"columns\": item %d: %s", i+1, err)
		}
		if o.Title == "" {
			o.Title = o.Name
		}
		o.Title = visible.Label(o.Title)
		g.columns = append(g.columns, column{columnOptions: o, numbers: true})
	}
	return g, nil
}

// fill sets the texts of all cells.
func (g *grid) fill(c *api.Call, rows lua.LValue) error {
	var list []lua.LValue
	err := each(c, rows, func(_, row lua.LValue) bool {
		list = append(list, row)
		return len(list) <= maxCells
	})
	if err != nil {
		return err
	}
	if !g.titled {
		if err := g.findColumns(c, list); err != nil {
			return err
		}
	}
	if len(list)*len(g.columns) > maxCells {
		return host.Errorf("too_large", "term: a table has at most %d cells", maxCells)
	}
	size := 0 // size of all texts
	for i, row := range list {
		host.MakeString(c.L, float64(size))
		cells := make([]string, len(g.columns))
		for k := range g.columns {
			col := &g.columns[k]
			v, ok := cell(c, row, col.Name, k)
			if !ok {
				return c.ArgError(1, "row %d: a table or record expected, got %s", i+1, row.Type())
			}
			if v == lua.LNil || v == c.Host().Null() {
				continue
			}
			_, isNumber := v.(lua.LNumber)
			col.numbers = col.numbers && isNumber
			cells[k] = visible.Label(host.ToString(c.L, v))
			size += len(cells[k])
		}
		g.rows = append(g.rows, cells)
	}
	return nil
}

// findColumns makes a column of each field that a row has. The columns of lists have no titles.
func (g *grid) findColumns(c *api.Call, rows []lua.LValue) error {
	most, known := 0, map[string]bool{}
	for i, row := range rows {
		if n := listLength(row); n > 0 {
			most = max(most, n)
			continue
		}
		bad := false
		err := each(c, row, func(k, _ lua.LValue) bool {
			name, ok := k.(lua.LString)
			bad = bad || !ok
			if ok && !known[string(name)] && len(g.columns) <= maxColumns {
				known[string(name)] = true
				o := columnOptions{Name: string(name), Title: visible.Label(string(name))}
				g.columns = append(g.columns, column{columnOptions: o, numbers: true})
			}
			return ok
		})
		if err != nil || bad {
			return c.ArgError(1, "row %d: a list, or a table with names, expected", i+1)
		}
	}
	g.titled = len(g.columns) > 0
	for len(g.columns) < min(most, maxColumns+1) {
		g.columns = append(g.columns, column{numbers: true})
	}
	if len(g.columns) > maxColumns {
		return c.ArgError(1, "more than %d columns", maxColumns)
	}
	return nil
}

// listLength returns the length of a row that is a list, and 0 for other rows.
func listLength(row lua.LValue) int {
	if t, ok := row.(*lua.LTable); ok {
		return t.Len()
	}
	return 0
}

// cell returns the value of a row. ok is false if the row is neither a table nor an object.
func cell(c *api.Call, row lua.LValue, name string, at int) (v lua.LValue, ok bool) {
	switch r := row.(type) {
	case *lua.LTable:
		if r.Len() > 0 || name == "" {
			return r.RawGetInt(at + 1), true
		}
		return c.L.GetField(r, name), true
	case *lua.LUserData:
		return c.L.GetField(r, name), true
	}
	return nil, false
}

// each calls f with the keys and values of pairs, until f returns false.
func each(c *api.Call, v lua.LValue, f func(k, v lua.LValue) bool) error {
	if t, ok := v.(*lua.LTable); ok {
		for k, x := t.Next(lua.LNil); k != lua.LNil && f(k, x); k, x = t.Next(k) {
		}
		return nil
	}
	fn := c.L.GetMetaField(v, "__pairs")
	if fn == lua.LNil {
		return c.ArgError(1, "table expected, got %s", v.Type())
	}
	step := c.Invoke(fn, 3, v)
	for k := step[2]; ; {
		pair := c.Invoke(step[0], 2, step[1], k)
		k = pair[0]
		if k == lua.LNil || !f(k, pair[1]) {
			return nil
		}
	}
}

// write writes the table to b.
func (g *grid) write(ctx context.Context, b *strings.Builder) error {
	if g.titled {
		titles, rule := make([]string, len(g.columns)), make([]string, len(g.columns))
		for i, col := range g.columns {
			titles[i], rule[i] = col.Title, strings.Repeat("-", col.wide)
		}
		g.line(b, titles)
		g.line(b, rule)
	}
	for i, row := range g.rows {
		if i%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		g.line(b, row)
	}
	return nil
}

// measure sets the widths of the columns and returns the width of a line. It shrinks the widest
// columns until a line is at most limit wide.
func (g *grid) measure(ctx context.Context, limit int) (total int, err error) {
	for i := range g.columns {
		if g.titled {
			g.columns[i].wide = width(g.columns[i].Title)
		}
	}
	for n, row := range g.rows {
		if n%1000 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		for i, text := range row {
			g.columns[i].wide = max(g.columns[i].wide, width(text))
		}
	}
	total = -len(gap)
	for i := range g.columns {
		col := &g.columns[i]
		if col.Width > 0 {
			col.wide = min(col.wide, col.Width)
		}
		col.wide = min(col.wide, max(limit, minWidth))
		total += col.wide + len(gap)
	}
	for total > limit {
		widest := slices.MaxFunc(g.columns, func(a, b column) int { return a.wide - b.wide }).wide
		if widest <= minWidth {
			break
		}
		at := slices.IndexFunc(g.columns, func(c column) bool { return c.wide == widest })
		g.columns[at].wide--
		total--
	}
	return total, nil
}

// line adds a row.
func (g *grid) line(b *strings.Builder, cells []string) {
	var line strings.Builder
	for i, col := range g.columns {
		if i > 0 {
			line.WriteString(gap)
		}
		text := cut(cells[i], col.wide)
		left, room := 0, col.wide-width(text)
		switch {
		case col.Align == "center":
			left = room / 2
		case col.Align == "right", col.Align == "" && col.numbers:
			left = room
		}
		line.WriteString(strings.Repeat(" ", left) + text + strings.Repeat(" ", room-left))
	}
	b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// width returns how many cells of the terminal a text takes. Colours take none.
func width(s string) int {
	n := 0
	for {
		at := strings.IndexByte(s, '\x1b')
		if at < 0 {
			return n + runewidth.StringWidth(s)
		}
		n += runewidth.StringWidth(s[:at])
		s = s[at+max(visible.Style(s[at:]), 1):]
	}
}

// cut shortens a text to n cells and ends it with ~. Colours end before the ~.
func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	var b strings.Builder
	used, styled := 0, false
	for s != "" {
		if k := visible.Style(s); k > 0 {
			b.WriteString(s[:k])
			styled, s = true, s[k:]
			continue
		}
		end := strings.IndexByte(s, '\x1b')
		if end < 0 {
			end = len(s)
		}
		part := runewidth.Truncate(s[:end], n-1-used, "")
		b.WriteString(part)
		used += runewidth.StringWidth(part)
		if len(part) < end {
			break
		}
		s = s[end:]
	}
	if styled {
		b.WriteString(reset)
	}
	b.WriteString("~")
	return b.String()
}
