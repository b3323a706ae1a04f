package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// TestNoPair uses a device that would show a dialog.
func TestNoPair(t *testing.T) {
	t.Parallel()
	s := serveShelf(t, "--trust", "never", "--network", "127.0.0.1", "--name", "Shelf")
	at := s.network[s.udids[0]]
	address := at[0] + ":" + at[2]
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--usbmux", s.address, "--no-pair", "info", "-k", "DeviceName"}, "Shelf\n"},
		{
			[]string{"--usbmux", s.address, "--no-pair", "-e", "print(device():get('DeviceName'))"},
			"Shelf\n",
		},
		{
			[]string{"--no-pair", "-e", fmt.Sprintf(
				"print(device{ address = '%s' }:get('DeviceName'))", address)},
			"Shelf\n",
		},
		{
			[]string{"-e", fmt.Sprintf(
				"print(device{ address = '%s', pair = false }:values().DeviceName)", address)},
			"Shelf\n",
		},
		{
			[]string{"-e", fmt.Sprintf(
				"print(device{ usbmux = '%s', pair = false }:get('DeviceName'))", s.address)},
			"Shelf\n",
		},
	} {
		out, stderr := newProgram(t, test.args...).check(t, 0)
		if out != test.want {
			t.Errorf("%q printed %q, want %q", test.args, out, test.want)
		}
		if stderr != "" {
			t.Errorf("%q wrote %q to standard error, want nothing", test.args, stderr)
		}
	}
	newProgram(t, "--usbmux", s.address, "--no-pair", "pair").
		fails(t, 1, "error[no_pair]", "--no-pair")
	newProgram(t, "--usbmux", s.address, "--no-pair", "-e", "device():battery()").
		fails(t, 1, "error[not_paired]")
	newProgram(t, "-e", fmt.Sprintf("device{ address = '%s' }:battery()", address)).
		fails(t, 1, "error[not_paired]", "pair over USB first")
}

// TestDeadNamedMuxer names a muxer that does not answer, beside one that does.
func TestDeadNamedMuxer(t *testing.T) {
	t.Parallel()
	address, udids := serve(t)
	dead := "unix:" + filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{
		{"devices"}, {"info", "-k", "DeviceName"}, {"-e", "device() device() devices()"},
	} {
		args = append([]string{"--usbmux", address, "--usbmux", dead}, args...)
		_, stderr := newProgram(t, args...).check(t, 0)
		notice := "the muxer at " + dead + " does not answer"
		if n := strings.Count(stderr, notice); n != 1 {
			t.Errorf("%q wrote %q to standard error, want %q once", args, stderr, notice)
		}
	}
	p := newProgram(t, "--usbmux", address, "--usbmux", dead, "devices", "--watch").start(t)
	p.errs.await(t, strings.TrimPrefix(dead, "unix:"))
	p.out.await(t, "attached  "+udids[0])
	p.interrupt(t)
	// The error of the run says it already.
	_, stderr := newProgram(t, "--usbmux", dead, "-e", "device()").check(t, 4)
	if strings.Contains(stderr, "does not answer") {
		t.Errorf("it wrote %q, want the error alone", stderr)
	}
}

// TestWarnings checks that warnings of the layers below scripts reach the user, once each.
func TestWarnings(t *testing.T) {
	t.Parallel()
	address, udids := serve(t)
	newProgram(t, "--usbmux", address, "pair").check(t, 0)
	mux, err := usbmux.New(usbmux.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	b, err := mux.ReadPairRecord(t.Context(), udids[0])
	if err != nil {
		t.Fatal(err)
	}
	record, err := pair.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	record.DeviceCertificate = nil
	b, err = record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := mux.SavePairRecord(t.Context(), udids[0], 0, b); err != nil {
		t.Fatal(err)
	}
	const authentic = "has no DeviceCertificate: the device is not authenticated"
	const files = "the first is \"/PhotoData/UBF\" (access_denied)"
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"info", "-k", "PasswordProtected"}, []string{authentic}},
		{[]string{"-e", "local d = device() d:battery() d.files:walk('/PhotoData')"},
			[]string{authentic, files}},
		{[]string{"--errors=json", "-e", "local d = device() d.files:walk('/PhotoData')"},
			[]string{authentic, `{"warning":"Files:walk: 1 left out`}},
	} {
		_, stderr := newProgram(t, append([]string{"--usbmux", address}, test.args...)...).
			check(t, 0)
		for _, want := range test.want {
			if n := strings.Count(stderr, want); n != 1 {
				t.Errorf("%q wrote %q to standard error, want %q once", test.args, stderr, want)
			}
		}
	}
}

