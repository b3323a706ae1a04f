package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// tunnelLines decodes what tunnel --json has printed.
func tunnelLines(t *testing.T, text string) []tunnelJSON {
	t.Helper()
	var list []tunnelJSON
	for line := range strings.Lines(text) {
		var j tunnelJSON
		if err := json.Unmarshal([]byte(line), &j); err != nil {
			t.Fatalf("%q is not JSON: %v", line, err)
		}
		list = append(list, j)
	}
	return list
}

// interrupt ends a program that is to take that for its usual end.
func (p *program) interrupt(t *testing.T) {
	t.Helper()
	p.signals <- os.Interrupt
	if code := p.wait(t); code != 0 {
		t.Errorf("%q ended with %d, want 0\n%s%s", p.app.args, code, p.out, p.errs)
	}
}

// TestTunnelText uses the option that is printed in other runs, as long as the
// tunnel is there.
func TestTunnelText(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"ios17", "ios17.2", "ios26"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, "--virtual="+profile, "tunnel").start(t)
			said := map[string]string{}
			for line := range strings.Lines(p.out.await(t, "--rsd")) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
				said[k] = strings.TrimSpace(v)
			}
			want := map[string]string{
				"ios17": "tcp (CoreDeviceProxy, ", "ios17.2": "quic (remote pairing, QUIC, ",
				"ios26": "tcp (CoreDeviceProxy, ",
			}[profile]
			if !strings.HasPrefix(said["protocol"], want) ||
				said["use"] != "--rsd "+said["address"]+" "+said["port"] || said["device"] == "" {
				t.Errorf("it printed %q", p.out)
			}
			use := strings.Fields(said["use"])
			out, _ := newProgram(t, append(use, "-e",
				"local d = device() print(d.udid, d.transport, #d:processes() > 20)")...).check(t,
				0)
			if out != said["device"]+"\ttunnel\ttrue\n" {
				t.Errorf("a script over %q printed %q", use, out)
			}
			if out, _ := newProgram(t, append([]string{"info", "-k", "UniqueDeviceID"},
				use...)...).check(t, 0); out != said["device"]+"\n" {
				t.Errorf("info over %q printed %q", use, out)
			}
			p.interrupt(t)
			if p.errs.String() != "" {
				t.Errorf("standard error has %q", p.errs)
			}
			newProgram(t, append(use, "devices")...).check(t, 4)
		})
	}
}

func TestTunnelOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		profile, flags string
		protocol, how  string
	}{
		{"ios17", "", "tcp", "CoreDeviceProxy"},
		{"ios17", "--protocol auto --route usb", "tcp", "CoreDeviceProxy"},
		{"ios17", "--protocol tcp", "tcp", "CoreDeviceProxy"},
		{"ios17", "--protocol quic", "quic", "remote pairing, QUIC"},
		{"ios17.2", "", "quic", "remote pairing, QUIC"},
		{"ios17.2", "--protocol tcp --route usb", "tcp", "remote pairing, TLS-PSK"},
		{"ios18", "", "tcp", "CoreDeviceProxy"},
		{"ios26", "", "tcp", "CoreDeviceProxy"},
	} {
		t.Run(test.profile+" "+test.flags, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, append([]string{"--virtual=" + test.profile, "tunnel", "--json"},
				strings.Fields(test.flags)...)...).start(t)
			j := tunnelLines(t, p.out.await(t, "\n"))[0]
			if j.Event != "up" || j.Protocol != test.protocol || j.How != test.how ||
				j.Generation != 1 || !strings.HasPrefix(j.Route, "usb ") {
				t.Errorf("%+v, want the first tunnel by %s, %s on a cable", j, test.protocol,
					test.how)
			}
			if j.RSD != fmt.Sprintf("--rsd %s %d", j.Address, j.Port) || j.Inside == "" ||
				j.InsidePort == 0 || j.MTU < 1280 || j.Interface != "" || j.Error != "" {
				t.Errorf("%+v, want its addresses and no interface", j)
			}
			p.interrupt(t)
		})
	}
}

func TestTunnelRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"--virtual=ios16 tunnel", 1, "error[no_tunnel]"},
		{"--virtual=ios16 tunnel --json", 1, "16.7"},
		{"--virtual=ios26 tunnel --protocol quic", 1, "error[no_tunnel]"},
		{"--virtual tunnel --route wifi", 1, "error[no_tunnel]"},
		{"--virtual --device nobody tunnel", 4, "error[no_device]"},
		{"tunnel", 4, "error[no_muxer]"},
	} {
		if out, stderr := newProgram(t, strings.Fields(test.args)...).check(t,
			test.code); out != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: it printed %q and %q, want %q", test.args, out, stderr, test.want)
		}
	}
}

// TestTunnelNeverUp has a device that waits for its dialog: an end before there
// was a tunnel is not a success.
func TestTunnelNeverUp(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, "--trust", "never")
	p := newProgram(t, "--usbmux", address, "tunnel").start(t)
	p.errs.await(t, "tap Trust")
	p.signals <- os.Interrupt
	if code := p.wait(t); code != 130 || p.out.String() != "" {
		t.Errorf("interrupted it ended with %d and printed %q, want 130 and nothing", code, p.out)
	}
	newProgram(t, "--usbmux", address, "tunnel", "--timeout", "0.2").check(t, 5)
}

// TestTunnelComesBack restarts the device under a text and a JSON tunnel: both
// count, and what they print then works.
func TestTunnelComesBack(t *testing.T) {
	t.Parallel()
	address, udids := serve(t)
	objects := newProgram(t, "--usbmux", address, "tunnel", "--json").start(t)
	text := newProgram(t, "--usbmux", address, "tunnel").start(t)
	objects.out.await(t, "\n")
	text.out.await(t, "--rsd")
	for n := 2; n <= 3; n++ {
		newProgram(t, "--usbmux", address, "-e", "device():restart()").check(t, 0)
		list := tunnelLines(t, objects.out.await(t, fmt.Sprintf(`"generation":%d}`+"\n", n)))
		down, up := list[1], list[len(list)-1]
		if down.Event != "down" || down.UDID != udids[0] || down.Error == "" ||
			down.Generation != 0 {
			t.Errorf("its end is %+v", down)
		}
		if up.Event != "up" || up.UDID != udids[0] || up.Error != "" {
			t.Errorf("its return is %+v", up)
		}
		out, _ := newProgram(t,
			append(strings.Fields(up.RSD), "-e", "print(device().udid)")...).check(t, 0)
		if out != udids[0]+"\n" {
			t.Errorf("tunnel %d led to %q", n, out)
		}
		text.out.awaitTimes(t, "device    "+udids[0], n)
	}
	text.errs.await(t, "the tunnel to "+udids[0]+" is down: ")
	objects.interrupt(t)
	text.interrupt(t)
}

// TestTunnelOfTunnel passes on what another program makes reachable.
func TestTunnelOfTunnel(t *testing.T) {
	t.Parallel()
	s := serveShelf(t, "--trusted", "127.0.0.1")
	udid := s.udids[0]
	p := newProgram(t, append([]string{"tunnel", "--json", "--rsd"}, s.rsd[udid]...)...).start(t)
	j := tunnelLines(t, p.out.await(t, "\n"))[0]
	if j.Protocol != "rsd" || j.UDID != udid || j.Inside != "" || j.MTU != 0 {
		t.Errorf("%+v, want one that others made", j)
	}
	if out, _ := newProgram(t, append(strings.Fields(j.RSD), "-e",
		"print(device().udid)")...).check(t, 0); out != udid+"\n" {
		t.Errorf("it led to %q", out)
	}
	p.interrupt(t)
}
