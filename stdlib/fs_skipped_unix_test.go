//go:build unix

package stdlib_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is the id of a user without permissions.
const nobody = 65534

// asNobody runs a test again as nobody, because permissions do not apply to root. It runs a copy of
// this program, because other users cannot read the folder of the original.
func asNobody(t *testing.T, name string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "imd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	copyProgram(t, program)
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^"+name+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+name)) {
		t.Errorf("as another user, %s did not pass:\n%s", name, out)
	}
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, from)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnreadableIsTold lists a directory that may not be read, and one whose entries may not be
// described.
func TestUnreadableIsTold(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		asNobody(t, "TestUnreadableIsTold")
		return
	}
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"closed": 0, "names": 0o444} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Join(p, "in"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(p, 0o777) })
	}
	prints(t, "local d = "+quote(dir)+`
local walk, names = fs.walk(d), {}
for f in walk do names[#names + 1] = path.rel(d, f.path) .. " " .. f.kind end
print(table.concat(names, ", "))
local function show(skipped)
  for s in skipped do print(path.rel(d, s.path), s.code) end
end
show(walk.skipped)
show(fs.glob(path.join(d, "**/*")).skipped)
show(fs.list(path.join(d, "names")).skipped)`,
		`closed directory, names directory, names/in directory
closed	access_denied
names/in	access_denied
names/in	access_denied
closed	access_denied
names/in	access_denied
names/in	access_denied
names/in	access_denied
`)
}
