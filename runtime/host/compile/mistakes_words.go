package compile

import (
	"slices"
	"strings"
)

// foreignWords holds hints for words that begin a statement in other languages.
var foreignWords = map[string]string{
	"var": "write local x = 1", "let": "write local x = 1", "const": "write local x = 1",
	"int": "write local x = 1", "float": "write local x = 1", "double": "write local x = 1",
	"string": "write local x = \"text\"", "String": "write local x = \"text\"",
	"bool": "write local x = true", "boolean": "write local x = true", "auto": "write local x = 1",
	"global": "a global needs no declaration; in a script write local x = 1",
	"def":    "write function name(x) ... end", "func": "write function name(x) ... end",
	"fn": "write function name(x) ... end", "fun": "write function name(x) ... end",
	"sub": "write function name(x) ... end", "proc": "write function name(x) ... end",
	"void": "write function name(x) ... end", "async": "write task.spawn(function() ... end)",
	"lambda": "write function(x) return x end", "await": "calls wait by themselves",
	"elif": "write elseif", "elsif": "write elseif", "elseIf": "write elseif",
	"elsf": "write elseif", "ELSEIF": "write elseif",
	"import":  "write local name = require(\"name\")",
	"from":    "write local name = require(\"name\")",
	"include": "write local name = require(\"name\")",
	"using":   "write local name = require(\"name\")",
	"export":  "a module ends with return M",
	"package": "a module is a file that ends with return M",
	"class":   "Lua has no classes; write local C = {} C.__index = C, and setmetatable({}, C)",
	"struct":  "a table holds fields: local p = { x = 1, y = 2 }",
	"enum":    "write local Color = { RED = 1, GREEN = 2 }",
	"new":     "Lua has no new; a class has a function such as C.new()",
	"switch":  "Lua has no switch; write if ... elseif ... end, or use a table of functions",
	"match":   "Lua has no match; write if ... elseif ... end, or use a table of functions",
	"case":    "Lua has no case; write if ... elseif ... end", "default": "write else",
	"try":      "write local ok, e = try(function() ... end)",
	"catch":    "write local ok, e = try(function() ... end) if not ok then ... end",
	"except":   "write local ok, e = try(function() ... end) if not ok then ... end",
	"finally":  "write scope(function() defer(...) ... end)",
	"throw":    "write error(\"text\")",
	"raise":    "write error(\"text\")",
	"foreach":  "write for k, v in pairs(t) do ... end",
	"pass":     "an empty block needs nothing",
	"unless":   "write if not ... then",
	"delete":   "write t[key] = nil",
	"del":      "write t[key] = nil",
	"begin":    "a block is written do ... end",
	"continue": "Lua has no continue; write goto continue, and ::continue:: before the end",
	"exit":     "write os.exit()",
	"echo":     "write print(value)",
	"puts":     "write print(value)",
	"None":     "write nil", "undefined": "write nil", "NULL": "write nil", "Nil": "write nil",
	"NIL": "write nil", "nullptr": "write nil", "True": "write true", "TRUE": "write true",
	"False": "write false", "FALSE": "write false",
	"this":      "write self, in a function that is declared with a colon: function C:name()",
	"self":      "self exists in functions that are declared with a colon: function C:name()",
	"public":    "Lua has no access modifiers; local names are private",
	"private":   "Lua has no access modifiers; local names are private",
	"static":    "Lua has no access modifiers; local names are private",
	"protected": "Lua has no access modifiers; local names are private",
}

// WordHint returns a hint about what to write instead of a keyword of another language,
// or "" for other words.
func WordHint(word string) string { return foreignWords[word] }

// wordHint explains words of other languages and words that are misspelt.
func wordHint(m mistake) string {
	first := m.firstWord()
	second := wordAt(strings.TrimPrefix(m.before+" "+m.line(), first))
	switch {
	case m.last == "else" && second == "if":
		return "write elseif"
	case m.lastToken.kind == tokName && m.wants == '=' && foreignWords[m.last] != "":
		return foreignWords[m.last]
	case m.wants == '}' && foreignWords[first] != "":
		return foreignWords[first]
	case first == "for" && (m.text == "to" || m.text == "step"):
		return "write for i = 1, 10 do, or for i = 1, 10, 2 do"
	case m.before == "for" && m.text == "(":
		return "write for i = 1, 10 do ... end, or for k, v in pairs(t) do ... end"
	case first == "for" && m.text == "of":
		return "write for i, v in ipairs(list) do"
	case first == "for" && m.wants == ',':
		return "a loop over numbers has a first and a last one: for i = 1, 10 do"
	}
	for _, word := range []string{m.last, m.text, first} {
		if keyword := misspelt(word); keyword != "" {
			return "did you mean `" + keyword + "`?"
		}
	}
	return ""
}

// misspelt returns the keyword that the author probably meant, or "" if there is none.
func misspelt(word string) string {
	if _, ok := keywords[word]; ok || len(word) < 2 {
		return ""
	}
	lower := strings.ToLower(word)
	for _, keyword := range keywordList {
		if lower == keyword || len(word) > 2 && len(keyword) > 2 && oneSlip(lower, keyword) {
			return keyword
		}
	}
	return ""
}

// keywordList holds the keywords, longest first, so that a longer keyword such as
// function is tried before for.
var keywordList = func() []string {
	var list []string
	for k := range keywords {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return list
}()

// oneSlip reports whether two words differ by one letter that is missing, added or
// wrong, or by two neighbouring letters that are swapped.
func oneSlip(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	x, y := a[i:], b[i:]
	switch {
	case len(x) == len(y):
		return len(x) > 0 && x[1:] == y[1:] && len(a) > 3 ||
			len(x) > 1 && x[0] == y[1] && x[1] == y[0] && x[2:] == y[2:]
	case len(x) == len(y)+1:
		return x[1:] == y
	case len(y) == len(x)+1:
		return len(a) > 3 && y[1:] == x
	}
	return false
}
