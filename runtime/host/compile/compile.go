// Package compile compiles the source text of a chunk to a function prototype. It
// uses the parser and the compiler of gopher-lua. It rejects sources that would crash
// them, and repairs the faults that Faults lists.
//
//	lex.go        splits the source into tokens
//	grammar*.go   checks the syntax, with the error texts of lua5.1, and limits
//	mistakes*.go  finds hints for sources with syntax errors
//	repair*.go    repairs the syntax tree and the prototype
//	weight.go     limits the time that compiling takes
//	compile.go    runs these steps in order
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

// MaxSource is the largest length of a source, in bytes.
const MaxSource = 4 << 20

// Error is a syntax error, or the error for a source that exceeds a limit.
type Error struct {
	Message    string
	Line       int
	Column     int    // the character in the line, counted from 1; 0 if unknown
	Token      string // the unexpected token; empty at the end of the source and if unknown
	Opening    string // the token that is not closed, such as "function" or "("; may be empty
	OpenLine   int    // the line of Opening
	Hint       string // what the author probably meant
	Incomplete bool   // more text could complete the chunk

	at    token // the unexpected token
	wants kind  // the expected kind of token, or 0 if there is more than one
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Text removes a byte order mark and a "#!" line from the beginning of a script. It
// keeps the newline of the "#!" line, so that the numbers of lines do not change.
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

// blank replaces parts of the source by spaces.
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

// compilerError converts an error of gopher-lua about a source that check accepted.
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

// locate sets the column and the text of the unexpected token. At the end of the
// source it sets the position after the last line that is not empty.
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

// untail replaces tail calls of functions named yield by plain calls. If a Go function
// yields in a tail call, the frame of its caller is removed from the stack, and the
// coroutine cannot be resumed. The instruction after a tail call already returns all
// results, so no other change is needed.
func untail(p *lua.FunctionProto) {
	for _, c := range p.DbgCalls {
		if c.Name != "yield" || c.Pc >= len(p.Code) {
			continue
		}
		if vm.Instruction(p.Code[c.Pc]).Op() == lua.OP_TAILCALL {
			const operands = 1<<26 - 1
			p.Code[c.Pc] = uint32(lua.OP_CALL)<<26 | p.Code[c.Pc]&operands&^0x3fe00
		}
	}
	for _, f := range p.FunctionPrototypes {
		untail(f)
	}
}
