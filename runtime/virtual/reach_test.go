package virtual_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
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
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestDeadAddress asks for a list of services where there is none.
func TestDeadAddress(t *testing.T) {
	t.Parallel()
	f := device.NewFinder(device.Options{})
	defer f.Close()
	at := deadPort(t)
	d, err := f.At(virtualtest.Context(t), device.DirectAt(at))
	var e *device.Error
	if !errors.As(err, &e) || !errors.Is(err, syscall.ECONNREFUSED) ||
		!strings.Contains(err.Error(), at.String()) || d != nil {
		t.Errorf("At(%s) = %v, %v; want a *device.Error with connection refused", at, d, err)
	}
}

// lists shows a phone n times without a tunnel.
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

// TestDirect has only what Options.Direct tells of.
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

	if list, err := f.List(ctx, device.Selector{}); len(list) != 0 || err != nil {
		t.Errorf("List of nothing = %v, %v", list, err)
	}
	if _, err := f.Find(ctx, device.Selector{}); !errors.Is(err, device.ErrNotFound) {
		t.Errorf("Find in nothing = %v", err)
	}
	told = lists(t, one, 2)
	told = append(told, device.DirectAt(deadPort(t)))
	d, err := f.Find(ctx, device.Selector{})
	if err != nil || d.UDID() != one.UDID() || len(d.Info().Routes) != 2 ||
		d.Info().Name != one.Phone().Values.Name() {
		t.Fatalf("Find = %v with %v, %v; want one device with two routes", d, d.Info().Routes, err)
	}
	if err := askProcesses(ctx, d, one); err != nil {
		t.Error(err)
	}
	if r := d.Routes(); !r[0].Up || r[0].Use != "tunnel" || r[0].How != "list of services" ||
		r[1].Up {
		t.Errorf("routes are %+v", r)
	}
	told = append(told, lists(t, two, 1)...)
	var ambiguous *device.AmbiguousError
	if _, err := f.Find(ctx,
		device.Selector{}); !errors.As(err, &ambiguous) || len(ambiguous.Matches) != 2 ||
		!strings.Contains(err.Error(), one.UDID()) || !strings.Contains(err.Error(), two.UDID()) {
		t.Errorf("Find among two = %v", err)
	}
	// The first list goes: the other one of the same device is as good.
	told = told[1:2]
	d.CloseTunnel()
	if err := d.Refresh(ctx); err != nil || len(d.Info().Routes) != 1 {
		t.Errorf("Refresh = %v, %v", d.Info().Routes, err)
	}
	if err := askProcesses(ctx, d, one); err != nil {
		t.Error(err)
	}
	told = []device.Direct{device.DirectAt(deadPort(t))}
	if list, err := f.List(ctx, device.Selector{}); !errors.Is(err, syscall.ECONNREFUSED) ||
		list != nil {
		t.Errorf("List of a dead list = %v, %v", list, err)
	}
	failed = io.ErrNoProgress
	if true {
		if _, err := f.List(ctx, device.Selector{}); !errors.Is(err, failed) {
			t.Errorf("List = %v, want %v", err, failed)
		}
	}
}

// askProcesses asks for them by DTX, which from iOS 17 on is in tunnels alone.
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

// TestOneDevice is that a phone on several networks is one device with several
// routes, and two phones on Wi-Fi are two.
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
	if err != nil || len(infos) != 2 || !slices.Equal(vias(infos[0]), plugged) ||
		!slices.Equal(vias(infos[1]), plugged) {
		t.Fatalf("List = %+v, %v; want two devices with %v each", infos, err, plugged)
	}
	for _, m := range h.Devices() {
		m.Detach()
	}
	air := []string{"wifi lockdown", "wifi lockdown", "wifi remotepairing", "wifi remotepairing"}
	infos, err = f.List(ctx, device.Selector{})
	if err != nil || len(infos) != 2 || !slices.Equal(vias(infos[0]), air) {
		t.Fatalf("List without a cable = %+v, %v; want two devices with %v each", infos, err, air)
	}
	var ambiguous *device.AmbiguousError
	if _, err := f.Find(ctx, device.Selector{Transport: "wifi"}); !errors.As(err, &ambiguous) ||
		len(ambiguous.Matches) != 2 {
		t.Errorf("Find = %v", err)
	}
	name := h.Devices()[1].Phone().Values.Name()
	if d, err := f.Find(ctx, device.Selector{Name: name, OS: ">=18"}); err != nil ||
		d.UDID() != h.Devices()[1].UDID() {
		t.Errorf("Find by name and version = %v, %v", d, err)
	}
	if list, err := f.List(ctx, device.Selector{Transport: "usb"}); err != nil || len(list) != 0 {
		t.Errorf("List by cable = %v, %v", list, err)
	}
}

// TestKnownRoutes stay known: looking for the device again without the network
// does not lose the route that its tunnel is on.
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
	if again != d || len(routes) != 2 || !routes[1].Up || routes[1].Route.Via != device.ViaRemoted {
		t.Errorf("found again it has %+v", routes)
	}
}

