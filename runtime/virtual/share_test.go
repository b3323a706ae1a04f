package virtual_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// sharedPort is a port of the device that no list has.
const sharedPort = 8100

// share shares the devices of f, and returns a client of the muxer.
func share(t *testing.T, f *device.Finder, o device.ShareOptions) *usbmux.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := f.Share(virtualtest.Context(t), o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v, want nil", err)
		}
	})
	return must(usbmux.New(usbmux.Options{Address: l.Addr().String()}))(t)
}

// onlyBy returns a machine with an echo service, and a Finder that finds it by one type of
// advertisement and has no muxer.
func onlyBy(t *testing.T, via bonjour.Type, o device.Options) (*virtual.Machine, *device.Finder) {
	t.Helper()
	h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
		Phone: phone.Options{Profile: "ios17"}, Echo: sharedPort,
	}})
	m := h.Devices()[0]
	if via != cable {
		must(m.Show(virtual.NetworkOptions{Wifi: true}))(t)
	}
	o.Browser = ears{h, []bonjour.Type{via}}
	o.Stores = append(o.Stores, trustHost(t, m))
	f := device.NewFinder(o)
	t.Cleanup(func() { f.Close() })
	return m, f
}

// attached returns the next device that a muxer reports.
func attached(t *testing.T, w *usbmux.Watcher, kind usbmux.EventKind) usbmux.Entry {
	t.Helper()
	e, err := w.Next(virtualtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != kind {
		t.Fatalf("the muxer reports %v, want %v", e.Kind, kind)
	}
	return e.Entry
}

// echoShared uses the echo service of a device.
func echoShared(t *testing.T, mux *usbmux.Client, id uint32) {
	t.Helper()
	c, err := mux.Connect(virtualtest.Context(t), id, sharedPort)
	if err != nil {
		t.Errorf("port %d: %v", sharedPort, err)
		return
	}
	defer c.Close()
	text := strings.Repeat("echo ", 20_000)
	go func() {
		_, _ = io.WriteString(c, text)
		_ = link.CloseWrite(c)
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("port %d: %v", sharedPort, err)
	}
	if string(got) != text {
		t.Errorf("port %d: %d bytes come back, want the %d that were sent", sharedPort, len(got),
			len(text))
	}
}

// TestShareNetwork shares a device that only Wi-Fi reaches. A host at the muxer uses its
// lockdown with the pair record of the muxer, and a port that is open in its tunnel only.
func TestShareNetwork(t *testing.T) {
	t.Parallel()
	m, inner := onlyBy(t, wifi, device.Options{})
	mux := share(t, inner, device.ShareOptions{Network: true})
	ctx := virtualtest.Context(t)
	w := mux.Watch()
	defer w.Close()
	e := attached(t, w, usbmux.Attached)
	if e.UDID != m.UDID() {
		t.Errorf("the muxer has %s, want %s", e.UDID, m.UDID())
	}
	if e.ConnectionType != usbmux.USB {
		t.Errorf("the device is connected by %s, want %s", e.ConnectionType, usbmux.USB)
	}
	if buid := must(mux.BUID(ctx))(t); buid != thisHost {
		t.Errorf("the muxer is %s, want %s", buid, thisHost)
	}
	outer := device.NewFinder(device.Options{Muxers: []*usbmux.Client{mux}, NoAutoPair: true})
	defer outer.Close()
	d := must(outer.Find(ctx, device.Selector{UDID: m.UDID()}))(t)
	v, err := d.Get(ctx, "", "UniqueChipID") // needs a session
	if err != nil || v == nil {
		t.Errorf("a value of a session: %v, %v", v, err)
	}
	files := must(afc.Connect(ctx, d))(t)
	defer files.Close()
	if _, err := files.Stat(ctx, "/DCIM"); err != nil {
		t.Errorf("a service: %v", err)
	}
	echoShared(t, mux, e.DeviceID)
	if _, err := mux.Connect(ctx, e.DeviceID, 9); !errors.Is(err, usbmux.ConnectionRefused) {
		t.Errorf("a closed port: %v, want %v", err, usbmux.ConnectionRefused)
	}
}

// TestShareTunnel shares a device that only a tunnel reaches. Its lockdown has sessions
// without TLS, and starts services of the list.
func TestShareTunnel(t *testing.T) {
	t.Parallel()
	m, inner := onlyBy(t, cable, device.Options{})
	mux := share(t, inner, device.ShareOptions{Network: true})
	ctx := virtualtest.Context(t)
	w := mux.Watch()
	defer w.Close()
	id := attached(t, w, usbmux.Attached).DeviceID
	echoShared(t, mux, id)
	c := must(mux.Connect(ctx, id, lockdown.Port))(t)
	defer c.Close()
	p := &link.PlistConn{Conn: c}
	ask := func(request plist.Dict) plist.Dict {
		t.Helper()
		var reply plist.Dict
		if err := p.Call(ctx, request, &reply); err != nil {
			t.Fatalf("%v: %v", request, err)
		}
		if got := reply["Request"]; got != request["Request"] {
			t.Errorf("the reply to %v is to %v", request, got)
		}
		return reply
	}
	if got := ask(plist.Dict{"Request": "QueryType"})["Type"]; got != lockdown.DeviceType {
		t.Errorf("the type is %v, want %s", got, lockdown.DeviceType)
	}
	session := ask(plist.Dict{"Request": "StartSession", "HostID": "x", "SystemBUID": "y"})
	if session["EnableSessionSSL"] != false {
		t.Errorf("the session is %v, want one without TLS", session)
	}
	value := ask(plist.Dict{"Request": "GetValue", "Key": "UniqueDeviceID"})["Value"]
	if value != m.UDID() {
		t.Errorf("the device is %v, want %s", value, m.UDID())
	}
	absent := ask(plist.Dict{"Request": "StartService", "Service": "com.example.absent"})
	if got := absent["Error"]; got != string(lockdown.ErrInvalidService) {
		t.Errorf("a service that does not exist: %v, want %s", absent, lockdown.ErrInvalidService)
	}
	started := ask(plist.Dict{"Request": "StartService", "Service": "com.apple.afc"})
	port, _ := started.Int("Port")
	if started["EnableServiceSSL"] != false {
		t.Errorf("the service is %v, want one without TLS", started)
	}
	files := afc.New(must(mux.Connect(ctx, id, uint16(port)))(t))
	defer files.Close()
	if _, err := files.Stat(ctx, "/DCIM"); err != nil {
		t.Errorf("the service that was started: %v", err)
	}
	ask(plist.Dict{"Request": "StopSession", "SessionID": session["SessionID"]})
}

// TestShareMuxers shares the devices of two muxers while they come and go.
func TestShareMuxers(t *testing.T) {
	t.Parallel()
	var muxers []*usbmux.Client
	var hosts []*virtual.Host
	for n := range 2 {
		h := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{
			Phone: phone.Options{Profile: "ios16", Serial: n + 1}, Echo: sharedPort,
		}})
		hosts = append(hosts, h)
		muxers = append(muxers, must(usbmux.New(usbmux.Options{Dial: h.Dial}))(t))
	}
	inner := device.NewFinder(device.Options{Muxers: muxers})
	defer inner.Close()
	mux := share(t, inner, device.ShareOptions{})
	w := mux.Watch()
	defer w.Close()
	first, second := hosts[0].Devices()[0], hosts[1].Devices()[0]
	for range 2 {
		echoShared(t, mux, attached(t, w, usbmux.Attached).DeviceID)
	}
	first.Detach()
	if e := attached(t, w, usbmux.Detached); e.UDID != first.UDID() {
		t.Errorf("%s is detached, want %s", e.UDID, first.UDID())
	}
	if list := must(mux.List(virtualtest.Context(t)))(t); len(list) != 1 ||
		list[0].UDID != second.UDID() {
		t.Errorf("the muxer lists %v, want %s alone", list, second.UDID())
	}
	if err := first.Replug(); err != nil {
		t.Fatal(err)
	}
	echoShared(t, mux, attached(t, w, usbmux.Attached).DeviceID)
}

