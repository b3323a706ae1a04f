package usbmux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

const testUDID = "00008030-001A35E40212345E"

// testContext ends long before the test binary's own limit does.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newMuxer(t testing.TB, o MuxerOptions) *Muxer {
	m := NewMuxer(o)
	t.Cleanup(func() { m.Close() })
	return m
}

// pipeTo dials a Muxer in memory.
func pipeTo(m *Muxer) link.DialFunc {
	return func(context.Context) (net.Conn, error) {
		here, there := linktest.Pipe()
		go m.ServeConn(context.Background(), there)
		return here, nil
	}
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// listenOn serves m on a real socket and returns its address.
func listenOn(t testing.TB, m *Muxer, network string) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "mux")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- m.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		m.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	// Serve must have begun before Close, so wait until it answers.
	address = l.Addr().String()
	dial := func(context.Context) (net.Conn, error) { return net.Dial(network, address) }
	if _, err := newClient(t, Options{Dial: dial}).BUID(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return address
}

// echoPort is the only open port of the devices in these tests: it returns
// what it read, in upper case, once the client has closed its half.
const echoPort = 4711

func openEcho(port uint16) (func(context.Context, net.Conn), error) {
	if port != echoPort {
		return nil, errors.New("nobody listens")
	}
	return func(_ context.Context, c net.Conn) {
		b, err := io.ReadAll(c)
		if err == nil {
			c.Write(bytes.ToUpper(b))
		}
	}, nil
}

// routes are the ways to reach one Muxer; all are open at once.
func routes(t *testing.T, m *Muxer) map[string]*Client {
	return map[string]*Client{
		"pipe": newClient(t, Options{Dial: pipeTo(m)}),
		"unix": newClient(t, Options{Address: "UNIX:" + listenOn(t, m, "unix")}),
		"tcp":  newClient(t, Options{Address: listenOn(t, m, "tcp")}),
	}
}

// wantRest checks the bytes that are left on conn.
func wantRest(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	if string(b) != want {
		t.Errorf("read %q, want %q", b, want)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	const buid = "30142955-4440-4379-9208-0515165A1B2C"
	m := newMuxer(t, MuxerOptions{BUID: buid})
	id := m.Attach(Attachment{UDID: testUDID, Open: openEcho})
	ctx := testContext(t)
	for name, c := range routes(t, m) {
		t.Run(name, func(t *testing.T) {
			got, err := c.BUID(ctx)
			if err != nil {
				t.Errorf("BUID: %v", err)
			}
			if got != buid {
				t.Errorf("BUID = %q, want %q", got, buid)
			}
			list, err := c.List(ctx)
			if err != nil {
				t.Errorf("List: %v", err)
			}
			want := []Entry{newEntry(Attachment{UDID: testUDID}, id)}
			if !reflect.DeepEqual(list, want) {
				t.Errorf("List = %+v, want %+v", list, want)
			}
			conn, err := c.Connect(ctx, id, echoPort)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "half closed")
			if err := link.CloseWrite(conn); err != nil {
				t.Fatal(err)
			}
			wantRest(t, conn, "HALF CLOSED")
			if _, err := c.Connect(ctx, id, 1); !errors.Is(err, ConnectionRefused) {
				t.Errorf("Connect to a closed port = %v, want refused", err)
			}
			if _, err := c.Connect(ctx, id+1, echoPort); !errors.Is(err, BadDevice) {
				t.Errorf("Connect to an unknown device = %v, want bad device", err)
			}
		})
	}
}

