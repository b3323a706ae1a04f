package device

import (
	"errors"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestLifeError checks that io.EOF becomes the code "closed" after the object was closed,
// because it is then not the end of the data.
func TestLifeError(t *testing.T) {
	l := NewLife("Connection")
	if err := l.Error(io.EOF); err != io.EOF {
		t.Errorf("Error(EOF) = %v before the end, want EOF", err)
	}
	l.End()
	if err := l.Error(nil); err != nil {
		t.Errorf("Error(nil) = %v, want nil", err)
	}
	err := l.Error(io.EOF)
	var e *host.Error
	if !errors.As(err, &e) {
		t.Fatalf("Error(EOF) = %#v after the end, want a *host.Error", err)
	}
	if e.Code != "closed" {
		t.Errorf("Error(EOF) has the code %q after the end, want closed", e.Code)
	}
	if errors.Is(err, io.EOF) {
		t.Errorf("Error(EOF) = %#v after the end, which wraps EOF", err)
	}
}
