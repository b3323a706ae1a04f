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

// TestRSDOption uses devices at the addresses of --rsd.
func TestRSDOption(t *testing.T) {
	t.Parallel()
	s := serveShelf(t, "--count", "2", "--name", "Shelf", "--trusted", "127.0.0.1", "--profile",
		"ios18")
	if len(s.udids) != 2 {
		t.Fatalf("imdlua virtual printed the UDIDs %q, want 2", s.udids)
	}
	if len(s.rsd) != 2 {
		t.Fatalf("imdlua virtual printed the addresses %q, want 2", s.rsd)
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
			out, stderr := newProgram(t, test.args...).check(t, 0)
			if out != test.want {
				t.Errorf("%q printed %q, want %q", test.args, out, test.want)
			}
			if stderr != "" {
				t.Errorf("%q wrote %q to standard error, want nothing", test.args, stderr)
			}
		}
		newProgram(t, "--rsd", host, port, "--device", "nobody", "info").check(t, 4)
	}
	first := append([]string{"--rsd"}, s.rsd[s.udids[0]]...)
	out, _ := newProgram(t, append(slices.Clone(first), "devices")...).check(t, 0)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("devices printed %d lines, want 2:\n%s", len(lines), out)
	}
	if !strings.HasPrefix(lines[1], s.udids[0]) {
		t.Errorf("devices printed %q, want the device %s", lines[1], s.udids[0])
	}
	if !strings.HasSuffix(lines[1], "tunnel") {
		t.Errorf("devices printed %q, want the route tunnel", lines[1])
	}
	p := newProgram(t, append(slices.Clone(first), "repl")...)
	p.app.stdin = strings.NewReader("dev.udid\n")
	p.prints(t, fmt.Sprintf("%q\n", s.udids[0]))
}

