package virtual_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// atWiFi starts a phone on a network, and returns the address of its lockdown.
func atWiFi(t *testing.T, profile string) (*virtual.Host, *virtual.Machine, string) {
	t.Helper()
	h := virtualtest.Host(t,
		virtual.HostOptions{Device: virtual.Options{Phone: phone.Options{Profile: profile}}})
	m := h.Devices()[0]
	p, err := m.Show(virtual.NetworkOptions{Wifi: true})
	if err != nil {
		t.Fatal(err)
	}
	at := net.TCPAddr{IP: p.Address().AsSlice(), Port: int(p.Ports().Lockdown)}
	return h, m, at.String()
}

// recordOf pairs over USB and returns a folder with the pair record.
func recordOf(t *testing.T, h *virtual.Host, udid string) *pair.Dir {
	t.Helper()
	ctx := virtualtest.Context(t)
	d, err := virtualtest.Finder(t, h, device.Options{}).Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Pair(ctx); err != nil {
		t.Fatal(err)
	}
	mux, err := usbmux.New(usbmux.Options{Dial: h.Dial})
	if err != nil {
		t.Fatal(err)
	}
	record, err := mux.ReadPairRecord(ctx, udid)
	if err != nil {
		t.Fatal(err)
	}
	dir := pair.NewDir(t.TempDir())
	if err := dir.Files().Write(udid, record); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAtAddress uses devices at the address of their lockdown, without a muxer.
func TestAtAddress(t *testing.T) {
	t.Parallel()
	for _, profile := range []string{"ios16", "ios18"} {
		h, m, at := atWiFi(t, profile)
		ctx := virtualtest.Context(t)
		dir := recordOf(t, h, m.UDID())
		f := device.NewFinder(device.Options{Stores: []pair.Store{dir}})
		defer f.Close()
		d, err := f.AtAddress(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		if d.UDID() != m.UDID() {
			t.Errorf("%s is at the address, want %s", d.UDID(), m.UDID())
		}
		again, err := f.AtAddress(ctx, at)
		if again != d {
			t.Errorf("the second time it is %p, %v, want %p", again, err, d)
		}
		if _, err := d.Get(ctx, "", "SerialNumber"); err != nil { // needs a session
			t.Errorf("Get(SerialNumber): %v", err)
		}
		files, err := afc.Connect(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		files.Close()
		if profile == "ios18" {
			if err := askProcesses(ctx, d, m); err != nil { // in a tunnel
				t.Error(err)
			}
		}
		if err := d.Refresh(ctx); err != nil {
			t.Errorf("Refresh: %v", err)
		}
		if r := d.Info().Routes; len(r) != 1 {
			t.Errorf("the routes are %v, want that to the address", r)
		}
		if got := d.Info().Transport(); got != "wifi" {
			t.Errorf("the transport is %q, want wifi", got)
		}
	}
}

// TestAddressWithoutPairing checks what a host that is not paired can do over Wi-Fi.
func TestAddressWithoutPairing(t *testing.T) {
	t.Parallel()
	_, m, at := atWiFi(t, "ios17")
	ctx := virtualtest.Context(t)
	dialogs := dialogs(m, trust.Ignore)
	f := device.NewFinder(device.Options{Stores: []pair.Store{pair.NewDir(t.TempDir())}})
	defer f.Close()
	d, err := f.AtAddress(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Get(ctx, "", "ProductVersion")
	if !errors.Is(err, device.ErrPairOverUSB) {
		t.Errorf("Get = %v, want %v", err, device.ErrPairOverUSB)
	}
	if !errors.Is(err, device.ErrNotPaired) {
		t.Errorf("Get = %v, want %v", err, device.ErrNotPaired)
	}
	err = d.Pair(ctx)
	if !errors.Is(err, lockdown.ErrPairingProhibitedOverThisConnection) {
		t.Errorf("Pair = %v, want the refusal of the device", err)
	}

	public, err := f.Restricted(device.Restriction{NoPair: true})
	if err != nil {
		t.Fatal(err)
	}
	d, err = public.AtAddress(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	v, err := d.Get(ctx, "", "ProductVersion")
	if err != nil {
		t.Errorf("Get without pairing: %v", err)
	}
	if want := m.Phone().Identity.Version; v != want {
		t.Errorf("Get without pairing = %v, want %s", v, want)
	}
	all, err := d.Domain(ctx, "")
	if err != nil {
		t.Errorf("Domain without pairing: %v", err)
	}
	if all["WiFiAddress"] == nil {
		t.Errorf("Domain without pairing has %d values, want the public ones", len(all))
	}
	_, err = d.Get(ctx, "", "SerialNumber")
	if !errors.Is(err, lockdown.ErrGetProhibited) {
		t.Errorf("Get(SerialNumber) = %v, want %v", err, lockdown.ErrGetProhibited)
	}
	_, err = afc.Connect(ctx, d)
	if !errors.Is(err, device.ErrNotPaired) {
		t.Errorf("afc.Connect = %v, want %v", err, device.ErrNotPaired)
	}
	for name, pair := range map[string]func(context.Context) error{
		"Pair": d.Pair, "PairRemote": d.PairRemote,
	} {
		if err := pair(ctx); !errors.Is(err, device.ErrPairingOff) {
			t.Errorf("%s = %v, want %v", name, err, device.ErrPairingOff)
		}
	}
	if n := dialogs.Load(); n != 0 {
		t.Errorf("%d dialogs were shown, want none", n)
	}
	if hosts := m.Phone().Trust.Hosts(); len(hosts) != 0 {
		t.Errorf("%d hosts are trusted, want none", len(hosts))
	}
}

// TestNoPairOverUSB reads values of a device by USB that would show a dialog, and uses a
// pairing that there is.
func TestNoPairOverUSB(t *testing.T) {
	t.Parallel()
	h, m, _ := atWiFi(t, "ios17")
	ctx := virtualtest.Context(t)
	dialogs := dialogs(m, trust.Accept)
	f := virtualtest.Finder(t, h, device.Options{NoPair: true})
	d, err := f.Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Errorf("Get without pairing: %v", err)
	}
	_, err = d.Tunnel(ctx, device.TunnelOptions{})
	if !errors.Is(err, device.ErrNotPaired) {
		t.Errorf("Tunnel = %v, want %v", err, device.ErrNotPaired)
	}
	if n := dialogs.Load(); n != 0 {
		t.Errorf("%d dialogs were shown, want none", n)
	}
	recordOf(t, h, m.UDID())
	if _, err := d.Get(ctx, "", "SerialNumber"); err != nil {
		t.Errorf("Get with a pairing: %v", err)
	}
	m.Phone().Trust.Reset()
	d.Close()
	d, err = f.Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(ctx, "", "DeviceName"); err != nil {
		t.Errorf("Get after the device has forgotten this host: %v", err)
	}
}

// TestRestricted checks that the routes of a device are those of the kind that was asked
// for, also after they are looked up again.
func TestRestricted(t *testing.T) {
	t.Parallel()
	h, m, _ := atWiFi(t, "ios17")
	recordOf(t, h, m.UDID())
	ctx := virtualtest.Context(t)
	f := virtualtest.Finder(t, h, device.Options{})
	for _, kind := range []string{"usb", "wifi"} {
		r, err := f.Restricted(device.Restriction{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Find(ctx, device.Selector{Network: true})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if err := d.Refresh(ctx); err != nil {
			t.Errorf("%s: Refresh: %v", kind, err)
		}
		if err := askProcesses(ctx, d, m); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		for _, x := range d.Routes() {
			if x.Route.Kind != kind {
				t.Errorf("%s: there is the route %s", kind, x.Route)
			}
		}
		if got := d.Info().Transport(); got != kind {
			t.Errorf("the transport is %q, want %q", got, kind)
		}
	}
	r, err := f.Restricted(device.Restriction{Kind: "tunnel"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.List(ctx, device.Selector{})
	if err != nil {
		t.Errorf("by a tunnel alone: %v", err)
	}
	if len(list) != 0 {
		t.Errorf("by a tunnel alone: %v, want no devices", list)
	}
}

// TestDeadMuxer lists devices where one muxer does not answer.
func TestDeadMuxer(t *testing.T) {
	t.Parallel()
	h, m, _ := atWiFi(t, "ios17")
	ctx := virtualtest.Context(t)
	nowhere := deadPort(t).String()
	dead, err := usbmux.New(usbmux.Options{Address: nowhere})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	options := device.Options{
		Muxers:       []*usbmux.Client{dead},
		OnMuxerError: func(address string, _ error) { told = append(told, address) },
	}
	f := virtualtest.Finder(t, h, options)
	list, err := f.List(ctx, device.Selector{})
	if err != nil {
		t.Errorf("List: %v", err)
	}
	if len(list) != 1 {
		t.Errorf("List = %v, want one device", list)
	}
	if !slices.Equal(told, []string{nowhere}) {
		t.Errorf("told of %q, want %s", told, nowhere)
	}
	// The network has the device.
	told, options.Browser = nil, h
	alone := device.NewFinder(options)
	defer alone.Close()
	list, err = alone.List(ctx, device.Selector{})
	if err != nil {
		t.Errorf("List: %v", err)
	}
	if len(list) != 1 {
		t.Errorf("List = %v, want the device on the network", list)
	}
	if !slices.Equal(told, []string{nowhere}) {
		t.Errorf("told of %q, want %s", told, nowhere)
	}
	// Nothing has a device, and the error says why.
	told, options.Browser = nil, bonjour.Static{}
	nothing := device.NewFinder(options)
	defer nothing.Close()
	_, err = nothing.List(ctx, device.Selector{})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("List = %v, want the error of the muxer", err)
	}
	if len(told) != 0 {
		t.Errorf("told of %q, which the error says already", told)
	}
	// A muxer by its address.
	r, err := nothing.Restricted(device.Restriction{Muxer: virtualtest.Listen(t, h)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	if d.UDID() != m.UDID() {
		t.Errorf("Find = %v, want the device of the muxer", d)
	}
	if err := d.Pair(ctx); err != nil {
		t.Error(err)
	}
	if err := d.Ready(ctx); err != nil {
		t.Error(err)
	}
}

// TestWiFiSwitch switches Wi-Fi connections of a device off and on.
func TestWiFiSwitch(t *testing.T) {
	t.Parallel()
	ctx := virtualtest.Context(t)
	h := virtualtest.Host(t, virtual.HostOptions{})
	m := h.Devices()[0]
	p := must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
	dir := recordOf(t, h, m.UDID())
	f := virtualtest.Finder(t, h, device.Options{Stores: []pair.Store{dir}})
	d, err := f.Find(ctx, device.Selector{})
	if err != nil {
		t.Fatal(err)
	}
	port := p.Ports().Lockdown
	for _, on := range []bool{true, false, true} {
		if err := d.SetWiFiConnections(ctx, on); err != nil {
			t.Fatal(err)
		}
		if now := awaitLockdown(ctx, t, p, on); on {
			port = now
		}
		got, err := d.WiFiConnections(ctx)
		if err != nil {
			t.Errorf("WiFiConnections: %v", err)
		}
		if got != on {
			t.Errorf("WiFiConnections = %v, want %v", got, on)
		}
		list, err := f.Browse(ctx, bonjour.Query{Type: bonjour.Mobdev2})
		if err != nil {
			t.Errorf("Browse: %v", err)
		}
		if (len(list) == 1) != on {
			t.Errorf("with connections %v, %v is advertised", on, list)
		}
		_, err = f.AtAddress(ctx, netip.AddrPortFrom(p.Address(), port).String())
		if (err == nil) != on {
			t.Errorf("%v: AtAddress: %v", on, err)
		}
	}
}

// TestPairRecords lists the records of a host that is paired in both ways.
func TestPairRecords(t *testing.T) {
	t.Parallel()
	h, m, _ := atWiFi(t, "ios17.2")
	dir := recordOf(t, h, m.UDID())
	ctx := virtualtest.Context(t)
	f := virtualtest.Finder(t, h, device.Options{Stores: []pair.Store{dir}})
	d, err := f.Find(ctx, device.Selector{UDID: strings.ToUpper(wifiOf(t, m))})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.PairRemote(ctx); err != nil {
		t.Fatal(err)
	}
	if err := dir.Files().Write("broken", []byte("no plist")); err != nil {
		t.Fatal(err)
	}
	all, err := f.PairRecords(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own, err := d.PairRecords(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 {
		t.Fatalf("the records are %+v, want 3", all)
	}
	if len(own) != 2 {
		t.Fatalf("the records of the device are %+v, want 2", own)
	}
	for n, kind := range []string{device.LockdownRecord, device.RemoteRecord} {
		r := own[n]
		if r.HostID == "" {
			t.Errorf("record %d has no HostID", n)
		}
		if r.Place == "" {
			t.Errorf("record %d has no place", n)
		}
		want := device.PairRecord{
			UDID: m.UDID(), Kind: kind, Place: r.Place, HostID: r.HostID,
			SystemBUID: r.SystemBUID, WiFiAddress: r.WiFiAddress, Escrow: true, Device: true,
		}
		if r != want {
			t.Errorf("record %d is %+v, want %+v", n, r, want)
		}
	}
	if own[0].WiFiAddress != wifiOf(t, m) {
		t.Errorf("the Wi-Fi address is %q, want %q", own[0].WiFiAddress, wifiOf(t, m))
	}
	if all[2].UDID != "broken" {
		t.Errorf("the last record is %+v, want the broken one", all[2])
	}
	if all[2].Err == nil {
		t.Error("the broken record has no error")
	}
	if err := d.UnpairRemote(ctx); err != nil {
		t.Errorf("UnpairRemote: %v", err)
	}
	if err := d.UnpairRemote(ctx); !errors.Is(err, device.ErrNotPaired) {
		t.Errorf("UnpairRemote = %v, want %v", err, device.ErrNotPaired)
	}
	own, err = d.PairRecords(ctx)
	if err != nil {
		t.Errorf("PairRecords: %v", err)
	}
	if len(own) != 1 {
		t.Errorf("after UnpairRemote the records are %+v, want one", own)
	}
}

// wifiOf returns the MAC address of a phone.
func wifiOf(t *testing.T, m *virtual.Machine) string {
	t.Helper()
	v, _ := m.Phone().Values.Get("", "WiFiAddress")
	mac, ok := v.(string)
	if !ok {
		t.Fatalf("WiFiAddress is %v", v)
	}
	return mac
}
