package phone_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestListDirectory(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	for dir, want := range map[string]string{
		"/": "System", "/private/var": "mobile", "/var/": "mobile", "/usr/libexec": "lockdownd",
		"/var/mobile/Media":               "DCIM",
		"/private/var/mobile/Media/DCIM/": "100APPLE", "/Applications": "Preferences.app",
		"/var/mobile/Library/Logs/CrashReporter": "Panics",
		"/Applications/../usr":                   "sbin",
	} {
		if names, err := p.ListDirectory(dir); err != nil {
			t.Errorf("ListDirectory(%s): %v", dir, err)
		} else if !slices.Contains(names, want) {
			t.Errorf("ListDirectory(%s) = %q, want %s in it", dir, names, want)
		} else if !slices.IsSorted(names) {
			t.Errorf("ListDirectory(%s) is not sorted: %q", dir, names)
		}
	}
	for dir, want := range map[string]error{"": fs.ErrNotExist, "usr": fs.ErrNotExist,
		"/nowhere":  fs.ErrNotExist,
		"/var/root": fs.ErrPermission, "/var/mobile/Containers/Data": fs.ErrPermission,
		"/var/mobile/Media/none": fs.ErrNotExist} {
		if names, err := p.ListDirectory(dir); names != nil {
			t.Errorf("ListDirectory(%s) = %v, want nil", dir, names)
		} else if !errors.Is(err, want) {
			t.Errorf("ListDirectory(%s): %v, want %v", dir, err, want)
		}
	}
}
