package link

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestAttempt(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]string{
		"": "afc: open", "/x": `afc: open "/x"`, "a\x00b": `afc: open "a\x00b"`,
	} {
		if got := Attempt("afc", "open", subject); got != want {
			t.Errorf("Attempt on %q = %q, want %q", subject, got, want)
		}
	}
}

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
