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
	// maxSyntax limits the depth of values that are converted, like the depth of
	// expressions.
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

// longSource is the length from which a source is compiled in a goroutine of its
// own, so that compiling can be cancelled.
const longSource = 32 << 10

// compileUntil is like compile but returns when ctx ends. The compiler goroutine
// then ends by itself, within the few seconds that the limits of package compile
// allow.
func (h *Host) compileUntil(
	ctx context.Context, chunk, source string,
) (*lua.FunctionProto, error) {
	if len(source) < longSource {
		return h.compile(chunk, source)
	}
	type result struct {
		proto *lua.FunctionProto
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.err = shielded(ctx, func(context.Context) (err error) {
			r.proto, err = h.compile(chunk, source)
			return err
		})
		done <- r
	}()
	select {
	case r := <-done:
		return r.proto, r.err
	case <-ctx.Done():
		return nil, h.ToError(context.Cause(ctx))
	}
}

// compileFor compiles a source for a running script. It gives up the lock while it
// compiles a long source.
func (h *Host) compileFor(L *lua.LState, chunk, source string) (*lua.FunctionProto, error) {
	if len(source) < longSource {
		return h.compile(chunk, source)
	}
	var proto *lua.FunctionProto
	err := TryWithTimeout(L, -1, func(ctx context.Context) (err error) {
		proto, err = h.compileUntil(ctx, chunk, source)
		return err
	})
	return proto, err
}

// compileMain runs compileFor as the first step of the main task.
func (h *Host) compileMain(t *Task, chunk, source string) (
	proto *lua.FunctionProto, f *failure, syntax error,
) {
	step := h.root.NewFunction(func(L *lua.LState) int {
		proto, syntax = h.compileFor(L, chunk, source)
		return 0
	})
	_, f = callOn(t.th, t.hook, step)
	return proto, f, syntax
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

// Incomplete reports whether err is a syntax error that more input could correct.
// Interactive programs use it to decide whether to read another line.
func Incomplete(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == "syntax" && e.Details["incomplete"] == true
}

// remember keeps the source of a chunk for reports. It keeps a limited number,
// because loadstring can make any number of chunks.
func (h *Host) remember(chunk, source string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.sources[chunk]; known || len(h.sources) < 256 {
		h.sources[chunk] = source
	}
}
