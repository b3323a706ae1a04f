package virtual_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestDeadAddress asks for a list of services at an address on which nothing listens.
func TestDeadAddress(t *testing.T) {
	t.Parallel()
	f := device.NewFinder(device.Options{})
	defer f.Close()
	at := deadPort(t)
	d, err := f.At(virtualtest.Context(t), device.DirectAt(at))
	var e *device.Error
	if d != nil {
		t.Errorf("At(%s) = %v beside an error", at, d)
	}
	if !errors.As(err, &e) {
		t.Fatalf("At(%s): %v, want a *device.Error", at, err)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("At(%s): %v, want a refused connection", at, err)
	}
	if !strings.Contains(err.Error(), at.String()) {
		t.Errorf("At(%s): %v, want the address in it", at, err)
	}
}

// lists returns n addresses of a phone's list of services.
func lists(t *testing.T, m *virtual.Machine, n int) []device.Direct {
	t.Helper()
	var all []device.Direct
	for range n {
		p, err := m.Show(virtual.NetworkOptions{Trusted: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, device.DirectAt(netip.AddrPortFrom(p.Address(), p.Ports().Trusted)))
	}
	return all
}

// TestDirect finds devices by Options.Direct alone.
func TestDirect(t *testing.T) {
	t.Parallel()
	h := virtualtest.Host(t, virtual.HostOptions{
		Count: 2, Device: virtual.Options{Phone: phone.Options{Profile: "ios17"}},
	})
	one, two := h.Devices()[0], h.Devices()[1]
	var told []device.Direct
	var failed error
	f := virtualtest.Finder(t, h, device.Options{
		Direct: func(context.Context) ([]device.Direct, error) { return told, failed },
	})
	ctx := virtualtest.Context(t)

	list, err := f.List(ctx, device.Selector{})
	if err != nil {
		t.Errorf("List of nothing: %v", err)
	}
	if len(list) != 0 {
		t.Errorf("List of nothing = %v", list)
	}
	if _, err := f.Find(ctx, device.Selector{}); !errors.Is(err, device.ErrNotFound) {
		t.Errorf("Find in nothing = %v", err)
	}
	told = lists(t, one, 2)
	told = append(told, device.DirectAt(deadPort(t)))
	d, err := f.Find(ctx, device.Selector{})
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	if d.UDID() != one.UDID() {
		t.Fatalf("Find = %s, want %s", d.UDID(), one.UDID())
	}
	if routes := d.Info().Routes; len(routes) != 2 {
		t.Fatalf("the routes are %v, want two", routes)
	}
	if got, want := d.Info().Name, one.Phone().Values.Name(); got != want {
		t.Fatalf("the name is %q, want %q", got, want)
	}
	if err := askProcesses(ctx, d, one); err != nil {
		t.Error(err)
	}
	r := d.Routes()
	if !r[0].Up {
		t.Errorf("the first route is not up: %+v", r[0])
	}
	if r[0].Use != "tunnel" {
		t.Errorf("the first route is used for %q, want tunnel", r[0].Use)
	}
	if r[0].How != "list of services" {
		t.Errorf("the first route was found by %q, want list of services", r[0].How)
	}
	if r[1].Up {
		t.Errorf("the second route is up: %+v", r[1])
	}
	told = append(told, lists(t, two, 1)...)
	var ambiguous *device.AmbiguousError
	_, err = f.Find(ctx, device.Selector{})
	if !errors.As(err, &ambiguous) {
		t.Fatalf("Find among two: %v, want an *AmbiguousError", err)
	}
	if len(ambiguous.Matches) != 2 {
		t.Errorf("Find among two: %v, want two matches", ambiguous.Matches)
	}
	for _, m := range []*virtual.Machine{one, two} {
		if !strings.Contains(err.Error(), m.UDID()) {
			t.Errorf("Find among two: %v, want %s in it", err, m.UDID())
		}
	}
	// The first list disappears. The other one of the same device is used.
	told = told[1:2]
	d.CloseTunnel()
	if err := d.Refresh(ctx); err != nil {
		t.Errorf("Refresh: %v", err)
	}
	if routes := d.Info().Routes; len(routes) != 1 {
		t.Errorf("the routes are %v after Refresh, want one", routes)
	}
	if err := askProcesses(ctx, d, one); err != nil {
		t.Error(err)
	}
	told = []device.Direct{device.DirectAt(deadPort(t))}
	list, err = f.List(ctx, device.Selector{})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("List of a dead list: %v, want a refused connection", err)
	}
	if list != nil {
		t.Errorf("List of a dead list = %v beside an error", list)
	}
	failed = io.ErrNoProgress
	if true {
		if _, err := f.List(ctx, device.Selector{}); !errors.Is(err, failed) {
			t.Errorf("List = %v, want %v", err, failed)
		}
	}
}

