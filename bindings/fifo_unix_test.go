//go:build unix

package bindings_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fifo makes a FIFO and returns its path.
func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestFIFO pushes from a FIFO that has a writer and pulls to a FIFO that has a reader.
func TestFIFO(t *testing.T) {
	t.Parallel()
	in, out := fifo(t), fifo(t)
	text := strings.Repeat("0123456789", 50000)
	read := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(out)
		if err != nil {
			t.Error(err)
		}
		read <- string(b)
	}()
	go func() {
		f, err := os.OpenFile(in, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := io.WriteString(f, text); err != nil {
			t.Error(err)
		}
	}()
	got := run(t, strings.NewReplacer("IN", in, "OUT", out).Replace(`
local files = device().files
print(files:push("IN", "Downloads/a").bytes, files:stat("Downloads/a").size)
print(files:pull("Downloads/a", "OUT").bytes)`))
	if want := "500000\t500000\n500000\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := <-read; got != text {
		t.Errorf("%d bytes came out of the FIFO, want %d", len(got), len(text))
	}
	info, err := os.Lstat(out)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the FIFO was replaced by %v", info.Mode())
	}
}

// TestFIFOAlone uses a FIFO that has no reader or writer at its other end. The call must
// end when its task is cancelled.
func TestFIFOAlone(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		`files:pull("Downloads/a", "FIFO")`,
		`files:pull("Downloads/a", "FIFO", { progress = function() end })`,
		`files:push("FIFO", "Downloads/b")`,
		`device():log_archive("FIFO")`,
		`require("imd.virtual").start{ profile = "ios16" }:device():screenshot{ path = "FIFO" }`,
		`require("imd.virtual").start{ profile = "ios16" }:device():play_gpx("FIFO")`,
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			name := fifo(t)
			got := run(t, strings.ReplaceAll(`
local files = device().files
files:write("Downloads/a", "x")
local t = task.spawn(function() `+call+` end)
task.sleep(0.05)
t:cancel()
local ok, e = try(t.join, t, 10)
print(ok, e.code)`, "FIFO", name))
			if want := "false\tcancelled\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			info, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode()&os.ModeNamedPipe == 0 {
				t.Errorf("the FIFO was replaced by %v", info.Mode())
			}
		})
	}
}

// TestPulledLinkIsNotFollowed pulls a symbolic link to a local FIFO, and then a file of
// the same name. The device chose the name, so the second pull must replace the link and
// not write to the FIFO.
func TestPulledLinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	got := run(t, strings.NewReplacer("DIR", dir, "FIFO", fifo).Replace(`
local files = device().files
files:mkdir("Downloads/one")
files:symlink("FIFO", "Downloads/one/name")
files:pull("Downloads/one", "DIR/in")
print(fs.stat("DIR/in/name").kind)
files:write("Downloads/name", "text")
files:pull("Downloads/name", "DIR/in/")
print(fs.stat("DIR/in/name").kind, fs.read("DIR/in/name"), fs.stat("FIFO").kind)`))
	if want := "link\nfile\ttext\tother\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
