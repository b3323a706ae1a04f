package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestVirtualCommand(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--count", "3", "--profile", "ios18", "--name", "Shelf")
	if host, port, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" ||
		port == "0" {
		t.Errorf("address %q, want the port that was chosen", address)
	}
	out, _ := newProgram(t, "--usbmux", address, "-e",
		"for _, d in ipairs(devices()) do print(d.udid, d.name, tostring(d.version):sub(1, 3)) end").
		check(
			t, 0,
		)
	want := slices.Clone(udids)
	slices.Sort(want)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(udids) != 3 || len(lines) != 3 {
		t.Fatalf("%q served, %q found", udids, lines)
	}
	for i, l := range lines {
		if f := strings.Split(l, "\t"); f[0] != want[i] || !strings.HasPrefix(f[1], "Shelf") ||
			f[2] != "18." {
			t.Errorf("device %q, want %s", l, want[i])
		}
	}
	if _, stderr := newProgram(t, "--usbmux", address, "-e", "device()").check(t,
		1); !strings.Contains(stderr, "error[ambiguous]") || !strings.Contains(stderr, udids[2]) {
		t.Errorf("device() among three: %q, want an error that lists them", stderr)
	}
	p := newProgram(t, "-e", "print(device().udid)")
	p.environment["USBMUXD_SOCKET_ADDRESS"], p.environment["IMD_DEVICE"] = address, strings.ToLower(
		udids[1],
	)
	if out, _ := p.check(t, 0); out != udids[1]+"\n" {
		t.Errorf("IMD_DEVICE chose %q, want %s", out, udids[1])
	}
	if out, _ := newProgram(t, "--usbmux", address, "--device", "Shelf 3", "info", "-k",
		"UniqueDeviceID").check(t, 0); out != udids[2]+"\n" {
		t.Errorf("--device by name chose %q, want %s", out, udids[2])
	}
}

func TestVirtualUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mux")
	// What a killed process leaves behind: a socket file that nobody serves.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	p := newProgram(t, "virtual", "--usbmux", "unix:"+path, "--usbmux", "127.0.0.1:0").start(t)
	out := p.out.await(t, "\n0")
	if lines := strings.Split(out, "\n"); lines[0] != "ready unix:"+path ||
		!strings.HasPrefix(lines[1], "ready 127.0.0.1:") {
		t.Errorf("it said %q", lines)
	}
	if _, stderr := newProgram(t, "virtual", "--usbmux", path).check(t, 1); !strings.Contains(
		stderr, "in use",
	) {
		t.Errorf("a second one on the same socket said %q", stderr)
	}
	if out, _ := newProgram(t, "--usbmux", path, "devices", "--json").check(t,
		0); !strings.Contains(out, "udid") {
		t.Errorf("devices printed %q", out)
	}
	p.signals <- syscall.SIGTERM
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d, want 0\n%s", code, p.errs)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

func TestVirtualRefusesOtherFiles(t *testing.T) {
	t.Parallel()
	path := script(t, "precious")
	newProgram(t, "virtual", "--usbmux", "unix:"+path).check(t, 1)
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestDevicesCommand(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--count", "2")
	slices.Sort(udids)
	out, _ := newProgram(t, "devices", "--usbmux", address).check(t, 0)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "UDID") ||
		!strings.HasPrefix(lines[1], udids[0]) || !strings.HasSuffix(lines[2], "usb") {
		t.Errorf("devices printed\n%s", out)
	}
	out, _ = newProgram(t, "devices", "--json", "--usbmux", address, "--device", udids[1]).check(t,
		0)
	var list []deviceJSON
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 ||
		list[0].UDID != udids[1] || list[0].Name == "" || len(list[0].Routes) != 1 ||
		list[0].Routes[0].Muxer != address {
		t.Errorf("devices --json printed %s (%v)", out, err)
	}
	if out, stderr := newProgram(t, "devices", "--usbmux", address, "--device", "nobody").check(t,
		0); out != "" || !strings.Contains(stderr, "no device is connected") {
		t.Errorf("without devices it printed %q and %q", out, stderr)
	}
	if out, _ := newProgram(t, "devices", "--json", "--usbmux", address, "--device",
		"nobody").check(t, 0); out != "[]\n" {
		t.Errorf("without devices --json printed %q", out)
	}
}

// TestWatch restarts a device under the eyes of devices --watch.
func TestWatch(t *testing.T) {
	t.Parallel()
	address, udids := serve(t)
	text := newProgram(t, "devices", "--watch", "--usbmux", address).start(t)
	objects := newProgram(t, "devices", "--watch", "--json", "--usbmux", address, "--device",
		udids[0]).start(t)
	other := newProgram(t, "devices", "--watch", "--usbmux", address, "--device",
		"00008110-000A1B2C3D4E5F60", "--timeout", "1").start(t)
	text.out.await(t, "attached  "+udids[0])
	objects.out.await(t, `{"event":"attached","udid":"`+udids[0])
	newProgram(t, "--usbmux", address, "-e", "device():restart()").check(t, 0)
	text.out.await(t, "detached  "+udids[0])
	objects.out.await(t, `{"event":"detached","udid":"`+udids[0])
	for _, p := range []*program{text, objects} {
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 0 {
			t.Errorf("interrupted watching ended with %d", code)
		}
	}
	if code := other.wait(t); code != 0 || other.out.String() != "" {
		t.Errorf("watching another device ended with %d and printed %q", code, other.out)
	}
}

func TestWatchWaitsForMuxer(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "devices", "--watch").start(t)
	p.errs.await(t, "waiting for it")
	p.signals <- os.Interrupt
	if code := p.wait(t); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

