package link

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestCause(t *testing.T) {
	t.Parallel()
	absent := Cause("no such app", fs.ErrNotExist)
	if text := absent.Error(); text != "no such app" {
		t.Errorf("the text is %q, want %q", text, "no such app")
	}
	wrapped := fmt.Errorf("look up: %w", absent)
	for _, target := range []error{absent, fs.ErrNotExist} {
		if !errors.Is(wrapped, target) {
			t.Errorf("%v is not %v", wrapped, target)
		}
	}
	for _, target := range []error{Cause("no such app", fs.ErrNotExist), ErrProtocol} {
		if errors.Is(wrapped, target) {
			t.Errorf("%v is another error of the text %q", wrapped, target)
		}
	}
	if err := Malformed("junk"); !errors.Is(err, ErrProtocol) {
		t.Errorf("%v is not ErrProtocol", err)
	}
}
