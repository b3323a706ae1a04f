package link

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestSkipped(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var s Skipped
	for range 1000 {
		s.Add(log, "odd", "layer", "test")
	}
	if s.Count() != 1000 {
		t.Errorf("Count() = %d, want 1000", s.Count())
	}
	text := out.String()
	if n := strings.Count(text, "\n"); n != 10 { // 1, 2, 4 ... 512
		t.Errorf("%d lines, want 10:\n%s", n, text)
	}
	for _, want := range []string{"level=WARN", "msg=odd", "layer=test", "count=512"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	s.Add(nil, "odd") // nobody listens
}
