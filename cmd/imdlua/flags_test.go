package main

import (
	"slices"
	"strings"
	"testing"
)

// TestJoinValues writes "_" for an empty argument.
func TestJoinValues(t *testing.T) {
	t.Parallel()
	const udid, short = "00008110-000A1B2C3D4E5F60", "00008110000a1b2c3d4e5f60"
	for in, want := range map[string]string{
		"--rsd 10.0.0.1 5 a.lua":                   "--rsd=10.0.0.1:5 a.lua",
		"--rsd fd00::1 58783 a.lua":                "--rsd=[fd00::1]:58783 a.lua",
		"--rsd [::1] 58783 devices":                "--rsd=[::1]:58783 devices",
		"--rsd fe80::1%eth0 58783":                 "--rsd=[fe80::1%eth0]:58783",
		"--rsd host 70000 devices":                 "--rsd=host:70000 devices",
		"--rsd 10.0.0.1 0 devices":                 "--rsd=10.0.0.1:0 devices",
		"--rsd 10.0.0.1 port devices":              "--rsd 10.0.0.1 port devices",
		"--rsd 10.0.0.1:5 80":                      "--rsd 10.0.0.1:5 80",
		"--rsd 10.0.0.1":                           "--rsd 10.0.0.1",
		"--rsd":                                    "--rsd",
		"--rsd=10.0.0.1:5 80":                      "--rsd=10.0.0.1:5 80",
		"devices --rsd ::1 5 --json":               "devices --rsd=[::1]:5 --json",
		"forward --rsd ::1 5 0:7":                  "forward --rsd=[::1]:5 0:7",
		"--verbose -u name --rsd ::1 5 a.lua":      "--verbose -u name --rsd=[::1]:5 a.lua",
		"--rsd ::1 5 a.lua --rsd ::1 5":            "--rsd=[::1]:5 a.lua --rsd ::1 5",
		"a.lua --rsd ::1 5 --tunnel _":             "a.lua --rsd ::1 5 --tunnel _",
		"- --rsd ::1 5":                            "- --rsd ::1 5",
		"-- --rsd ::1 5":                           "-- --rsd ::1 5",
		"-e code --rsd ::1 5":                      "-e code --rsd=[::1]:5",
		"-e code devices --rsd ::1 5":              "-e code devices --rsd ::1 5",
		"-ecode devices --rsd ::1 5":               "-ecode devices --rsd ::1 5",
		"--execute=code devices --tunnel _":        "--execute=code devices --tunnel _",
		"--tunnel " + udid + " a.lua":              "--tunnel=" + udid + " a.lua",
		"--tunnel " + short + " devices":           "--tunnel=" + short + " devices",
		"--tunnel _ a.lua --tunnel _":              "--tunnel= a.lua --tunnel _",
		"--tunnel a.lua --tunnel _":                "--tunnel a.lua --tunnel _",
		"--tunnel devices":                         "--tunnel devices",
		"--tunnel":                                 "--tunnel",
		"--tunnel _":                               "--tunnel=",
		"--tunnel=" + udid + " a.lua":              "--tunnel=" + udid + " a.lua",
		"info --tunnel " + udid + " -k x":          "info --tunnel=" + udid + " -k x",
		"--virtual a.lua --tunnel " + udid:         "--virtual a.lua --tunnel " + udid,
		"service com.apple.afc --tunnel --verbose": "service com.apple.afc --tunnel --verbose",
	} {
		c := &cli{app: newProgram(t).app}
		args := strings.Fields(in)
		for i, a := range args {
			if a == "_" {
				args[i] = ""
			}
		}
		got := slices.Clone(joinValues(c.rootCommand(), args))
		for i, a := range got {
			if a == "" {
				got[i] = "_"
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("joinValues(%q) = %q, want %q", in, s, want)
		}
	}
}

// TestRoutesUsage makes mistakes that are found before anything is opened.
func TestRoutesUsage(t *testing.T) {
	t.Parallel()
	virtual := []string{"virtual", "--usbmux", "127.0.0.1:0"}
	with := func(base []string, more ...string) []string {
		return append(slices.Clone(base), more...)
	}
	for _, test := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"--rsd", "10.0.0.1", "-e", ""}, `not "10.0.0.1"`},
		{[]string{"--rsd", "10.0.0.1", "0", "-e", ""}, `not "10.0.0.1:0"`},
		{[]string{"--rsd", "10.0.0.1", "65536", "-e", ""}, `not "10.0.0.1:65536"`},
		{[]string{"--rsd", "local host", "5", "-e", ""}, `not "local host:5"`},
		{[]string{"--rsd"}, "needs an argument"},
		{[]string{"devices", "--rsd"}, "needs an argument"},
		{
			[]string{"--rsd", "::1", "5", "--virtual", "-e", ""},
			"--virtual and --rsd exclude each other",
		},
		{
			[]string{"--rsd", "::1", "5", "--usbmux", "127.0.0.1:1", "-e", ""},
			"--usbmux and --rsd exclude each other",
		},
		{
			[]string{"--rsd", "::1", "5", "--tunnel", "-e", ""},
			"--rsd and --tunnel exclude each other",
		},
		{[]string{"--tunnel", "--virtual", "-e", ""}, "--virtual and --tunnel exclude each other"},
		{
			[]string{"--tunnel", "", "--usbmux", "127.0.0.1:1", "devices"},
			"--usbmux and --tunnel exclude each other",
		},
		{[]string{"--tunnel=Shelf", "devices"}, "a name goes into --device"},
		{[]string{"--tunnel", "Shelf", "devices"}, "--tunnel takes a UDID"},
		{[]string{"--tunneld", "127.0.0.1:1", "devices"}, "only be used with --tunnel"},
		{[]string{"--tunneld", "nowhere", "--tunnel", "devices"}, `HOST:PORT, not "nowhere"`},
		{[]string{"tunnel", "--protocol", "udp"}, "--protocol is auto, tcp or quic"},
		{[]string{"tunnel", "--route", "air"}, "--route is usb or wifi"},
		{[]string{"tunnel", "now"}, "takes no arguments"},
		{[]string{"tunneld", "now"}, "takes no arguments"},
		{[]string{"tunneld", "--listen", "", "--go-ios", ""}, "needs an address"},
		{[]string{"tunneld", "--listen", "x"}, "--listen takes HOST:PORT"},
		{[]string{"tunneld", "--go-ios", "127.0.0.1"}, "--go-ios takes HOST:PORT"},
		{[]string{"tunneld", "--upstream", "127.0.0.1:49151"}, "--upstream takes http://HOST:PORT"},
		{[]string{"browse"}, "browse needs one of"},
		{[]string{"browse", "rsd", "mobdev2"}, "browse needs one of"},
		{[]string{"browse", "printers"}, `not "printers"`},
		{[]string{"pair", "--remote=x"}, `not "x"`},
		{[]string{"pair", "--remote", "127.0.0.1"}, `not "127.0.0.1"`},
		{[]string{"pair", "--remote", "127.0.0.1:5", "again"}, "takes no arguments"},
		{[]string{"pair", "127.0.0.1:5"}, "takes no arguments"},
		{[]string{"pair", "--rsd", "127.0.0.1", "5"}, "leave out --rsd"},
		{[]string{"--tunnel", "", "unpair"}, "leave out --tunnel"},
		{[]string{"devices", "--watch", "--tunnel"}, "leave out --tunnel"},
		{with(virtual, "--bonjour"), "only be used with --network"},
		{with(virtual, "--network", "here"), `--network takes an IP address, not "here"`},
		{with(virtual, "--trusted", "here"), `--trusted takes an IP address`},
		{with(virtual, "--trusted", "127.0.0.1", "--profile", "ios16"), "--trusted is for iOS 17"},
		{with(virtual, "--trusted", "127.0.0.1:70000"), `not "127.0.0.1:70000"`},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			newProgram(t, test.args...).fails(t, 2, test.stderr)
		})
	}
}

// TestNobodyThere uses addresses where nothing answers. The exit code must be 4, and the hint must
// be about the flag.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		hint string
	}{
		{[]string{"--rsd", "127.0.0.1", "1", "devices"}, "address and port"},
		{[]string{"--rsd", "127.0.0.1", "1", "-e", "device()"}, "address and port"},
		{[]string{"--tunneld", "127.0.0.1:1", "--tunnel", "devices"}, "imdlua tunneld"},
		{[]string{"--tunneld", "127.0.0.1:1", "--tunnel", "", "-e", "device()"}, "imdlua tunneld"},
		{[]string{"pair", "--remote", "127.0.0.1:1"}, "address and port"},
	} {
		newProgram(t, test.args...).fails(t, 4, "error[no_device]", test.hint)
	}
}
