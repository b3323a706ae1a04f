package link

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestMalformed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var m Malformed
	for range 1000 {
		m.Pass(log, errors.New("odd"), "layer", "test")
	}
	if m.Count() != 1000 {
		t.Errorf("Count() = %d, want 1000", m.Count())
	}
	text := out.String()
	if n := strings.Count(text, "\n"); n != 10 { // 1, 2, 4 ... 512
		t.Errorf("%d lines, want 10:\n%s", n, text)
	}
	for _, want := range []string{"level=WARN", "layer=test", "err=odd", "count=512"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	m.Pass(nil, errors.New("odd")) // nobody listens
}