// askProcesses lists the processes over DTX, which iOS 17 and later have only in tunnels.
func askProcesses(ctx context.Context, o service.Opener, m *virtual.Machine) error {
	s, err := dvt.Connect(ctx, o, dvt.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.Processes(ctx)
	return errors.Join(err, want(len(list) == len(m.Phone().Processes.List()),
		"%d processes, the phone has %d", len(list), len(m.Phone().Processes.List())))
}

// TestOneDevice checks that a phone on several networks is one device with several
// routes, and that two phones on Wi-Fi are two devices.
func TestOneDevice(t *testing.T) {
	t.Parallel()
	h := virtualtest.Host(t, virtual.HostOptions{
		Count: 2, Device: virtual.Options{Phone: phone.Options{Profile: "ios18"}},
	})
	ctx := virtualtest.Context(t)
	for _, m := range h.Devices() {
		for _, last := range []byte{1, 2} {
			if _, err := m.Show(virtual.NetworkOptions{
				Wifi: true, Address: netip.AddrFrom4([4]byte{127, 0, 0, last}),
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := virtualtest.Finder(t, h, device.Options{})
	vias := func(i device.Info) (all []string) {
		for _, r := range i.Routes {
			all = append(all, r.Kind+" "+string(r.Via))
		}
		return all
	}
	plugged := []string{
		"usb usbmux", "wifi lockdown", "wifi lockdown", "usb remoted", "wifi remotepairing",
		"wifi remotepairing",
	}
	infos, err := f.List(ctx, device.Selector{Network: true})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if len(infos) != 2 {
		t.Fatalf("List = %+v, want two devices", infos)
	}
	for i, info := range infos {
		if got := vias(info); !slices.Equal(got, plugged) {
			t.Fatalf("routes of device %d: %v, want %v", i, got, plugged)
		}
	}

	for _, m := range h.Devices() {
		m.Detach()
	}
	air := []string{"wifi lockdown", "wifi lockdown", "wifi remotepairing", "wifi remotepairing"}
	infos, err = f.List(ctx, device.Selector{})
	if err != nil {
		t.Fatalf("List without a cable: %v", err)
	}
	if len(infos) != 2 {
		t.Fatalf("List without a cable = %+v, want two devices", infos)
	}
	if got := vias(infos[0]); !slices.Equal(got, air) {
		t.Fatalf("routes without a cable: %v, want %v", got, air)
	}
	var ambiguous *device.AmbiguousError
	_, err = f.Find(ctx, device.Selector{Transport: "wifi"})
	if !errors.As(err, &ambiguous) {
		t.Errorf("Find by Wi-Fi: %v, want an *AmbiguousError", err)
	} else if len(ambiguous.Matches) != 2 {
		t.Errorf("Find by Wi-Fi: %v, want two matches", ambiguous.Matches)
	}
	name := h.Devices()[1].Phone().Values.Name()
	d, err := f.Find(ctx, device.Selector{Name: name, OS: ">=18"})
	if err != nil {
		t.Fatalf("Find by name and version: %v", err)
	}
	if got, want := d.UDID(), h.Devices()[1].UDID(); got != want {
		t.Errorf("Find by name and version = %s, want %s", got, want)
	}
	list, err := f.List(ctx, device.Selector{Transport: "usb"})
	if err != nil {
		t.Errorf("List by cable: %v", err)
	}
	if len(list) != 0 {
		t.Errorf("List by cable = %v, want none", list)
	}
}

// TestKnownRoutes checks that looking for the device again without the network keeps the
// route that its tunnel is on.
func TestKnownRoutes(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: "ios17.2"}}})
	f := virtualtest.Finder(t, h, device.Options{})
	d := must(f.Find(ctx, device.Selector{}))(t)
	if how := up(t, d, device.TunnelOptions{}); how != quic {
		t.Fatalf("tunnel is %q", how)
	}
	again := must(f.Find(ctx, device.Selector{}))(t)
	routes := again.Routes()
	if again != d {
		t.Errorf("Find = %v, want the same *Device again", again)
	}
	if len(routes) != 2 {
		t.Fatalf("routes are %+v, want two", routes)
	}
	if !routes[1].Up {
		t.Errorf("the second route is not up: %+v", routes[1])
	}
	if routes[1].Route.Via != device.ViaRemoted {
		t.Errorf("the second route is by %v, want remoted", routes[1].Route.Via)
	}
}

// TestImageComesAndGoes checks that the list of services in an open tunnel changes with
// the developer image.
func TestImageComesAndGoes(t *testing.T) {
	for _, profile := range []string{"ios17.2", "ios26"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			d, m := rsdOnly(t,
				virtual.Options{Phone: phone.Options{Profile: profile, NoImage: true}})
			ctx := virtualtest.Context(t)
			for range 2 {
				if err := askProcesses(ctx, d, m); !errors.Is(err, device.ErrNoImage) {
					t.Fatalf("without an image: %v", err)
				}
				m.Phone().Image.Mount()
				if err := askProcesses(ctx, d, m); err != nil {
					t.Fatalf("with an image: %v", err)
				}
				m.Phone().Image.Unmount()
			}
			m.Phone().Image.Mount()
			if err := askProcesses(ctx, d, m); err != nil {
				t.Errorf("with an image: %v", err)
			}
			if g := d.Tunneled().Generation; g != 1 {
				t.Errorf("it took %d tunnels", g)
			}
		})
	}
}

