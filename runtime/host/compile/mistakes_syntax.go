package compile

import (
	"fmt"
	"strings"
)

// messageHint explains errors that can be recognised by their message.
func messageHint(m mistake) string {
	message := m.e.Message
	switch {
	case strings.HasPrefix(message, "unfinished string"):
		return "a text in quotes ends in its line; use \\n, or [[ ... ]] for several lines"
	case strings.HasPrefix(message, "unfinished long"):
		return "a text or comment that begins with [[ ends with ]]"
	case strings.HasPrefix(message, "no loop to break"):
		return "break ends a loop; return ends a function"
	case strings.HasPrefix(message, "cannot use '...'"):
		return "write function(...), or local args = {...} outside of the inner function"
	case strings.HasPrefix(message, "ambiguous syntax"):
		return "write a semicolon before the parenthesis, or put it on the line of the function"
	case strings.HasPrefix(message, "malformed number") && strings.Contains(m.text, ".."):
		return "write a space before .., or for i = 1, 10 do for a range"
	case strings.HasPrefix(message, "malformed number"):
		return "a name does not begin with a digit; decimals are written 1.5, hexadecimals 0xff"
	case strings.HasPrefix(message, "escape sequence too large"):
		return "\\ddd is a byte from \\0 to \\255"
	case strings.HasPrefix(message, "function arguments expected"):
		return "a method is called: object:" + m.last + "(); a field is read with a dot: object." +
			m.last
	case strings.HasPrefix(message, "<name> or '...'") && m.text == ")":
		return "there is a comma too many before the parenthesis"
	case strings.HasPrefix(message, "<name> or '...'"):
		return "parameters are names; a default is set in the function: x = x or 1"
	}
	return ""
}

// statementHint explains mistakes in statements, such as braces and colons.
func statementHint(m mistake) string {
	first := m.firstWord()
	waits := m.wants == tokThen || m.wants == tokDo
	behindParen := strings.Contains(m.before, ") {") || strings.Contains(m.before, "){")
	switch {
	case m.text == "{" && m.wants != 0, m.text == "{" && m.last == ")", waits && behindParen:
		return braceHint(first)
	case m.text == "}" && m.wants != '}':
		return "a block ends with `end`"
	case m.text == ":" && waits:
		return "write `" + m.wants.String() + "` instead of the colon"
	case m.last == "goto":
		return "goto is a keyword and cannot be a name"
	case strings.HasPrefix(m.before, "end ") && m.last == wordAt(m.before[4:]):
		return "a block ends with `end` alone"
	case m.text == "then" && m.last == "else":
		return "`else` has no `then`"
	case first == "function" && m.text == "=" && m.wants == ')':
		return "parameters are names; a default is set in the function: x = x or 1"
	case m.text == "=" && m.last == ")" && m.statement:
		return "the result of a call cannot be assigned to"
	}
	if hint := nameHint(m, first); hint != "" {
		return hint
	}
	return localHint(m, first)
}

// nameHint explains unexpected tokens in the place of a name.
func nameHint(m mistake, first string) string {
	switch {
	case m.wants == tokName && m.last == "function" && m.text == "(":
		return "as a statement a function needs a name: function name() ... end"
	case m.wants == '(' && m.last == "function":
		return "a function that is a value has no name: function() ... end"
	case m.wants == '(' && first == "local":
		return "a local function has a plain name; write function a.b() ... end for a field"
	case m.wants == '(':
		return "a function has parentheses: function " + m.last + "() ... end"
	case m.wants == tokName && m.tok.kind < tokLabel:
		return "`" + m.text + "` is a keyword and cannot be a name; as a key write t[\"" + m.text +
			"\"]"
	case m.tok.kind == tokNumber && m.text[0] == '.' && m.lastToken.kind == tokName:
		return "a number as a key is written " + m.last + "[" + m.text[1:] + "]"
	}
	return ""
}

func localHint(m mistake, first string) string {
	if first != "local" {
		return ""
	}
	switch {
	case m.text == "." && m.statement:
		return "a local has a plain name; write " + m.last + ".name = value without local"
	case m.text == ":" && m.statement:
		return "names have no types; write local " + m.last + " = value"
	case m.text == "<" && m.statement:
		return "attributes such as <const> came with Lua 5.4; leave it out"
	}
	return ""
}

