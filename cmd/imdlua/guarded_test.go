package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/tunneld"
)

// sources calls f with each line of code of the program.
func sources(t *testing.T, f func(file, line string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") ||
			strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "//") {
				f(filepath.ToSlash(name), strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// compare checks which files use something.
func compare(t *testing.T, what string, got map[string]int, want map[string]string) {
	t.Helper()
	for _, file := range slices.Sorted(maps.Keys(got)) {
		if want[file] == "" {
			t.Errorf("%s %s", file, what)
		}
	}
	for file := range want {
		if got[file] == 0 {
			t.Errorf("%s is in the table, but it does not %s", file, what)
		}
	}
}

// TestOutputsAreGuarded lists the places that write to an output without the filter for terminals,
// with the reason.
func TestOutputsAreGuarded(t *testing.T) {
	t.Parallel()
	raw := regexp.MustCompile(`os\.Std(out|err)\b|\b(out|err)\.(raw|out)\b|` +
		`\.composed\(\)|\.Styled\(\)|(std)?(out|err)\.Print\(L`)
	got := map[string]int{}
	sources(t, func(file, line string) {
		if raw.MatchString(line) {
			got[file]++
		}
	})
	compare(t, "write past the filter for terminals", got, map[string]string{
		"cmd/imdlua/main.go":                "names the streams",
		"cmd/imdlua/memory.go":              "the last line has no text from outside",
		"cmd/imdlua/repl.go":                "the editor draws; the host filters",
		"cmd/imdlua/run.go":                 "reports have colours; their texts are filtered",
		"cmd/imdlua/script.go":              "the host filters; reports as above",
		"cmd/imdlua/stream.go":              "is the filter",
		"runtime/host/error_report.go":      "filters what it quotes",
		"runtime/host/lib_base.go":          "print, which filters",
		"runtime/host/progress/progress.go": "labels are filtered",
		"stdlib/lua51/io_file.go":           "io.write is raw",
	})
}

// TestListeners lists the places that listen, and how they refuse other users and computers.
func TestListeners(t *testing.T) {
	t.Parallel()
	listens := regexp.MustCompile(`\bnet\.Listen\w*\(|ListenConfig\b|\blc\.Listen\w*\(|` +
		`\.Listen(Unix|TCP|UDP|MulticastUDP)\(|link\.Listen\(`)
	got := map[string]int{}
	sources(t, func(file, line string) {
		if listens.MatchString(line) {
			got[file]++
		}
	})
	compare(t, "listen", got, map[string]string{
		"runtime/link/listen.go":                     "where it is told, else loopback",
		"bindings/raw/forward.go":                    "link.Listen",
		"cmd/imdlua/background.go":                   "link.Listen, a unix socket",
		"cmd/imdlua/forward.go":                      "link.Listen",
		"cmd/imdlua/outlets.go":                      "link.Listen; beyond loopback with a token",
		"cmd/imdlua/tunneld.go":                      "link.Listen; beyond loopback with a token",
		"cmd/imdlua/virtual.go":                      "link.Listen",
		"stdlib/http/server.go":                      "link.Listen",
		"runtime/virtual/network.go":                 "link.Listen, on the address of --network",
		"runtime/virtual/listener.go":                "QUIC on the address of --network",
		"runtime/virtual/virtualtest/virtualtest.go": "tests",
		"runtime/tunneld/front.go":                   "addresses of 127.0.0.0/8",
		"runtime/bonjour/socket.go":                  "multicast, in a search or with --bonjour",
		"runtime/tunnel/client.go":                   "inside a tunnel",
		"runtime/tunnel/kernelconn_linux.go":         "inside a tunnel",
		"runtime/tunnel/quic.go":                     "the socket of a client: it accepts nothing",
	})
}

// TestListensOnLoopback starts the commands that listen, without an address.
func TestListensOnLoopback(t *testing.T) {
	t.Parallel()
	mux, _ := serve(t, "--echo", "7")
	const where = `(127\.0\.0\.1|\[::1\]):\d+`
	for _, test := range []struct {
		name  string
		args  []string
		first string // pattern of the beginning of the output
	}{
		{"virtual", []string{"virtual", "--usbmux", ":0"}, `ready ` + where},
		{"forward", []string{"--usbmux", mux, "forward", "0:7"}, where + ` -> 7`},
		{"forward without a host", []string{"--usbmux", mux, "forward", ":0:7"}, where + ` -> 7`},
		{"tunneld", []string{"--usbmux", mux, "tunneld", "--no-network", "--listen", ":0",
			"--go-ios", ":0"}, `ready ` + where + `\nready ` + where},
		{"proxy", []string{"--usbmux", mux, "tunneld", "--no-network", "--listen", "",
			"--go-ios", "", "--proxy", ":0"}, `proxy ` + where + ` \S+\n`},
		{"muxer", []string{"--usbmux", mux, "tunneld", "--no-network", "--listen", "",
			"--go-ios", "", "--muxer", ":0"}, `muxer ` + where + `\n`},
		{"tunnel", []string{"--usbmux", mux, "tunnel"}, `(?s).*address   127\.\S+\n`},
		{"http.server", []string{"-e", `print(require("imd.http").server().url)
			print("->") task.sleep(math.huge)`}, `http://` + where},
		{"http.server without a host", []string{"-e", `print(require("imd.http").server{
			host = "" }.url) print("->") task.sleep(math.huge)`}, `http://` + where},
		{"dev:forward", []string{"--usbmux", mux, "-e", `local d = device()
			print(d:forward{ remote_port = 7 }) print("->") task.sleep(math.huge)`},
			`Forward<` + where},
		{"told IPv4", []string{"--usbmux", mux, "forward", "0.0.0.0:0:7"},
			`0\.0\.0\.0:\d+ -> 7`},
		{"told both", []string{"--usbmux", mux, "forward", "*:0:7"}, `\[::\]:\d+ -> 7|0\.0\.0\.0:`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, test.args...).start(t)
			wait := map[string]string{
				"virtual": "ready", "tunneld": "\nready", "tunnel": "use  ",
				"proxy": "proxy-token", "muxer": "muxer",
			}
			p.out.await(t, cmp.Or(wait[test.name], "->"))
			p.end(t)
			if ok := regexp.MustCompile("^" + "(?:" + test.first + ")").MatchString(
				p.out.String(),
			); !ok {
				t.Errorf("it printed %q, want %s", p.out, test.first)
			}
		})
	}
	for _, a := range []string{tunneld.PythonAddress, tunneld.GoIOSAddress} {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			t.Error(err)
		}
		if host != "127.0.0.1" {
			t.Errorf("the default address of tunneld is %s, want 127.0.0.1", a)
		}
	}
}

