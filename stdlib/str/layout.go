package str

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// layout returns the functions that arrange texts in cells of a terminal.
func layout() []*api.Func {
	width := api.ParamDoc("width", "cells of a terminal")
	fill := api.ParamDoc("fill", "character to fill with, a space if it is not given")
	pad := func(name, doc, example string, left func(room int) int) *api.Func {
		fn := func(c *api.Call, s string, width int, fill *string) (string, error) {
			return padded(c, s, width, fill, left)
		}
		return declare(name, doc, "width fill?", fn, example, api.ParamDoc("width", "cells of a "+
			"terminal; a longer text stays as it is"), fill)
	}
	return []*api.Func{
		pad("pad_left", "Fills up the text at its left side.", `pad_left("7", 3, "0") -- => "007"`,
			func(room int) int { return room }),
		pad("pad_right", "Fills up the text at its right side.", `pad_right("a", 3) -- => "a  "`,
			func(int) int { return 0 }),
		pad("center", "Fills up the text at both sides.", `center("a", 4, "-") -- => "-a--"`,
			func(room int) int { return room / 2 }),
		declare("wrap", "Breaks lines at white space, so that they are not wider than width. A "+
			"longer word stays whole.", "width", wrap,
			`wrap("one two three", 7) -- => "one two\nthree"`,
			width),
		declare("indent", "Puts a text before each line that is not empty.", "prefix?", indent,
			`indent("a\n\nb", "> ") -- => "> a\n\n> b"`,
			api.ParamDoc("prefix", "text before each line, two spaces if it is not given")),
		simple("dedent", "Removes the white space with which all lines begin. Empty lines are "+
			"ignored.", `dedent("  a\n    b") -- => "a\n  b"`, 1, dedent),
	}
}

func padded(c *api.Call, s string, width int, fill *string, left func(int) int) (string, error) {
	with := " "
	if fill != nil {
		with = *fill
	}
	if utf8.RuneCountInString(with) != 1 || runewidth.StringWidth(with) != 1 {
		return "", c.ArgError(3, "fill must be one character that takes one cell")
	}
	room := width - runewidth.StringWidth(s)
	if room <= 0 {
		return s, nil
	}
	host.MakeString(c.L, float64(len(s))+float64(room)*float64(len(with)))
	n := left(room)
	return strings.Repeat(with, n) + s + strings.Repeat(with, room-n), nil
}

func wrap(c *api.Call, s string, width int) (string, error) {
	if width < 1 {
		return "", c.ArgError(2, "must be at least 1")
	}
	host.MakeString(c.L, float64(len(s)))
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		at := 0
		for _, word := range strings.Fields(line) {
			n := runewidth.StringWidth(word)
			switch {
			case at == 0:
			case at+1+n > width:
				b.WriteByte('\n')
				at = 0
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += n
		}
	}
	return b.String(), nil
}

func indent(c *api.Call, s string, prefix *string) string {
	with := "  "
	if prefix != nil {
		with = *prefix
	}
	all := strings.Split(s, "\n")
	host.MakeString(c.L, float64(len(s))+float64(len(all))*float64(len(with)))
	for i, line := range all {
		if line != "" {
			all[i] = with + line
		}
	}
	return strings.Join(all, "\n")
}

func dedent(s string) string {
	all := strings.Split(s, "\n")
	common, found := "", false
	for _, line := range all {
		space := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if space == line {
			continue
		}
		if !found {
			common, found = space, true
		}
		for !strings.HasPrefix(space, common) {
			common = common[:len(common)-1]
		}
	}
	for i, line := range all {
		all[i] = strings.TrimPrefix(line, common)
		if strings.TrimLeft(line, " \t") == "" {
			all[i] = ""
		}
	}
	return strings.Join(all, "\n")
}

// digits returns the length of the number at the beginning of a text.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func naturalCompare(a, b string) int {
	for a != "" && b != "" {
		n, m := digits(a), digits(b)
		if n == 0 || m == 0 {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		x, y := strings.TrimLeft(a[:n], "0"), strings.TrimLeft(b[:m], "0")
		order := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(n, m))
		if order != 0 {
			return order
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

// maxWork limits the steps of levenshtein, whose number is the product of the two lengths.
const maxWork = 1 << 26

func levenshtein(_ *api.Call, s, t string) (int, error) {
	if float64(len(s))*float64(len(t)) > maxWork {
		return 0, host.Errorf("too_large", "str: texts of %d and %d bytes are too long to compare",
			len(s), len(t))
	}
	a, b := []rune(s), []rune(t)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		corner := row[0]
		row[0] = i + 1
		for j, y := range b {
			cost := 1
			if x == y {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, corner+cost)
			corner, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)], nil
}

func similar(c *api.Call, s, t string) (float64, error) {
	n, err := levenshtein(c, s, t)
	longest := max(utf8.RuneCountInString(s), utf8.RuneCountInString(t), 1)
	return 1 - float64(n)/float64(longest), err
}
