// Package log is the script module log: messages with fields on standard error, so that standard
// output has only the results that a script prints.
//
//	log.info("installed", { bundle = "com.example.shop", seconds = 3.2 })
//
// prints
//
//	12:30:05 INFO  installed bundle=com.example.shop seconds=3.2
package log

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// logger is the state of one host.
type logger struct {
	level slog.LevelVar
	out   *output // nil until the first message
}

var levels = []string{"debug", "info", "warn", "error"}

type toOptions struct {
	JSON bool `lua:"json" doc:"one JSON object a line"`
}

// Module declares the module.
func Module() *api.Module {
	l := &logger{}
	m := &api.Module{
		Name:   "log",
		Doc:    "Messages with fields on standard error. Messages below the level are not printed.",
		Global: true,
		Perm:   "none",
	}
	for _, name := range levels {
		logAt := func(c *api.Call, msg lua.LValue, fields *lua.LTable) error {
			return l.log(c, levelOf(name), msg, fields)
		}
		m.Funcs = append(m.Funcs, api.Function(name, "Logs a message at level "+name+".",
			"message:string fields?:table", logAt,
			api.ParamDoc("message", "what happened; other values are printed as by tostring"),
			api.ParamDoc("fields", "names and values"),
			api.Example("log."+name+`("started", { pid = 42 })`)))
	}
	m.Funcs = append(m.Funcs,
		api.Function("level", "Sets the level if one is given. Returns the level.",
			"level?", l.setLevel,
			api.ParamDoc("level", "debug, info, warn or error"),
			api.Returns("string level"),
			api.Example(`return log.level("warn") -- => "warn"`)),
		api.Function("to", "Sends messages to a file, not to standard error, until the scope ends.",
			"path opts?", l.to,
			fs.PathParam("path", "the file, which is added to", host.AccessWrite),
			api.Perm("file-write"),
			api.Example(`log.to(fs.temp_file(".log"), { json = true })`)))
	return m
}

func levelOf(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

func (l *logger) setLevel(c *api.Call, name *string) (string, error) {
	if name != nil {
		if !slices.Contains(levels, *name) {
			return "", c.ArgError(1, "%q is not one of %s", *name, strings.Join(levels, ", "))
		}
		l.level.Set(levelOf(*name))
	}
	return strings.ToLower(l.level.Level().String()), nil
}

func (l *logger) log(c *api.Call, level slog.Level, msg lua.LValue, fields *lua.LTable) error {
	if level < l.level.Level() {
		return nil
	}
	if l.out == nil {
		l.out = newOutput(&textHandler{w: c.Host().Stderr()}, nil)
	}
	r := slog.NewRecord(time.Now(), level, host.ToString(c.L, msg), 0)
	if t := c.Task(); t.Name() != "main" {
		r.AddAttrs(slog.String("task", t.Name()))
	}
	if fields != nil {
		for k, v := fields.Next(lua.LNil); k != lua.LNil; k, v = fields.Next(k) {
			r.AddAttrs(attr(c, host.ToString(c.L, k), v))
		}
	}
	out := l.out
	return fs.Do(c, "log", func(ctx context.Context) error { return out.write(ctx, r) })
}

// attr makes a field. A value that has no Go value is logged as print shows it.
func attr(c *api.Call, key string, v lua.LValue) slog.Attr {
	switch x := v.(type) {
	case lua.LBool:
		return slog.Bool(key, bool(x))
	case lua.LNumber:
		if n := int64(x); lua.LNumber(n) == x {
			return slog.Int64(key, n)
		}
		return slog.Float64(key, float64(x))
	case *lua.LTable:
		if g, err := host.FromLua(x); err == nil {
			return slog.Any(key, g)
		}
	}
	return slog.String(key, host.ToString(c.L, v))
}

func (l *logger) to(c *api.Call, path string, o toOptions) error {
	var f *os.File
	scope := c.Scope()
	err := fs.Do(c, "log", func(ctx context.Context) (err error) {
		f, err = localfile.Open(ctx, path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			scope.Add(host.CloserFunc(func(context.Context) error { return f.Close() }))
		}
		return err
	})
	if err != nil {
		return err
	}
	var handler slog.Handler = &textHandler{w: f, date: true}
	if o.JSON {
		handler = slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})
	}
	old, mine := l.out, newOutput(handler, f)
	l.out = mine
	scope.Defer(c.L.NewFunction(func(*lua.LState) int {
		if l.out == mine {
			l.out = old
		}
		return 0
	}))
	return nil
}
