package rsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
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
	a, b := link.Pipe()
	m.wg.Go(func() {
		_ = h.Serve(m.ctx, b)
		b.Close()
	})
	return a, nil
}

type handlerFunc func(ctx context.Context, c net.Conn) error

func (f handlerFunc) Serve(ctx context.Context, c net.Conn) error { return f(ctx, c) }

const listPort = 60000

// newDevice is a machine with the list of a phone.
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

// TestList has what each profile says.
func TestList(t *testing.T) {
	t.Parallel()
	for _, profile := range phone.Profiles() {
		for _, o := range []TableOptions{{Image: true}, {}, {Untrusted: true}} {
			t.Run(fmt.Sprintf("%s %+v", profile, o), func(t *testing.T) {
				t.Parallel()
				p := newPhone(t, profile)
				m, _ := newDevice(t, p, o)
				peer := dialClient(t, m, Options{}).Peer()
				props := peer.Properties
				if props.UDID() != p.UDID() || props.OSVersion() != p.ProductVersion() || props.ProductType() != p.ProductType() || props.DeviceClass() != "iPhone" {
					t.Errorf("properties %v", props)
				}
				ecid, _ := p.Value("", "UniqueChipID")
				if props.UniqueChipID() != uint64(ecid.(int64)) || props.BootSession() != strings.ToLower(p.BootID()) || props.ChipID() == 0 || props.BoardID() == 0 {
					t.Errorf("numbers of %v", props)
				}
				if props.BuildVersion() == "" || props.SerialNumber() == "" || props.HardwareModel() == "" || props.XPCFlags()>>56 != 1 || peer.UUID == (xpc.UUID{}) {
					t.Errorf("properties %v", props)
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
					if ports[s.Port] || s.Port < FirstPort {
						t.Errorf("%s has port %d", s.Name, s.Port)
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

// TestVersions has what the protocol page lists for iOS 17 and 18.
func TestVersions(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]struct {
		protocol   uint64
		shimSays   bool
		cryptexd   bool
		properties map[string]any
	}{
		"ios17": {3, false, false, map[string]any{"MobileDeviceMinimumVersion": "1600", "RemoteXPCVersionFlags": uint64(72057594037927940), "RestoreLongVersion": "21.6.90.0.0,0"}},
		"ios18": {5, true, true, map[string]any{"MobileDeviceMinimumVersion": "1742", "RemoteXPCVersionFlags": uint64(72057594037927942), "RestoreLongVersion": "22.6.76.0.0,0"}},
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
		for k, v := range want.properties {
			if got, _ := peer.Properties.Get(k); got != v {
				t.Errorf("%s: %s = %v, want %v", profile, k, got, v)
			}
		}
	}
	for build, want := range map[string]string{"22A5297f": "22.1.297.5.6,0", "21F90": "21.6.90.0.0,0", "": "", "F90": "", "21": "", "21F": "", "21Fx9": ""} {
		if got := longVersion(build); got != want {
			t.Errorf("longVersion(%q) = %q, want %q", build, got, want)
		}
	}
}

// TestPropertyTypes has the types of the protocol page.
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

// TestDeviceMessages has the frames of a host that says nothing by itself, as
// go-ios, and of one that does, and the heartbeat of Apple's.
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
	if err != nil || first.Flags != xpc.FlagsOneWay || first.ID != 2 || first.Stream != 1 {
		t.Fatalf("the list is %+v, %v", first, err)
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
		body := xpc.Dict{{Key: "MessageType", Value: "Heartbeat"}, {Key: "SequenceNumber", Value: n}}
		id := 3 + 2*n
		if err := x.Write(ctx, &remotexpc.Message{Stream: 1, Message: xpc.Message{Flags: xpc.FlagsRequest, ID: id, Body: body}}); err != nil {
			t.Fatal(err)
		}
		got, err := x.Receive(ctx)
		if want := (&remotexpc.Message{Stream: 3, Message: xpc.Message{Flags: xpc.FlagsReply, ID: id, Body: body}}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the heartbeat is answered by %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestHostMessages has what the host says, with the values of the protocol page.
func TestHostMessages(t *testing.T) {
	t.Parallel()
	said := make(chan *remotexpc.Message, 1)
	m := newMachine(t)
	m.listen(listPort, &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
		msg, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		said <- msg
		return c.Send(ctx, xpc.Dict{{Key: "MessageType", Value: "Handshake"}, {Key: "Properties", Value: xpc.Dict{}}, {Key: "Services", Value: xpc.Dict{}}})
	}})
	dialClient(t, m, Options{})
	got := <-said
	id, _ := got.Body.UUID("UUID")
	want := xpc.Dict{
		{Key: "MessageType", Value: "Handshake"}, {Key: "MessagingProtocolVersion", Value: uint64(7)}, {Key: "UUID", Value: id},
		{Key: "Properties", Value: xpc.Dict{{Key: "RemoteXPCVersionFlags", Value: uint64(0x0100000000000006)}, {Key: "SensitivePropertiesVisible", Value: true}}},
		{Key: "Services", Value: xpc.Dict{}},
	}
	if got.Stream != 1 || got.Flags != 0x101 || got.ID != 1 || !reflect.DeepEqual(got.Body, want) || id == (xpc.UUID{}) {
		t.Errorf("the host says %+v, want %v", got, want)
	}
}

// TestDecodePeer has lists as other devices may send them.
func TestDecodePeer(t *testing.T) {
	t.Parallel()
	entry := func(port any) xpc.Dict { return xpc.Dict{{Key: "Port", Value: port}} }
	base := func(services any) xpc.Dict {
		return xpc.Dict{{Key: "MessageType", Value: "Handshake"}, {Key: "Properties", Value: xpc.Dict{}}, {Key: "Services", Value: services}}
	}
	p, err := decodePeer(base(xpc.Dict{
		{Key: "text", Value: entry("1")}, {Key: "number", Value: entry(uint64(2))}, {Key: "signed", Value: entry(int64(65535))},
		{Key: "zero", Value: entry("0")}, {Key: "large", Value: entry("65536")}, {Key: "words", Value: entry("http")}, {Key: "none", Value: xpc.Dict{}},
		{Key: "large number", Value: entry(uint64(65536))}, {Key: "negative", Value: entry(int64(-1))}, {Key: "string", Value: "x"},
	}))
	if err != nil || len(p.Services) != 3 || p.Services["text"].Port != 1 || p.Services["number"].Port != 2 || p.Services["signed"].Port != 65535 {
		t.Errorf("decodePeer = %+v, %v", p, err)
	}
	for _, bad := range []xpc.Dict{nil, {{Key: "MessageType", Value: "Other"}}, base("x"), base(xpc.Dict{})[:2], base(xpc.Dict{})[:1]} {
		if p, err := decodePeer(bad); p != nil || err == nil {
			t.Errorf("decodePeer(%v) = %v, %v", bad, p, err)
		}
	}
}

// TestTransport has each kind of service.
func TestTransport(t *testing.T) {
	t.Parallel()
	m, _ := newDevice(t, newPhone(t, "ios18"), TableOptions{Image: true})
	c := dialClient(t, m, Options{})
	for name, want := range map[string]Transport{
		"com.apple.afc": Checkin, "com.apple.afc.shim.remote": Checkin, "com.apple.mobile.lockdown.remote.trusted": Checkin,
		"com.apple.coredevice.appservice": RemoteXPC, "com.apple.internal.dt.coredevice.untrusted.tunnelservice": RemoteXPC,
		"com.apple.instruments.dtservicehub": Raw, "com.apple.dt.testmanagerd.remote": Raw, "com.apple.internal.dt.remote.debugproxy": Raw,
		"com.apple.coredevice.openstdiosocket": Raw, "com.apple.internal.devicecompute.CoreDeviceProxy": Raw,
	} {
		if s, ok := c.Find(name); !ok || s.Transport() != want {
			t.Errorf("%s = %v, %v, want %v", name, s.Transport(), ok, want)
		}
	}
	s, _ := c.Find("com.apple.coredevice.deviceinfo")
	if !s.HasFeature("com.apple.coredevice.feature.getlockstate") || s.HasFeature("com.apple.coredevice.feature.x") || s.Version != 1 {
		t.Errorf("deviceinfo = %+v", s)
	}
	if s, _ := c.Find("com.apple.coredevice.openstdiosocket"); !s.HasFeature("x") {
		t.Errorf("a service that does not say lacks a feature")
	}
}

// TestOpen opens a service of each kind.
func TestOpen(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	m, _ := newDevice(t, newPhone(t, "ios18"), TableOptions{Image: true})
	c := dialClient(t, m, Options{EscrowBag: []byte("bag")})
	port := func(name string) uint16 {
		s, ok := c.Find(name)
		if !ok {
			t.Fatalf("%s is not listed", name)
		}
		return s.Port
	}
	hello := handlerFunc(func(ctx context.Context, c net.Conn) error {
		// Right behind the check-in, for the host that reads too far.
		_, _ = io.WriteString(c, "hello ")
		_, err := io.Copy(c, c)
		return err
	})
	bags := make(chan []byte, 1)
	m.listen(port("com.apple.afc"), &CheckinDevice{Service: "afc", Handler: hello})
	m.listen(port("com.apple.mobilebackup2"), &CheckinDevice{Handler: hello, Refuse: func(_ context.Context, escrow []byte) error { bags <- escrow; return nil }})
	m.listen(port("com.apple.misagent"), &CheckinDevice{Handler: hello, Refuse: func(context.Context, []byte) error { return fmt.Errorf("no: %w", ErrPasswordProtected) }})
	m.listen(port("com.apple.pcapd"), &CheckinDevice{Handler: hello, Refuse: func(context.Context, []byte) error { return errors.New("out of order") }})
	m.listen(port("com.apple.instruments.dtservicehub"), hello)
	m.listen(port("com.apple.coredevice.appservice"), &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
		msg, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		return c.Reply(ctx, msg, msg.Body)
	}})

	for _, n := range []service.Name{
		{Lockdown: "com.apple.afc"}, {Lockdown: "com.apple.afc", Remote: "com.apple.afc.shim.remote", Checkin: true},
		{Remote: "com.apple.instruments.dtservicehub"}, {Lockdown: "com.apple.mobilebackup2", Escrow: true},
	} {
		nc, err := c.Open(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, "world")
		_ = link.CloseWrite(nc)
		if got, err := io.ReadAll(nc); err != nil || string(got) != "hello world" {
			t.Errorf("%s says %q, %v", n, got, err)
		}
		nc.Close()
	}
	if bag := <-bags; string(bag) != "bag" {
		t.Errorf("the escrow bag is %q", bag)
	}
	x, err := c.OpenXPC(ctx, "com.apple.coredevice.appservice", remotexpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); err != nil || len(got) != 1 {
		t.Errorf("Call = %v, %v", got, err)
	}
	x.Close()

	for name, want := range map[string]error{
		"com.apple.misagent": fs.ErrPermission, "com.apple.nothing": fs.ErrNotExist, "com.apple.pcapd": io.ErrUnexpectedEOF, "com.apple.atc": nil,
	} {
		nc, err := c.Open(ctx, service.Name{Lockdown: name})
		var e *Error
		if nc != nil || err == nil || want != nil && !errors.Is(err, want) || !errors.As(err, &e) || !strings.HasPrefix(e.Service, name) {
			t.Errorf("%s: %v, %v, want %v", name, nc, err, want)
		}
	}
	_, err = c.Open(ctx, service.Name{Lockdown: "com.apple.misagent"})
	if want := `rsd: checkin "com.apple.misagent.shim.remote": PasswordProtected`; !errors.Is(err, ErrPasswordProtected) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := c.Open(ctx, service.Name{Remote: "com.apple.none"}); err.Error() != `rsd: open "com.apple.none": service is not listed` {
		t.Errorf("%v", err)
	}
}

// TestCheckinBytes has the request as it goes over the wire, and answers of
// every kind.
func TestCheckinBytes(t *testing.T) {
	t.Parallel()
	frame := func(d plist.Dict) string {
		b, err := plist.Encode(d, plist.XML)
		if err != nil {
			t.Fatal(err)
		}
		return string(link.AppendFrame(nil, b))
	}
	first := frame(plist.Dict{"Request": "RSDCheckin"})
	for name, tt := range map[string]struct{ answer, want string }{
		"good":           {first + frame(plist.Dict{"Request": "StartService", "Service": "x"}) + "surplus", ""},
		"refused":        {first + frame(plist.Dict{"Request": "StartService", "Error": "InvalidService", "ErrorDescription": "why"}), "InvalidService (why)"},
		"refused early":  {frame(plist.Dict{"Request": "RSDCheckin", "Error": "ServiceProhibited"}), "ServiceProhibited"},
		"error number":   {first + frame(plist.Dict{"Request": "StartService", "Error": 5}), "refused without a reason"},
		"other request":  {frame(plist.Dict{"Request": "QueryType"}), `answer is to "QueryType", not RSDCheckin`},
		"one answer":     {first, "unexpected EOF"},
		"nothing":        {"", "unexpected EOF"},
		"half an answer": {first[:50], "unexpected EOF"},
		"huge":           {"\x7f\xff\xff\xff", "frame of 2147483647 bytes is over the limit of 1048576"},
	} {
		a, b := link.Pipe()
		_, _ = io.WriteString(b, tt.answer)
		_ = link.CloseWrite(b)
		err := checkin(context.Background(), a, "x", "imdlua", []byte("bag"))
		var text string
		if err != nil {
			text = strings.TrimPrefix(err.Error(), `rsd: checkin "x": `)
		}
		if text != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if name == "good" {
			if rest, err := io.ReadAll(a); string(rest) != "surplus" || err != nil {
				t.Errorf("what follows is %q, %v", rest, err)
			}
		}
		got, err := link.NewPlistConn(b).RecvDict(context.Background())
		if want := (plist.Dict{"Label": "imdlua", "ProtocolVersion": "2", "Request": "RSDCheckin", "EscrowBag": []byte("bag")}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the request is %v, %v, want %v", got, err, want)
		}
		a.Close()
		b.Close()
	}
}

// TestCheckinDevice has hosts of every kind.
func TestCheckinDevice(t *testing.T) {
	t.Parallel()
	serve := func(in string) (string, string, error) {
		a, b := link.Pipe()
		defer a.Close()
		_, _ = io.WriteString(a, in)
		_ = link.CloseWrite(a)
		var seen bytes.Buffer
		d := &CheckinDevice{Service: "s", Handler: handlerFunc(func(_ context.Context, c net.Conn) error {
			_, err := io.Copy(&seen, c)
			_ = link.CloseWrite(c)
			return err
		})}
		err := d.Serve(context.Background(), b)
		b.Close()
		out, _ := io.ReadAll(a)
		return seen.String(), string(out), err
	}
	xml := `<plist version="1.0"><dict><key>Request</key><string>%s</string></dict></plist>`
	request := func(name string) string { return string(link.AppendFrame(nil, fmt.Appendf(nil, xml, name))) }
	if seen, out, err := serve(request("RSDCheckin") + "rest"); err != nil || seen != "rest" || strings.Count(out, "RSDCheckin") != 1 || strings.Count(out, "StartService") != 1 {
		t.Errorf("after the check-in %q, answered %q, %v", seen, out, err)
	}
	dtx := "\x79\x5b\x3d\x1f and more"
	if seen, out, err := serve(dtx); err != nil || seen != dtx || out != "" {
		t.Errorf("DTX without a check-in: %q, answered %q, %v", seen, out, err)
	}
	if _, _, err := serve(""); err != nil {
		t.Errorf("a host that leaves: %v", err)
	}
	for _, bad := range []string{"\x00", request("RSDCheckin")[:20], request("QueryType"), "\xff\xff\xff\xffx", "\x00\x00\x00\x04junk"} {
		var e *Error
		if seen, _, err := serve(bad); !errors.As(err, &e) || e.Op != "checkin" || e.Service != "s" || seen != "" {
			t.Errorf("%q: %q, %v", bad, seen, err)
		}
	}
}

// TestRefresh shows a service that came up since.
func TestRefresh(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := newPhone(t, "ios17")
	var mounted bool
	m := newMachine(t)
	m.listen(listPort, &Device{Phone: p, Services: func() []Service { return Table(p, TableOptions{Image: mounted}) }})
	c := dialClient(t, m, Options{})
	before, _ := c.Find("com.apple.afc")
	if _, ok := c.Find("com.apple.instruments.dtservicehub"); ok {
		t.Error("dtservicehub is listed without an image")
	}
	mounted = true
	old := c.Done()
	if err := c.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	<-old
	if _, ok := c.Find("com.apple.instruments.dtservicehub"); !ok {
		t.Error("dtservicehub is not listed with an image")
	}
	if after, _ := c.Find("com.apple.afc"); after.Port != before.Port {
		t.Errorf("afc moves from %d to %d", before.Port, after.Port)
	}
	if c.Err() != nil {
		t.Errorf("Err = %v", c.Err())
	}
	c.Close()
	if err := c.Refresh(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Refresh after Close = %v", err)
	}
	c.Close()
}

// TestDialFails has each way in which there is no list.
func TestDialFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		p := newPhone(t, "ios17")
		say := func(body xpc.Dict) service.Handler {
			return &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error { return c.Send(ctx, body) }}
		}
		for name, h := range map[string]service.Handler{
			"nobody listens":  nil,
			"another service": handlerFunc(func(_ context.Context, c net.Conn) error { _, err := io.WriteString(c, "SSH-2.0"); return err }),
			"hangs up":        handlerFunc(func(context.Context, net.Conn) error { return nil }),
			"says nothing":    &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error { _, err := c.Receive(ctx); <-ctx.Done(); return err }},
			"hangs up later":  &Device{Phone: p, Services: func() []Service { return nil }, Fault: func(context.Context, string) error { return errors.New("no") }},
			"no handshake":    say(xpc.Dict{{Key: "MessageType", Value: "Other"}}),
			"half of one":     say(xpc.Dict{{Key: "MessageType", Value: "Handshake"}}),
		} {
			m.listen(listPort, h)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			c, err := Dial(ctx, m.dial, listPort, Options{})
			cancel()
			var e *Error
			if c != nil || !errors.As(err, &e) || !strings.HasPrefix(err.Error(), "rsd: ") {
				t.Errorf("%s: %v, %v", name, c, err)
			}
			if name == "says nothing" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want a time-out", name, err)
			}
		}
		m.close()
	})
}

