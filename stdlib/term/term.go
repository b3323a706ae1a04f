// Package term is the script module imd.term: bars, spinners, tables, questions and colours for
// people at a terminal. Without a terminal, bars and spinners write only their last line, texts
// have no colours, and questions need a default.
//
//	local bar = term.bar{ total = #files, label = "upload" }
//	for _, file in ipairs(files) do
//	  upload(file)
//	  bar:add()
//	end
//	bar:finish()
package term

import (
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Module declares the module.
func Module() *api.Module {
	q := &questions{turn: make(chan struct{}, 1)}
	m := &api.Module{
		Name: "term",
		Doc: "Progress, tables, questions and colours for people at a terminal. Without a " +
			"terminal, bars and spinners write one line when they finish, texts have no colours, " +
			"and questions need a default.",
		Perm:    "none",
		Classes: []*api.Class{barClass(), spinnerClass()},
		Funcs:   append(progressFuncs(), tableFunc(), q.confirmFunc(), q.chooseFunc()),
		Examples: []string{`local term = require("imd.term")
local bar = term.bar{ total = 3, label = "steps" }
for step = 1, 3 do bar:add() end
bar:finish()`},
	}
	m.Funcs = append(m.Funcs, facts()...)
	m.Funcs = append(m.Funcs, styleFuncs()...)
	return m
}

// facts returns the functions that describe the terminal.
func facts() []*api.Func {
	return []*api.Func{
		api.Function("width", "Returns how many columns the terminal has, 80 if there is none.",
			"", func(c *api.Call) int { return terminal(c).Columns() },
			api.Example(`return require("imd.term").width() > 0 -- => true`)),
		api.Function("is_tty", "Whether a stream of the script is a terminal.",
			"stream?", isTTY,
			api.ParamDoc("stream", "stdin, stdout or stderr; stdout by default"),
			api.Example(`return require("imd.term").is_tty("stdin") -- => false`)),
	}
}

func terminal(c *api.Call) host.Terminal { return c.Host().Options().Terminal }

func isTTY(c *api.Call, stream *string) (bool, error) {
	t := terminal(c)
	if stream == nil {
		return t.Stdout, nil
	}
	switch *stream {
	case "stdin":
		return t.Stdin, nil
	case "stdout":
		return t.Stdout, nil
	case "stderr":
		return t.Stderr, nil
	}
	return false, c.ArgError(1, "%q is not stdin, stdout or stderr", *stream)
}
