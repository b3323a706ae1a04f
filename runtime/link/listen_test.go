package link

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestListenWhere covers addresses in the forms that users write.
func TestListenWhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		address string
		want    string // address; "" is both families
	}{
		{":0", "127.0.0.1"},
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "0.0.0.0"},
		{"[::1]:0", "::1"},
		{"[::]:0", "::"},
		{"[::ffff:127.0.0.1]:0", "127.0.0.1"},
		{"*:0", ""},
	} {
		l, err := Listen(t.Context(), "tcp", test.address)
		if err != nil {
			if Is(err, syscall.EADDRNOTAVAIL) || Is(err, syscall.EAFNOSUPPORT) {
				t.Logf("%s: %v", test.address, err) // no IPv6 here
				continue
			}
			t.Errorf("%s: %v", test.address, err)
			continue
		}
		at := l.Addr().(*net.TCPAddr)
		if test.want != "" && at.IP.String() != test.want {
			t.Errorf("%s listens on %s, want %s", test.address, at.IP, test.want)
		}
		for family, local := range map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"} {
			c, err := net.DialTCP(family, nil, &net.TCPAddr{IP: net.ParseIP(local), Port: at.Port})
			if err == nil {
				c.Close()
			}
			of4 := at.IP.To4() != nil
			if test.want != "" && err == nil && of4 != (family == "tcp4") {
				t.Errorf("%s answers on %s as well", test.address, local)
			}
			if test.want == "" && family == "tcp4" && err != nil {
				t.Errorf("%s does not answer on %s: %v", test.address, local, err)
			}
		}
		l.Close()
	}
	if _, err := Listen(t.Context(), "tcp", "no port"); err == nil {
		t.Error("an address without a port is taken")
	}
}

// TestListenUnix checks the mode of the socket file, and which files are replaced.
func TestListenUnix(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes there")
	}
	dir, err := os.MkdirTemp("", "imd") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, want 0600", st.Mode().Perm())
	}
	if _, err := Listen(t.Context(), "unix", path); !Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that is served: %v, want EADDRINUSE", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatalf("the socket of a killed program is in the way: %v", err)
	}
	l.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close the file is still there: %v", err)
	}
	testNotReplaced(t, path)
}

// testNotReplaced uses existing files that are not sockets.
func testNotReplaced(t *testing.T, path string) {
	t.Helper()
	target := path + ".target"
	if err := os.WriteFile(target, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func() error{
		"file": func() error { return os.WriteFile(path, []byte("kept"), 0o600) },
		"link": func() error { return os.Symlink(target, path) },
		"dir":  func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := Listen(t.Context(), "unix", path); err == nil {
			l.Close()
			t.Errorf("a %s is replaced", name)
		}
		after, err := os.Lstat(path)
		if err != nil {
			t.Errorf("the %s in the way: %v", name, err)
		} else if before.Mode() != after.Mode() {
			t.Errorf("the mode of the %s in the way is %v, want %v", name, after.Mode(),
				before.Mode())
		} else if after.Mode()&fs.ModeSocket != 0 {
			t.Errorf("the %s in the way is a socket now: %v", name, after.Mode())
		}
		os.Remove(path)
	}
	if b, err := os.ReadFile(target); err != nil {
		t.Errorf("the file behind the link: %v", err)
	} else if string(b) != "kept" {
		t.Errorf("the file behind the link has %q, want kept", b)
	}
}
