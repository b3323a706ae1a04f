package virtual_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// rsdOnly returns a device of which only the address of its list of services is known. A
// tunnel of another program makes it reachable.
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

// TestPortsThere connects and forwards to ports of a device that has no muxer and no
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
	closed, err := d.Connect(ctx, 9)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("Connect to a closed port: %v, want a refused connection", err)
	}
	if closed != nil {
		t.Errorf("Connect to a closed port = %v beside an error", closed)
	}
	if !strings.Contains(err.Error(), d.UDID()) {
		t.Errorf("Connect to a closed port: %v, want the UDID in it", err)
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
	// Close does not wait for a connection that is open.
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

// echoed sends data through c, closes the writing side and reads until the end.
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
	if err != nil {
		t.Errorf("after %d bytes: %v", len(got), err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, want the %d sent", len(got), len(sent))
	}
}

// TestLongPackets sends much data to devices that lose packets of more than 8192 bytes, as
// real devices do.
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
			b, err := m.Phone().Media.ReadFile("/long")
			if err != nil {
				t.Errorf("ReadFile on the phone: %v", err)
			}
			if !bytes.Equal(b, sent) {
				t.Errorf("%d bytes arrived, want the %d sent", len(b), len(sent))
			}
			b, err = files.ReadFile(ctx, "/long")
			if err != nil {
				t.Errorf("ReadFile: %v", err)
			}
			if !bytes.Equal(b, sent) {
				t.Errorf("%d bytes came back, want the %d sent", len(b), len(sent))
			}
		})
	}
}