// TestHeartbeat notices a device that is gone without a word.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, "ios17")
		m, d := newDevice(t, p, TableOptions{})
		beats := make(chan struct{}, 100)
		var silent bool
		var mu sync.Mutex
		d.Fault = func(ctx context.Context, op string) error {
			mu.Lock()
			defer mu.Unlock()
			if op == typeHeartbeat {
				if silent {
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
				}
				beats <- struct{}{}
			}
			return nil
		}
		c := dialClient(t, m, Options{Heartbeat: 10 * time.Second})
		start := time.Now()
		for range 3 {
			<-beats
		}
		if since := time.Since(start); since != 30*time.Second {
			t.Errorf("three heartbeats in %v", since)
		}
		mu.Lock()
		silent = true
		mu.Unlock()
		<-c.Done()
		if since := time.Since(start); since != 50*time.Second {
			t.Errorf("the device is lost after %v", since)
		}
		if err := c.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Err = %v", err)
		}
		c.Close()
		m.close()
	})
}

// TestHeartbeatUnknown leaves a device alone that does not know heartbeats.
func TestHeartbeatUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.listen(listPort, &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
			if err := c.Send(ctx, xpc.Dict{{Key: "MessageType", Value: "Handshake"}, {Key: "Properties", Value: xpc.Dict{}}, {Key: "Services", Value: xpc.Dict{}}}); err != nil {
				return err
			}
			for {
				if _, err := c.Receive(ctx); err != nil {
					return err
				}
			}
		}})
		c := dialClient(t, m, Options{Heartbeat: time.Second})
		select {
		case <-c.Done():
			t.Errorf("the device is lost: %v", c.Err())
		case <-time.After(time.Hour):
		}
		m.close() // and now it is
		<-c.Done()
		if err := c.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Err = %v", err)
		}
		c.Close()
	})
}

