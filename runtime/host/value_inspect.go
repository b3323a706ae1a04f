package host

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/visible"
)

// InspectOptions configures Inspect. The zero value gives the defaults.
type InspectOptions struct {
	Width     int  // of the output; 0 means 100
	Depth     int  // of nested tables; 0 means 4
	MaxItems  int  // of one table; 0 means 50
	MaxString int  // characters of one string; 0 means 200
	Sort      bool // sort dictionary keys by name; else they are in the order of insertion
	Full      bool // no limits on depth, items and strings
	Color     bool
	// Userdata, if set, prints the userdata that it knows, and returns false for
	// others. It must not block.
	Userdata func(L *lua.LState, ud *lua.LUserData) (text string, ok bool)
}

func (o InspectOptions) withDefaults() InspectOptions {
	pick := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	pick(&o.Width, 100)
	if o.Full {
		o.Depth, o.MaxItems, o.MaxString = maxSyntax, 1<<30, 1<<30
	}
	pick(&o.Depth, 4)
	pick(&o.MaxItems, 50)
	pick(&o.MaxString, 200)
	return o
}

// Inspect returns a text of a value for people. A table is on one line if it fits,
// else it has one entry a line. A list of dictionaries with the same fields becomes
// a grid of rows and columns. If a __tostring fails, its error becomes part of the
// text.
func Inspect(L *lua.LState, v lua.LValue, o InspectOptions) string {
	p := &inspector{L: L, o: o.withDefaults(), paths: map[*lua.LTable]string{}}
	if t, ok := v.(*lua.LTable); ok {
		if s := p.grid(t); s != "" {
			return s
		}
	}
	return p.value(v, "root", 0, 0)
}

type inspector struct {
	L     *lua.LState
	o     InspectOptions
	paths map[*lua.LTable]string // the tables around the current value
}

func (p *inspector) paint(code, s string) string {
	if !p.o.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *inspector) value(v lua.LValue, path string, depth, indent int) string {
	switch v := v.(type) {
	case lua.LString:
		return p.paint("32", p.text(string(v)))
	case lua.LNumber, lua.LBool:
		return p.paint("33", plainString(v))
	case *lua.LNilType:
		return p.paint("90", "nil")
	case *lua.LFunction:
		return p.paint("36", functionText(v))
	case *lua.LTable:
		if p.L.GetMetaField(v, "__tostring") != lua.LNil {
			return p.guarded(v)
		}
		return p.table(v, path, depth, indent)
	case *lua.LUserData:
		return p.userdata(v)
	}
	return plainString(v)
}

func (p *inspector) userdata(ud *lua.LUserData) string {
	if p.o.Userdata != nil {
		if s, ok := p.o.Userdata(p.L, ud); ok {
			return s
		}
	}
	switch x := ud.Value.(type) {
	case *Data:
		return p.paint("35", bytesText(x.Bytes))
	case Int64, UInt64:
		return p.paint("33", fmt.Sprint(x))
	case time.Time:
		return p.paint("35", x.UTC().Format(time.RFC3339Nano))
	case *Error:
		return p.paint("31", visible.Text("Error<"+x.Code+": "+x.Message+">"))
	}
	return p.guarded(ud)
}

// guarded is like ToString, but an error in __tostring becomes part of the text.
func (p *inspector) guarded(v lua.LValue) string {
	k := hookOf(p.L)
	fn := p.L.NewFunction(func(L *lua.LState) int {
		L.Push(lua.LString(ToString(L, v)))
		return 1
	})
	var res []lua.LValue
	var f *failure
	k.limited(func() { res, f = k.host.protect(k, fn) })
	if f != nil {
		text := plainString(f.obj)
		if e := asError(f.obj); e != nil {
			text = e.Error()
		}
		return visible.Text("<error in __tostring: " + text + ">")
	}
	return visible.Text(plainString(res[0]))
}

