package term

import (
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// colors lists the names of the colours in the order of their codes, which begin at 30 for the text
// and at 40 for the background. gray is the bright form of black.
var colors = []string{"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"}

// reset ends all styles.
const reset = "\x1b[0m"

type styleOptions struct {
	Color      string `lua:"color" doc:"colour of the letters, such as red or gray"`
	Background string `lua:"background" doc:"colour behind the letters"`
	Bold       bool   `lua:"bold" doc:"stronger letters"`
	Dim        bool   `lua:"dim" doc:"weaker letters"`
	Italic     bool   `lua:"italic" doc:"slanted letters"`
	Underline  bool   `lua:"underline" doc:"a line below"`
	Reverse    bool   `lua:"reverse" doc:"letters and background change places"`
}

// codes returns the numbers of the styles, separated by semicolons.
func (o styleOptions) codes() string {
	var out []string
	for _, flag := range []struct {
		set  bool
		code string
	}{
		{o.Bold, "1"}, {o.Dim, "2"}, {o.Italic, "3"}, {o.Underline, "4"}, {o.Reverse, "7"},
	} {
		if flag.set {
			out = append(out, flag.code)
		}
	}
	if code := colorCode(o.Color, "3", "90"); code != "" {
		out = append(out, code)
	}
	if code := colorCode(o.Background, "4", "100"); code != "" {
		out = append(out, code)
	}
	return strings.Join(out, ";")
}

func colorCode(name, tens, gray string) string {
	if name == "gray" {
		return gray
	}
	if at := slices.Index(colors, name); at >= 0 {
		return tens + string(rune('0'+at))
	}
	return ""
}

// style checks the names of colours and calls paint.
func style(c *api.Call, text string, o styleOptions) (string, error) {
	for option, name := range map[string]string{"color": o.Color, "background": o.Background} {
		if name != "" && colorCode(name, "3", "90") == "" {
			return "", c.ArgError(2, "option %q: %q is not one of %s, gray", option, name,
				strings.Join(colors, ", "))
		}
	}
	return paint(c, text, o), nil
}

// paint adds a style to a text. After a style inside of the text, the outer style continues.
func paint(c *api.Call, text string, o styleOptions) string {
	codes := o.codes()
	if !terminal(c).Color || codes == "" || text == "" {
		return text
	}
	begin := "\x1b[" + codes + "m"
	return begin + strings.ReplaceAll(text, reset, reset+begin) + reset
}

func styleFuncs() []*api.Func {
	funcs := []*api.Func{
		api.Function("style", "Returns a text with colours and other styles. If standard output "+
			"is not a terminal or NO_COLOR is set, the text is unchanged.",
			"text opts", style,
			api.ParamDoc("text", "any text"),
			api.ParamDoc("opts", "the styles"),
			api.Example(`local term = require("imd.term")
return term.style("late", { color = "red", bold = true }) -- => "late"`)),
	}
	for _, s := range []struct {
		name, doc string
		o         styleOptions
	}{
		{"red", "in red", styleOptions{Color: "red"}},
		{"green", "in green", styleOptions{Color: "green"}},
		{"yellow", "in yellow", styleOptions{Color: "yellow"}},
		{"blue", "in blue", styleOptions{Color: "blue"}},
		{"magenta", "in magenta", styleOptions{Color: "magenta"}},
		{"cyan", "in cyan", styleOptions{Color: "cyan"}},
		{"gray", "in gray", styleOptions{Color: "gray"}},
		{"bold", "with stronger letters", styleOptions{Bold: true}},
		{"dim", "with weaker letters", styleOptions{Dim: true}},
		{"underline", "with a line below", styleOptions{Underline: true}},
	} {
		funcs = append(funcs, api.Function(s.name, "Returns a text "+s.doc+", see style.",
			"text", func(c *api.Call, text string) string { return paint(c, text, s.o) },
			api.ParamDoc("text", "any text"),
			api.Example(`return require("imd.term").`+s.name+`("x") -- => "x"`)))
	}
	return funcs
}