func TestInfoCommand(t *testing.T) {
	t.Parallel()
	address, udids := serve(t)
	info := func(flags ...string) string {
		t.Helper()
		out, _ := newProgram(t, append([]string{"info", "--usbmux", address}, flags...)...).check(t,
			0)
		return out
	}
	if out := info("--key", "UniqueDeviceID"); out != udids[0]+"\n" {
		t.Errorf("--key printed %q", out)
	}
	if out := info(); !strings.Contains(out, "\nUniqueDeviceID: "+udids[0]+"\n") ||
		!strings.Contains(out, "\nPasswordProtected: false\n") {
		t.Errorf("it printed\n%s", out)
	}
	var battery map[string]any
	if out := info("--domain", "com.apple.mobile.battery", "--json"); json.Unmarshal([]byte(out),
		&battery) != nil || battery["BatteryCurrentCapacity"] == nil {
		t.Errorf("the battery as JSON is %s", out)
	}
	d, err := plist.DecodeDict([]byte(info("--xml")))
	if udid, _ := d.String("UniqueDeviceID"); err != nil || udid != udids[0] {
		t.Errorf("the XML holds %q, %v", udid, err)
	}
	if out := info("--public", "--key", "ProductType"); !strings.HasPrefix(out, "iP") {
		t.Errorf("--public --key printed %q", out)
	}
	if _, stderr := newProgram(t, "info", "--usbmux", address, "--public", "--key",
		"PhoneNumber").check(t, 1); !strings.Contains(stderr, "without --public") {
		t.Errorf("a private key in public: %q", stderr)
	}
	if _, stderr := newProgram(t, "info", "--usbmux", address, "--key", "Nonsense").check(t,
		1); !strings.Contains(stderr, "MissingValue") {
		t.Errorf("a key that is not there: %q", stderr)
	}
}

// TestPublicInfoDoesNotPair asks a device that would deny pairing.
func TestPublicInfoDoesNotPair(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--trust", "deny")
	out, _ := newProgram(t, "info", "--usbmux", address, "--public", "--json").check(t, 0)
	if !strings.Contains(out, "DevicePublicKey") && !strings.Contains(out, udids[0]) {
		t.Errorf("it printed %s", out)
	}
	if _, stderr := newProgram(t, "info", "--usbmux", address).check(t, 1); !strings.Contains(
		stderr, "UserDeniedPairing",
	) {
		t.Errorf("a session with a device that denies: %q", stderr)
	}
}

func TestPairCommand(t *testing.T) {
	t.Parallel()
	t.Run("accept", func(t *testing.T) {
		address, udids := serve(t)
		if out, _ := newProgram(t, "pair", "--usbmux", address).check(t, 0); out != "paired "+
			udids[0]+"\n" {
			t.Errorf("pair printed %q", out)
		}
		if out, _ := newProgram(t, "unpair", "--usbmux", address).check(t, 0); out != "unpaired "+
			udids[0]+"\n" {
			t.Errorf("unpair printed %q", out)
		}
		if _, stderr := newProgram(t, "unpair", "--usbmux", address).check(t, 1); !strings.Contains(
			stderr, "error[not_paired]",
		) {
			t.Errorf("the second unpair said %q", stderr)
		}
	})
	t.Run("after a while", func(t *testing.T) {
		address, udids := serve(t, "--trust", "0.5")
		out, stderr := newProgram(t, "pair", "--usbmux", address).check(t, 0)
		if out != "paired "+udids[0]+"\n" || strings.Count(stderr, "tap Trust") != 1 ||
			!strings.Contains(stderr, udids[0]) {
			t.Errorf("pair printed %q and %q, want what to do, once", out, stderr)
		}
	})
	t.Run("deny", func(t *testing.T) {
		address, _ := serve(t, "--trust", "deny")
		if _, stderr := newProgram(t, "pair", "--usbmux", address).check(t, 1); !strings.Contains(
			stderr, "error[UserDeniedPairing]",
		) || !strings.Contains(stderr, "hint:") {
			t.Errorf("pair said %q", stderr)
		}
	})
	t.Run("never", func(t *testing.T) {
		address, _ := serve(t, "--trust", "never")
		newProgram(t, "pair", "--usbmux", address, "--timeout", "0.3").check(t, 5)
		p := newProgram(t, "pair", "--usbmux", address).start(t)
		p.errs.await(t, "tap Trust")
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 130 {
			t.Errorf("interrupted pairing ended with %d, want 130", code)
		}
	})
	t.Run("a script", func(t *testing.T) {
		address, _ := serve(t, "--trust", "0.2")
		out, stderr := newProgram(t, "--usbmux", address, "-e",
			"print(device():get('DeviceName'))").check(t, 0)
		if out == "" || !strings.Contains(stderr, "tap Trust") {
			t.Errorf("it printed %q and %q", out, stderr)
		}
	})
}

func TestSelector(t *testing.T) {
	t.Parallel()
	for text, udid := range map[string]bool{
		"00008110-000A1B2C3D4E5F60":  true,
		"00008110000a1b2c3d4e5f60":   true,
		strings.Repeat("ab", 20):     true,
		"Ana's iPhone":               false,
		"Shelf*":                     false,
		"abc":                        false,
		strings.Repeat("ag", 20):     false,
		"0000-8110-000A1B2C3D4E5F60": false,
		fmt.Sprintf("%024d", 1):      true,
		"dead-beef":                  false,
	} {
		g := globals{device: text}
		if s := g.selector(); (s.UDID != "") != udid || (s.Name != "") == udid {
			t.Errorf("--device %q selects %+v", text, s)
		}
	}
}