func TestVirtualOnNetworks(t *testing.T) {
	t.Parallel()
	free := freePort(t)
	s := serveShelf(t, "--count", "2", "--network", "127.0.0.1", "--trusted",
		fmt.Sprintf("127.0.0.1:%d", free))
	if got := s.rsd[s.udids[0]]; !slices.Equal(got, []string{"127.0.0.1", fmt.Sprint(free)}) {
		t.Errorf("the first device is at %q, want port %d", got, free)
	}
	if got := s.rsd[s.udids[1]]; len(got) != 2 {
		t.Errorf("the second device is at %q, want an address and a port", got)
	} else if got[1] == fmt.Sprint(free) {
		t.Errorf("the second device is at %q, which is the port of the first", got)
	}
	for n, u := range s.udids {
		got := s.network[u]
		if len(got) != 7 {
			t.Fatalf("device %d is on the network as %q, want 7 words", n, got)
		}
		words := []string{got[0], got[1], got[3], got[5]}
		want := []string{fmt.Sprintf("127.0.0.%d", n+1), "lockdown", "remotepairing", "rsd"}
		if !slices.Equal(words, want) {
			t.Fatalf("device %d is on the network as %q, want %q with ports", n, got, want)
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
	if got := old.network[old.udids[0]]; len(got) != 3 {
		t.Errorf("iOS 16 is on the network as %q, want 3 words", got)
	} else if got[1] != "lockdown" {
		t.Errorf("iOS 16 is on the network as %q, want lockdown only", got)
	}
}

// TestPairRemoteCommand pairs by Bonjour and at addresses, with devices whose dialog is accepted,
// denied and not answered.
func TestPairRemoteCommand(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"ios17.2", "ios17", "ios26"} {
		out, stderr := newProgram(t, "--virtual="+profile, "pair", "--remote").check(t, 0)
		if !strings.HasPrefix(out, "paired 0000") {
			t.Errorf("%s: it printed %q, want \"paired\" and the UDID", profile, out)
		}
		if stderr != "" {
			t.Errorf("%s: it wrote %q to standard error, want nothing", profile, stderr)
		}
	}
	newProgram(t, "--virtual=ios16", "pair", "--remote").fails(t, 1, "error[no_route]")
	s := serveShelf(t, "--network", "127.0.0.1", "--trust", "0.3")
	at := s.network[s.udids[0]]
	pairing := at[0] + ":" + at[4]
	p := newProgram(t, "pair", "--remote", pairing)
	p.prints(t, "paired "+s.udids[0]+"\n")
	records, err := filepath.Glob(
		filepath.Join(p.environment["XDG_CONFIG_HOME"], "*", "remotepairing", "*"+s.udids[0]+"*"),
	)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 {
		t.Fatalf("the pair records are %q, want one", records)
	}
	i, err := os.Stat(records[0])
	if err != nil {
		t.Fatal(err)
	}
	if mode := i.Mode().Perm(); mode != 0o600 {
		t.Errorf("the mode of the pair record is %v, want 0600", mode)
	}
	again := newProgram(t, "pair", "--remote="+pairing)
	again.environment = p.environment
	out, stderr := again.check(t, 0)
	if want := "paired " + s.udids[0] + "\n"; out != want {
		t.Errorf("the second time it printed %q, want %q", out, want)
	}
	if strings.Contains(stderr, "Trust") {
		t.Errorf("the second time it wrote %q, want no dialog", stderr)
	}
	deny := serveShelf(t, "--network", "127.0.0.1", "--trust", "deny")
	at = deny.network[deny.udids[0]]
	newProgram(t, "pair", "--remote", at[0]+":"+at[4]).fails(t, 1, "error[UserDeniedPairing]")
	never := serveShelf(t, "--network", "127.0.0.1", "--trust", "never")
	at = never.network[never.udids[0]]
	newProgram(t, "pair", "--remote", at[0]+":"+at[4], "--timeout", "0.3").check(t, 5)
}

// TestDevicesNetwork checks that a device with several routes is listed once.
func TestDevicesNetwork(t *testing.T) {
	t.Parallel()
	for profile, routes := range map[string][]string{
		"ios16": {"usbmux"}, "ios17.2": {"usbmux", "remoted"}, "ios17": {"usbmux", "remoted"},
		"ios26": {"usbmux", "remoted"}, "ios27": {"usbmux", "remoted"},
	} {
		out, _ := newProgram(t, "--virtual="+profile, "devices", "--network", "--json").check(t, 0)
		var list []deviceJSON
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Errorf("%s: %v:\n%s", profile, err, out)
			continue
		}
		if len(list) != 1 {
			t.Errorf("%s: %d devices, want 1:\n%s", profile, len(list), out)
			continue
		}
		var vias []string
		for _, r := range list[0].Routes {
			vias = append(vias, r.Via)
		}
		if !slices.Equal(vias, routes) {
			t.Errorf("%s: the routes are %q, want %q", profile, vias, routes)
		}
		if list[0].Name == "" {
			t.Errorf("%s: the device has no name", profile)
		}
		if list[0].Transport != "usb" {
			t.Errorf("%s: the transport is %q, want usb", profile, list[0].Transport)
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
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("browse printed %d lines, want 2:\n%s", len(lines), out)
	}
	if !strings.HasPrefix(lines[0], "NAME ") {
		t.Errorf("browse printed %q, want the titles of the columns first", lines[0])
	}
	wantIn(t, "the line of browse", lines[1], " 127.0.0.1")
	for _, what := range []string{"mobdev2", "remotepairing", "manual-pairing"} {
		out, stderr := newProgram(t, "--virtual", "browse", what).check(t, 0)
		if out != "" {
			t.Errorf("browse %s printed %q, want nothing", what, out)
		}
		wantIn(t, "the notice of browse "+what, stderr, "nothing advertises")
		newProgram(t, "--virtual", "browse", what, "--json").prints(t, "[]\n")
	}
	newProgram(t, "--virtual=ios16", "browse", "rsd", "--json").prints(t, "[]\n")
}

func TestBrowseJSON(t *testing.T) {
	t.Parallel()
	out, _ := newProgram(t, "--virtual", "browse", "rsd", "--json").check(t, 0)
	var list []instanceJSON
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("browse --json printed %s: %v", out, err)
	}
	if len(list) != 1 {
		t.Fatalf("browse --json printed %d instances, want 1:\n%s", len(list), out)
	}
	i := list[0]
	if i.Type != "_remoted._tcp" {
		t.Errorf("the type is %q, want _remoted._tcp", i.Type)
	}
	if i.Port == 0 {
		t.Error("the port is 0")
	}
	if i.TXT == nil {
		t.Error("txt is null")
	}
	if len(i.Addresses) != 1 {
		t.Errorf("the addresses are %v, want one", i.Addresses)
	}
}
