package failure_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	if err := failure.Wrap("open", "/x", nil); err != nil {
		t.Errorf("Wrap without a cause = %v, want nil", err)
	}
	for _, c := range []struct{ subject, want string }{
		{"/x", `phone: open "/x": file does not exist`},
		{"", "phone: open: file does not exist"},
	} {
		err := failure.Wrap("open", c.subject, fs.ErrNotExist)
		if got := err.Error(); got != c.want {
			t.Errorf("Wrap(%q) = %q, want %q", c.subject, got, c.want)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Wrap(%q) hides its cause", c.subject)
		}
	}
}
