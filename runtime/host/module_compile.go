package host

import (
	"context"
	"errors"
	"fmt"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/compile"
)

const (
	maxSource = compile.MaxSource
	// maxSyntax bounds the depth of values that are converted, as it bounds the
	// depth of expressions.
	maxSyntax = compile.MaxSyntax
	// embeddedPrefix begins the chunk names of modules that are part of imdlua.
	embeddedPrefix = "@imd/"
)

// compile returns the prototype of a chunk. The error is an *Error with code
// "syntax".
func (h *Host) compile(chunk, source string) (*lua.FunctionProto, error) {
	source = compile.Text(source)
	h.remember(chunk, source)
	proto, err := compile.Compile(chunk, source)
	if err != nil {
		return nil, syntaxError(chunk, err)
	}
	return proto, nil
}

// largeSource is the length from which a text is compiled without the interpreter
// lock. The compiler takes a time that grows with the square of the number of
// constants, and nothing stops it.
const largeSource = 8 << 10

// compileFor is compile for a running script, which can give up waiting.
func (h *Host) compileFor(L *lua.LState, chunk, source string) (*lua.FunctionProto, error) {
	if len(source) < largeSource {
		return h.compile(chunk, source)
	}
	type result struct {
		proto *lua.FunctionProto
		err   error
	}
	done := make(chan result, 1)
	var res result
	WithTimeout(L, NoTimeout, func(ctx context.Context) error {
		go func() {
			proto, err := h.compile(chunk, source)
			done <- result{proto, err}
		}()
		select {
		case res = <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return res.proto, res.err
}

func syntaxError(chunk string, err *compile.Error) *Error {
	e := Errorf("syntax", "%s", err.Message)
	e.Where = fmt.Sprintf("%s:%d", chunk, err.Line)
	e.Hint = err.Hint
	e.Details = map[string]any{"line": err.Line}
	if err.Column > 0 {
		e.Details["column"] = err.Column
	}
	if err.Incomplete {
		e.Details["incomplete"] = true
	}
	return e
}

// Incomplete reports whether err is a syntax error that more text could mend,
// for interactive input.
func Incomplete(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == "syntax" && e.Details["incomplete"] == true
}

// remember keeps the source of a chunk for reports. loadstring can make any
// number of chunks, so their count is bounded.
func (h *Host) remember(chunk, source string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.sources[chunk]; known || len(h.sources) < 256 {
		h.sources[chunk] = source
	}
}
