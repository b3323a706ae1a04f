package host

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

const (
	// maxSource is the longest text that is compiled.
	maxSource = 4 << 20
	// maxSyntax is how deep brackets, blocks and functions may stand in each
	// other. The compiler recurses, and a Go stack overflow cannot be caught.
	maxSyntax = 200
	// maxConcat bounds operators that group to the right: each needs a register.
	maxConcat = 250
	// maxChain bounds everything else that makes an expression deep.
	maxChain = 2000
	// embeddedPrefix begins the chunk names of modules that are part of imdlua.
	embeddedPrefix = "@imd/"
)

// compile makes a function prototype of source. The error is an *Error with
// code "syntax".
func (h *Host) compile(chunk, source string) (*lua.FunctionProto, error) {
	source = strings.TrimPrefix(source, "\ufeff")
	if strings.HasPrefix(source, "#") {
		// A "#!" line: the newline stays, and with it the line numbers.
		if i := strings.IndexByte(source, '\n'); i >= 0 {
			source = source[i:]
		} else {
			source = ""
		}
	}
	h.remember(chunk, source)
	if len(source) > maxSource {
		return nil, &Error{Code: "syntax", Message: fmt.Sprintf("the source is longer than %d MB", maxSource>>20), Where: chunk + ":1"}
	}
	if line, msg := scanDepth(source); msg != "" {
		return nil, &Error{Code: "syntax", Message: msg, Where: fmt.Sprintf("%s:%d", chunk, line), Details: map[string]any{"line": line}}
	}
	stmts, err := parse.Parse(strings.NewReader(source), chunk)
	if err != nil {
		return nil, syntaxError(chunk, source, err)
	}
	hoistLoops(stmts)
	proto, err := lua.Compile(stmts, chunk)
	if err != nil {
		return nil, syntaxError(chunk, source, err)
	}
	untail(proto)
	return proto, nil
}

// remember keeps the source of a chunk for reports. Chunks that loadstring
// makes could be without number, so their count is bounded.
func (h *Host) remember(chunk, source string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.sources[chunk]; known || len(h.sources) < 256 {
		h.sources[chunk] = source
	}
}

func syntaxError(chunk, source string, err error) *Error {
	e := &Error{Code: "syntax", Message: err.Error(), Where: chunk + ":1"}
	var pe *parse.Error
	var ce *lua.CompileError
	switch {
	case errors.As(err, &pe):
		line := pe.Pos.Line
		e.Details = map[string]any{}
		if line == parse.EOF {
			line = strings.Count(strings.TrimRight(source, "\n"), "\n") + 1
			e.Message = pe.Message + " at the end of the file"
			e.Details["incomplete"] = true
		} else {
			e.Message = fmt.Sprintf("%s near '%s'", pe.Message, pe.Token)
			e.Details["column"] = pe.Pos.Column
		}
		if strings.HasPrefix(pe.Message, "unterminated multiline") {
			e.Details["incomplete"] = true
		}
		e.Details["line"] = line
		e.Where = fmt.Sprintf("%s:%d", chunk, line)
		e.Hint = syntaxHint(pe.Token, line, source)
	case errors.As(err, &ce):
		e.Message = ce.Message
		e.Details = map[string]any{"line": ce.Line}
		e.Where = fmt.Sprintf("%s:%d", chunk, ce.Line)
	}
	return e
}

// syntaxHint helps people who come from other languages.
func syntaxHint(token string, line int, source string) string {
	lines := strings.SplitN(source, "\n", line+1)
	text := ""
	if line >= 1 && line <= len(lines) {
		text = lines[line-1]
	}
	switch {
	case strings.Contains(text, "!="):
		return "not equal is ~= in Lua"
	case strings.Contains(text, "+=") || strings.Contains(text, "-="):
		return "Lua has no += and -=; write x = x + 1"
	case strings.Contains(text, "++"):
		return "Lua has no ++; write x = x + 1"
	case strings.Contains(text, "&&"):
		return "and is written `and` in Lua"
	case strings.Contains(text, "||"):
		return "or is written `or` in Lua"
	case token == "else" && strings.Contains(text, "else if"):
		return "write elseif"
	case token == "=" && strings.Contains(text, "if "):
		return "compare with == in Lua"
	}
	return ""
}

// Incomplete tells whether err is a syntax error that more text could mend,
// for interactive input.
func Incomplete(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == "syntax" && e.Details["incomplete"] == true
}

// untail turns tail calls of functions named yield into plain calls. A Go
// function that yields in a tail call takes its caller's frame off the stack,
// and the coroutine could not be resumed. The instruction after a tail call
// returns all results already.
func untail(p *lua.FunctionProto) {
	for _, c := range p.DbgCalls {
		if c.Name == "yield" && c.Pc < len(p.Code) && opcode(p.Code[c.Pc]) == lua.OP_TAILCALL {
			i := p.Code[c.Pc]
			p.Code[c.Pc] = uint32(lua.OP_CALL)<<26 | uint32(argA(i))<<18 | uint32(argB(i))
		}
	}
	for _, f := range p.FunctionPrototypes {
		untail(f)
	}
}