// TestLockedInTunnel opens services of a locked phone in its tunnel. Some of them need an
// escrow bag, which the host has or does not have.
func TestLockedInTunnel(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	d, m := virtualtest.Device(t, virtual.Options{Phone: phone.Options{Profile: "ios26"}})
	tun := must(d.Tunnel(ctx, device.TunnelOptions{}))(t) // pairs with lockdown
	m.Phone().Screen.SetPasscode(true)
	m.Phone().Screen.Lock()
	for _, c := range []struct {
		name service.Name
		ok   bool
	}{
		{afc.Service, true},
		{service.Name{Lockdown: afc.Service.Lockdown}, false},
		{installationproxy.Service, false},
		{service.Name{Lockdown: "com.apple.mobile.heartbeat"}, true},
	} {
		nc, err := tun.List().Open(ctx, c.name)
		if err == nil {
			nc.Close()
		}
		if c.ok && err != nil {
			t.Errorf("%s on a locked phone, escrow %v: %v", c.name.Lockdown, c.name.Escrow, err)
		}
		if !c.ok && !errors.Is(err, rsd.ErrPasswordProtected) {
			t.Errorf("%s on a locked phone, escrow %v: %v, want ErrPasswordProtected",
				c.name.Lockdown, c.name.Escrow, err)
		}
	}
	// A host that is not paired with lockdown has no escrow bag.
	stranger, locked := rsdOnly(t, virtual.Options{Phone: phone.Options{Profile: "ios17.2"}})
	locked.Phone().Screen.SetPasscode(true)
	locked.Phone().Screen.Lock()
	c, err := afc.Connect(ctx, stranger)
	if !errors.Is(err, rsd.ErrPasswordProtected) {
		t.Errorf("afc without a record: %v, want ErrPasswordProtected", err)
	}
	if c != nil {
		t.Errorf("afc without a record = %v beside an error", c)
	}
}

// keeps is a store that has the same record for every device.
type keeps struct {
	device.RemoteStore
	record *remotepair.Record
}

func (k keeps) Load(context.Context, string) (*remotepair.Record, error) { return k.record, nil }

// TestUnlockKeyStays gives a host the address of a list of services. The peer at that
// address is not authenticated, so it must not get the escrow bag, which unlocks a device.
func TestUnlockKeyStays(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	p, err := phone.New(phone.Options{Profile: "ios17.2"})
	if err != nil {
		t.Fatal(err)
	}
	key := bytes.Repeat([]byte{7}, 32)
	shown := make(chan []byte, 1)
	const listPort, filesPort = 1000, 1001
	list := &rsd.Device{Phone: p, Services: func() []rsd.Service {
		return []rsd.Service{{Name: "com.apple.afc.shim.remote", Port: filesPort}}
	}}
	files := &rsd.CheckinDevice{Service: "com.apple.afc.shim.remote",
		Handler: &afc.Device{FS: p.Media}, Refuse: func(_ context.Context, escrow []byte) error {
			shown <- escrow
			return nil
		}}
	life, end := context.WithCancel(ctx)
	defer end()
	dial := func(_ context.Context, port uint16) (net.Conn, error) {
		client, server := link.Pipe()
		go func() {
			defer server.Close()
			if port == listPort {
				_ = list.Serve(life, server)
			} else {
				_ = files.Serve(life, server)
			}
		}()
		return client, nil
	}
	f := device.NewFinder(device.Options{RemoteStores: []device.RemoteStore{keeps{
		record: &remotepair.Record{RemoteUnlockHostKey: base64.StdEncoding.EncodeToString(key)},
	}}})
	defer f.Close()
	d, err := f.At(ctx, device.Direct{Address: "there", Port: listPort, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	c, err := afc.Connect(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-shown; len(got) > 0 {
		t.Errorf("the escrow bag % x went to somebody who did not prove who it is", got)
	}
}