// TestPrivateFiles starts forwards in the background where other users have made files or links
// with the names of their files.
func TestPrivateFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows")
	}
	home, err := os.MkdirTemp("", "imd") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	t.Setenv(asProgram, "1")
	t.Setenv("HOME", home)
	t.Setenv("XDG_RUNTIME_DIR", home)
	folder := filepath.Join(home, "imdlua")
	precious := filepath.Join(home, "precious")
	mux, _ := serve(t, "--echo", "7")
	port := freePort(t)
	files := backgroundFiles(filepath.Join(folder, fmt.Sprintf("forward-%d", port)))
	elsewhere := backgroundFiles(filepath.Join(home, "mine"))
	background := func(args ...string) (p *program) {
		p = newProgram(t, append([]string{"--usbmux", mux, "forward"}, args...)...)
		p.environment["HOME"], p.environment["XDG_RUNTIME_DIR"] = home, home
		return p
	}
	for name, plant := range map[string]func(path string) error{
		"nothing":    func(string) error { return nil },
		"open file":  func(p string) error { return os.WriteFile(p, []byte("old"), 0o666) },
		"link":       func(p string) error { return os.Symlink(precious, p) },
		"to nowhere": func(p string) error { return os.Symlink(precious+"-missing", p) },
	} {
		for _, b := range []backgroundFiles{files, elsewhere} {
			wantPrivate(t, name, b, plant, precious, func(args ...string) {
				if b == elsewhere {
					args = append(args, "--pid-file", b.pid())
				}
				for i, a := range args {
					args[i] = strings.ReplaceAll(a, "PORT", strconv.Itoa(port))
				}
				background(args...).check(t, 0)
			})
		}
	}
	st, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	if mode := st.Mode().Perm(); mode != 0o700 {
		t.Errorf("the mode of the folder is %v, want 0700", mode)
	}
	if _, err := os.Lstat(precious + "-missing"); !os.IsNotExist(err) {
		t.Errorf("a file was made through the link: %v", err)
	}
}

// wantPrivate starts and stops a forward and checks its files.
func wantPrivate(t *testing.T, name string, b backgroundFiles, plant func(string) error,
	precious string, forward func(args ...string)) {
	t.Helper()
	if err := os.WriteFile(precious, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(b.pid()), 0o777); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(filepath.Dir(b.pid())) == "imdlua" {
		if err := os.Chmod(filepath.Dir(b.pid()), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{b.pid(), b.log()} {
		os.Remove(path)
		if err := plant(path); err != nil {
			t.Fatal(err)
		}
	}
	forward("-d", "PORT:7")
	for path, kind := range map[string]fs.FileMode{
		b.pid(): 0, b.log(): 0, b.socket(): fs.ModeSocket,
	} {
		st, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if st.Mode() != kind|0o600 {
			t.Errorf("%s: %s has mode %v, want %v", name, path, st.Mode(), kind|0o600)
		}
	}
	forward("--stop", "PORT")
	got, err := os.ReadFile(precious)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "precious" {
		t.Errorf("%s: the file of the link has %q, want it unchanged", name, got)
	}
}
