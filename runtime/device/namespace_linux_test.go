package device_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// These tests use devices on real networks. As in the tests of bonjour, the test binary
// runs itself again in a network namespace of its own ("host"). That process runs it once
// more in another namespace ("device"). Two pairs of virtual Ethernet interfaces join the
// namespaces. The older phone is on both, with the same link-local addresses. The newer
// phone is on the first:
//
//	host   h0 fe80::1 10.9.0.1 ---- d0 fe80::d          device   old: Wi-Fi
//	                                d0 fe80::e                   new: Wi-Fi
//	       h1 fe80::1 10.9.1.1 ---- d1 fe80::d                   old: its cable's Ethernet
//	                                d1 10.9.1.2                  old: Wi-Fi
const (
	roleVariable    = "IMDLUA_DEVICE_ROLE"
	recordsVariable = "IMDLUA_DEVICE_RECORDS"

	roleHost   = "host"
	roleDevice = "device"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == roleDevice {
		if err := playDevice(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestNamespace(t *testing.T) {
	if os.Getenv(roleVariable) == roleHost {
		inNamespace(t)
		return
	}
	linktest.NeedNamespaces(t)
	cmd := exec.CommandContext(t.Context(), "unshare", "-rn", os.Args[0],
		"-test.run=^TestNamespace$", "-test.v", "-test.timeout=3m")
	cmd.Env = append(os.Environ(), roleVariable+"="+roleHost, recordsVariable+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestNamespace/") {
		t.Fatalf("nothing was tested:\n%s", out)
	}
	t.Logf("%s", out)
}

// network has the state that the tests in the namespace share.
type network struct {
	device   *machines
	browser  *bonjour.MDNS
	finder   *device.Finder
	old, new string // UDIDs
}

func inNamespace(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("network", func(t *testing.T) {
		n := &network{device: startDevice(t), browser: &bonjour.MDNS{}}
		n.old, n.new = n.device.ask(t, "old"), n.device.ask(t, "new")
		n.finder = device.NewFinder(device.Options{
			Browser: n.browser, Stores: []pair.Store{pair.NewDir(os.Getenv(recordsVariable))},
		})
		defer n.finder.Close()
		t.Run("one device with several routes", n.testFound)
		t.Run("poisoned", n.testPoisoned)
		t.Run("lockdown over Wi-Fi", n.testLockdown)
		t.Run("tunnels", n.testTunnels)
		t.Run("unplugged", n.testUnplugged)
	})
	if left := virtualtest.Settled(before); left > before {
		buf := make([]byte, 1<<20)
		t.Errorf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

var oldRoutes = []string{
	"wifi lockdown 10.9.1.2:62078", "wifi lockdown [fe80::d%h0]:62078",
	"usb remoted [fe80::d%h1]:58783",
	"wifi remotepairing 10.9.1.2:49152", "wifi remotepairing [fe80::d%h0]:49152",
}

var newRoutes = []string{
	"wifi lockdown [fe80::e%h0]:62078", "wifi remotepairing [fe80::e%h0]:49152",
}

// routes returns the routes as text, in sorted order. Of two equal routes either may
// have been found first.
func routes(i device.Info) []string {
	var all []string
	for _, r := range i.Routes {
		all = append(all, r.String())
	}
	slices.SortStableFunc(all, func(a, b string) int {
		x, y := strings.Fields(a), strings.Fields(b)
		if x[1] != y[1] {
			return 0
		}
		return strings.Compare(a, b)
	})
	return all
}

// find looks for the devices until both have these routes. Interfaces that have just
// come up cannot send at once.
func (n *network) find(t *testing.T, old, new []string) (o, w device.Info) {
	t.Helper()
	ctx := virtualtest.Context(t)
	for {
		infos, err := n.finder.List(ctx, device.Selector{Network: true})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, i := range infos {
			switch i.UDID {
			case n.old:
				o = i
			case n.new:
				w = i
			default:
				t.Fatalf("found %v", i)
			}
		}
		if len(infos) > 2 {
			t.Fatalf("List = %v, want two devices", infos)
		}
		if slices.Equal(routes(o), old) && slices.Equal(routes(w), new) {
			return o, w
		}
		if ctx.Err() != nil {
			t.Fatalf("found %v and %v, want %v and %v", routes(o), routes(w), old, new)
		}
	}
}

func (n *network) testFound(t *testing.T) {
	old, _ := n.find(t, oldRoutes, newRoutes)
	if old.Version != "17.2.1" {
		t.Errorf("found version %s, want 17.2.1", old.Version)
	}
	if old.Name == "" {
		t.Error("the device is found without a name")
	}
	if got := old.Transport(); got != "wifi" {
		t.Errorf("found transport %s, want wifi", got)
	}
	d, err := n.finder.Find(virtualtest.Context(t), device.Selector{OS: "<18"})
	if err != nil {
		t.Errorf("Find: %v", err)
	} else if d.UDID() != n.old {
		t.Errorf("Find = %v, want %s", d.UDID(), n.old)
	}
}

// over returns a Device that has only the named routes.
func (n *network) over(t *testing.T, i device.Info, names ...string) *device.Device {
	t.Helper()
	i.Routes = slices.DeleteFunc(slices.Clone(i.Routes),
		func(r device.Route) bool { return !slices.Contains(names, r.String()) })
	if len(i.Routes) != len(names) {
		t.Fatalf("routes %v, want %v", i.Routes, names)
	}
	n.finder.Device(i).Close() // so that the next one is new
	d := n.finder.Device(i)
	t.Cleanup(func() { d.Close() })
	return d
}

// testLockdown uses services over Wi-Fi with the record of the pairing by cable, and
// checks that the heartbeat keeps the device awake.
func (n *network) testLockdown(t *testing.T) {
	old, new := n.find(t, oldRoutes, newRoutes)
	for _, c := range []struct {
		info  device.Info
		route string
	}{{old, oldRoutes[0]}, {old, oldRoutes[1]}, {new, newRoutes[0]}} {
		t.Run(c.route, func(t *testing.T) {
			ctx := virtualtest.Context(t)
			d := n.over(t, c.info, c.route)
			if v, err := d.Get(ctx, "", "UniqueDeviceID"); err != nil {
				t.Errorf("Get: %v", err)
			} else if v != c.info.UDID {
				t.Errorf("Get = %v, want %s", v, c.info.UDID)
			}
			files, err := afc.Connect(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			defer files.Close()
			if list, err := files.ReadDir(ctx, "/"); err != nil {
				t.Errorf("ReadDir: %v", err)
			} else if len(list) == 0 {
				t.Error("ReadDir returns nothing")
			}
			if r := d.Routes()[0]; !strings.HasPrefix(r.Use, "services") {
				t.Errorf("route is for %q", r.Use)
			}
		})
	}
	t.Run("heartbeat", func(t *testing.T) {
		t.Parallel()
		d := n.over(t, old, oldRoutes[1])
		if _, err := d.Get(virtualtest.Context(t), "", "DeviceName"); err != nil {
			t.Fatal(err)
		}
		beat := d.Heartbeat()
		if beat == nil {
			t.Fatal("there is no heartbeat")
		}
		// This device ends the session of a host that misses the heartbeat for two
		// seconds.
		select {
		case <-beat.Done():
			t.Errorf("the heartbeat ended: %v", beat.Err())
		case <-time.After(4 * time.Second):
		}
		if _, err := d.Get(virtualtest.Context(t), "", "DeviceName"); err != nil {
			t.Error(err)
		}
		d.Close()
		select {
		case <-beat.Done():
		case <-virtualtest.Context(t).Done():
			t.Error("the heartbeat outlived its device")
		}
	})
	t.Run("no pairing over Wi-Fi", func(t *testing.T) {
		d := n.over(t, old, oldRoutes[1])
		if err := d.Pair(virtualtest.Context(t)); err == nil {
			t.Error("Pair over Wi-Fi succeeds")
		}
	})
}

// testTunnels makes each kind of tunnel to addresses with and without a zone.
func (n *network) testTunnels(t *testing.T) {
	old, new := n.find(t, oldRoutes, newRoutes)
	for _, c := range []struct {
		info       device.Info
		route, how string
		options    device.TunnelOptions
	}{
		{old, oldRoutes[2], "remote pairing, QUIC", device.TunnelOptions{}},
		{
			old, oldRoutes[2], "remote pairing, TLS-PSK",
			device.TunnelOptions{Protocol: "tcp", Route: "usb"},
		},
		{old, oldRoutes[3], "remote pairing, QUIC", device.TunnelOptions{Route: "wifi"}},
		{old, oldRoutes[4], "remote pairing, QUIC", device.TunnelOptions{Route: "wifi"}},
		{old, oldRoutes[4], "remote pairing, TLS-PSK", device.TunnelOptions{Protocol: "tcp"}},
		{new, newRoutes[0], "CoreDeviceProxy", device.TunnelOptions{}},
		{new, newRoutes[1], "remote pairing, TLS-PSK", device.TunnelOptions{Route: "wifi"}},
	} {
		t.Run(c.how+" on "+c.route, func(t *testing.T) {
			ctx := virtualtest.Context(t)
			d := n.over(t, c.info, c.route)
			tun, err := d.Tunnel(ctx, c.options)
			if err != nil {
				t.Fatal(err)
			}
			if tun.How != c.how {
				t.Errorf("the tunnel is made by %q, want %q", tun.How, c.how)
			}
			if tun.Address.Zone() != "" {
				t.Errorf("the tunnel's address %s has a zone", tun.Address)
			}
			used(t, ctx, d)
		})
	}
}

// used asks for the list of processes, which requires a tunnel.
func used(t *testing.T, ctx context.Context, d *device.Device) {
	t.Helper()
	s, err := dvt.Connect(ctx, d, dvt.Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	if list, err := s.Processes(ctx); err != nil {
		t.Errorf("Processes: %v", err)
	} else if len(list) == 0 {
		t.Error("Processes returns nothing")
	}
}

// testUnplugged unplugs the cable. The interface sends a goodbye, and the tunnel is
// made again over Wi-Fi. When the cable is plugged in again, its route is back.
func (n *network) testUnplugged(t *testing.T) {
	ctx := virtualtest.Context(t)
	old, _ := n.find(t, oldRoutes, newRoutes)
	d := n.over(t, old, oldRoutes[2], oldRoutes[4])
	tun, err := d.Tunnel(ctx, device.TunnelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if tun.Route.Via != device.ViaRemoted {
		t.Fatalf("Tunnel = %+v, want one over %s", tun, device.ViaRemoted)
	}
	c := listener(t, "h1")
	n.device.ask(t, "unplug")
	goodbye(t, c, bonjour.Remoted)
	select {
	case <-tun.Done():
	case <-ctx.Done():
		t.Fatal("the tunnel outlived its cable")
	}
	used(t, ctx, d)
	now := d.Tunneled()
	if now == nil {
		t.Fatal("there is no tunnel without the cable")
	}
	if now.Route.Via != device.ViaPairing {
		t.Errorf("without the cable the tunnel is over %s, want %s", now.Route.Via,
			device.ViaPairing)
	}
	if now.Generation != 2 {
		t.Errorf("without the cable the tunnel has the generation %d, want 2", now.Generation)
	}
	n.find(t, slices.Delete(slices.Clone(oldRoutes), 2, 3), newRoutes)
	n.device.ask(t, "plug")
	n.find(t, oldRoutes, newRoutes)
}

// listener receives the packets to the group on an interface.
func listener(t *testing.T, name string) *net.UDPConn {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenMulticastUDP("udp6", i,
		&net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: 5353, Zone: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// goodbye waits for the goodbye of an instance of the type.
func goodbye(t *testing.T, c *net.UDPConn, of bonjour.Type) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(virtualtest.Deadline)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 9000)
	for {
		n, _, err := c.ReadFromUDP(b)
		if err != nil {
			t.Fatalf("no goodbye was heard: %v", err)
		}
		var m dns.Msg
		if m.Unpack(b[:n]) != nil || !m.Response {
			continue
		}
		for _, r := range m.Answer {
			if ptr, ok := r.(*dns.PTR); ok && ptr.Hdr.Ttl == 0 &&
				strings.HasPrefix(ptr.Hdr.Name, string(of)) {
				return
			}
		}
	}
}