// rsdOnly returns a device of which nothing but a list of services is known,
// which a tunnel of another program makes reachable.
func rsdOnly(t *testing.T, o virtual.Options) (*device.Device, *virtual.Machine) {
	t.Helper()
	other, m := virtualtest.Device(t, o)
	tun, err := other.Tunnel(virtualtest.Context(t), device.TunnelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := device.NewFinder(device.Options{})
	t.Cleanup(func() { f.Close() })
	d, err := f.At(virtualtest.Context(t),
		device.Direct{Name: "other", Address: "tunnel", Port: tun.RSDPort, Dial: tun.Dial})
	if err != nil {
		t.Fatal(err)
	}
	return d, m
}

// TestPortsThere forwards to ports of a device that has no muxer and no
// lockdown outside of its tunnel.
func TestPortsThere(t *testing.T) {
	t.Parallel()
	const port = 4242
	d, _ := rsdOnly(t, virtual.Options{Phone: phone.Options{Profile: "ios26"}, Echo: port})
	ctx := virtualtest.Context(t)
	c, err := d.Connect(ctx, port)
	if err != nil {
		t.Fatal(err)
	}
	echoed(t, c)
	if c, err := d.Connect(ctx, 9); !errors.Is(err, syscall.ECONNREFUSED) || c != nil ||
		!strings.Contains(err.Error(), d.UDID()) {
		t.Errorf("Connect to a closed port = %v, %v", c, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fw := d.Forward(l, port, func(err error) { t.Errorf("forward: %v", err) })
	for range 3 {
		c, err := net.Dial("tcp", fw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		echoed(t, c)
	}
	if fw.Total() != 3 {
		t.Errorf("%d connections, want 3", fw.Total())
	}
	// One that is open does not keep Close.
	open, err := net.Dial("tcp", fw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(open, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := fw.Close(); err != nil {
		t.Error(err)
	}
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived its forward")
	}
}

// echoed sends through c, ends its half and reads back all of it.
func echoed(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	sent := bytes.Repeat([]byte("there and back "), 20_000)
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
		if err := link.CloseWrite(c); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(c)
	work.Wait()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
}

// TestLongPackets sends much to devices that lose what is over 8192 bytes, as
// real ones do.
func TestLongPackets(t *testing.T) {
	for _, c := range []struct {
		profile string
		via     device.Via
	}{{"ios17", device.ViaMuxer}, {"ios17.2", device.ViaRemoted}, {"ios26", device.ViaPairing}} {
		t.Run(fmt.Sprintf("%s/%s", c.profile, c.via), func(t *testing.T) {
			t.Parallel()
			ctx := virtualtest.Context(t)
			d, m := alone(t, c.profile, c.via)
			m.SetTunnelFaults(virtual.TunnelFaults{Faults: tunnel.Faults{DropOver: 8192}})
			nc, err := must(d.Tunnel(ctx, device.TunnelOptions{}))(t).List().Open(ctx, afc.Service)
			if err != nil {
				t.Fatal(err)
			}
			files := afc.New(nc)
			defer files.Close()
			sent := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
			if err := files.WriteFile(ctx, "/long", sent); err != nil {
				t.Fatal(err)
			}
			if b, err := m.Phone().Media.ReadFile("/long"); err != nil || !bytes.Equal(b, sent) {
				t.Errorf("%d of %d bytes arrived, %v", len(b), len(sent), err)
			}
			if b, err := files.ReadFile(ctx, "/long"); err != nil || !bytes.Equal(b, sent) {
				t.Errorf("%d of %d bytes came back, %v", len(b), len(sent), err)
			}
		})
	}
}

// TestImageComesAndGoes is that the list of a tunnel that stands follows the
// image.
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

// TestLockedInTunnel opens services of a locked phone in its tunnel: those that
// want an escrow bag, with and without one.
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
		if c.ok && err != nil || !c.ok && !errors.Is(err, rsd.ErrPasswordProtected) {
			t.Errorf("%s on a locked phone, escrow %v: %v", c.name.Lockdown, c.name.Escrow, err)
		}
	}
	// A host that lockdown does not know has no bag.
	stranger, locked := rsdOnly(t, virtual.Options{Phone: phone.Options{Profile: "ios17.2"}})
	locked.Phone().Screen.SetPasscode(true)
	locked.Phone().Screen.Lock()
	if c, err := afc.Connect(ctx, stranger); !errors.Is(err, rsd.ErrPasswordProtected) || c != nil {
		t.Errorf("afc without a record = %v", err)
	}
}

// keeps is a store with one record for every device.
type keeps struct {
	device.RemoteStore
	record *remotepair.Record
}

func (k keeps) Load(context.Context, string) (*remotepair.Record, error) { return k.record, nil }

// TestUnlockKeyStays gives a host a list of services at an address: whoever is there
// has not proved who it is, and does not get the key that opens a locked device.
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