func braceHint(first string) string {
	switch first {
	case "if", "elseif":
		return "Lua has no braces; write if ... then ... end"
	case "while", "for":
		return "Lua has no braces; write " + first + " ... do ... end"
	case "function", "local":
		return "Lua has no braces; a function is written function name(x) ... end"
	}
	return "Lua has no braces around blocks; write do ... end"
}

// tableHint explains mistakes between the items of tables and the arguments of calls.
func tableHint(m mistake) string {
	newLine := m.tok.line != m.lastToken.lastLine || m.tok.kind == tokEOF
	switch {
	case m.wants == ']' && m.text == ":":
		return "a part of a text is text:sub(i, j), one of a list is unpack(list, i, j)"
	case m.wants == '}' && m.text == ":", m.wants == tokName && m.last == ":":
		return "a field is written { name = value } or { [\"name\"] = value }"
	case m.wants == ')' && m.lastToken.kind == tokString && m.lastToken.end == m.tok.at &&
		m.tok.kind == tokName:
		return "the text ends before `" + m.text + "`; write \\ before a quote inside of it"
	case m.closing() && newLine:
		return "a `" + m.wants.String() + "` is missing"
	case m.wants == ')' && m.tok.kind < tokLabel:
		return "a `)` is missing"
	case m.wants == '}':
		return "the items of a table are separated by commas"
	case m.wants == ')' && (m.tok.kind == tokName || m.tok.kind == tokNumber ||
		m.tok.kind == tokString):
		return "arguments and parameters are separated by commas"
	case m.text == ")" && m.last == ",":
		return "there is a comma too many before the parenthesis"
	case m.text == ")" && m.statement:
		return "there is a `)` too many"
	case m.text == "]" && m.last == "[":
		return "append to a list with list[#list + 1] = value or table.insert(list, value)"
	}
	return ""
}

// closing reports whether a closing bracket was expected.
func (m mistake) closing() bool { return m.wants == '}' || m.wants == ')' || m.wants == ']' }

// missingHint explains which keyword or parenthesis is missing at the token.
func missingHint(m mistake) string {
	switch m.wants {
	case tokThen:
		return "`if` and `elseif` need `then` behind the condition"
	case tokDo:
		return "`while` and `for` need `do`"
	case tokUntil:
		return "a block that begins with `repeat` ends with `until condition`"
	case tokEnd, tokEOF:
		return endHint(m)
	case '=':
		name := m.tok.kind == tokName || m.tok.kind == tokNumber
		if m.lastToken.kind == tokName && name && m.tok.line == m.lastToken.line {
			return "a call needs parentheses: " + m.last + "(...)"
		}
		return "a value alone is not a statement; assign it, or pass it to a function"
	}
	return ""
}

// endHint explains blocks that end too late or too early.
func endHint(m mistake) string {
	switch {
	case m.tok.kind == tokEOF && strings.Contains(m.src, "else if"):
		return "write elseif; `else if` begins another `if` that needs an `end` of its own"
	case m.tok.kind == tokEOF && m.suspect.end > 0:
		return fmt.Sprintf("an `end` is missing, probably that of the `%s` at line %d",
			m.suspect.text(m.src), m.suspect.line)
	case m.tok.kind == tokEOF:
		return "an `end` is missing"
	case m.tok.kind == tokEnd:
		return "there is one `end` too many, or a block before it is closed too early"
	case m.tok.kind == tokElse || m.tok.kind == tokElseif || m.tok.kind == tokUntil:
		return "no block is open to which `" + m.text + "` belongs; one is closed too early"
	case m.final:
		return "return and break are the last statement of a block; write do return end"
	}
	return ""
}

// valueHint explains values that are missing, or that are used as statements.
func valueHint(m mistake) string {
	if !strings.HasPrefix(m.e.Message, "unexpected symbol") {
		return ""
	}
	switch {
	case m.tok.kind == tokString && m.lastToken.kind == tokString:
		return "texts are joined with .."
	case m.tok.kind == tokConcat && m.lastToken.kind == tokString:
		return "a call needs parentheses around an expression: print(\"a\" .. b)"
	case m.statement && (m.tok.kind == tokString || m.tok.kind == tokNumber ||
		m.tok.kind == '{' || m.tok.kind <= tokFalse && m.tok.kind != tokEOF):
		return "a value alone is not a statement; assign it, or pass it to a function"
	case m.last != "" && !m.statement && m.last != "<eof>":
		return "a value is missing behind `" + cut(m.last) + "`"
	}
	return ""
}
