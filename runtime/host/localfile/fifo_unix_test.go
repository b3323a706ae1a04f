//go:build unix

package localfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestFIFO opens and reads a FIFO that no other process has open, and one whose
// other end writes nothing.
func TestFIFO(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for _, flag := range []int{os.O_RDONLY, os.O_WRONLY} {
		if f, err := Open(soon(), path, flag, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open(%d) = %v, %v, want DeadlineExceeded", flag, f, err)
		}
	}
	// The cancelled calls of Open have left no goroutine that waits for the FIFO.
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := ReadFile(soon(), path, 100); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ReadFile() = %v, want DeadlineExceeded", err)
	}
	r, err := Open(t.Context(), path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	var n int
	err = Do(t.Context(), r, func() (err error) { n, err = r.Read(b); return err })
	if err != nil {
		t.Errorf("Read() failed: %v", err)
	}
	if string(b[:n]) != "hello" {
		t.Errorf("Read() = %q, want hello", b[:n])
	}
}
