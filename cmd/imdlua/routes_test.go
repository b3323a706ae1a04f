package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRSDOption reaches devices at addresses alone.
func TestRSDOption(t *testing.T) {
	t.Parallel()
	s := serveShelf(t, "--count", "2", "--name", "Shelf", "--trusted", "127.0.0.1", "--profile",
		"ios18")
	if len(s.udids) != 2 || len(s.rsd) != 2 {
		t.Fatalf("it said %+v", s)
	}
	for n, udid := range s.udids {
		host, port := s.rsd[udid][0], s.rsd[udid][1]
		own := script(t,
			"print(device().udid, #args.rest(), args.string('rsd', 'none'), args.rest()[1])")
		for _, test := range []struct {
			args []string
			want string
		}{
			{[]string{"--rsd", host, port, "info", "-k", "UniqueDeviceID"}, udid + "\n"},
			{
				[]string{"info", "-k", "DeviceName", "--rsd", host, port},
				[]string{"Shelf\n", "Shelf 2\n"}[n],
			},
			{[]string{"--rsd=" + host + ":" + port, "info", "-k", "UniqueDeviceID"}, udid + "\n"},
			{[]string{"--rsd", host + ":" + port, "info", "-k", "UniqueDeviceID"}, udid + "\n"},
			{[]string{"--rsd", "[" + host + "]", port, "-e", "print(device().udid)"}, udid + "\n"},
			{
				[]string{"--rsd", host, port, own, "--rsd", "1.2.3.4", "5"},
				udid + "\t1\t1.2.3.4\t5\n",
			},
			{[]string{"--rsd", host, port, "--device", udid, "-e", "print(#devices())"}, "1\n"},
			{[]string{
				"--rsd", host, port, "-e",
				"print(device().files:exists('DCIM'), #device():apps() > 5, #device():processes() > 20, device():routes()[1].via)",
			}, "true\ttrue\ttrue\trsd\n"},
			{[]string{
				"--rsd", host, port, "-e",
				"print(device.rsd('" + host + "', " + s.rsd[s.udids[1-n]][1] + ").udid)",
			}, s.udids[1-n] + "\n"},
		} {
			if out, stderr := newProgram(t, test.args...).check(t, 0); out != test.want ||
				stderr != "" {
				t.Errorf("%q printed %q and %q, want %q", test.args, out, stderr, test.want)
			}
		}
		newProgram(t, "--rsd", host, port, "--device", "nobody", "info").check(t, 4)
	}
	out, _ := newProgram(t, append([]string{"devices", "--rsd"}, s.rsd[s.udids[0]]...)...).check(t,
		0)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 ||
		!strings.HasPrefix(lines[1], s.udids[0]) || !strings.HasSuffix(lines[1], "tunnel") {
		t.Errorf("devices printed\n%s", out)
	}
	p := newProgram(t, append([]string{"--rsd"}, append(s.rsd[s.udids[0]], "repl")...)...)
	p.app.stdin = strings.NewReader("dev.udid\n")
	if out, _ := p.check(t, 0); out != fmt.Sprintf("%q\n", s.udids[0]) {
		t.Errorf("dev of a REPL is %q", out)
	}
}

func TestVirtualOnNetworks(t *testing.T) {
	t.Parallel()
	free := freePort(t)
	s := serveShelf(t, "--count", "2", "--network", "127.0.0.1", "--trusted",
		fmt.Sprintf("127.0.0.1:%d", free))
	if got := s.rsd[s.udids[0]]; !slices.Equal(got, []string{"127.0.0.1", fmt.Sprint(free)}) {
		t.Errorf("the first device is at %q, want port %d", got, free)
	}
	if got := s.rsd[s.udids[1]]; len(got) != 2 || got[1] == fmt.Sprint(free) {
		t.Errorf("the second device is at %q", got)
	}
	for n, u := range s.udids {
		got := s.network[u]
		if len(got) != 7 || got[0] != fmt.Sprintf("127.0.0.%d", n+1) || got[1] != "lockdown" ||
			got[3] != "remotepairing" || got[5] != "rsd" {
			t.Fatalf("device %d is on the network as %q", n, got)
		}
		for _, port := range []string{got[2], got[4], got[6]} {
			c, err := net.Dial("tcp", net.JoinHostPort(got[0], port))
			if err != nil {
				t.Error(err)
				continue
			}
			c.Close()
		}
	}
	old := serveShelf(t, "--network", "127.0.0.1", "--profile", "ios16")
	if got := old.network[old.udids[0]]; len(got) != 3 || got[1] != "lockdown" {
		t.Errorf("iOS 16 is there as %q, want lockdown alone", got)
	}
}

