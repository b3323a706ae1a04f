package device

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/service"
)

// TestExplain maps errors with three families: one without Explain, one that explains
// only errors of its own type, and one that explains any error.
func TestExplain(t *testing.T) {
	t.Parallel()
	families := []Family{
		{},
		{Explain: Only[*fs.PathError](Reasons(
			Reason{Err: fs.ErrExist, Code: "exists", Hint: "remove it"},
			Reason{Err: fs.ErrNotExist, Code: "gone"},
		))},
		{Explain: Reasons(
			Reason{Err: fs.ErrPermission, Code: "denied"},
			Reason{Err: fs.ErrExist, Code: "double"},
		)},
	}
	file := func(err error) error { return &fs.PathError{Op: "open", Path: "x", Err: err} }
	refused := &service.Error{Service: "sample", Op: "open", Code: "Busy"}
	for _, tc := range []struct {
		err        error
		code, hint string
	}{
		{file(fs.ErrExist), "exists", "remove it"},
		{file(fs.ErrNotExist), "gone", ""},
		{fmt.Errorf("copy: %w", file(fs.ErrNotExist)), "gone", ""},
		{file(fs.ErrPermission), "denied", ""},
		{fs.ErrExist, "double", ""},
		{fs.ErrNotExist, "not_found", ""},
		{refused, "Busy", ""},
		{io.EOF, "disconnected", ""},
		{errors.New("x"), "failed", ""},
	} {
		e := MapError(families)(&device.Error{UDID: "0", Op: "test", Err: tc.err})
		if e.Code != tc.code {
			t.Errorf("the code of %v is %q, want %q", tc.err, e.Code, tc.code)
		}
		if e.Hint != tc.hint {
			t.Errorf("the hint of %v is %q, want %q", tc.err, e.Hint, tc.hint)
		}
	}
}
