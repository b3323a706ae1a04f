package virtual_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestRecords checks that later programs use the record of the first pairing until the
// phone has forgotten the host.
func TestRecords(t *testing.T) {
	for _, c := range []struct {
		profile string
		hears   bonjour.Type
		how     string
	}{{"ios17.2", cable, quic}, {"ios17.2", air, quic}, {"ios26", air, tcp}} {
		t.Run(c.profile+string(c.hears), func(t *testing.T) {
			t.Parallel()
			h, m := onNetwork(t, c.profile)
			n := dialogs(m, trust.After)
			dir := t.TempDir()
			options := device.TunnelOptions{Route: "wifi"}
			if c.hears == cable {
				options = device.TunnelOptions{}
			}
			// There is one more dialog each time that the phone has forgotten the host.
			for step, want := range []int64{1, 1, 2, 2} {
				if step == 2 {
					m.Phone().Trust.Reset()
				}
				o := device.Options{
					RemoteStores: []device.RemoteStore{remotepair.NewDir(dir)},
					HostName:     "workbench",
				}
				if how := up(t, another(t, h, o, c.hears), options); how != c.how {
					t.Errorf("step %d: tunnel is %q, want %q", step, how, c.how)
				}
				if n.Load() != want {
					t.Errorf("step %d: %d dialogs, want %d", step, n.Load(), want)
				}
			}
			r, err := remotepair.NewDir(dir).Load(context.Background(), m.UDID())
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			if r.PeerUDID != m.UDID() {
				t.Errorf("the record is of %q, want %s", r.PeerUDID, m.UDID())
			}
			if r.RemoteUnlockHostKey == "" {
				t.Error("the record has no key to unlock")
			}
			if n := len(r.PeerPublicKey); n != ed25519.PublicKeySize {
				t.Errorf("the record has a key of %d bytes, want %d", n, ed25519.PublicKeySize)
			}
		})
	}
}

// TestForeignRecords uses the records of pymobiledevice3, which have only the keys of the
// host, and checks that nothing is written into its folder.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	h, m := onNetwork(t, "ios17.2")
	n := dialogs(m, trust.After)
	ctx := virtualtest.Context(t)
	const name = "workbench"
	foreign, own := t.TempDir(), t.TempDir()
	theirs := remotepair.NewDir(foreign)
	if err := another(t, h,
		device.Options{RemoteStores: []device.RemoteStore{theirs}, HostName: name},
		cable).PairRemote(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := theirs.Load(ctx, m.UDID())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(foreign, "remote_"+m.UDID()+".plist")
	b, err := plist.Encode(plist.Dict{
		"public_key":             []byte(r.HostPrivateKey.Public().(ed25519.PublicKey)),
		"private_key":            []byte(r.HostPrivateKey.Seed()),
		"remote_unlock_host_key": r.RemoteUnlockHostKey,
	}, plist.XML)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	both := []device.RemoteStore{remotepair.NewDir(own), theirs}
	withBoth := device.Options{RemoteStores: both, HostName: name}
	wantUp(t, another(t, h, withBoth, cable), n, 1) // by the record of pymobiledevice3

	// Another record, which the phone does not know, does not hide that of pymobiledevice3.
	stranger, err := remotepair.NewDir(own).Identity(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	stale := &remotepair.Record{
		HostIdentifier: stranger.Identifier, HostPrivateKey: stranger.PrivateKey,
		HostAltIRK: stranger.AltIRK, PeerUDID: m.UDID(),
	}
	if err := remotepair.NewDir(own).Save(ctx, m.UDID(), stale); err != nil {
		t.Fatal(err)
	}
	wantUp(t, another(t, h, withBoth, cable), n, 1)
	// If there is no other record, the stale one is replaced.
	alone := both[:1]
	withStale := device.Options{RemoteStores: alone, HostName: name}
	wantUp(t, another(t, h, withStale, cable), n, 2)
	now, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("the record of pymobiledevice3: %v", err)
	}
	if string(now) != string(b) {
		t.Errorf("the record of pymobiledevice3 was changed to %s", now)
	}
	if how := up(t,
		another(t, h, device.Options{RemoteStores: alone, NoAutoPair: true, HostName: name}, cable),
		device.TunnelOptions{}); how != quic {
		t.Errorf("the new record was not kept: %q", how)
	}
}