// TestPairRemoteCommand pairs by Bonjour and at addresses, with a device that
// asks and one that refuses.
func TestPairRemoteCommand(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"ios17.2", "ios17", "ios26"} {
		if out, stderr := newProgram(t, "--virtual="+profile, "pair", "--remote").check(t,
			0); !strings.HasPrefix(out, "paired 0000") || stderr != "" {
			t.Errorf("%s: it printed %q and %q", profile, out, stderr)
		}
	}
	if _, stderr := newProgram(t, "--virtual=ios16", "pair", "--remote").check(t,
		1); !strings.Contains(stderr, "error[no_route]") {
		t.Errorf("iOS 16: %q", stderr)
	}
	s := serveShelf(t, "--network", "127.0.0.1", "--trust", "0.3")
	at := s.network[s.udids[0]]
	pairing := at[0] + ":" + at[4]
	p := newProgram(t, "pair", "--remote", pairing)
	if out, _ := p.check(t, 0); out != "paired "+s.udids[0]+"\n" {
		t.Errorf("it printed %q", out)
	}
	records, err := filepath.Glob(
		filepath.Join(p.environment["XDG_CONFIG_HOME"], "*", "remotepairing", "*"+s.udids[0]+"*"),
	)
	if err != nil || len(records) != 1 {
		t.Fatalf("records: %q, %v", records, err)
	}
	if i, err := os.Stat(records[0]); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the record is %v, %v, want it for the user alone", i, err)
	}
	again := newProgram(t, "pair", "--remote="+pairing)
	again.environment = p.environment
	if out, stderr := again.check(t, 0); out != "paired "+s.udids[0]+"\n" ||
		strings.Contains(stderr, "Trust") {
		t.Errorf("the second time it printed %q and %q", out, stderr)
	}
	deny := serveShelf(t, "--network", "127.0.0.1", "--trust", "deny")
	at = deny.network[deny.udids[0]]
	if _, stderr := newProgram(t, "pair", "--remote", at[0]+":"+at[4]).check(t,
		1); !strings.Contains(stderr, "error[UserDeniedPairing]") {
		t.Errorf("a device that denies: %q", stderr)
	}
	never := serveShelf(t, "--network", "127.0.0.1", "--trust", "never")
	at = never.network[never.udids[0]]
	newProgram(t, "pair", "--remote", at[0]+":"+at[4], "--timeout", "0.3").check(t, 5)
}

// TestDevicesNetwork has one device with several routes, not several devices.
func TestDevicesNetwork(t *testing.T) {
	t.Parallel()
	for profile, routes := range map[string][]string{
		"ios16": {"usbmux"}, "ios17.2": {"usbmux", "remoted"}, "ios17": {"usbmux", "remoted"},
		"ios26": {"usbmux", "remoted"},
	} {
		out, _ := newProgram(t, "--virtual="+profile, "devices", "--network", "--json").check(t, 0)
		var list []deviceJSON
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
			t.Errorf("%s: %d devices, %v:\n%s", profile, len(list), err, out)
			continue
		}
		var vias []string
		for _, r := range list[0].Routes {
			vias = append(vias, r.Via)
		}
		if !slices.Equal(vias, routes) || list[0].Name == "" || list[0].Transport != "usb" {
			t.Errorf("%s: %+v, want the routes %q", profile, list[0], routes)
		}
		out, _ = newProgram(t, "--virtual="+profile, "devices", "--network").check(t, 0)
		if n := strings.Count(out, list[0].UDID); n != 1 {
			t.Errorf("%s: the device is listed %d times:\n%s", profile, n, out)
		}
	}
}

func TestBrowseCommand(t *testing.T) {
	t.Parallel()
	out, _ := newProgram(t, "--virtual", "browse", "rsd").check(t, 0)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 ||
		!strings.HasPrefix(lines[0], "NAME ") || !strings.Contains(lines[1], " 127.0.0.1") {
		t.Errorf("browse printed\n%s", out)
	}
	out, _ = newProgram(t, "--virtual", "browse", "rsd", "--json").check(t, 0)
	var list []instanceJSON
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 ||
		list[0].Type != "_remoted._tcp" || list[0].Port == 0 || list[0].TXT == nil ||
		len(list[0].Addresses) != 1 {
		t.Errorf("browse --json printed %s (%v)", out, err)
	}
	for _, what := range []string{"mobdev2", "remotepairing", "manual-pairing"} {
		if out, stderr := newProgram(t, "--virtual", "browse", what).check(t, 0); out != "" ||
			!strings.Contains(stderr, "nothing advertises") {
			t.Errorf("browse %s printed %q and %q", what, out, stderr)
		}
		if out, _ := newProgram(t, "--virtual", "browse", what, "--json").check(t,
			0); out != "[]\n" {
			t.Errorf("browse %s --json printed %q", what, out)
		}
	}
	if out, _ := newProgram(t, "--virtual=ios16", "browse", "rsd", "--json").check(t,
		0); out != "[]\n" {
		t.Errorf("iOS 16 advertises %s", out)
	}
}
