package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
)

// traceHandler writes the records of chosen layers: all of them for those that
// --trace names, from Info on for the others with --verbose. The layer is the
// attribute of that name.
type traceHandler struct {
	slog.Handler
	layers  []string
	all     bool
	verbose bool
	layer   string
}

func newTraceHandler(w io.Writer, layers []string, verbose bool) slog.Handler {
	text := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
	return &traceHandler{Handler: text, layers: layers, all: slices.Contains(layers, "all"), verbose: verbose}
}

// Enabled can only say no for certain: a record may name its own layer.
func (h *traceHandler) Enabled(_ context.Context, level slog.Level) bool {
	return len(h.layers) > 0 || h.verbose && level >= slog.LevelInfo
}

func (h *traceHandler) Handle(ctx context.Context, r slog.Record) error {
	layer := h.layer
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "layer" {
			layer = a.Value.String()
		}
		return true
	})
	if h.all || slices.Contains(h.layers, layer) || h.verbose && r.Level >= slog.LevelInfo {
		return h.Handler.Handle(ctx, r)
	}
	return nil
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