// A client needs each of these properties: libusbmuxd refuses the whole list if a
// ConnectionType is unknown.
func TestProperties(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	m.Attach(Attachment{UDID: testUDID})
	m.Attach(Attachment{
		UDID: testUDID, Network: true, Address: netip.MustParseAddr("fe80::1%4"),
		ServiceName: "aa:bb@fe80::1._apple-mobdev2._tcp.local.",
	})
	m.Attach(Attachment{UDID: "x", Network: true})
	list, err := newClient(t, Options{Dial: pipeTo(m)}).List(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 {
		t.Fatalf("List = %v, want three devices", list)
	}
	for i, want := range map[int]string{1: "fe80::1%4", 2: "127.0.0.1"} {
		if got := list[i].Address.String(); got != want {
			t.Errorf("the address of device %d is %s, want %s", list[i].DeviceID, got, want)
		}
	}
	for i, e := range list {
		e.Properties["NetworkAddress"], list[i].Address = nil, netip.Addr{}
		delete(e.Properties, "NetworkAddress")
	}
	want := []Entry{
		{DeviceID: 1, UDID: testUDID, ConnectionType: "USB", ProductID: 0x12A8,
			ConnectionSpeed: 480000000, LocationID: 0x10001, Properties: plist.Dict{
				"DeviceID": int64(1), "SerialNumber": testUDID, "ConnectionType": "USB",
				"ConnectionSpeed": int64(480000000), "LocationID": int64(0x10001),
				"ProductID": int64(0x12A8)}},
		{DeviceID: 2, UDID: testUDID, ConnectionType: "Network",
			ServiceName: "aa:bb@fe80::1._apple-mobdev2._tcp.local.", Properties: plist.Dict{
				"DeviceID": int64(2), "SerialNumber": testUDID, "ConnectionType": "Network",
				"InterfaceIndex":         int64(4),
				"EscapedFullServiceName": "aa:bb@fe80::1._apple-mobdev2._tcp.local."}},
		{DeviceID: 3, UDID: "x", ConnectionType: "Network", Properties: plist.Dict{
			"DeviceID": int64(3), "SerialNumber": "x", "ConnectionType": "Network",
			"InterfaceIndex": int64(0), "EscapedFullServiceName": ""}},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("List = %+v\nwant %+v", list, want)
	}
}

// A client that does not wait for the result must lose no bytes, so the Muxer must not
// read beyond the Connect.
func TestServiceBytesBehindConnect(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	m.Attach(Attachment{UDID: testUDID, Open: openEcho})
	conn, _ := pipeTo(m)(nil)
	f, _ := plistFrame(9, plist.Dict{
		"MessageType": "Connect", "DeviceID": int64(1), "PortNumber": int64(swapPort(echoPort)),
	})
	conn.Write(append(appendFrame(nil, f), "early"...))
	link.CloseWrite(conn)
	wantResult(t, mustReadFrame(t, conn), 9, OK)
	wantRest(t, conn, "EARLY")
}

func plistBytes(tag uint32, d plist.Dict) []byte {
	f, err := plistFrame(tag, d)
	if err != nil {
		panic(err)
	}
	return appendFrame(nil, f)
}

func binaryBytes(message, tag uint32, body ...byte) []byte {
	return appendFrame(nil, frame{message: message, tag: tag, body: body})
}

// ask returns a request as a plist frame with tag 5.
func ask(kv ...any) []byte {
	d := plist.Dict{}
	for i := 0; i < len(kv); i += 2 {
		d[kv[i].(string)] = kv[i+1]
	}
	return plistBytes(5, d)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	version2 := ask("MessageType", "ListDevices")
	version2[4] = 2
	long := binary.LittleEndian.AppendUint32(nil, maxRequest+1)
	long = append(long, 1, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0)
	swapped := int64(swapPort(echoPort))
	for _, c := range []struct {
		name    string
		in      []byte
		version uint32 // of the answer
		want    Result
		closes  bool
	}{
		{"version 2", version2, 0, BadVersion, false},
		{"length 3", append([]byte{3, 0, 0, 0}, make([]byte, 12)...), 0, BadCommand, true},
		{"length over the limit", long, 1, BadCommand, true},
		{"not a property list", appendFrame(nil,
			frame{version: 1, message: 8, tag: 5, body: []byte("junk")}), 1, BadCommand, true},
		{"an array", appendFrame(nil, frame{
			version: 1, message: 8, tag: 5, body: []byte("<plist><array/></plist>"),
		}), 1, BadCommand, true},
		{"no body", appendFrame(nil, frame{version: 1, message: 8, tag: 5}), 1, BadCommand, true},
		{"no message type", ask("Number", int64(1)), 1, BadCommand, true},
		{"message type a number", ask("MessageType", int64(1)), 1, BadCommand, true},
		{"unknown request", ask("MessageType", "Dance"), 1, BadCommand, false},
		{"unknown binary message", binaryBytes(99, 5), 0, BadCommand, false},
		{"a result", binaryBytes(msgResult, 5, 0, 0, 0, 0), 0, BadCommand, false},
		{
			"Connect without device", ask("MessageType", "Connect", "PortNumber", swapped), 1,
			BadDevice, false,
		},
		{
			"Connect without port", ask("MessageType", "Connect", "DeviceID", int64(1)), 1,
			BadCommand, false,
		},
		{"Connect to an unknown device", ask("MessageType", "Connect", "DeviceID", int64(8),
			"PortNumber", swapped), 1, BadDevice, false},
		{"Connect to a closed port", ask("MessageType", "Connect", "DeviceID", int64(1),
			"PortNumber", int64(1)), 1, ConnectionRefused, false},
		{"port not swapped", ask("MessageType", "Connect", "DeviceID", int64(1), "PortNumber",
			int64(echoPort)), 1, ConnectionRefused, false},
		{"binary CONNECT too short", binaryBytes(msgConnect, 5, 1, 0, 0, 0), 0, BadCommand, false},
		{
			"binary CONNECT to an unknown device",
			binaryBytes(msgConnect, 5, 8, 0, 0, 0, 0x12, 0x67, 0, 0), 0, BadDevice, false,
		},
		{
			"ReadPairRecord of nothing", ask("MessageType", "ReadPairRecord", "PairRecordID", "x"),
			1, NotFound, false,
		},
		{
			"ReadPairRecord without id", ask("MessageType", "ReadPairRecord"), 1, InvalidArgument,
			false,
		},
		{
			"ReadPairRecord with an empty id",
			ask("MessageType", "ReadPairRecord", "PairRecordID", ""), 1, InvalidArgument, false,
		},
		{
			"ReadPairRecord outside", ask("MessageType", "ReadPairRecord", "PairRecordID", "../x"),
			1, InvalidArgument, false,
		},
		{
			"ReadPairRecord in a folder",
			ask("MessageType", "ReadPairRecord", "PairRecordID", "a/x"), 1, InvalidArgument, false,
		},
		{"DeletePairRecord with a backslash", ask("MessageType", "DeletePairRecord", "PairRecordID",
			`a\x`), 1, InvalidArgument, false},
		{
			"DeletePairRecord of nothing",
			ask("MessageType", "DeletePairRecord", "PairRecordID", "x"), 1, NotFound, false,
		},
		{
			"SavePairRecord without data",
			ask("MessageType", "SavePairRecord", "PairRecordID", "x"), 1, InvalidArgument, false,
		},
		{"SavePairRecord of junk", ask("MessageType", "SavePairRecord", "PairRecordID", "x",
			"PairRecordData", []byte("junkjunk")), 1, InvalidArgument, false},
		{"SavePairRecord of an array", ask("MessageType", "SavePairRecord", "PairRecordID", "x",
			"PairRecordData", []byte("<plist><array/></plist>")), 1, InvalidArgument, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMuxer(t, MuxerOptions{})
				m.Attach(Attachment{UDID: testUDID, Open: openEcho})
				conn, _ := pipeTo(m)(nil)
				defer conn.Close()
				conn.Write(c.in)
				f, err := readFrame(conn, maxReply)
				r, _, ok, _ := decodeResult(f)
				wantTag := binary.LittleEndian.Uint32(c.in[12:])
				if err != nil {
					t.Fatalf("readFrame: %v", err)
				}
				if !ok {
					t.Fatalf("the answer %+v is not a result", f)
				}
				if r != c.want {
					t.Fatalf("result %d, want %d", r, c.want)
				}
				wantHead(t, f, c.version, f.message, wantTag)
				conn.Write(ask("MessageType", "ReadBUID"))
				_, err = readFrame(conn, maxReply)
				if c.closes != (err == io.EOF) {
					t.Errorf("next request: %v, want closed %v", err, c.closes)
				}
			})
		})
	}
}

