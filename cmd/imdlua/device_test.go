package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

func TestVirtualCommand(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--count", "3", "--profile", "ios18", "--name", "Shelf")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if host != "127.0.0.1" {
		t.Errorf("address %q, want one of this computer", address)
	}
	if port == "0" {
		t.Errorf("address %q, want the port that was chosen", address)
	}
	out, _ := newProgram(t, "--usbmux", address, "-e",
		"for _, d in ipairs(devices()) do print(d.udid, d.name, tostring(d.version):sub(1, 3)) end").
		check(t, 0)
	want := slices.Clone(udids)
	slices.Sort(want)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(udids) != 3 {
		t.Fatalf("the devices %q are served, want 3", udids)
	}
	if len(lines) != 3 {
		t.Fatalf("the devices %q are found, want 3", lines)
	}
	for i, l := range lines {
		f := strings.Split(l, "\t")
		if f[0] != want[i] {
			t.Errorf("device %q, want %s", l, want[i])
		}
		if !strings.HasPrefix(f[1], "Shelf") {
			t.Errorf("device %q, want the name Shelf", l)
		}
		if f[2] != "18." {
			t.Errorf("device %q, want iOS 18", l)
		}
	}
	newProgram(t, "--usbmux", address, "-e", "device()").
		fails(t, 1, "error[ambiguous]", udids[0], udids[1], udids[2])
	p := newProgram(t, "-e", "print(device().udid)")
	p.environment["USBMUXD_SOCKET_ADDRESS"] = address
	p.environment["IMD_DEVICE"] = strings.ToLower(udids[1])
	p.prints(t, udids[1]+"\n")
	newProgram(t, "--usbmux", address, "--device", "Shelf 3", "info", "-k", "UniqueDeviceID").
		prints(t, udids[2]+"\n")
}

func TestVirtualUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mux")
	// A killed process leaves a socket file behind on which no process listens.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	p := newProgram(t, "virtual", "--usbmux", "unix:"+path, "--usbmux", "127.0.0.1:0").start(t)
	out := p.out.await(t, "\n0")
	want := "ready unix:" + path + " USBMUXD_SOCKET_ADDRESS=UNIX:" + path + "\nready 127.0.0.1:"
	if !strings.HasPrefix(out, want) {
		t.Errorf("it printed %q, want %q first", out, want)
	}
	newProgram(t, "virtual", "--usbmux", path).fails(t, 1, "in use")
	out, _ = newProgram(t, "--usbmux", path, "devices", "--json").check(t, 0)
	wantIn(t, "the output of devices", out, "udid")
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
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != "precious" {
		t.Errorf("the file holds %q", b)
	}
}

func TestDevicesCommand(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--count", "2")
	slices.Sort(udids)
	out, _ := newProgram(t, "devices", "--usbmux", address).check(t, 0)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		t.Fatalf("devices printed %d lines, want 3:\n%s", len(lines), out)
	}
	for i, want := range []string{"UDID", udids[0], udids[1]} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %q first", i, lines[i], want)
		}
	}
	if !strings.HasSuffix(lines[2], "usb") {
		t.Errorf("the line of a device is %q, want its route at the end", lines[2])
	}
	newProgram(t, "devices", "--json", "--usbmux", address, "--device", "nobody").prints(t, "[]\n")
	out, stderr := newProgram(t, "devices", "--usbmux", address, "--device", "nobody").check(t, 0)
	if out != "" {
		t.Errorf("without devices it printed %q", out)
	}
	wantIn(t, "the standard error without devices", stderr, "no device is connected")
}

func TestDevicesJSON(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--count", "2")
	out, _ := newProgram(t, "devices", "--json", "--usbmux", address, "--device", udids[1]).
		check(t, 0)
	var list []deviceJSON
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("devices --json printed %s: %v", out, err)
	}
	if len(list) != 1 {
		t.Fatalf("devices --json printed %d devices, want 1", len(list))
	}
	d := list[0]
	if d.UDID != udids[1] {
		t.Errorf("the UDID is %q, want %q", d.UDID, udids[1])
	}
	if d.Name == "" {
		t.Error("the device has no name")
	}
	if len(d.Routes) != 1 || d.Routes[0].Muxer != address {
		t.Errorf("the routes are %+v, want one over %s", d.Routes, address)
	}
}

