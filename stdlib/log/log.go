// Package log is the script module log: messages with fields on the error output, so that what a script
// prints as its result stays clean.
//
//	log.info("installed", { bundle = "com.example.shop", seconds = 3.2 })
//
// prints
//
//	12:30:05 INFO  installed bundle=com.example.shop seconds=3.2
package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// logger is the state of one host.
type logger struct {
	level slog.LevelVar
	out   slog.Handler // nil until used: stderr of the host
}

var levels = []string{"debug", "info", "warn", "error"}

type toOptions struct {
	JSON bool `lua:"json" doc:"one JSON object a line"`
}

// Module declares the module.
func Module() *api.Module {
	l := &logger{}
	m := &api.Module{Name: "log", Doc: "Messages on the error output, with fields. What is below the level is not printed.", Global: true, Perm: "none"}
	for _, name := range levels {
		m.Funcs = append(m.Funcs, api.Function(name, "Logs a message at level "+name+".", "message:string fields?:table",
			func(c *api.Call, msg lua.LValue, fields *lua.LTable) error {
				return l.log(c, levelOf(name), msg, fields)
			},
			api.ParamDoc("message", "what happened; other values are printed as by tostring"), api.ParamDoc("fields", "names and values"),
			api.Example("log."+name+`("started", { pid = 42 })`)))
	}
	m.Funcs = append(m.Funcs,
		api.Function("level", "Returns the level, after setting it when one is given.", "level?", l.setLevel,
			api.ParamDoc("level", "debug, info, warn or error"), api.Returns("string level"),
			api.Example(`return log.level("warn") -- => "warn"`)),
		api.Function("to", "Sends messages to a file instead, until the script ends.", "path opts?", l.to, api.Perm("file-write"),
			api.ParamDoc("path", "the file, which is added to"), api.StringKind("path", "path"),
			api.Example(`log.to(fs.temp_file(".log"), { json = true })`)))
	return m
}

func levelOf(name string) slog.Level {
	return map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}[name]
}

func (l *logger) setLevel(c *api.Call, name *string) (string, error) {
	if name != nil {
		if !slices.Contains(levels, *name) {
			return "", c.ArgError(1, "%q is none of %s", *name, strings.Join(levels, ", "))
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
		l.out = &textHandler{w: c.Host().Stderr(), mu: new(sync.Mutex)}
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
	return c.TryBlock(func(ctx context.Context) error { return out.Handle(ctx, r) })
}

// attr makes a field; what has no Go form is logged as it prints.
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
	err := c.TryBlock(func(context.Context) (err error) {
		f, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		return err
	})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	old := l.out
	if o.JSON {
		l.out = slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})
	} else {
		l.out = &textHandler{w: f, mu: new(sync.Mutex), date: true}
	}
	mine := l.out
	c.Scope().Add(host.CloserFunc(func(context.Context) error { return f.Close() }))
	c.Scope().Defer(c.L.NewFunction(func(*lua.LState) int {
		if l.out == mine {
			l.out = old
		}
		return 0
	}))
	return nil
}

// textHandler writes lines for people.
type textHandler struct {
	mu   *sync.Mutex
	w    io.Writer
	date bool
}

// Enabled says yes: the module looks at the level itself.
func (h *textHandler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs and WithGroup are not used by the module.
func (h *textHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup returns h.
func (h *textHandler) WithGroup(string) slog.Handler { return h }

// Handle writes one line.
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	layout := "15:04:05"
	if h.date {
		layout = "2006-01-02 15:04:05"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s %s", r.Time.Format(layout), r.Level, oneLine(r.Message))
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%s", a.Key, field(a.Value))
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

// oneLine keeps a message on its line.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(s)
}

func field(v slog.Value) string {
	s := v.String()
	if s == "" || strings.ContainsAny(s, " \t\r\n\"=") {
		return strconv.Quote(s)
	}
	return s
}