func (p *inspector) text(s string) string {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return bytesText([]byte(s))
	}
	return quoteShort(s, p.o.MaxString)
}

func bytesText(b []byte) string {
	n := min(len(b), 16)
	s := fmt.Sprintf("<%d bytes: % x", len(b), b[:n])
	if n < len(b) {
		s += "..."
	}
	return s + ">"
}

// quoteShort quotes a string and cuts it after n characters.
func quoteShort(s string, n int) string {
	total := utf8.RuneCountInString(s)
	var b strings.Builder
	b.WriteByte('"')
	shown := 0
	for _, r := range s {
		if shown == n {
			break
		}
		shown++
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString("\\n")
		case r == '\r':
			b.WriteString("\\r")
		case r == '\t':
			b.WriteString("\\t")
		case visible.Line(string(r)) != string(r):
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "\\%03d", c)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	if shown < total {
		fmt.Fprintf(&b, "... (%d characters)", total)
	}
	return b.String()
}

func functionText(fn *lua.LFunction) string {
	if fn.IsG {
		return "function <builtin>"
	}
	source := visible.Line(fn.Proto.SourceName)
	return "function <" + source + ":" + strconv.Itoa(fn.Proto.LineDefined) + ">"
}

type entry struct {
	key   lua.LValue // nil in the array part
	value lua.LValue
}

// entries lists the entries of a table: the array part first, then the rest.
func (p *inspector) entries(t *lua.LTable) []entry {
	n := t.Len()
	out := make([]entry, 0, n)
	for i := 1; i <= n; i++ {
		out = append(out, entry{value: t.RawGetInt(i)})
	}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		if i, ok := k.(lua.LNumber); ok && i >= 1 && int(i) <= n && lua.LNumber(int(i)) == i {
			continue
		}
		out = append(out, entry{k, v})
	}
	if p.o.Sort {
		rest := out[n:]
		sort.SliceStable(
			rest,
			func(i, j int) bool { return plainString(rest[i].key) < plainString(rest[j].key) },
		)
	}
	return out
}

func (p *inspector) table(t *lua.LTable, path string, depth, indent int) string {
	if at, ok := p.paths[t]; ok {
		return p.paint("90", visible.Line("<cycle: "+at+">"))
	}
	list := p.entries(t)
	if len(list) == 0 {
		return "{}"
	}
	if depth >= p.o.Depth {
		return p.paint("90", "{..."+strconv.Itoa(len(list))+"}")
	}
	p.paths[t] = path
	defer delete(p.paths, t)
	more := 0
	if len(list) > p.o.MaxItems {
		more = len(list) - p.o.MaxItems
		list = list[:p.o.MaxItems]
	}
	parts := make([]string, 0, len(list)+1)
	width, lines := 0, false
	for i, e := range list {
		s, sub := "", path+"["+strconv.Itoa(i+1)+"]"
		if e.key != nil {
			s = keyName(e.key) + " = "
			sub = path + "." + plainString(e.key)
		}
		s += p.value(e.value, sub, depth+1, indent+2)
		width += visibleWidth(s) + 2
		lines = lines || strings.ContainsRune(s, '\n')
		parts = append(parts, s)
	}
	if more > 0 {
		parts = append(parts, p.paint("90", "... "+strconv.Itoa(more)+" more"))
		width += 12
	}
	if !lines && indent+width+2 <= p.o.Width {
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	pad := strings.Repeat(" ", indent+2)
	return "{\n" + pad + strings.Join(parts, ",\n"+pad) + "\n" + strings.Repeat(" ", indent) + "}"
}

// keyName returns a key as it is written in a table constructor.
func keyName(k lua.LValue) string {
	if s, ok := k.(lua.LString); ok {
		if isName(string(s)) {
			return string(s)
		}
		return "[" + quoteShort(string(s), 60) + "]"
	}
	return "[" + plainString(k) + "]"
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		if !isNameByte(c) || i == 0 && c <= '9' {
			return false
		}
	}
	return s != ""
}

