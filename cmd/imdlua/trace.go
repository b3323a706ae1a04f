package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/imdlua/imdlua/repl"
)

// tracer decides what is logged, and can change its mind while programs run.
type tracer struct {
	layers  atomic.Pointer[[]string]
	verbose bool
}

func (t *tracer) set(layers []string) { t.layers.Store(&layers) }

func (t *tracer) wants(layer string, level slog.Level) bool {
	layers := *t.layers.Load()
	return slices.Contains(layers, layer) || slices.Contains(layers, "all") ||
		t.verbose && level >= slog.LevelInfo
}

// traceHandler writes the records that its tracer wants. A record's layer is
// the attribute of that name.
type traceHandler struct {
	slog.Handler
	tracer *tracer
	layer  string
}

func newTraceHandler(w io.Writer, t *tracer) slog.Handler {
	return &traceHandler{
		Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}), tracer: t,
	}
}

// Enabled can only say no for certain: a record may name its own layer.
func (h *traceHandler) Enabled(_ context.Context, level slog.Level) bool {
	return len(*h.tracer.layers.Load()) > 0 || h.tracer.verbose && level >= slog.LevelInfo
}

func (h *traceHandler) Handle(ctx context.Context, r slog.Record) error {
	layer := h.layer
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "layer" {
			layer = a.Value.String()
		}
		return true
	})
	if !h.tracer.wants(layer, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h *traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.Handler = h.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "layer" {
			next.layer = a.Value.String()
		}
	}
	return &next
}

func (h *traceHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.Handler = h.Handler.WithGroup(name)
	return &next
}

// logger returns what the protocol layers log to; nil is silent.
func (c *cli) logger() *slog.Logger {
	if c.tracer == nil && (len(c.flags.trace) > 0 || c.flags.verbose) {
		c.startTracing()
	}
	return c.log
}

// startTracing makes a logger even if nothing is to be logged yet. It comes
// before anything that logs.
func (c *cli) startTracing() {
	c.tracer = &tracer{verbose: c.flags.verbose}
	c.tracer.set(c.flags.trace)
	c.log = slog.New(newTraceHandler(c.stderr, c.tracer))
}

// traceCommand is :trace of the REPL.
func (c *cli) traceCommand() repl.Command {
	return repl.Command{
		Name: "trace", Args: "[LAYERS|off]", Doc: "show what layers do: lockdown,usbmux,... or all",
		Run: func(_ context.Context, arg string, out io.Writer) error {
			if arg == "off" {
				c.tracer.set(nil)
			} else if arg != "" {
				c.tracer.set(
					strings.FieldsFunc(arg, func(r rune) bool { return r == ',' || r == ' ' }),
				)
			}
			now := strings.Join(*c.tracer.layers.Load(), ",")
			if now == "" {
				now = "nothing"
			}
			_, err := io.WriteString(out, "tracing "+now+"\n")
			return err
		},
	}
}
