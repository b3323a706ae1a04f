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

// tracer decides which records are logged. The decision can be changed during a run.
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

// traceHandler writes the records that its tracer wants. The layer of a record is its attribute
// "layer".
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

// Enabled returns false only if no record is wanted, because a record may have its own layer.
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

// logger returns the logger of the protocol layers, nil if nothing is logged.
func (c *cli) logger() *slog.Logger {
	if c.tracer == nil && (len(c.flags.trace) > 0 || c.flags.verbose) {
		c.startTracing()
	}
	return c.log
}

// startTracing makes a logger even if nothing is logged yet. It must be called before anything that
// uses the logger.
func (c *cli) startTracing() {
	c.tracer = &tracer{verbose: c.flags.verbose}
	c.tracer.set(c.flags.trace)
	c.log = slog.New(newTraceHandler(c.stderr, c.tracer))
}

// traceCommand is the command :trace of the REPL.
func (c *cli) traceCommand() repl.Command {
	return repl.Command{
		Name: "trace", Args: "[LAYERS|off]", Doc: "log the work of layers: lockdown,usbmux,... or all",
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