// An answer must have the tag of its request, including 0.
func TestTags(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	conn, _ := pipeTo(m)(nil)
	defer conn.Close()
	for i, name := range []string{
		"ListDevices", "ReadBUID", "ListListeners", "ReadPairRecord", "Connect", "Nothing",
		"Listen",
	} {
		for _, tag := range []uint32{0, 1, 1<<32 - 1} {
			if name == "Listen" && tag != 0 {
				break
			}
			conn.Write(plistBytes(tag, plist.Dict{"MessageType": name}))
			f, err := readFrame(conn, maxReply)
			if err != nil {
				t.Fatalf("%d %s: %v", i, name, err)
			}
			wantHead(t, f, versionPlist, msgPlist, tag)
		}
	}
}

// A client of the binary dialect must be answered in binary. Its first property list
// changes the dialect for good.
func TestBinaryDialect(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	m.Attach(Attachment{UDID: testUDID, Open: openEcho})
	conn, _ := pipeTo(m)(nil)
	conn.Write(binaryBytes(msgConnect, 7, appendConnect(nil, connectRequest{1, echoPort})...))
	want := binaryBytes(msgResult, 7, 0, 0, 0, 0)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("CONNECT: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("CONNECT = % x, want % x", got, want)
	}
	io.WriteString(conn, "x")
	link.CloseWrite(conn)
	if b, _ := io.ReadAll(conn); string(b) != "X" {
		t.Errorf("echo = %q", b)
	}

	listener, _ := pipeTo(m)(nil)
	defer listener.Close()
	listener.Write(binaryBytes(msgListen, 8))
	wantHead(t, mustReadFrame(t, listener), versionBinary, msgResult, 8)
	f := mustReadFrame(t, listener)
	wantHead(t, f, versionBinary, msgDeviceAdd, 0)
	if ev, _, _ := decodeEvent(f); ev.Entry.UDID != testUDID {
		t.Errorf("LISTEN: the event is of %q, want %q", ev.Entry.UDID, testUDID)
	}

	both, _ := pipeTo(m)(nil)
	defer both.Close()
	both.Write(ask("MessageType", "ReadBUID"))
	readFrame(both, maxReply)
	both.Write(binaryBytes(99, 3))
	wantHead(t, mustReadFrame(t, both), versionPlist, msgPlist, 3)
}

