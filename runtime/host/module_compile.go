package host

import (
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

func syntaxError(chunk string, err *compile.Error) *Error {
	e := Errorf("syntax", "%s", err.Message)
	e.Where = fmt.Sprintf("%s:%d", chunk, err.Line)
	e.Hint = err.Hint
	e.Details = map[string]any{"line": err.Line}
	if err.Column > 0 {
		e.Details["column"] = err.Column
	}
	if err.Token != "" {
		e.Details["token"] = err.Token
	}
	if err.Opening != "" {
		e.Details["opening"] = err.Opening
		e.Details["opening_line"] = err.OpenLine
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
