package stdlib_test

import (
	"runtime"
	"testing"
)

// TestVanishedIsTold removes a directory between its listing and the moment at which it is read.
func TestVanishedIsTold(t *testing.T) {
	t.Parallel()
	prints(t, `
local d = fs.temp_dir()
fs.mkdir(path.join(d, "a"))
fs.write(path.join(d, "b/c.txt"), "", { mkdir = true })
local walk = fs.walk(d)
print(walk().name, #walk.skipped)
fs.remove(path.join(d, "b"), { recursive = true })
print(walk().name, walk(), #walk.skipped)
print(path.rel(d, walk.skipped[1].path), walk.skipped[1].code)
local list, found = fs.list(d), fs.glob(path.join(d, "*"))
print(#list, #list.skipped, #found, #found.skipped, json.encode(found) == json.encode{ found[1] })
table.insert(list, 1)
for _, v in ipairs(list) do assert(v) end`,
		"a\t0\nb\tnil\t1\nb\tnot_found\n1\t0\t1\t0\ttrue\n")
}

// TestCopyIsWhole ends a copy in the middle. The old file must stay, and no other file may be left.
func TestCopyIsWhole(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there is no endless file")
	}
	prints(t, `
local d = fs.temp_dir()
local old = path.join(d, "old")
fs.write(old, "before", { mode = "600" })
for _, to in ipairs{ old, path.join(d, "new") } do
  print(select(2, try(task.timeout, 0.02, fs.copy, "/dev/zero", to)).code)
end
print(#fs.list(d), fs.read(old))
fs.write(path.join(d, "from"), "after")
fs.copy(path.join(d, "from"), old)
print(fs.read(old), fs.stat(old).mode)`,
		"timeout\ntimeout\n1\tbefore\nafter\t-rw-------\n")
}
