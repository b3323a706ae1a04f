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
		if names, err := p.ListDirectory(dir); err != nil || !slices.Contains(names, want) ||
			!slices.IsSorted(names) {
			t.Errorf("%s has %q, %v, want %s", dir, names, err, want)
		}
	}
	for dir, want := range map[string]error{"": fs.ErrNotExist, "usr": fs.ErrNotExist,
		"/nowhere":  fs.ErrNotExist,
		"/var/root": fs.ErrPermission, "/var/mobile/Containers/Data": fs.ErrPermission,
		"/var/mobile/Media/none": fs.ErrNotExist} {
		if names, err := p.ListDirectory(dir); names != nil || !errors.Is(err, want) {
			t.Errorf("%q has %q, %v", dir, names, err)
		}
	}
}