// TestWiFiAddressNamesDevice uses the Wi-Fi address of a device in place of its identifier.
func TestWiFiAddressNamesDevice(t *testing.T) {
	t.Parallel()
	address, udids := serve(t, "--count", "2")
	out, _ := newProgram(t, "--usbmux", address, "--device", udids[1], "info", "-k",
		"WiFiAddress").check(t, 0)
	mac := strings.TrimSpace(out)
	for _, name := range []string{mac, strings.ToUpper(mac)} {
		newProgram(t, "--usbmux", address, "--device", name, "info", "-k", "UniqueDeviceID").
			prints(t, udids[1]+"\n")
	}
	newProgram(t, "--usbmux", address, "--device", "00:00:00:00:00:01", "info").check(t, 4)
}

func TestWiFiCommand(t *testing.T) {
	t.Parallel()
	address, _ := serve(t)
	wifi := func(args ...string) *program {
		return newProgram(t, append([]string{"--usbmux", address, "wifi"}, args...)...)
	}
	wifi().prints(t, "on\n")
	wifi("off").prints(t, "off\n")
	wifi().prints(t, "off\n")
	wifi("on").prints(t, "on\n")
	wifi("maybe").fails(t, 2, "on or off")
	wifi("on", "off").fails(t, 2, "on or off")
}

func TestRecordsCommand(t *testing.T) {
	t.Parallel()
	address, udids := serve(t)
	_, stderr := newProgram(t, "--usbmux", address, "--device", udids[0], "records").check(t, 0)
	wantIn(t, "the notice", stderr, "no pair records")
	newProgram(t, "--usbmux", address, "pair").check(t, 0)
	out, _ := newProgram(t, "--usbmux", address, "--device", udids[0], "records", "--json").
		check(t, 0)
	var records []recordJSON
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatalf("records printed %s: %v", out, err)
	}
	if len(records) != 1 {
		t.Fatalf("records printed %s, want one", out)
	}
	r := records[0]
	if r.UDID != udids[0] {
		t.Errorf("the UDID is %q, want %q", r.UDID, udids[0])
	}
	if r.Kind != "lockdown" {
		t.Errorf("the kind is %q, want lockdown", r.Kind)
	}
	if r.Place != address {
		t.Errorf("the place is %q, want %q", r.Place, address)
	}
	for _, secret := range []string{"BEGIN", "KEY", "LS0t"} {
		if strings.Contains(out, secret) {
			t.Errorf("records printed %q in %s", secret, out)
		}
	}
	out, _ = newProgram(t, "--usbmux", address, "--device", udids[0], "records").check(t, 0)
	wantIn(t, "the output of records", out, "UDID", udids[0]+"  lockdown  "+r.HostID)
}

// TestServiceKinds opens services of every kind in the shell of a service.
func TestServiceKinds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		profile, service, source, want string
		flags                          []string
	}{
		{
			"ios16", "com.apple.mobile.diagnostics_relay",
			`print(svc:call{ Request = "All" }.Status)`, "Success\n", nil,
		},
		{
			"ios17", "com.apple.mobile.diagnostics_relay",
			`print(svc:call{ Request = "All" }.Status)`, "Success\n", nil,
		},
		{
			"ios17", "com.apple.coredevice.deviceinfo",
			`print(type(svc:invoke("getlockstate")), tostring(svc):match("^%a+"))`, "table\tXPC\n",
			nil,
		},
		{
			"ios17", "com.apple.coredevice.deviceinfo",
			`print(tostring(svc):match("^%a+"))`, "Connection\n", []string{"--kind", "raw"},
		},
		{
			"ios17", "com.apple.instruments.dtservicehub",
			`print(tostring(svc):match("^%a+"))`, "Connection\n", nil,
		},
	} {
		args := append([]string{"--virtual=" + test.profile, "service", test.service},
			test.flags...)
		p := newProgram(t, args...)
		p.app.stdin = strings.NewReader(test.source)
		p.prints(t, test.want)
	}
	for name, kind := range map[string]string{
		"com.apple.mobile.diagnostics_relay":       kindPlist,
		"com.apple.coredevice.deviceinfo":          kindXPC,
		"com.apple.instruments.dtservicehub":       kindRaw,
		"com.apple.mobile.lockdown.remote.trusted": kindPlist,
		"com.example.none":                         kindPlist,
	} {
		ctx, c, end := newCLI(t.Context(), newProgram(t, "--virtual").app)
		c.flags.virtual = defaultProfile
		if got := c.serviceKind(ctx, name); got != kind {
			t.Errorf("the kind of %s is %s, want %s", name, got, kind)
		}
		if err := c.world.close(); err != nil {
			t.Error(err)
		}
		end()
	}
	newProgram(t, "--virtual", "service", "--kind", "soap", "x").fails(t, 2, "--kind is auto")
}
