package virtual_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// silentConn drops requests of one kind, so that the muxer never answers them.
type silentConn struct {
	net.Conn
	lost string
}

func (c silentConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("<string>"+c.lost+"</string>")) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestSilentMuxer uses a muxer that never answers one kind of request about pair records,
// as netmuxd does. Pairing and unpairing must end soon, report what was done, and use the
// store of this host.
func TestSilentMuxer(t *testing.T) {
	for _, test := range []struct {
		name, lost string
		stored     bool // the record is in the store of this host
		unpair     error
		forgotten  bool // by the device
	}{
		{name: "deletes nothing", lost: "DeletePairRecord", unpair: device.ErrRecordKept,
			forgotten: true},
		{name: "saves nothing", lost: "SavePairRecord", stored: true, forgotten: true},
		{name: "reads nothing", lost: "ReadPairRecord", unpair: context.DeadlineExceeded},
		{name: "has no identity", lost: "ReadBUID", forgotten: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, err := virtual.NewHost(virtual.HostOptions{Count: 1})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				mux, err := usbmux.New(usbmux.Options{
					Address: "virtual",
					Dial: func(ctx context.Context) (net.Conn, error) {
						c, err := h.Dial(ctx)
						return silentConn{c, test.lost}, err
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				store := pair.NewDir(t.TempDir())
				f := device.NewFinder(device.Options{
					Muxers: []*usbmux.Client{mux}, Stores: []pair.Store{store},
				})
				defer f.Close()
				d, err := f.Find(t.Context(), device.Selector{})
				if err != nil {
					t.Fatal(err)
				}
				if err := d.Pair(t.Context()); err != nil {
					t.Errorf("Pair = %v", err)
				}
				if _, err := store.Load(t.Context(), d.UDID()); (err == nil) != test.stored {
					t.Errorf("the store of this host has %v", err)
				}
				before := time.Now()
				if err := d.Unpair(t.Context()); !errors.Is(err, test.unpair) {
					t.Errorf("Unpair = %v, want %v", err, test.unpair)
				}
				if took := time.Since(before); took > 10*time.Second {
					t.Errorf("Unpair takes %v", took)
				}
				if n := len(h.Devices()[0].Phone().Trust.Hosts()); (n == 0) != test.forgotten {
					t.Errorf("the device knows %d hosts", n)
				}
				if _, err := store.Load(t.Context(), d.UDID()); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the store of this host has %v after Unpair", err)
				}
			})
		})
	}
}
