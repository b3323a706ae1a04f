// Package compile turns the source text of a chunk into a function prototype. It
// refuses what the parser and the compiler of gopher-lua cannot survive, and
// repairs what they get wrong.
package compile

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/imdlua/imdlua/runtime/host/vm"
)

const (
	// MaxSource is the longest text that is compiled.
	MaxSource = 4 << 20
	// MaxSyntax is how deep brackets, blocks and functions may stand in each
	// other. The compiler recurses, and a Go stack overflow cannot be caught.
	MaxSyntax = 200
	// maxConcat bounds operators that group to the right: each needs a register.
	maxConcat = 250
	// maxChain bounds everything else that makes an expression deep.
	maxChain = 2000
)

// Error is a syntax error, or a limit of the compiler that the source exceeds.
type Error struct {
	Message    string
	Line       int
	Column     int    // 0 if unknown
	Hint       string // what was probably meant
	Incomplete bool   // more text could complete the chunk
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Text removes what may stand before the first line of a script: a byte order
// mark, and a "#!" line, whose newline stays so that lines keep their numbers.
func Text(source string) string {
	source = strings.TrimPrefix(source, "\ufeff")
	if !strings.HasPrefix(source, "#") {
		return source
	}
	if i := strings.IndexByte(source, '\n'); i >= 0 {
		return source[i:]
	}
	return ""
}

// Compile returns the prototype of a chunk. source is the result of Text.
func Compile(chunk, source string) (*lua.FunctionProto, *Error) {
	if len(source) > MaxSource {
		return nil, &Error{
			Message: fmt.Sprintf("the source is longer than %d MB", MaxSource>>20),
			Line:    1,
		}
	}
	if err := scanDepth(source); err != nil {
		return nil, err
	}
	stmts, err := parse.Parse(strings.NewReader(source), chunk)
	if err != nil {
		return nil, syntaxError(source, err)
	}
	var r repairer
	main := &ast.FunctionExpr{ParList: &ast.ParList{HasVargs: true}, Stmts: stmts}
	r.function(main, false)
	if r.err != nil {
		return nil, r.err
	}
	proto, err := lua.Compile(main.Stmts, chunk)
	if err != nil {
		e := syntaxError(source, err)
		e.Line = r.marks.line(e.Line)
		return nil, e
	}
	r.marks.apply(proto)
	untail(proto)
	return proto, nil
}

func syntaxError(source string, err error) *Error {
	e := &Error{Message: err.Error(), Line: 1}
	var pe *parse.Error
	var ce *lua.CompileError
	switch {
	case errors.As(err, &pe):
		e.Line = pe.Pos.Line
		if e.Line == parse.EOF {
			e.Line = strings.Count(strings.TrimRight(source, "\n"), "\n") + 1
			e.Message = pe.Message + " at the end of the file"
			e.Incomplete = true
		} else {
			e.Message = fmt.Sprintf("%s near '%s'", pe.Message, pe.Token)
			e.Column = pe.Pos.Column
		}
		if strings.HasPrefix(pe.Message, "unterminated multiline") {
			e.Incomplete = true
		}
		e.Hint = syntaxHint(pe.Token, e.Line, source)
	case errors.As(err, &ce):
		e.Message, e.Line = ce.Message, ce.Line
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

// untail turns tail calls of functions named yield into plain calls. A Go
// function that yields in a tail call takes its caller's frame off the stack,
// and the coroutine could not be resumed. The instruction after a tail call
// returns all results already.
func untail(p *lua.FunctionProto) {
	for _, c := range p.DbgCalls {
		if c.Name == "yield" && c.Pc < len(p.Code) &&
			vm.Instruction(p.Code[c.Pc]).Op() == lua.OP_TAILCALL {
			const operands = 1<<26 - 1
			p.Code[c.Pc] = uint32(lua.OP_CALL)<<26 | p.Code[c.Pc]&operands&^0x3fe00
		}
	}
	for _, f := range p.FunctionPrototypes {
		untail(f)
	}
}
