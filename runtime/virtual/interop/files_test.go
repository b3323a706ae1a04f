//go:build linux

package interop

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// tree reads all files of the phone below a folder.
func tree(t *testing.T, f *files.FS, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	var walk func(string)
	walk = func(dir string) {
		names, err := f.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			name = path.Join(dir, name)
			info, err := f.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			switch info.Kind {
			case files.Directory:
				walk(name)
			case files.Regular:
				b, err := f.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				found[strings.TrimPrefix(name, "/")] = string(b)
			}
		}
	}
	walk(dir)
	return found
}

// folder reads all files below a local folder.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, p))
		found[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func sameFiles(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, b := range want {
		if g, ok := got[name]; !ok || g != b {
			t.Errorf("%s: %d bytes (there: %v), want the phone's %d", name, len(g), ok, len(b))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is not on the phone", name)
		}
	}
}

func TestIdeviceCrashReport(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	app, err := r.phone().Processes.Launch("com.example.notes")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := r.phone().Crash(app.PID)
	if err != nil {
		t.Fatal(err)
	}
	dir := func(name string) string {
		d := filepath.Join(r.dir, name)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		return d
	}
	kept, moved, again := dir("kept"), dir("moved"), dir("again")
	want := tree(t, r.phone().Crashes.Files, "/")
	_, ok := want[path.Base(fresh)]
	if !ok {
		t.Fatalf("the phone has no report %s", fresh)
	}
	if len(want) < 5 {
		t.Fatalf("the phone has %d reports, want at least 5", len(want))
	}
	out := r.output("idevicecrashreport", "-k", kept)
	n := strings.Count(out, "Copy: ")
	if n != len(want) {
		t.Errorf("%d reports copied, want %d: %s", n, len(want), out)
	}
	if !strings.HasSuffix(out, "Done.\n") {
		t.Errorf("idevicecrashreport does not end with Done: %s", out)
	}
	sameFiles(t, folder(t, kept), want)
	sameFiles(t, tree(t, r.phone().Crashes.Files, "/"), want)

	out = r.output("idevicecrashreport", moved)

	if strings.Count(out, "Move: ") != len(want) {
		t.Errorf("moved, want %d reports: %s", len(want), out)
	}
	sameFiles(t, folder(t, moved), want)
	sameFiles(t, tree(t, r.phone().Crashes.Files, "/"), nil)

	r.want(result{out: "Done.\n"}, "idevicecrashreport", again)
}

// mount mounts the phone and returns the folder. Should the phone stop to
// answer, unplugging it frees whoever waits in the kernel.
func (r *rig) mount(args ...string) string {
	r.Helper()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		r.Skipf("ifuse needs /dev/fuse: %v", err)
	} else {
		f.Close()
	}
	unmount := tool(r, "fusermount")
	stop := context.AfterFunc(r.ctx, func() { r.host.Close() })
	r.Cleanup(func() { stop() })
	dir, err := os.MkdirTemp(r.dir, "mnt")
	if err != nil {
		r.Fatal(err)
	}
	r.output("ifuse", append([]string{dir}, args...)...)
	r.Cleanup(func() {
		if got := r.run(unmount, "-u", dir); got.code != 0 {
			r.Errorf("fusermount: %+v", got)
		}
	})
	return dir
}

func TestIfuse(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	dir, media := r.mount(), r.phone().Media
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	names, err := media.ReadDir("/")
	check("list the model", err)
	entries, err := os.ReadDir(dir)
	check("list", err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("the mount lists %q, the phone has %q", got, names)
	}
	photos := strip(tree(t, media, "/DCIM"), "DCIM/")
	if len(photos) < 3 {
		t.Errorf("the phone has %d photos", len(photos))
	}
	sameFiles(t, folder(t, filepath.Join(dir, "DCIM")), photos)
	ifuseChanges(t, dir, media, check)

	var st syscall.Statfs_t
	check("statfs", syscall.Statfs(dir, &st))
	total, free, _ := media.Usage()
	all, unused := st.Blocks*uint64(st.Bsize), st.Bavail*uint64(st.Bsize)
	if all>>20 != total>>20 {
		t.Errorf("statfs tells %d bytes in all, the phone %d", all, total)
	}
	if unused>>20 != free>>20 {
		t.Errorf("statfs tells %d bytes free, the phone %d", unused, free)
	}
	if err := os.Mkdir(filepath.Join(dir, "nowhere", "x"), 0o755); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mkdir in no folder: %v", err)
	}
}

func strip(files map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	for name, b := range files {
		out[strings.TrimPrefix(name, prefix)] = b
	}
	return out
}

