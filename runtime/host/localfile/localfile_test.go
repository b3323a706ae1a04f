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
	if err != nil {
		t.Fatalf("ReadFile() failed: %v", err)
	}
	if len(b) != 1000 {
		t.Errorf("ReadFile() = %d bytes, want 1000", len(b))
	}
	_, err = ReadFile(t.Context(), path, 999)
	var limit *LimitError
	if !errors.As(err, &limit) {
		t.Fatalf("ReadFile() = %v, want a LimitError", err)
	}
	if want := (LimitError{path, 999}); *limit != want {
		t.Errorf("ReadFile() = %+v, want %+v", *limit, want)
	}
	if _, err := ReadFile(t.Context(), path+"x", 999); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadFile() = %v, want ErrNotExist", err)
	}
}

// TestEndless reads a file that reports size 0 and has no end.
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
