package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// tunnelLines decodes the output of tunnel --json.
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

// interrupt interrupts a program for which that is not an error.
func (p *program) interrupt(t *testing.T) {
	t.Helper()
	p.signals <- os.Interrupt
	if code := p.wait(t); code != 0 {
		t.Errorf("%q ended with %d, want 0\n%s%s", p.app.args, code, p.out, p.errs)
	}
}

// TestTunnelText uses the option that tunnel prints in other runs.
func TestTunnelText(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"ios17", "ios17.2", "ios26"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			p := newProgram(t, "--virtual="+profile, "tunnel").start(t)
			printed := map[string]string{}
			for line := range strings.Lines(p.out.await(t, "--rsd")) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
				printed[k] = strings.TrimSpace(v)
			}
			want := map[string]string{
				"ios17": "tcp (CoreDeviceProxy, ", "ios17.2": "quic (remote pairing, QUIC, ",
				"ios26": "tcp (CoreDeviceProxy, ",
			}[profile]
			if got := printed["protocol"]; !strings.HasPrefix(got, want) {
				t.Errorf("the protocol is %q, want %q first", got, want)
			}
			option := "--rsd " + printed["address"] + " " + printed["port"]
			if printed["use"] != option {
				t.Errorf("the option is %q, want %q", printed["use"], option)
			}
			udid := printed["device"]
			if udid == "" {
				t.Errorf("it printed %q, want the device", p.out)
			}
			use := strings.Fields(printed["use"])
			newProgram(t, append(use, "-e",
				"local d = device() print(d.udid, d.transport, #d:processes() > 20)")...).
				prints(t, udid+"\ttunnel\ttrue\n")
			newProgram(t, append([]string{"info", "-k", "UniqueDeviceID"}, use...)...).
				prints(t, udid+"\n")
			p.interrupt(t)
			got := p.errs.String()
			if linktest.Conditions().Latency > 0 && strings.Contains(got, "asks whether to trust") {
				got = "" // the answer to the dialog took long enough for a notice
			}
			if got != "" {
				t.Errorf("it wrote %q to standard error, want nothing", got)
			}
			// The address belongs to the device, so another test may have it for a moment.
			gone := newProgram(t, append(use, "devices")...).start(t)
			code := gone.wait(t)
			if code != 4 && !strings.Contains(gone.errs.String(), "error[disconnected]") {
				t.Errorf("devices at the address ended with %d, want 4\n%s", code, gone.errs)
			}
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
			if !strings.HasPrefix(j.Route, "usb ") {
				t.Errorf("the route is %q, want usb", j.Route)
			}
			if j.Inside == "" {
				t.Error("tunnel_address is empty")
			}
			if j.InsidePort == 0 {
				t.Error("tunnel_port is 0")
			}
			if j.MTU < 1280 {
				t.Errorf("the MTU is %d, want 1280 or more", j.MTU)
			}
			want := tunnelJSON{
				Event: "up", Protocol: test.protocol, How: test.how, Generation: 1,
				RSD: fmt.Sprintf("--rsd %s %d", j.Address, j.Port),
				// The values of these fields are not known in advance.
				UDID: j.UDID, Route: j.Route, Address: j.Address, Port: j.Port,
				Inside: j.Inside, InsidePort: j.InsidePort, MTU: j.MTU,
			}
			if j != want {
				t.Errorf("the tunnel is\n%+v, want\n%+v", j, want)
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
		newProgram(t, strings.Fields(test.args)...).fails(t, test.code, test.want)
	}
}

// TestTunnelNeverUp uses a device whose dialog is not answered. If tunnel ends before there was a
// tunnel, its exit code must not be 0.
func TestTunnelNeverUp(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, "--trust", "never")
	p := newProgram(t, "--usbmux", address, "tunnel").start(t)
	p.errs.await(t, "tap Trust")
	p.signals <- os.Interrupt
	if code := p.wait(t); code != 130 {
		t.Errorf("interrupted it ended with %d, want 130", code)
	}
	if out := p.out.String(); out != "" {
		t.Errorf("it printed %q, want nothing", out)
	}
	newProgram(t, "--usbmux", address, "tunnel", "--timeout", "0.2").check(t, 5)
}

// TestTunnelComesBack restarts the device while a tunnel with text and one with JSON output run.
// Both must print the new tunnels, and these must work.
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
		if down.Error == "" {
			t.Error("the event down has no error")
		}
		want := tunnelJSON{Event: "down", UDID: udids[0], Error: down.Error}
		if down != want {
			t.Errorf("the event is %+v, want %+v", down, want)
		}
		if up.Event != "up" {
			t.Errorf("the event is %q, want up", up.Event)
		}
		if up.UDID != udids[0] {
			t.Errorf("the UDID is %q, want %q", up.UDID, udids[0])
		}
		if up.Error != "" {
			t.Errorf("the event up has the error %q", up.Error)
		}
		newProgram(t, append(strings.Fields(up.RSD), "-e", "print(device().udid)")...).
			prints(t, udids[0]+"\n")
		text.out.awaitTimes(t, "device    "+udids[0], n)
	}
	text.errs.await(t, "the tunnel to "+udids[0]+" is down: ")
	objects.interrupt(t)
	text.interrupt(t)
}

// TestTunnelOfTunnel uses the list of services that another program makes reachable.
func TestTunnelOfTunnel(t *testing.T) {
	t.Parallel()
	s := serveShelf(t, "--trusted", "127.0.0.1")
	udid := s.udids[0]
	p := newProgram(t, append([]string{"tunnel", "--json", "--rsd"}, s.rsd[udid]...)...).start(t)
	j := tunnelLines(t, p.out.await(t, "\n"))[0]
	if j.Protocol != "rsd" {
		t.Errorf("the protocol is %q, want rsd", j.Protocol)
	}
	if j.UDID != udid {
		t.Errorf("the UDID is %q, want %q", j.UDID, udid)
	}
	if j.Inside != "" {
		t.Errorf("tunnel_address is %q, want nothing", j.Inside)
	}
	if j.MTU != 0 {
		t.Errorf("the MTU is %d, want 0", j.MTU)
	}
	newProgram(t, append(strings.Fields(j.RSD), "-e", "print(device().udid)")...).
		prints(t, udid+"\n")
	p.interrupt(t)
}
