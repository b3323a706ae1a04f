package localfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestReadFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := ReadFile(t.Context(), path, 1000)
	if err != nil || len(b) != 1000 {
		t.Errorf("ReadFile() = %d bytes, %v, want 1000, nil", len(b), err)
	}
	var limit *LimitError
	if _, err := ReadFile(t.Context(), path, 999); !errors.As(err, &limit) || limit.Path != path ||
		limit.Limit != 999 {
		t.Errorf("ReadFile() = %v, want a LimitError with path and limit", err)
	}
	if _, err := ReadFile(t.Context(), path+"x", 999); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadFile() = %v, want ErrNotExist", err)
	}
}

// TestEndless reads a file that claims to be empty and has no end.
func TestEndless(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no /dev/zero")
	}
	var limit *LimitError
	if _, err := ReadFile(t.Context(), "/dev/zero", 1<<20); !errors.As(err, &limit) {
		t.Errorf("ReadFile(/dev/zero) = %v, want a LimitError", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ReadFile(ctx, "/dev/zero", 1<<40); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ReadFile(/dev/zero) = %v, want DeadlineExceeded", err)
	}
}
