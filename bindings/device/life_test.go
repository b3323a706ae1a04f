package device

import (
	"errors"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// TestLifeError has reads that meet the end of a file: after the object was closed,
// that is not the end of the data.
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
	if !errors.As(err, &e) || e.Code != "closed" || errors.Is(err, io.EOF) {
		t.Errorf("Error(EOF) = %#v after the end, want code closed alone", err)
	}
}