// TestWatch restarts a device while devices --watch runs.
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
	if code := other.wait(t); code != 0 {
		t.Errorf("watching another device ended with %d", code)
	}
	if out := other.out.String(); out != "" {
		t.Errorf("watching another device printed %q", out)
	}
}

// TestWatchTellsAtOnce watches two devices. The lockdownd of the first one never answers. It is
// reported all the same, and the second one is described meanwhile.
func TestWatchTellsAtOnce(t *testing.T) {
	t.Parallel()
	h := virtualtest.Host(t, virtual.HostOptions{Count: 2})
	hung, other := h.Devices()[0], h.Devices()[1]
	hung.SetFault("lockdown", virtual.Fault{Kind: virtual.Stall})
	address := virtualtest.Listen(t, h)
	text := newProgram(t, "devices", "--watch", "--usbmux", address).start(t)
	objects := newProgram(t, "devices", "--watch", "--json", "--usbmux", address).start(t)
	text.out.await(t, "attached  "+hung.UDID()+" usb\n")
	text.out.await(t, other.UDID()+` "`)
	objects.out.await(t, `{"event":"attached","udid":"`+hung.UDID()+`","transport":"usb","route":`+
		`{"kind":"usb","via":"usbmux","usbmux":"`+address+`","id":1},"routes":[{`)
	other.Detach()
	text.out.await(t, "detached  "+other.UDID())
	objects.out.await(t, `{"event":"detached","udid":"`+other.UDID())
	objects.out.await(t, `"id":2},"routes":[]}`)
	for _, p := range []*program{text, objects} {
		p.signals <- os.Interrupt
		if code := p.wait(t); code != 0 {
			t.Errorf("interrupted watching ended with %d", code)
		}
	}
}

// TestScriptedIsAnother checks that the virtual device of a script is not mistaken for one that
// the command virtual serves.
func TestScriptedIsAnother(t *testing.T) {
	t.Parallel()
	h := virtualtest.Host(t, virtual.HostOptions{})
	newProgram(t, "--usbmux", virtualtest.Listen(t, h), "-e", `
local phone = require("imd.virtual").start{ name = "of the script" }
print(phone:device().name, phone.udid == "`+h.Devices()[0].UDID()+`")`).
		prints(t, "of the script\tfalse\n")
}

// TestEventJSON checks that a device that goes does not tell again why it did not answer.
func TestEventJSON(t *testing.T) {
	t.Parallel()
	silent := device.Info{UDID: "x", Err: errors.New("no answer")}
	for kind, want := range map[device.EventKind]string{
		device.Attached: "no answer", device.Described: "no answer", device.Detached: "",
	} {
		b, err := eventJSON(device.Event{Kind: kind, Info: silent})
		if err != nil {
			t.Fatal(err)
		}
		var got deviceJSON
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got.Error != want {
			t.Errorf("the error of %s is %q, want %q", kind, got.Error, want)
		}
	}
}

