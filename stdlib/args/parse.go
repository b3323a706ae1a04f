package args

import (
	"fmt"
	"os"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// option is one @arg line of a header.
type option struct {
	name, typ, def, doc string
	hasDefault          bool
}

// header is the comment block that a script begins with.
type header struct {
	doc     []string
	options []option
}

// parseHeader reads the leading comment lines.
func parseHeader(source string) header {
	var h header
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#!") {
			continue
		}
		text, ok := strings.CutPrefix(line, "---")
		if !ok {
			break
		}
		switch rest, isArg := strings.CutPrefix(text, "@arg "); {
		case isArg:
			h.add(rest)
		case !strings.HasPrefix(text, "@"):
			h.doc = append(h.doc, strings.TrimSpace(text))
		}
	}
	return h
}

// add reads "count integer=10   Number of launches".
func (h *header) add(line string) {
	f := strings.Fields(line)
	if len(f) < 2 {
		return
	}
	o := option{name: f[0]}
	o.typ, o.def, o.hasDefault = strings.Cut(f[1], "=")
	_, after, _ := strings.Cut(line, f[1])
	o.doc = strings.TrimSpace(after)
	h.options = append(h.options, o)
}

func (h *header) find(name string) *option {
	for i := range h.options {
		if h.options[i].name == name {
			return &h.options[i]
		}
	}
	return nil
}

func (o *option) usage() string {
	if o.typ == "flag" || o.typ == "boolean" {
		return "--" + o.name
	}
	return "--" + o.name + " " + o.typ
}

func (h *header) summary() string {
	parts := make([]string, len(h.options))
	for i, o := range h.options {
		parts[i] = o.usage()
	}
	return strings.Join(parts, ", ")
}

