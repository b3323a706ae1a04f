// Package re is the script module re: regular expressions in RE2 syntax, which take linear time for
// every text. They are meant for logs; Lua's own patterns remain available.
//
//	local pid, text = re.match(line, [[\[(\d+)\] (.*)]])
package re

import (
	"context"
	"regexp"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// cacheSize bounds how many compiled expressions are kept, for scripts that build them at run time.
const cacheSize = 256

// cache keeps compiled expressions. It is guarded by the interpreter lock.
type cache struct {
	compiled map[string]*regexp.Regexp
	// slots limits the number of searches of large texts at the same time, see searched.
	slots chan struct{}
}

const (
	// largeText is the length from which on a text is searched without the interpreter lock.
	largeText = 64 << 10
	// largeSearches is how many searches of large texts run at once.
	largeSearches = 4
	// matchesBetweenTicks is how many matches are handled between two checks of the limits.
	matchesBetweenTicks = 1000
)

// searched returns the result of search, which looks for matches in text. If the text is large, the
// task can be cancelled while it waits. The search itself cannot be interrupted, so it continues in
// the background. The slots limit how many searches do so.
func searched[T any](k *cache, c *api.Call, text string, search func() T) T {
	if len(text) < largeText {
		return search()
	}
	done := make(chan T, 1)
	var out T
	host.WithTimeout(c.L, host.NoTimeout, func(ctx context.Context) error {
		select {
		case k.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		go func() {
			defer func() { <-k.slots }()
			done <- search()
		}()
		select {
		case out = <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return out
}

// first returns the first match of an expression.
func (k *cache) first(c *api.Call, re *regexp.Regexp, text string) []int {
	return searched(k, c, text, func() []int { return re.FindStringSubmatchIndex(text) })
}

func (k *cache) get(pattern string) (*regexp.Regexp, error) {
	if re := k.compiled[pattern]; re != nil {
		return re, nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		return nil, host.Errorf("pattern", "re: %s", text)
	}
	if len(k.compiled) >= cacheSize {
		clear(k.compiled)
	}
	k.compiled[pattern] = re
	return re, nil
}

// Module declares the module.
func Module() *api.Module {
	k := &cache{
		compiled: map[string]*regexp.Regexp{},
		slots:    make(chan struct{}, largeSearches),
	}
	return &api.Module{
		Name:   "re",
		Doc:    "Regular expressions (RE2): linear time, named groups, (?i) to ignore case.",
		Global: true,
		Perm:   "none",
		Funcs:  append(k.matching(), k.changing()...),
	}
}

const (
	textDoc    = "text to search"
	patternDoc = "regular expression in RE2 syntax"
)

// matching returns the functions that search a text.
func (k *cache) matching() []*api.Func {
	return []*api.Func{
		api.Function("match", "Returns the groups of the first match, or the whole match if the "+
			"pattern has no groups. Returns nil if there is no match.",
			"text pattern", k.match,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.Raises("pattern"),
			api.Returns("string? ..."),
			api.Example(`return re.match("pid=42 ok", [[(\w+)=(\d+)]]) -- => "pid", "42"`)),
		api.Function("test", "Whether the text matches.",
			"text pattern", k.test,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.Raises("pattern"),
			api.Example(`return re.test("Error: x", "(?i)^error") -- => true`)),
		api.Function("find", "Returns the first and last position of the first match at or after "+
			"init, then its groups. Returns nil if there is no match.",
			"text pattern init?", k.find,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.ParamDoc("init", "position to start at"),
			api.Raises("pattern"),
			api.Returns("integer? first", "integer last", "string ..."),
			api.Example(`return re.find("a=1", [[\d]]) -- => 3, 3`)),
		api.Function("groups", "Returns the first match as a table: [0] is the whole match, [1] "+
			"and so on are the groups, and each named group has its name as key.",
			"text pattern", k.groups,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.Raises("pattern"),
			api.Returns("table?"),
			api.Example(`local g = re.groups("pid=42", [[(?P<key>\w+)=(?P<value>\d+)]])
return g.value -- => "42"`)),
		api.Function("gmatch", "Goes over all matches: for groups in re.gmatch(text, pattern) do.",
			"text pattern", k.gmatch,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.Raises("pattern"),
			api.Returns("fun(): string? ..."),
			api.Example(`local t = {}
for w in re.gmatch("a b", [[\w+]]) do table.insert(t, w) end
return t -- => {"a", "b"}`)),
	}
}

// changing returns the functions that make new texts.
func (k *cache) changing() []*api.Func {
	return []*api.Func{
		api.Function("replace", "Replaces matches. The replacement is a text ($1 and ${name} are "+
			"groups), a function that gets the groups, or a table in which the first group is "+
			"looked up. Returns the text and the number of matches.",
			"text pattern replacement limit?", k.replace,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.ParamDoc("replacement", "text, function or table"),
			api.ParamDoc("limit", "how many matches at most"),
			api.Raises("pattern"),
			api.Returns("string text", "integer count"),
			api.Example(`local text, count = re.replace("John Smith", [[(\w+) (\w+)]], "$2 $1")
return text, count -- => "Smith John", 1`)),
		api.Function("split", "Cuts the text at the matches.",
			"text pattern limit?", k.split,
			api.ParamDoc("text", textDoc),
			api.ParamDoc("pattern", patternDoc),
			api.ParamDoc("limit", "how many parts at most"),
			api.Raises("pattern"),
			api.Example(`return re.split("a, b,c", [[,\s*]]) -- => {"a", "b", "c"}`)),
		api.Function("escape", "Makes a pattern that matches exactly the text.",
			"text", escape,
			api.ParamDoc("text", "what the pattern matches"),
			api.Example(`return re.escape("a.b") -- => "a\\.b"`)),
	}
}

// matchSize is the approximate size in memory of a match without its groups, groupSize that of a
// group.
const (
	matchSize = 24
	groupSize = 16
)

// all returns the first matches, or all of them if most is negative. It raises an error of code
// "memory" if they would exceed the memory limit of the script.
func (k *cache) all(c *api.Call, re *regexp.Regexp, text string, most int) [][]int {
	size := matchSize + groupSize*(re.NumSubexp()+1)
	room := int(c.Host().Options().MaxMemory) / size
	if len(text) < room || most >= 0 && most <= room {
		return k.upTo(c, re, text, most)
	}
	found := k.upTo(c, re, text, room+1)
	if len(found) > room {
		e := host.Errorf("memory", "re: more than %d matches", room)
		host.Raise(c.L, e.WithHint("match pieces of the text, or raise the limit with --max-memory"))
	}
	return found
}

func (k *cache) upTo(c *api.Call, re *regexp.Regexp, text string, most int) [][]int {
	return searched(k, c, text, func() [][]int {
		return re.FindAllStringSubmatchIndex(text, most)
	})
}

// captures returns the groups of a match, or the whole match if there are none. loc holds pairs of
// offsets. A group that did not participate in the match is nil.
func captures(text string, loc []int) api.Values {
	if len(loc) == 2 {
		return api.Values{lua.LString(text[loc[0]:loc[1]])}
	}
	var out api.Values
	for i := 2; i < len(loc); i += 2 {
		out = append(out, group(text, loc, i))
	}
	return out
}

func group(text string, loc []int, i int) lua.LValue {
	if loc[i] < 0 {
		return lua.LNil
	}
	return lua.LString(text[loc[i]:loc[i+1]])
}

func (k *cache) match(c *api.Call, text, pattern string) (api.Values, error) {
	re, err := k.get(pattern)
	if err != nil {
		return nil, err
	}
	if loc := k.first(c, re, text); loc != nil {
		return captures(text, loc), nil
	}
	return api.Values{lua.LNil}, nil
}

func (k *cache) test(c *api.Call, text, pattern string) (bool, error) {
	re, err := k.get(pattern)
	if err != nil {
		return false, err
	}
	return searched(k, c, text, func() bool { return re.MatchString(text) }), nil
}

func (k *cache) find(c *api.Call, text, pattern string, init *int) (api.Values, error) {
	re, err := k.get(pattern)
	if err != nil {
		return nil, err
	}
	from := 0
	if init != nil {
		from = *init - 1
		if *init < 0 {
			from = max(len(text)+*init, 0)
		}
		from = max(from, 0)
	}
	// The whole text is searched, so that ^ and \b see the text before init.
	most := -1
	if from == 0 {
		most = 1
	}
	for i, loc := range k.all(c, re, text, most) {
		tick(c, i)
		if loc[0] < from {
			continue
		}
		out := api.Values{lua.LNumber(loc[0] + 1), lua.LNumber(loc[1])}
		if len(loc) > 2 {
			out = append(out, captures(text, loc)...)
		}
		return out, nil
	}
	return api.Values{lua.LNil}, nil
}

func (k *cache) groups(c *api.Call, text, pattern string) (lua.LValue, error) {
	re, err := k.get(pattern)
	if err != nil {
		return nil, err
	}
	loc := k.first(c, re, text)
	if loc == nil {
		return lua.LNil, nil
	}
	t := c.L.CreateTable(len(loc)/2, len(loc)/2)
	for i, name := range re.SubexpNames() {
		v := group(text, loc, 2*i)
		t.RawSetInt(i, v)
		if name != "" {
			t.RawSetString(name, v)
		}
	}
	return t, nil
}

func (k *cache) gmatch(c *api.Call, text, pattern string) (lua.LValue, error) {
	re, err := k.get(pattern)
	if err != nil {
		return nil, err
	}
	left := k.all(c, re, text, -1)
	return c.L.NewFunction(func(L *lua.LState) int {
		if len(left) == 0 {
			L.Push(lua.LNil)
			return 1
		}
		out := captures(text, left[0])
		left = left[1:]
		if out[0] == lua.LNil {
			out[0] = lua.LString("") // nil would end the loop
		}
		for _, v := range out {
			L.Push(v)
		}
		return len(out)
	}), nil
}

// builder builds a text. It raises an error of code "memory" if the text becomes longer than a
// string may be.
type builder struct {
	L    *lua.LState
	text strings.Builder
}

func (b *builder) add(s string) {
	if n := b.text.Len() + len(s); n > b.text.Cap() {
		host.MakeString(b.L, float64(n))
	}
	b.text.WriteString(s)
}

func (k *cache) replace(c *api.Call, text, pattern string, with lua.LValue, limit *int) (
	result string, count int, err error,
) {
	re, err := k.get(pattern)
	if err != nil {
		return "", 0, err
	}
	most := -1
	if limit != nil {
		most = *limit
	}
	b := &builder{L: c.L}
	last := 0
	found := k.all(c, re, text, most)
	for i, loc := range found {
		tick(c, i)
		b.add(text[last:loc[0]])
		s, err := substitute(c, re, text, loc, with)
		if err != nil {
			return "", 0, err
		}
		b.add(s)
		last = loc[1]
	}
	b.add(text[last:])
	host.MakeString(c.L, float64(b.text.Len()))
	return b.text.String(), len(found), nil
}

// tick checks the limits after every matchesBetweenTicks matches.
func tick(c *api.Call, matches int) {
	if matches%matchesBetweenTicks == matchesBetweenTicks-1 {
		host.Tick(c.L)
	}
}

// substitute returns what replaces one match. nil and false keep the match, as in string.gsub.
func substitute(c *api.Call, re *regexp.Regexp, text string, loc []int, with lua.LValue) (
	string, error,
) {
	var v lua.LValue
	switch x := with.(type) {
	case lua.LString:
		// Each $ adds at most the whole match.
		dollars := strings.Count(string(x), "$")
		host.MakeString(c.L, float64(len(x))+float64(dollars)*float64(loc[1]-loc[0]))
		return string(re.ExpandString(nil, string(x), text, loc)), nil
	case *lua.LFunction:
		v = c.Invoke(x, 1, captures(text, loc)...)[0]
	case *lua.LTable:
		v = c.L.GetTable(x, captures(text, loc)[0])
	default:
		return "", c.ArgError(3, "string, function or table expected, got %s", with.Type())
	}
	switch v.(type) {
	case lua.LString, lua.LNumber:
		return host.ToString(c.L, v), nil
	}
	if lua.LVAsBool(v) {
		return "", c.ArgError(3, "the replacement must be a string, got %s", v.Type())
	}
	return text[loc[0]:loc[1]], nil
}

func (k *cache) split(c *api.Call, text, pattern string, limit *int) ([]string, error) {
	re, err := k.get(pattern)
	if err != nil {
		return nil, err
	}
	most := -1
	if limit != nil {
		most = *limit
	}
	return searched(k, c, text, func() []string { return re.Split(text, most) }), nil
}

func escape(c *api.Call, text string) string {
	host.MakeString(c.L, float64(len(text)))
	quoted := regexp.QuoteMeta(text)
	host.MakeString(c.L, float64(len(quoted)))
	return quoted
}
