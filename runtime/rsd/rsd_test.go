package rsd

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

func newPhone(t testing.TB, profile string) *phone.Phone {
	t.Helper()
	p, err := phone.New(phone.Options{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// machine is a device whose ports are handlers.
type machine struct {
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
	ports map[uint16]service.Handler
}

func newMachine(t testing.TB) *machine {
	ctx, stop := context.WithCancel(context.Background())
	m := &machine{ctx: ctx, stop: stop, ports: map[uint16]service.Handler{}}
	t.Cleanup(m.close)
	return m
}

func (m *machine) close() {
	m.stop()
	m.wg.Wait()
}

func (m *machine) listen(port uint16, h service.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ports[port] = h
}

func (m *machine) dial(ctx context.Context, port uint16) (net.Conn, error) {
	m.mu.Lock()
	h := m.ports[port]
	m.mu.Unlock()
	if h == nil {
		return nil, fmt.Errorf("nothing listens at %d", port)
	}
	a, b := linktest.Prompt()
	m.wg.Go(func() {
		_ = h.Serve(m.ctx, b)
		b.Close()
	})
	return a, nil
}

type handlerFunc func(ctx context.Context, c net.Conn) error

func (f handlerFunc) Serve(ctx context.Context, c net.Conn) error { return f(ctx, c) }

const listPort = 60000

// newDevice returns a machine with the list of a phone.
func newDevice(t testing.TB, p *phone.Phone, o TableOptions) (*machine, *Device) {
	m := newMachine(t)
	d := &Device{Phone: p, Services: func() []Service { return Table(p, o) }}
	m.listen(listPort, d)
	return m, d
}

func dialClient(t testing.TB, m *machine, o Options) *Client {
	t.Helper()
	c, err := Dial(context.Background(), m.dial, listPort, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestList checks the list of each profile.
func TestList(t *testing.T) {
	t.Parallel()
	for _, profile := range identity.Profiles() {
		for _, o := range []TableOptions{{Image: true}, {}, {Untrusted: true}} {
			t.Run(fmt.Sprintf("%s %+v", profile, o), func(t *testing.T) {
				t.Parallel()
				p := newPhone(t, profile)
				m, _ := newDevice(t, p, o)
				peer := dialClient(t, m, Options{}).Peer()
				props := peer.Properties
				if props.UDID() != p.Identity.UDID {
					t.Errorf("UDID %q", props.UDID())
				}
				if props.OSVersion() != p.Identity.Version {
					t.Errorf("version %q", props.OSVersion())
				}
				if props.ProductType() != p.Identity.ProductType {
					t.Errorf("product type %q", props.ProductType())
				}
				if class := p.Identity.DeviceClass(); props.DeviceClass() != string(class) {
					t.Errorf("class %q, want %q", props.DeviceClass(), class)
				}
				ecid, _ := p.Values.Get("", "UniqueChipID")
				if props.UniqueChipID() != uint64(ecid.(int64)) {
					t.Errorf("UniqueChipID %d, want %d", props.UniqueChipID(), ecid)
				}
				if props.BootSession() != strings.ToLower(p.Clock.BootID()) {
					t.Errorf("BootSession %q, want that of %q", props.BootSession(),
						p.Clock.BootID())
				}
				if props.ChipID() == 0 {
					t.Error("the chip is 0")
				}
				if props.BoardID() == 0 {
					t.Error("the board is 0")
				}
				if props.BuildVersion() == "" {
					t.Error("there is no build version")
				}
				if props.SerialNumber() == "" {
					t.Error("there is no serial number")
				}
				if props.HardwareModel() == "" {
					t.Errorf("properties %v", props)
				}
				if props.XPCFlags()>>56 != 1 {
					t.Errorf("flags %#x", props.XPCFlags())
				}
				if peer.UUID == (xpc.UUID{}) {
					t.Error("the UUID is zero")
				}
				want := 50
				if o.Image {
					want = 60
				} else if o.Untrusted {
					want = 6
				}
				if len(peer.Services) < want {
					t.Errorf("%d services, want at least %d", len(peer.Services), want)
				}
				if _, ok := peer.Services["com.apple.coredevice.appservice"]; ok != o.Image {
					t.Errorf("appservice is listed: %v", ok)
				}
				if _, ok := peer.Services["com.apple.afc.shim.remote"]; ok == o.Untrusted {
					t.Errorf("afc is listed: %v", ok)
				}
				sent := Table(p, o)
				ports := map[uint16]bool{}
				for _, s := range sent {
					if got := peer.Services[s.Name]; !reflect.DeepEqual(got, s) {
						t.Errorf("%s = %+v, want %+v", s.Name, got, s)
					}
					if ports[s.Port] {
						t.Errorf("%s has the port %d, which another service has", s.Name, s.Port)
					}
					if s.Port < FirstPort {
						t.Errorf("%s has the port %d, want at least %d", s.Name, s.Port, FirstPort)
					}
					ports[s.Port] = true
				}
				if len(sent) != len(peer.Services) {
					t.Errorf("%d services came of %d", len(peer.Services), len(sent))
				}
			})
		}
	}
}

// TestVersions checks the values of the protocol page for iOS 17, 18 and 26.
func TestVersions(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]struct {
		protocol   uint64
		shimSays   bool
		cryptexd   bool
		properties map[string]any
	}{
		"ios17.2": {
			3, false, false,
			map[string]any{
				"MobileDeviceMinimumVersion": "1600",
				"RemoteXPCVersionFlags":      uint64(72057594037927940), "OSVersion": "17.2.1",
				"RestoreLongVersion": "21.3.66.0.0,0",
			},
		},
		"ios17": {3, false, false, map[string]any{
			"MobileDeviceMinimumVersion": "1600",
			"RemoteXPCVersionFlags":      uint64(72057594037927940),
			"RestoreLongVersion":         "21.6.90.0.0,0",
		}},
		"ios18": {5, true, true, map[string]any{
			"MobileDeviceMinimumVersion": "1742",
			"RemoteXPCVersionFlags":      uint64(72057594037927942),
			"RestoreLongVersion":         "22.6.76.0.0,0",
		}},
		"ios26": {7, true, true, map[string]any{
			"MobileDeviceMinimumVersion": "1742",
			"RemoteXPCVersionFlags":      uint64(72057594037927942), "OSVersion": "26.1",
			"RestoreLongVersion": "23.2.85.0.0,0",
		}},
		"ios27": {7, true, true, map[string]any{
			"MobileDeviceMinimumVersion": "1742",
			"RemoteXPCVersionFlags":      uint64(72057594037927942), "OSVersion": "27.2",
			"RestoreLongVersion": "24.3.92.0.0,0",
		}},
	} {
		p := newPhone(t, profile)
		m, _ := newDevice(t, p, TableOptions{})
		peer := dialClient(t, m, Options{}).Peer()
		if peer.ProtocolVersion != want.protocol {
			t.Errorf("%s: protocol %d, want %d", profile, peer.ProtocolVersion, want.protocol)
		}
		if s := peer.Services["com.apple.afc.shim.remote"]; (s.Properties != nil) != want.shimSays {
			t.Errorf("%s: afc says %v", profile, s.Properties)
		}
		if _, ok := peer.Services["com.apple.security.cryptexd.remote"]; ok != want.cryptexd {
			t.Errorf("%s: cryptexd is listed: %v", profile, ok)
		}
		// It came with 17.4.
		if _, ok := peer.Services["com.apple.internal.devicecompute.CoreDeviceProxy.shim.remote"]; ok == (profile == "ios17.2") {
			t.Errorf("%s: CoreDeviceProxy is listed: %v", profile, ok)
		}
		for k, v := range want.properties {
			if got, _ := peer.Properties.Get(k); got != v {
				t.Errorf("%s: %s = %v, want %v", profile, k, got, v)
			}
		}
	}
}

// TestPropertyTypes checks the types of the protocol page.
func TestPropertyTypes(t *testing.T) {
	t.Parallel()
	d := properties(newPhone(t, "ios18"))
	types := map[string]string{
		"bool":   "AppleInternal CertificateProductionStatus CertificateSecurityMode DeviceSupportsLockdown EffectiveProductionStatusAp EffectiveProductionStatusSEP EffectiveSecurityModeAp EffectiveSecurityModeSEP HasSEP Image4Supported IsUIBuild IsVirtualDevice OSInstallEnvironment SensitivePropertiesVisible SigningFuse StoreDemoMode",
		"uint64": "BoardId ChipID RemoteXPCVersionFlags SecurityDomain UniqueChipID",
		"string": "BootSessionUUID BuildVersion CPUArchitecture DeviceClass DeviceColor DeviceEnclosureColor EthernetMacAddress HWModel HardwarePlatform HumanReadableProductVersionString Image4CryptoHashMethod MobileDeviceMinimumVersion ModelNumber OSVersion ProductName ProductType RegionCode RegionInfo RestoreLongVersion SerialNumber SupplementalBuildVersion ThinningProductType UniqueDeviceID",
	}
	n := 0
	for typ, keys := range types {
		for _, k := range strings.Fields(keys) {
			n++
			if v, ok := d.Get(k); !ok || fmt.Sprintf("%T", v) != typ {
				t.Errorf("%s = %v (%T), want %s", k, v, v, typ)
			}
		}
	}
	if n != len(d) {
		t.Errorf("%d properties, want %d", len(d), n)
	}
}

// TestDeviceMessages checks the frames for a host that sends no handshake, such as
// go-ios, and for one that does, and Apple's heartbeat.
func TestDeviceMessages(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := newPhone(t, "ios17")
	m, _ := newDevice(t, p, TableOptions{Image: true})
	nc, err := m.dial(ctx, listPort)
	if err != nil {
		t.Fatal(err)
	}
	x, err := remotexpc.Connect(ctx, nc, remotexpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	first, err := x.Receive(ctx)
	if err != nil {
		t.Fatalf("receiving the list: %v", err)
	} else if first.Flags != xpc.FlagsOneWay {
		t.Fatalf("the list has the flags %#x, want %#x", first.Flags, xpc.FlagsOneWay)
	} else if first.ID != 2 {
		t.Fatalf("the list has the id %d, want 2", first.ID)
	} else if first.Stream != 1 {
		t.Fatalf("the list is on stream %d, want 1", first.Stream)
	}
	if wire, _ := xpc.Append(nil, &first.Message); len(wire) < 8000 || len(wire) > 30000 {
		t.Errorf("the list takes %d bytes, a real one 14 KB", len(wire))
	}
	afc, _ := first.Body.Path("Services", "com.apple.afc.shim.remote")
	if port, ok := afc.(xpc.Dict).String("Port"); !ok || port == "" {
		t.Errorf("afc = %v, want a port as text", afc)
	}
	if err := x.Send(ctx, hostHandshake(xpc.UUID{1})); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		body := xpc.Dict{
			{Key: "MessageType", Value: "Heartbeat"}, {Key: "SequenceNumber", Value: n},
		}
		id := 3 + 2*n
		if err := x.Write(ctx, &remotexpc.Message{
			Stream: 1, Message: xpc.Message{Flags: xpc.FlagsRequest, ID: id, Body: body},
		}); err != nil {
			t.Fatal(err)
		}
		got, err := x.Receive(ctx)
		if want := (&remotexpc.Message{
			Stream: 3, Message: xpc.Message{Flags: xpc.FlagsReply, ID: id, Body: body},
		}); err != nil {
			t.Errorf("receiving the answer to the heartbeat: %v", err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("the heartbeat is answered by %+v, want %+v", got, want)
		}
	}
}

// TestHostMessages checks the host's messages against the protocol page.
func TestHostMessages(t *testing.T) {
	t.Parallel()
	said := make(chan *remotexpc.Message, 1)
	m := newMachine(t)
	m.listen(listPort, &remotexpc.Device{Handle: func(
		ctx context.Context, c *remotexpc.Conn,
	) error {
		msg, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		said <- msg
		return c.Send(ctx, xpc.Dict{
			{Key: "MessageType", Value: "Handshake"}, {Key: "Properties", Value: xpc.Dict{}},
			{Key: "Services", Value: xpc.Dict{}},
		})
	}})
	dialClient(t, m, Options{})
	got := <-said
	id, _ := got.Body.UUID("UUID")
	want := xpc.Dict{
		{Key: "MessageType", Value: "Handshake"},
		{Key: "MessagingProtocolVersion", Value: uint64(7)}, {Key: "UUID", Value: id},
		{Key: "Properties", Value: xpc.Dict{
			{Key: "RemoteXPCVersionFlags", Value: uint64(0x0100000000000006)},
			{Key: "SensitivePropertiesVisible", Value: true},
		}},
		{Key: "Services", Value: xpc.Dict{}},
	}
	if got.Stream != 1 {
		t.Errorf("the host sends on stream %d, want 1", got.Stream)
	}
	if got.Flags != 0x101 {
		t.Errorf("the host sends the flags %#x, want 0x101", got.Flags)
	}
	if got.ID != 1 {
		t.Errorf("the host sends the id %d, want 1", got.ID)
	}
	if !reflect.DeepEqual(got.Body, want) {
		t.Errorf("the host sends %v, want %v", got.Body, want)
	}
	if id == (xpc.UUID{}) {
		t.Error("the host sends a UUID of zeros")
	}
}

// TestDecodePeer decodes lists as other devices may send them.
func TestDecodePeer(t *testing.T) {
	t.Parallel()
	entry := func(port any) xpc.Dict { return xpc.Dict{{Key: "Port", Value: port}} }
	base := func(services any) xpc.Dict {
		return xpc.Dict{
			{Key: "MessageType", Value: "Handshake"}, {Key: "Properties", Value: xpc.Dict{}},
			{Key: "Services", Value: services},
		}
	}
	p, err := decodePeer(base(xpc.Dict{
		{Key: "text", Value: entry("1")}, {Key: "number", Value: entry(uint64(2))},
		{Key: "signed", Value: entry(int64(65535))},
		{Key: "zero", Value: entry("0")}, {Key: "large", Value: entry("65536")},
		{Key: "words", Value: entry("http")}, {Key: "none", Value: xpc.Dict{}},
		{Key: "large number", Value: entry(uint64(65536))},
		{Key: "negative", Value: entry(int64(-1))}, {Key: "string", Value: "x"},
	}))
	if err != nil {
		t.Fatalf("decodePeer: %v", err)
	} else if len(p.Services) != 3 {
		t.Errorf("decodePeer = %+v, want three services", p)
	}
	if p.Services["text"].Port != 1 {
		t.Errorf("the port as text is %d, want 1", p.Services["text"].Port)
	}
	if p.Services["number"].Port != 2 {
		t.Errorf("the port as a number is %d, want 2", p.Services["number"].Port)
	}
	if p.Services["signed"].Port != 65535 {
		t.Errorf("decodePeer = %+v, want the port 65535", p)
	}
	for _, bad := range []xpc.Dict{
		nil, {{Key: "MessageType", Value: "Other"}}, base("x"), base(xpc.Dict{})[:2],
		base(xpc.Dict{})[:1],
	} {
		if p, err := decodePeer(bad); p != nil {
			t.Errorf("decodePeer(%v) returns %v", bad, p)
		} else if err == nil {
			t.Errorf("decodePeer(%v) does not fail", bad)
		}
	}
}

// TestTransport covers each kind of service.
func TestTransport(t *testing.T) {
	t.Parallel()
	m, _ := newDevice(t, newPhone(t, "ios18"), TableOptions{Image: true})
	c := dialClient(t, m, Options{})
	for name, want := range map[string]Transport{
		"com.apple.afc": Checkin, "com.apple.afc.shim.remote": Checkin,
		"com.apple.mobile.lockdown.remote.trusted":                 Checkin,
		"com.apple.coredevice.appservice":                          RemoteXPC,
		"com.apple.internal.dt.coredevice.untrusted.tunnelservice": RemoteXPC,
		"com.apple.instruments.dtservicehub":                       Raw,
		"com.apple.dt.testmanagerd.remote":                         Raw,
		"com.apple.internal.dt.remote.debugproxy":                  Raw,
		"com.apple.coredevice.openstdiosocket":                     Raw,
		"com.apple.internal.devicecompute.CoreDeviceProxy":         Raw,
	} {
		if s, ok := c.Find(name); !ok {
			t.Errorf("%s is not found", name)
		} else if s.Transport() != want {
			t.Errorf("%s has the transport %v, want %v", name, s.Transport(), want)
		}
	}
	s, _ := c.Find("com.apple.coredevice.deviceinfo")
	if !s.HasFeature("com.apple.coredevice.feature.getlockstate") {
		t.Errorf("deviceinfo = %+v, want the feature getlockstate", s)
	}
	if s.HasFeature("com.apple.coredevice.feature.x") {
		t.Errorf("deviceinfo has the feature x: %+v", s)
	}
	if s.Version != 1 {
		t.Errorf("deviceinfo has the version %d, want 1", s.Version)
	}
	if s, _ := c.Find("com.apple.coredevice.openstdiosocket"); !s.HasFeature("x") {
		t.Errorf("a service that does not say lacks a feature")
	}
}
