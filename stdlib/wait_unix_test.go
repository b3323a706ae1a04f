//go:build unix

package stdlib_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

// mkfifo makes a FIFO and returns its path.
func mkfifo(t *testing.T) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// openBoth opens both ends of a FIFO. Another open does not wait then, but reads and writes do.
func openBoth(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestFIFO passes a FIFO to each function that opens a file: first one whose other end is not open,
// then one whose other end is open and silent. Each call must end at its deadline. The text long
// does not fit into the buffer of a FIFO.
func TestFIFO(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source string }{
		{"fs.read", `fs.read(fifo)`},
		{"fs.lines", `for line in fs.lines(fifo) do end`},
		{"fs.copy from", `fs.copy(fifo, fifo .. ".copy")`},
		{"fs.copy to", `fs.copy(big, fifo)`},
		{"fs.write", `fs.write(fifo, long)`},
		{"fs.write atomic", `fs.write(fifo, long, { atomic = true })`},
		{"fs.write directly", `fs.write(fifo, long, { atomic = false })`},
		{"fs.append", `fs.append(fifo, long)`},
		{"csv.read", `require("imd.csv").read(fifo)`},
		{"csv.writer header", `require("imd.csv").writer(fifo, { long })`},
		{"csv.writer row", `require("imd.csv").writer(fifo):row{ long }`},
		{"json.read", `json.read(fifo)`},
		{"json.write", `json.write(fifo, long)`},
		{"plist.read", `plist.read(fifo)`},
		{"plist.write", `plist.write(fifo, long)`},
		{"image.open", `require("imd.image").open(fifo)`},
		{"image save", `
local image = require("imd.image")
image.decode(image.new(1, 1):encode("jpeg"):string() .. long):save(fifo)`},
		{"hash.file", `hash.file("md5", fifo)`},
		{"log.to", `log.to(fifo) log.info(long)`},
		{"log.to json", `log.to(fifo, { json = true }) log.info(long)`},
	} {
		script := `local long = ("x"):rep(200000)
local big = fs.temp_file()
fs.write(big, long)
local ok, e = try(task.timeout, 0.05, function()
  ` + tc.source + `
end)
print(ok or e.code)`
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fifo := mkfifo(t)
			prints(t, "local fifo = "+quote(fifo)+"\n"+script, "timeout\n")
			openBoth(t, fifo)
			prints(t, "local fifo = "+quote(fifo)+"\n"+script, "timeout\n")
		})
	}
}

// TestLookingAtFIFO calls the functions that describe a file without opening it.
func TestLookingAtFIFO(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, want string }{
		{"stat", `print(fs.stat(fifo).kind)`, "other\n"},
		{"exists", `print(fs.exists(fifo))`, "true\n"},
		{"is_file", `print(fs.is_file(fifo))`, "false\n"},
		{"list", `print(select(2, try(fs.list, fifo)).code)`, "error\n"},
		{"walk", `print(select(2, try(fs.walk, fifo)).code)`, "error\n"},
		{"glob", `print(#fs.glob(path.join(path.dir(fifo), "*")))`, "1\n"},
		{"copy of its folder", `local d = fs.temp_dir()
print(select(2, try(fs.copy, path.dir(fifo), path.join(d, "x"), { recursive = true })).code)`,
			"error\n"},
		{"rename and remove", `fs.rename(fifo, fifo .. "2")
fs.remove(fifo .. "2")
print(fs.exists(fifo .. "2"))`, "false\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, "local fifo = "+quote(mkfifo(t))+"\n"+tc.source, tc.want)
		})
	}
}

// TestLinesKeepsHalfALine stops a read in the middle of a line.
func TestLinesKeepsHalfALine(t *testing.T) {
	t.Parallel()
	fifo := mkfifo(t)
	other := openBoth(t, fifo)
	h := newHost(t, host.Options{})
	h.SetGlobal("fifo", lua.LString(fifo))
	h.SetGlobal("write", h.L().NewFunction(func(L *lua.LState) int {
		if _, err := other.WriteString(L.CheckString(1)); err != nil {
			t.Error(err)
		}
		return 0
	}))
	err := h.Run(t.Context(), "test.lua", `
local lines = fs.lines(fifo)
write("one ha")
assert(not task.run_for(0.05, function() lines() end), "half a line is not a line")
write("lf\ntwo\n")
local first, second = lines(), lines()
assert(first == "one half", first)
assert(second == "two", second)
assert(lines.number == 2)`)
	if err != nil {
		t.Error(err)
	}
}

// TestCSVWriterAfterATimeout writes a row after a row whose write has timed out.
func TestCSVWriterAfterATimeout(t *testing.T) {
	t.Parallel()
	fifo := mkfifo(t)
	openBoth(t, fifo)
	prints(t, "local fifo = "+quote(fifo)+`
local out = require("imd.csv").writer(fifo)
local ok, e = try(task.timeout, 0.05, function() out:row{ ("x"):rep(200000) } end)
print(e.code)
local ok, e = try(task.timeout, 0.05, function() out:row{ ("x"):rep(200000) } end)
print(e.code, out.rows)`, "timeout\ntimeout\t0\n")
}

// TestFilesOfStoppedTasks stops tasks at different moments while they open files, and counts the
// files that stay open.
func TestFilesOfStoppedTasks(t *testing.T) {
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("the system does not list open files")
		}
		return len(list)
	}
	file := filepath.Join(t.TempDir(), "file")
	before := count()
	prints(t, "local file = "+quote(file)+`
fs.write(file, "")
local csv = require("imd.csv")
for i = 1, 300 do
  try(task.timeout, i * 1e-6, function()
    while true do
      csv.writer(file)
      fs.lines(file)
      log.to(file)
    end
  end)
end`, "")
	const spare = 10 // descriptors that the Go runtime may have opened
	if after := count(); after > before+spare {
		t.Errorf("%d files are open, want about %d", after, before)
	}
}