// help returns the text that --help prints.
func (h *header) help() string {
	var b strings.Builder
	for _, d := range h.doc {
		b.WriteString(d + "\n")
	}
	if len(h.options) == 0 {
		b.WriteString("the script describes no options\n")
		return b.String()
	}
	b.WriteString("\noptions:\n")
	for _, o := range h.options {
		fmt.Fprintf(&b, "  %-24s %s", o.usage(), o.doc)
		switch {
		case o.hasDefault && o.def != "":
			fmt.Fprintf(&b, " (default %s)", o.def)
		case !o.hasDefault && o.typ != "flag" && o.typ != "boolean":
			b.WriteString(" (required)")
		}
		b.WriteString("\n")
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// Help returns the text that --help prints for a script. It reports false if the header does not
// describe the script and its options. A script that has such a header need not run for its help.
func Help(source string) (string, bool) {
	h := parseHeader(source)
	return h.help(), len(h.doc) > 0 && len(h.options) > 0
}

// word is an argument that is not an option, with its index in the command line.
type word struct {
	at   int
	text string
}

// set holds the arguments of one run.
type set struct {
	loaded bool
	header header
	values map[string][]string
	flags  map[string]bool
	words  []word
	// loose holds the values of options that the header does not declare, such as "--fast file".
	// If the script asks for the option as a flag, its value becomes an argument of its own.
	loose map[string]word
	table *lua.LTable
}

// maxHeader is the size of the largest script whose header is read.
const maxHeader = 4 << 20

// mainSource returns the text of the script, from the outermost chunk that is a file.
func mainSource(L *lua.LState) string {
	name := ""
	for level := 0; ; level++ {
		d, ok := L.GetStack(level)
		if !ok {
			break
		}
		if _, err := L.GetInfo("S", d, lua.LNil); err == nil && d.Source != "" {
			name = d.Source
		}
	}
	return sourceOf(name)
}

// sourceOf returns the text of a chunk that is a file.
func sourceOf(name string) string {
	i, err := os.Stat(name)
	if err != nil || !i.Mode().IsRegular() || i.Size() > maxHeader {
		return ""
	}
	b, err := os.ReadFile(name) // a plain file: it does not wait
	if err != nil {
		return ""
	}
	return string(b)
}

// load reads the arguments once, when the script looks at them for the first time. It raises an
// error for options that the header does not declare, and ends the script for --help.
func (s *set) load(L *lua.LState) {
	if s.loaded {
		return
	}
	s.loaded = true
	s.header = parseHeader(mainSource(L))
	help, err := s.parse(host.Of(L).Options().Args)
	if err != nil {
		s.loaded = false
		host.Raise(L, err)
	}
	if help {
		text := strings.TrimSuffix(s.header.help(), "\n")
		host.Call(L, L.G.Global.RawGetString("print"), 0, lua.LString(text))
		host.Raise(L, &host.ExitError{})
	}
	s.publish()
}

// parse sorts the arguments into options and words. help is true if the arguments ask for the help
// text.
func (s *set) parse(list []string) (help bool, err error) {
	s.values, s.flags, s.loose = map[string][]string{}, map[string]bool{}, map[string]word{}
	for i := 0; i < len(list); i++ {
		a := list[i]
		name, ok := strings.CutPrefix(a, "--")
		switch {
		case a == "--":
			for j, rest := range list[i+1:] {
				s.words = append(s.words, word{i + 1 + j, rest})
			}
			i = len(list)
		case a == "--help" || a == "-h":
			return true, nil
		case !ok:
			s.words = append(s.words, word{i, a})
		default:
			next, err := s.option(list, i, name)
			if err != nil {
				return false, err
			}
			i = next
		}
	}
	return false, nil
}

// Prepare sets args[1], args[2] and so on when a script starts, so that #args, ipairs and next see
// them. It ignores errors in the options: they are raised when the script asks for an option.
func Prepare(L *lua.LState, chunk string) {
	table, ok := L.G.Global.RawGetString("args").(*lua.LTable)
	if !ok {
		return
	}
	s := &set{header: parseHeader(sourceOf(chunk)), table: table}
	help, err := s.parse(host.Of(L).Options().Args)
	if err == nil && !help {
		s.publish()
	}
}

// option reads the option at index i of list and returns the index of its last word.
func (s *set) option(list []string, i int, text string) (int, error) {
	name, value, given := strings.Cut(text, "=")
	o := s.header.find(name)
	off, isOff := strings.CutPrefix(name, "no-")
	switch {
	case o == nil && isOff && !given && s.knows(off):
		s.flags[off] = false
	case o == nil && len(s.header.options) > 0:
		return 0, usageError(s, "unknown option --%s", name)
	case given:
		s.values[name] = append(s.values[name], value)
	case o != nil && (o.typ == "flag" || o.typ == "boolean"):
		s.flags[name] = true
	case i+1 < len(list) && !strings.HasPrefix(list[i+1], "--"):
		s.values[name] = append(s.values[name], list[i+1])
		if o == nil {
			s.loose[name] = word{i + 1, list[i+1]}
		}
		return i + 1, nil
	case o != nil:
		return 0, usageError(s, "option --%s needs a value", name)
	default:
		s.flags[name] = true
	}
	return i, nil
}

// knows reports whether the header declares an option. If it declares none, any name is an option.
func (s *set) knows(name string) bool {
	return len(s.header.options) == 0 || s.header.find(name) != nil
}

// release makes an option in loose a flag, and its value an argument.
func (s *set) release(name string) {
	w, ok := s.loose[name]
	if !ok {
		return
	}
	delete(s.loose, name)
	delete(s.values, name)
	s.flags[name] = true
	at := 0
	for at < len(s.words) && s.words[at].at < w.at {
		at++
	}
	s.words = append(s.words[:at], append([]word{w}, s.words[at:]...)...)
	s.publish()
}

func (s *set) rest() []string {
	out := make([]string, len(s.words))
	for i, w := range s.words {
		out[i] = w.text
	}
	return out
}

// publish sets args[1], args[2] and so on.
func (s *set) publish() {
	if s.table == nil {
		return
	}
	for i, w := range s.words {
		s.table.RawSetInt(i+1, lua.LString(w.text))
	}
}