// TestShareRecords stores pair records where the Finder keeps them.
func TestShareRecords(t *testing.T) {
	t.Parallel()
	dir := pair.NewDir(t.TempDir())
	inner := device.NewFinder(device.Options{Stores: []pair.Store{dir}})
	defer inner.Close()
	mux := share(t, inner, device.ShareOptions{})
	ctx := virtualtest.Context(t)
	h := virtualtest.Host(t, virtual.HostOptions{})
	udid := h.Devices()[0].UDID()
	want := trustHost(t, h.Devices()[0])[udid]
	if _, err := mux.ReadPairRecord(ctx, udid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record that does not exist: %v, want %v", err, fs.ErrNotExist)
	}
	b := must(want.Encode())(t)
	if err := mux.SavePairRecord(ctx, udid, 0, b); err != nil {
		t.Fatal(err)
	}
	stored := must(dir.Load(ctx, udid))(t)
	if stored.HostID != want.HostID {
		t.Errorf("the record is of %s, want %s", stored.HostID, want.HostID)
	}
	read := must(pair.Parse(must(mux.ReadPairRecord(ctx, udid))(t)))(t)
	if string(read.HostPrivateKey) != string(want.HostPrivateKey) {
		t.Error("the record that is read has another key")
	}
	if err := mux.SavePairRecord(ctx, udid, 0, []byte("<plist><dict/></plist>")); err == nil {
		t.Error("a record without keys is stored")
	}
	if err := mux.DeletePairRecord(ctx, udid); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Load(ctx, udid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the deletion: %v, want %v", err, fs.ErrNotExist)
	}
}