// TestEventLine checks how devices --watch shows what happens to a device with several routes, and
// to one that does not answer.
func TestEventLine(t *testing.T) {
	t.Parallel()
	usb, wifi := device.Route{Kind: "usb"}, device.Route{Kind: "wifi"}
	silent := device.Info{UDID: "x", Err: errors.New("no answer")}
	phone := device.Info{UDID: "x", Name: "Ana", ProductType: "iPhone15,2", Version: "17.5"}
	left := phone
	left.Routes = []device.Route{wifi}
	for _, test := range []struct {
		e    device.Event
		want string
	}{
		{device.Event{Kind: device.Attached, Info: device.Info{UDID: "x"}, Route: usb},
			"attached  x usb"},
		{device.Event{Kind: device.Attached, Info: silent, Route: wifi},
			"attached  x wifi, does not answer"},
		{device.Event{Kind: device.Described, Info: silent, Route: usb},
			"described  x, does not answer"},
		{device.Event{Kind: device.Described, Info: phone, Route: usb},
			`described  x "Ana" (iPhone15,2, iOS 17.5)`},
		{device.Event{Kind: device.Paired, Info: phone, Route: usb},
			`paired    x "Ana" (iPhone15,2, iOS 17.5)`},
		{device.Event{Kind: device.Detached, Info: left, Route: usb},
			`detached  x "Ana" (iPhone15,2, iOS 17.5) usb; left: wifi`},
		{device.Event{Kind: device.Detached, Info: phone, Route: wifi},
			`detached  x "Ana" (iPhone15,2, iOS 17.5) wifi`},
	} {
		c := &cli{app: &app{}}
		if got := string(c.eventLine(test.e)); got != test.want {
			t.Errorf("%s is shown as %q, want %q", test.e.Kind, got, test.want)
		}
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
		args := append([]string{"info", "--usbmux", address}, flags...)
		out, _ := newProgram(t, args...).check(t, 0)
		return out
	}
	if out := info("--key", "UniqueDeviceID"); out != udids[0]+"\n" {
		t.Errorf("--key printed %q", out)
	}
	wantIn(t, "the output of info", info(), "\nUniqueDeviceID: "+udids[0]+"\n",
		"\nPasswordProtected: false\n")
	var battery map[string]any
	out := info("--domain", "com.apple.mobile.battery", "--json")
	if err := json.Unmarshal([]byte(out), &battery); err != nil {
		t.Errorf("the battery as JSON is %s: %v", out, err)
	}
	if battery["BatteryCurrentCapacity"] == nil {
		t.Errorf("the battery as JSON is %s, want BatteryCurrentCapacity", out)
	}
	d, err := plist.DecodeDict([]byte(info("--xml")))
	if err != nil {
		t.Error(err)
	}
	if udid, _ := d.String("UniqueDeviceID"); udid != udids[0] {
		t.Errorf("the UDID in the XML is %q, want %q", udid, udids[0])
	}
	if out := info("--public", "--key", "ProductType"); !strings.HasPrefix(out, "iP") {
		t.Errorf("--public --key printed %q", out)
	}
	newProgram(t, "info", "--usbmux", address, "--public", "--key", "PhoneNumber").
		fails(t, 1, "without --public")
	newProgram(t, "info", "--usbmux", address, "--key", "Nonsense").fails(t, 1, "MissingValue")
}

// TestPublicInfoDoesNotPair reads values of a device that denies pairing.
func TestPublicInfoDoesNotPair(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--trust", "deny")
	out, _ := newProgram(t, "info", "--usbmux", address, "--public", "--json").check(t, 0)
	if !strings.Contains(out, "DevicePublicKey") && !strings.Contains(out, udids[0]) {
		t.Errorf("it printed %s", out)
	}
	newProgram(t, "info", "--usbmux", address).fails(t, 1, "UserDeniedPairing")
}

func TestPairCommand(t *testing.T) {
	t.Parallel()
	t.Run("accept", func(t *testing.T) {
		address, udids := serve(t)
		newProgram(t, "pair", "--usbmux", address).prints(t, "paired "+udids[0]+"\n")
		newProgram(t, "unpair", "--usbmux", address).prints(t, "unpaired "+udids[0]+"\n")
		newProgram(t, "unpair", "--usbmux", address).fails(t, 1, "error[not_paired]")
	})
	t.Run("after a while", func(t *testing.T) {
		address, udids := serve(t, "--trust", "0.5")
		out, stderr := newProgram(t, "pair", "--usbmux", address).check(t, 0)
		if want := "paired " + udids[0] + "\n"; out != want {
			t.Errorf("pair printed %q, want %q", out, want)
		}
		if n := strings.Count(stderr, "tap Trust"); n != 1 {
			t.Errorf("pair asked %d times to tap Trust, want once:\n%s", n, stderr)
		}
		wantIn(t, "the notice", stderr, udids[0])
	})
	t.Run("deny", func(t *testing.T) {
		address, _ := serve(t, "--trust", "deny")
		newProgram(t, "pair", "--usbmux", address).
			fails(t, 1, "error[UserDeniedPairing]", "hint:")
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
		if out == "" {
			t.Error("the script printed nothing")
		}
		wantIn(t, "the notice", stderr, "tap Trust")
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
		s := g.selector()
		if got := s.UDID != ""; got != udid {
			t.Errorf("--device %q selects %+v, want a UDID: %t", text, s, udid)
		}
		if got := s.Name != ""; got == udid {
			t.Errorf("--device %q selects %+v, want a name: %t", text, s, !udid)
		}
	}
}
