// Package compile turns the source text of a chunk into a function prototype. It
// refuses what the parser and the compiler of gopher-lua cannot survive, and
// repairs what they get wrong. Faults lists it.
//
//	lex.go        source text to tokens
//	grammar*.go   tokens checked, with the error texts of lua5.1, and limits
//	mistakes*.go  what the author of a wrong source probably meant
//	repair*.go    syntax tree to repaired tree; weight.go bounds the work
//	compile.go    all of it in order, and the prototype
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

// MaxSource is the longest text that is compiled.
const MaxSource = 4 << 20

// Error is a syntax error, or a limit of the compiler that the source exceeds.
type Error struct {
	Message    string
	Line       int
	Column     int    // the character in the line, from 1; 0 if unknown
	Token      string // the text that was not expected; empty at the end and if unknown
	Opening    string // what is not closed: "function", "if", "("; empty if nothing is
	OpenLine   int    // where Opening stands
	Hint       string // what was probably meant
	Incomplete bool   // more text could complete the chunk

	at    token
	wants kind // what was expected instead of at, 0 if that was no one token
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
	blanks, syntax := check(source)
	if syntax != nil {
		return nil, syntax
	}
	stmts, err := parse.Parse(strings.NewReader(blank(source, blanks)), chunk)
	if err != nil {
		return nil, compilerError(err)
	}
	r := repairer{
		weight:  weight{on: len(source) > lightSource, locals: map[string]bool{}},
		watched: map[string]int{},
	}
	main := &ast.FunctionExpr{ParList: &ast.ParList{HasVargs: true}, Stmts: stmts}
	r.function(main, false)
	if r.err != nil {
		return nil, r.err
	}
	proto, err := lua.Compile(main.Stmts, chunk)
	if err != nil {
		e := compilerError(err)
		e.Line = r.marks.line(e.Line)
		return nil, e
	}
	r.marks.apply(proto)
	untail(proto)
	return proto, nil
}

// blank replaces spans of the source by spaces.
func blank(source string, spans []span) string {
	if len(spans) == 0 {
		return source
	}
	text := []byte(source)
	for _, s := range spans {
		for i := s.from; i < s.to; i++ {
			text[i] = ' '
		}
	}
	return string(text)
}

// compilerError is an error of gopher-lua about a source that check accepts.
func compilerError(err error) *Error {
	var pe *parse.Error
	var ce *lua.CompileError
	switch {
	case errors.As(err, &pe):
		return &Error{
			Message: fmt.Sprintf("%s near '%s'", pe.Message, pe.Token),
			Line:    max(pe.Pos.Line, 1),
		}
	case errors.As(err, &ce):
		return &Error{Message: ce.Message, Line: ce.Line}
	}
	return &Error{Message: err.Error(), Line: 1}
}

// locate sets the column and the text of the token that was not expected. At the
// end of the source these are behind the last line that is not empty.
func (e *Error) locate(src string) {
	if e.at.kind == tokEOF && e.at.at == len(src) {
		src = strings.TrimRight(src, " \t\r\n")
		e.Line = 1 + strings.Count(src, "\n")
		e.Column = column(src, len(src))
		return
	}
	e.Column = column(src, e.at.at)
	e.Token = e.at.text(src)
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
