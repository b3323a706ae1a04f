package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// TestMuxVariable checks the form of addresses for libusbmuxd, which knows no other.
func TestMuxVariable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mux")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(here, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{path, "unix:" + path, "UNIX://" + path, "./" + relative} {
		l, err := listenMuxer(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := muxVariable(l), "UNIX:"+path; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		l.Close()
	}
	l, err := link.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, _, err := net.SplitHostPort(muxVariable(l))
	if err != nil {
		t.Fatal(err)
	}
	if host != "127.0.0.1" {
		t.Errorf("host %s, want 127.0.0.1", host)
	}
}

// TestVirtualRecovery puts a device into recovery mode, which the command says.
func TestVirtualRecovery(t *testing.T) {
	t.Parallel()
	h, err := virtual.NewHost(virtual.HostOptions{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var out bytes.Buffer
	c := &cli{app: &app{stderr: &out}}
	c.noticeRecovery(h)
	d := h.Devices()[0]
	for _, a := range []power.Action{power.Sleep, power.Recovery} {
		d.Phone().Power.Do(a)
	}
	want := "imdlua: device " + d.UDID() +
		" is in recovery mode and gone until it is started again\n"
	if out.String() != want {
		t.Errorf("it wrote %q, want %q", out.String(), want)
	}
}

// TestVirtualDeveloper has the flags that take away what developer services
// need.
func TestVirtualDeveloper(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, "true\t1\n"},
		{[]string{"--no-image"}, "true\t0\n"},
		{[]string{"--no-developer-mode"}, "false\t1\n"},
		{[]string{"--no-image", "--no-developer-mode", "--profile", "ios17.2"}, "false\t0\n"},
	} {
		address, _ := serve(t, c.flags...)
		out, _ := newProgram(t, "--usbmux", address, "-e",
			"local dev = device() print(dev:developer_mode(), #dev:ddi())").check(t, 0)
		if out != c.want {
			t.Errorf("%v: a script says %q, want %q", c.flags, out, c.want)
		}
	}
}
