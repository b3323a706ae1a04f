// Package phonetest makes phones for tests and inspects their contents.
package phonetest

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
)

// New makes a phone. It logs nothing by itself unless o sets a LogRate.
func New(t testing.TB, o phone.Options) *phone.Phone {
	t.Helper()
	if o.LogRate == 0 {
		o.LogRate = -1
	}
	p, err := phone.New(o)
	if err != nil {
		t.Fatalf("New(%+v): %v", o, err)
	}
	return p
}

// EachProfile runs f as a subtest with a phone of each profile.
func EachProfile(t *testing.T, f func(*testing.T, *phone.Phone)) {
	for _, name := range identity.Profiles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, New(t, phone.Options{Profile: name}))
		})
	}
}

// Value returns a lockdown value. The test fails if it does not exist.
func Value(t testing.TB, p *phone.Phone, domain, key string) any {
	t.Helper()
	v, ok := p.Values.Get(domain, key)
	if !ok {
		t.Fatalf("Values.Get(%q, %q): missing", domain, key)
	}
	return v
}

// Heard returns the notifications that are queued for an observer. It does not
// wait.
func Heard(o *notifications.Observer) []string {
	var out []string
	Drain(o.Next, func(name string) { out = append(out, name) })
	return out
}

// Drain calls f with each value that next returns without waiting.
func Drain[T any](next func(context.Context) (T, error), f func(T)) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		v, err := next(ended)
		if err != nil {
			return
		}
		f(v)
	}
}

// EachFile calls fn for all paths below dir. It leaves out directories that may not
// be listed.
func EachFile(t testing.TB, f *files.FS, dir string, fn func(string, files.Info)) {
	t.Helper()
	names, err := f.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		p := path.Join(dir, name)
		i, err := f.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		fn(p, i)
		if i.Kind == files.Directory {
			EachFile(t, f, p, fn)
		}
	}
}

// Scribble overwrites everything in a value. A test calls it to check that the value is a
// copy.
func Scribble(v any) {
	switch v := v.(type) {
	case plist.Dict:
		for k, e := range v {
			Scribble(e)
			v[k] = "scribble"
		}
	case []any:
		for i, e := range v {
			Scribble(e)
			v[i] = "scribble"
		}
	case []byte:
		for i := range v {
			v[i] ^= 0xFF
		}
	}
}

// Err returns the second of two results, which is the error.
func Err[T any](_ T, err error) error { return err }