func TestDetachEndsPipes(t *testing.T) {
	t.Parallel()
	for _, route := range []string{"pipe", "unix", "tcp"} {
		t.Run(route, func(t *testing.T) {
			m := newMuxer(t, MuxerOptions{})
			c := routes(t, m)[route]
			returned := false
			id := m.Attach(Attachment{UDID: testUDID,
				Open: func(uint16) (func(context.Context, net.Conn), error) {
					return func(ctx context.Context, c net.Conn) {
						<-ctx.Done()
						if _, err := c.Read(make([]byte, 1)); err == nil {
							t.Error("the connection outlives the device")
						}
						returned = true
					}, nil
				}})
			conn, err := c.Connect(testContext(t), id, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			m.Detach(id)
			if !returned {
				t.Error("Detach did not wait for the service")
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the client's end is still open")
			}
		})
	}
}

// If the client leaves before it can be told, the function of the service must be
// called with a closed connection.
func TestClientGoneBeforeResult(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	here, there := linktest.Pipe()
	done := make(chan error, 1)
	m.Attach(Attachment{UDID: testUDID,
		Open: func(uint16) (func(context.Context, net.Conn), error) {
			here.Close()
			return func(ctx context.Context, c net.Conn) {
				_, err := c.Write([]byte("x"))
				done <- errors.Join(err, ctx.Err())
			}, nil
		}})
	go m.ServeConn(context.Background(), there)
	here.Write(ask("MessageType", "Connect", "DeviceID", int64(1), "PortNumber", int64(1)))
	err := <-done
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("the service saw %v, want net.ErrClosed", err)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the service saw %v, want context.Canceled too", err)
	}
}

// A client that is still sending when it is refused must get the refusal. On TCP,
// closing with unread bytes would destroy it.
func TestRefusalSurvivesUnreadBytes(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	conn, err := net.Dial("tcp", listenOn(t, m, "tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	long := make([]byte, 64<<10)
	binary.LittleEndian.PutUint32(long, 1<<30)
	conn.Write(long)
	wantResult(t, mustReadFrame(t, conn), 0, BadCommand)
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("then %v, want EOF", err)
	}
}