// visibleWidth returns the number of terminal cells that s takes. Colours take
// none, and wide characters take two.
func visibleWidth(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == 0x1b:
			escape = true
		case escape:
			escape = r != 'm'
		case unicode.Is(unicode.Mn, r):
		case r >= 0x1100 && (unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana,
			unicode.Katakana) ||
			r >= 0xff01 && r <= 0xff60 || r >= 0x1f300 && r <= 0x1faff ||
			r >= 0x3000 && r <= 0x303e):
			n += 2
		default:
			n++
		}
	}
	return n
}

// grid returns t in rows and columns if t is a list of at least two dictionaries
// that have the same fields and contain no tables. Otherwise it returns "".
func (p *inspector) grid(t *lua.LTable) string {
	n := t.Len()
	if n < 2 {
		return ""
	}
	head, ok := t.RawGetInt(1).(*lua.LTable)
	if !ok {
		return ""
	}
	var columns []string
	for k, _ := head.Next(lua.LNil); k != lua.LNil; k, _ = head.Next(k) {
		s, ok := k.(lua.LString)
		if !ok {
			return ""
		}
		columns = append(columns, string(s))
	}
	if p.o.Sort {
		sort.Strings(columns)
	}
	if len(columns) < 2 || len(p.entries(t)) != n {
		return ""
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = visible.Line(c)
	}
	rows := [][]string{titles}
	for i := 1; i <= n && i <= p.o.MaxItems; i++ {
		row := p.gridRow(t.RawGetInt(i), columns)
		if row == nil {
			return ""
		}
		rows = append(rows, row)
	}
	s := p.layout(rows)
	if n > p.o.MaxItems {
		s += "\n" + p.paint("90", fmt.Sprintf("... %d more", n-p.o.MaxItems))
	}
	return s
}

// gridRow returns the texts of one row, or nil if v does not fit the columns.
func (p *inspector) gridRow(v lua.LValue, columns []string) []string {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil
	}
	count := 0
	for k, _ := t.Next(lua.LNil); k != lua.LNil; k, _ = t.Next(k) {
		count++
	}
	if count != len(columns) {
		return nil
	}
	row := make([]string, 0, len(columns))
	for _, c := range columns {
		v := t.RawGetString(c)
		if v == lua.LNil || v.Type() == lua.LTTable {
			return nil
		}
		s := p.value(v, "", 0, 0)
		if str, ok := v.(lua.LString); ok && utf8.ValidString(string(str)) {
			s = strings.Trim(p.text(string(str)), "\"")
		}
		row = append(row, s)
	}
	return row
}

// layout aligns the columns and cuts texts so that a row fits the width.
func (p *inspector) layout(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, s := range row {
			widths[i] = max(widths[i], visibleWidth(s))
		}
	}
	most := max(p.o.Width/len(widths)-3, 8)
	total := 0
	for _, w := range widths {
		total += w + 3
	}
	if total > p.o.Width && !p.o.Full {
		for i := range widths {
			widths[i] = min(widths[i], most)
		}
	}
	var b strings.Builder
	for r, row := range rows {
		if r == 1 {
			for i, w := range widths {
				if i > 0 {
					b.WriteString("+")
				}
				b.WriteString(strings.Repeat("-", w+2))
			}
			b.WriteByte('\n')
		}
		for i, s := range row {
			if i > 0 {
				b.WriteString("|")
			}
			s = cutWidth(s, widths[i])
			b.WriteString(" " + s + strings.Repeat(" ", max(widths[i]-visibleWidth(s), 0)+1))
		}
		b.WriteByte('\n')
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func cutWidth(s string, n int) string {
	if visibleWidth(s) <= n || strings.ContainsRune(s, 0x1b) {
		return s
	}
	w := 0
	for i, r := range s {
		rw := visibleWidth(string(r))
		if w+rw > n-1 {
			return s[:i] + "…"
		}
		w += rw
	}
	return s
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