// ifuseChanges writes through the mount and looks at the model, and the other
// way round.
func ifuseChanges(t *testing.T, dir string, media *files.FS, check func(string, error)) {
	t.Helper()
	file := filepath.Join(dir, "Downloads", "größe.bin")
	content := noise(3<<20 + 17)
	check("write", os.WriteFile(file, content, 0o644))
	b, err := media.ReadFile("/Downloads/größe.bin")
	if err != nil {
		t.Errorf("the phone's file: %v", err)
	}
	if !bytes.Equal(b, content) {
		t.Errorf("the phone has %d bytes that differ from the %d written", len(b), len(content))
	}
	check("write on the phone", media.WriteFile("/Downloads/note.txt", []byte("from the phone")))
	note, err := os.ReadFile(filepath.Join(dir, "Downloads", "note.txt"))
	if err != nil {
		t.Errorf("ReadFile: %v", err)
	}
	if string(note) != "from the phone" {
		t.Errorf("read %q, want %q", note, "from the phone")
	}

	f, err := os.OpenFile(file, os.O_RDWR, 0)
	check("open", err)
	_, err = f.WriteAt([]byte("in the middle"), 1<<20)
	check("write at", err)
	check("close", f.Close())
	check("truncate", os.Truncate(file, 2<<20))
	b, err = media.ReadFile("/Downloads/größe.bin")
	copy(content[1<<20:], "in the middle")
	if err != nil {
		t.Errorf("the phone's file after a write in the middle and a cut: %v", err)
	}
	if !bytes.Equal(b, content[:2<<20]) {
		t.Errorf("after a write and a cut the phone has %d bytes, want %d", len(b), 2<<20)
	}
	when := time.Date(2020, 2, 29, 12, 34, 56, 0, time.UTC)
	check("chtimes", os.Chtimes(file, when, when))
	info, err := media.Stat("/Downloads/größe.bin")
	if err != nil {
		t.Errorf("Stat on the phone: %v", err)
	}
	if !info.ModTime.Equal(when) {
		t.Errorf("modified %v, want %v", info.ModTime, when)
	}
	check("mkdir", os.Mkdir(filepath.Join(dir, "Downloads", "sub"), 0o755))
	check("rename", os.Rename(file, filepath.Join(dir, "Downloads", "sub", "moved")))
	info, err = media.Stat("/Downloads/sub/moved")
	if err != nil {
		t.Errorf("Stat on the phone after renaming: %v", err)
	}
	if info.Size != 2<<20 {
		t.Errorf("after renaming the file has %d bytes, want %d", info.Size, 2<<20)
	}
	if err := os.Remove(filepath.Join(dir, "Downloads", "sub")); err == nil {
		t.Error("a folder with something in it was removed")
	}
	check("symlink", os.Symlink("sub/moved", filepath.Join(dir, "Downloads", "link")))
	target, err := os.Readlink(filepath.Join(dir, "Downloads", "link"))
	if err != nil {
		t.Errorf("Readlink: %v", err)
	}
	if target != "sub/moved" {
		t.Errorf("the link leads to %q, want sub/moved", target)
	}
	check("remove", os.RemoveAll(filepath.Join(dir, "Downloads", "sub")))
	if _, err := media.Stat("/Downloads/sub"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after removing: %v", err)
	}
}

func TestIfuseApps(t *testing.T) {
	t.Parallel()
	r := one(t, "")
	p := r.phone()
	sharing := ""
	for _, a := range p.Apps.List() {
		if a.FileSharing() {
			sharing += a.BundleID() + ", "
		}
	}
	list := r.output("ifuse", "--list-apps")
	for _, id := range strings.Split(strings.TrimSuffix(sharing, ", "), ", ") {
		if !strings.Contains(list, id+", ") {
			t.Errorf("ifuse --list-apps lacks %s: %s", id, list)
		}
	}
	if strings.Count(list, "\n") != strings.Count(sharing, ", ") {
		t.Errorf("ifuse --list-apps: %s; want %s", list, sharing)
	}
	notes, ok := p.Apps.Find("com.example.notes")
	if !ok {
		t.Fatal("the phone has no com.example.notes")
	}
	dir := r.mount("--documents", "com.example.notes")
	if err := os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := notes.Container().ReadFile("/Documents/hello.txt")
	if err != nil {
		t.Errorf("the app's file: %v", err)
	}
	if string(b) != "hello" {
		t.Errorf("the app finds %q, want hello", b)
	}
	sameFiles(t, folder(t, dir), strip(tree(t, notes.Container(), "/Documents"), "Documents/"))
	shop, ok := p.Apps.Find("com.example.shop")
	if !ok {
		t.Fatal("the phone has no com.example.shop")
	}
	if !shop.Developer() {
		t.Fatal("com.example.shop is not a developer's app")
	}
	sameFiles(t, folder(t, r.mount("--container", "com.example.shop")),
		tree(t, shop.Container(), "/"))
	for _, c := range [][2]string{
		{"com.example.blocks", "InstallationLookupFailed"},
		{"com.example.nowhere", "ApplicationLookupFailed"},
	} {
		got := r.run("ifuse", filepath.Join(r.dir), "--documents", c[0])
		if got.code != 1 {
			t.Errorf("documents of %s: exit status %d, want 1", c[0], got.code)
		}
		if !strings.Contains(got.err, "ERROR: "+c[1]) {
			t.Errorf("documents of %s: %q, want %s", c[0], got.err, c[1])
		}
	}
}
