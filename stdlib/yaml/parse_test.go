package yaml

import (
	"context"
	"strings"
	"testing"
)

// TestCancel reads a text with a context that has ended.
func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	documents, err := readDocuments(ctx, []byte("["+strings.Repeat("a,", 1000)+"a]"), 1)
	if err == nil {
		t.Errorf("readDocuments = %d documents, want an error", len(documents))
	}
}
