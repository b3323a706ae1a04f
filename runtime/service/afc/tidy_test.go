package afc

import (
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/savefile"
)

// TestPushTidies checks that a push removes the files that interrupted pushes have left
// in its directory, and no others.
func TestPushTidies(t *testing.T) {
	t.Parallel()
	f := newFS()
	c := pair(t, f)
	must(t, f.Mkdir("/d"))
	must(t, f.Mkdir("/e"))
	old, young := "/d/"+savefile.Temporary(), "/d/"+savefile.Temporary()
	elsewhere, folder := "/e/"+savefile.Temporary(), "/d/"+savefile.Temporary()
	must(t, f.Mkdir(folder))
	kept := []string{
		young, elsewhere, folder, "/d/.imdlua-notes", "/d/x.imdlua-ABCDEFGHIJKLMNOP",
		"/d/.imdlua-abcdefghijklmnop",
	}
	for _, name := range append(slices.Clone(kept), old) {
		if name == folder {
			continue
		}
		must(t, f.WriteFile(name, []byte("half")))
	}
	longAgo := time.Unix(1_000_000_000, 0)
	for _, name := range append(slices.Clone(kept[1:]), old) {
		must(t, c.SetModTime(ctx(t), name, longAgo))
	}
	must(t, c.WriteFile(ctx(t), "/d/new", []byte("whole")))
	if _, err := f.Stat(old); err == nil {
		t.Errorf("%s is still there", old)
	}
	for _, name := range append(kept, "/d/new") {
		if _, err := f.Stat(name); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}