// TestWrongDevice checks that Tunnel does not pair again with a phone that has other
// keys, but that PairRemote does.
func TestWrongDevice(t *testing.T) {
	t.Parallel()
	h, m := onNetwork(t, "ios17.2")
	ctx := virtualtest.Context(t)
	store := remotepair.NewDir(t.TempDir())
	o := device.Options{RemoteStores: []device.RemoteStore{store}}
	if err := another(t, h, o, cable).PairRemote(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := store.Load(ctx, m.UDID())
	if err != nil {
		t.Fatal(err)
	}
	r.PeerPublicKey, _, err = ed25519.GenerateKey(nil)
	if err := errors.Join(err, store.Save(ctx, m.UDID(), r)); err != nil {
		t.Fatal(err)
	}
	n := dialogs(m, trust.After)
	d := another(t, h, o, cable)
	tun, err := d.Tunnel(ctx, device.TunnelOptions{})
	if !errors.Is(err, remotepair.ErrAuthentication) {
		t.Errorf("Tunnel: %v, want %v", err, remotepair.ErrAuthentication)
	}
	if tun != nil {
		t.Errorf("Tunnel = %v beside an error", tun)
	}
	if shown := n.Load(); shown != 0 {
		t.Errorf("%d dialogs, want none", shown)
	}
	if err := d.PairRemote(ctx); err != nil {
		t.Errorf("PairRemote by the owner of the record: %v", err)
	}
	if shown := n.Load(); shown != 1 {
		t.Errorf("%d dialogs after PairRemote, want 1", shown)
	}
	if _, err := d.Tunnel(ctx, device.TunnelOptions{}); err != nil {
		t.Errorf("Tunnel after that: %v", err)
	}
}

// TestPairRemoteAt pairs with the phone at a given address.
func TestPairRemoteAt(t *testing.T) {
	t.Parallel()
	h, m := onNetwork(t, "ios26")
	n := dialogs(m, trust.After)
	ctx := virtualtest.Context(t)
	store := remotepair.NewDir(t.TempDir())
	o := device.Options{RemoteStores: []device.RemoteStore{store}, NoAutoPair: false}
	f := virtualtest.Finder(t, h, o)
	var port uint16
	for _, i := range must(h.Browse(ctx, bonjour.Query{Type: air}))(t) {
		port = i.Port
	}
	info, err := f.PairRemoteAt(ctx,
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	if err != nil {
		t.Fatalf("PairRemoteAt: %v", err)
	}
	if info.UDID != m.UDID() {
		t.Errorf("PairRemoteAt = %s, want %s", info.UDID, m.UDID())
	}
	if shown := n.Load(); shown != 1 {
		t.Errorf("%d dialogs after PairRemoteAt, want 1", shown)
	}
	o.NoAutoPair = true
	if how := up(t, another(t, h, o, air), device.TunnelOptions{Route: "wifi"}); how != tcp {
		t.Errorf("tunnel is %q", how)
	}
	dead := deadPort(t)
	_, err = f.PairRemoteAt(ctx, dead)
	var e *device.Error
	if !errors.As(err, &e) {
		t.Fatalf("PairRemoteAt(%s): %v, want a *device.Error", dead, err)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("PairRemoteAt(%s): %v, want a refused connection", dead, err)
	}
	if !strings.Contains(err.Error(), dead.String()) {
		t.Errorf("PairRemoteAt(%s): %v, want the address in it", dead, err)
	}
	if _, err := store.Load(ctx, "nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load = %v", err)
	}
}
