package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/host/localfile"
)

// output writes messages, for one task at a time. A task stops waiting when its context ends, both
// for its turn and for a FIFO that has no reader.
type output struct {
	handler slog.Handler
	file    *os.File      // nil for standard error, which never waits
	turn    chan struct{} // holds a value while a task writes
}

func newOutput(h slog.Handler, file *os.File) *output {
	return &output{handler: h, file: file, turn: make(chan struct{}, 1)}
}

func (o *output) write(ctx context.Context, r slog.Record) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-o.turn }()
	if o.file == nil {
		return o.handler.Handle(ctx, r)
	}
	return localfile.Do(ctx, o.file, func() error { return o.handler.Handle(ctx, r) })
}

// textHandler writes lines for people.
type textHandler struct {
	w    io.Writer
	date bool
}

// Enabled returns true, because the module compares levels itself.
func (h *textHandler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs returns h. The module does not use it.
func (h *textHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup returns h. The module does not use it.
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
		fmt.Fprintf(&b, " %s=%s", oneLine(a.Key), field(a.Value))
		return true
	})
	b.WriteByte('\n')
	_, err := io.WriteString(h.w, b.String())
	return err
}

// oneLine escapes line breaks.
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