func FuzzDecodePeer(f *testing.F) {
	p, err := phone.New(phone.Options{})
	if err != nil {
		f.Fatal(err)
	}
	d := &Device{Phone: p, Services: func() []Service { return Table(p, TableOptions{Image: true}) }}
	for _, body := range []xpc.Dict{d.handshake(), hostHandshake(xpc.UUID{}), heartbeat(1)} {
		b, err := xpc.Append(nil, &xpc.Message{Flags: xpc.FlagsOneWay, Body: body})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := xpc.Decode(b)
		if err != nil {
			return
		}
		peer, err := decodePeer(m.Body)
		if (peer == nil) == (err == nil) {
			t.Fatalf("decodePeer = %v, %v", peer, err)
		}
		if err != nil {
			return
		}
		for name, s := range peer.Services {
			if s.Name != name || s.Port == 0 {
				t.Fatalf("%q = %+v", name, s)
			}
			_ = s.Transport()
		}
	})
}

func FuzzCheckin(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04junk"))
	f.Add([]byte(dtxMagic))
	f.Add(link.AppendFrame(nil, []byte(`<plist version="1.0"><dict><key>Request</key><string>RSDCheckin</string><key>EscrowBag</key><data>AAAA</data></dict></plist>`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y := link.Pipe()
		defer x.Close()
		defer y.Close()
		go func() {
			_, _ = x.Write(b)
			_ = link.CloseWrite(x)
		}()
		d := &CheckinDevice{Handler: handlerFunc(func(_ context.Context, c net.Conn) error { _, err := io.Copy(io.Discard, c); return err })}
		_ = d.Serve(context.Background(), y)
	})
}

// BenchmarkDial reads a list of full length.
func BenchmarkDial(b *testing.B) {
	m, _ := newDevice(b, newPhone(b, "ios18"), TableOptions{Image: true})
	b.ReportAllocs()
	for b.Loop() {
		c, err := Dial(context.Background(), m.dial, listPort, Options{})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
