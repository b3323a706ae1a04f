package lockdown

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// The limits of the memory that each side may keep, and allocate in total, with a
// hostile peer. They are a few times the longest frame.
const (
	hostKeeps   = 4 * link.MaxLockdownFrame
	deviceKeeps = 16 * maxRequest
)

// attacker is a peer that violates the protocol.
type attacker struct {
	testing.TB
	net.Conn
	host *computer
}

// say writes its argument. It returns false if the connection has ended.
func (a *attacker) say(pieces ...[]byte) bool {
	_, err := a.Write(bytes.Join(pieces, nil))
	return err == nil
}

// flood writes b until n bytes have been written or the connection has ended.
func (a *attacker) flood(n int, b []byte) {
	for said := 0; said < n && a.say(b); said += len(b) {
	}
}

// slowly writes one byte of b per minute.
func (a *attacker) slowly(b []byte) {
	for i := 0; i < len(b) && a.say(b[i:i+1]); i++ {
		time.Sleep(time.Minute)
	}
}

// heard reads a message of the peer, as far as possible.
func (a *attacker) heard() plist.Dict {
	d, _ := link.NewPlistConn(a.Conn).RecvDict(context.Background())
	return d
}

// frameOf returns a message as it is sent.
func frameOf(tb testing.TB, d plist.Dict) []byte {
	tb.Helper()
	b, err := plist.Encode(d, plist.XML)
	if err != nil {
		tb.Fatal(err)
	}
	return link.AppendFrame(nil, b)
}

func framed(s string) []byte { return link.AppendFrame(nil, []byte(s)) }

func length(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

const xmlHead = `<?xml version="1.0"?><plist version="1.0">`

// attack is one behaviour of a hostile peer.
type attack struct {
	name string
	play func(a *attacker)
	// want is the reason for the end of the call or the connection; nil means the
	// deadline.
	want error
	// ends reports whether a device treats this as a host that has left.
	ends bool
	// call is the request of the host; nil means QueryType.
	call func(ctx context.Context, c *Client) error
	// lives reports whether a host's connection can still be used.
	lives bool
	// alloc bounds the bytes that are allocated in total; 0 means no bound. The bytes
	// that are kept are always bounded.
	alloc uint64
}

// sends returns an attack that only sends bytes. After them the peer closes the
// connection or, if want is nil, waits.
func sends(name string, want error, pieces ...[]byte) attack {
	return attack{name: name, want: want, play: func(a *attacker) {
		a.say(pieces...)
		if want != nil {
			_ = link.CloseWrite(a.Conn)
		}
	}}
}

// claims is sends for wrong lengths, for which no memory may be allocated.
func claims(name string, want error, pieces ...[]byte) attack {
	c := sends(name, want, pieces...)
	c.alloc = 1 << 20
	return c
}

func leaves(c attack) attack { c.ends = true; return c }

// onTheWire are attacks on the format, which both sides read in the same way.
var onTheWire = []attack{
	leaves(sends("closes at once", io.ErrUnexpectedEOF)),
	leaves(sends("half a length", io.ErrUnexpectedEOF, []byte{0, 0})),
	leaves(sends("half a body", io.ErrUnexpectedEOF, length(256), []byte("<?xml"))),
	sends("frame of 0 bytes", plist.ErrFormat, framed("")),
	sends("garbage", plist.ErrFormat, framed("GET / HTTP/1.1\r\n")),
	claims("frame of 2^31 bytes", link.ErrTooLarge, length(1<<31)),
	claims("frame of 2^32-1 bytes", link.ErrTooLarge, length(1<<32-1)),
	claims("frame over a host's limit", link.ErrTooLarge, length(link.MaxLockdownFrame+1)),
	claims("frame at a device's limit that does not come", nil, length(maxRequest),
		[]byte("<?xml")),
	sends("XML cut short", errAny, framed(xmlHead+"<dict><key>A")),
	sends("binary without a trailer", errAny, framed("bplist00"+strings.Repeat("\xff", 40))),
	sends("a list", errAny, framed(xmlHead+"<array/></plist>")),
	sends("lists without end", plist.ErrLimit, framed(xmlHead+strings.Repeat("<array>", 5000))),
	sends("entities that unfold", errAny, framed(`<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "`+
		strings.Repeat("x", 1000)+`"><!ENTITY b "`+strings.Repeat("&a;", 1000)+`">]>`+
		`<plist version="1.0"><dict><key>Request</key><string>`+
		strings.Repeat("&b;", 1000)+`</string></dict></plist>`)),
	sends("TLS", errAny, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
	{name: "one byte a minute", play: func(a *attacker) {
		a.slowly(frameOf(a, plist.Dict{"Request": "QueryType", "Type": DeviceType}))
	}},
	{name: "nothing at all", play: func(*attacker) {}},
}

// errAny stands for any typed error.
var errAny = errors.New("any error")

// reply is an answer to QueryType with further keys.
func reply(tb testing.TB, more plist.Dict) []byte {
	d := plist.Dict{"Request": reqQueryType, "Type": DeviceType}
	for k, v := range more {
		d[k] = v
	}
	return frameOf(tb, d)
}

func queryType(ctx context.Context, c *Client) error { _, err := c.QueryType(ctx); return err }

func getValue(ctx context.Context, c *Client) error { _, err := c.Get(ctx, "d", "k"); return err }

func startService(ctx context.Context, c *Client) error {
	_, err := c.StartService(ctx, "s", nil)
	return err
}

// onHost are attacks of a device on a host that calls QueryType.
var onHost = []attack{
	{name: "answer to another request", want: ErrInvalidResponse, play: func(a *attacker) {
		a.say(reply(a, plist.Dict{"Request": reqGetValue}))
	}},
	{name: "answer of the wrong type", want: ErrInvalidResponse, lives: true,
		play: func(a *attacker) {
			a.say(reply(a, plist.Dict{"Type": int64(1)}))
		}},
	{name: "refusal with a long text", want: ErrInternalError, lives: true,
		play: func(a *attacker) {
			long := strings.Repeat("x", 1<<20)
			a.say(reply(a, plist.Dict{"Error": string(ErrInternalError), "ErrorDescription": long}))
		}},
	{name: "refusal with a long code", want: errAny, lives: true, play: func(a *attacker) {
		a.say(reply(a, plist.Dict{"Error": strings.Repeat("x", 1<<20)}))
	}},
	{name: "answer to a long request", want: ErrInvalidResponse, play: func(a *attacker) {
		a.say(reply(a, plist.Dict{"Request": strings.Repeat("x", 1<<20)}))
	}},
	{name: "answers without end to other requests", want: ErrInvalidResponse,
		play: func(a *attacker) {
			a.flood(24<<20, bytes.Repeat(reply(a, plist.Dict{"Request": reqGetValue}), 1000))
		}},
	{name: "value of another key", want: ErrInvalidResponse, call: getValue, play: func(
		a *attacker,
	) {
		a.say(
			frameOf(a, plist.Dict{"Request": reqGetValue, "Domain": "d", "Key": "l", "Value": "v"}),
		)
	}},
	{name: "value elsewhere", want: ErrInvalidResponse, call: getValue, play: func(a *attacker) {
		a.say(
			frameOf(a, plist.Dict{"Request": reqGetValue, "Domain": "e", "Key": "k", "Value": "v"}),
		)
	}},
	{
		name: "port that is a long text", want: ErrInvalidResponse, call: startService, lives: true,
		play: func(a *attacker) {
			long := strings.Repeat("x", 1<<20)
			a.say(frameOf(a, plist.Dict{"Request": reqStartService, "Port": long}))
		},
	},
	{name: "many small values", want: errAny, lives: true, play: func(a *attacker) {
		many := strings.Repeat("<true/>", 1<<17)
		a.say(framed(xmlHead + "<dict><key>Type</key><array>" + many + "</array></dict></plist>"))
	}},
}

// onDevice are attacks of a host.
var onDevice = []attack{
	{name: "requests without reading the answers", ends: true, play: func(a *attacker) {
		a.flood(24<<20, frameOf(a, plist.Dict{"Request": reqQueryType}))
	}},
	{name: "requests of 1 MB that are not known", ends: true, play: func(a *attacker) {
		a.flood(24<<20, frameOf(a, plist.Dict{"Request": strings.Repeat("x", 1<<20-1000)}))
	}},
	{name: "values that anybody may set", ends: true, play: func(a *attacker) {
		go func() { _, _ = io.Copy(io.Discard, a.Conn) }()
		for i := range 24 {
			d := plist.Dict{"Request": reqSetValue, "Key": "UntrustedHostBUID"}
			d["Value"] = strconv.Itoa(i) + strings.Repeat("x", 1<<20-2000)
			if !a.say(frameOf(a, d)) {
				return
			}
		}
	}},
	{name: "pairings without end", ends: true, play: func(a *attacker) {
		go func() { _, _ = io.Copy(io.Discard, a.Conn) }()
		certificate := bytes.Clone(a.host.record["HostCertificate"].([]byte))
		certificate = append(certificate, make([]byte, 600_000)...)
		for i := range 40 {
			record := publicRecord(a.host.record)
			record["HostID"], record["HostCertificate"] = "host "+strconv.Itoa(i), certificate
			if !a.say(frameOf(a, plist.Dict{"Request": reqPair, "PairRecord": record})) {
				return
			}
		}
	}},
	{name: "sessions that are not encrypted", want: ErrTLS, play: func(a *attacker) {
		a.say(frameOf(a, plist.Dict{"Request": reqStartSession, "HostID": hostID}))
		a.heard()
		a.say(frameOf(a, plist.Dict{"Request": reqQueryType}))
	}},
	{name: "half a handshake", ends: true, play: func(a *attacker) {
		a.say(frameOf(a, plist.Dict{"Request": reqStartSession, "HostID": hostID}))
		a.heard()
		a.slowly([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	}},
	{name: "handshake records without end", want: ErrTLS, play: func(a *attacker) {
		a.say(frameOf(a, plist.Dict{"Request": reqStartSession, "HostID": hostID}))
		a.heard()
		a.flood(24<<20,
			append([]byte("\x16\x03\x01\x40\x00\x01\xff\xff\xff"), make([]byte, 0x4000-4)...))
	}},
}

type usage struct{ heap, total uint64 }

func measure() usage {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return usage{m.HeapAlloc, m.TotalAlloc}
}

// check compares the memory that is kept with that at the beginning.
func (u usage) check(t *testing.T, before usage, keeps, alloc uint64) {
	t.Helper()
	if u.heap > before.heap+keeps {
		t.Errorf("%d bytes are kept, want at most %d", u.heap-before.heap, keeps)
	}
	if alloc > 0 && u.total > before.total+alloc {
		t.Errorf("%d bytes were taken, want at most %d", u.total-before.total, alloc)
	}
}

func wantEnd(t *testing.T, err, want error) {
	t.Helper()
	var own *Error
	if !errors.As(err, &own) {
		t.Errorf("%v (%T), want an *Error", err, err)
		return
	}
	if want == nil {
		want = context.DeadlineExceeded
	}
	if want != errAny && !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if n := len(err.Error()); n > 2000 {
		t.Errorf("the text of the error has %d bytes", n)
	}
}

// TestHostileDevice attacks a host that waits for an answer. The call must end by its
// deadline with a typed error, and bytes after a wrong answer must not be taken for the
// next answer.
func TestHostileDevice(t *testing.T) {
	for _, x := range append(append([]attack{}, onTheWire...), onHost...) {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := measure()
				near, far := linktest.Pipe()
				cl := New(near, Options{})
				played := make(chan struct{})
				go func() {
					defer close(played)
					a := &attacker{TB: t, Conn: far}
					a.heard()
					x.play(a)
				}()
				if x.call == nil {
					x.call = queryType
				}
				err := x.call(context.Background(), cl)
				measure().check(t, before, hostKeeps, x.alloc)
				wantEnd(t, err, x.want)
				if _, err := cl.QueryType(context.Background()); errors.Is(err,
					net.ErrClosed) == x.lives {
					t.Errorf("next call: %v, want net.ErrClosed = %v", err, !x.lives)
				}
				cl.Close()
				far.Close()
				<-played
			})
		})
	}
}

// TestHostileHost attacks a device. The memory that it keeps must be bounded, and it
// must close the connection of a host that takes too long.
func TestHostileHost(t *testing.T) {
	keys()
	for i, x := range append(append([]attack{}, onTheWire...), onDevice...) {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, h, _ := paired(t)
				before := measure()
				near, far := linktest.Pipe()
				served := make(chan error, 1)
				go func() {
					served <- (&Device{Phone: p, Start: startAFC}).Serve(context.Background(), near)
					near.Close()
				}()
				played := make(chan struct{})
				go func() { defer close(played); x.play(&attacker{t, far, h}) }()
				err := <-served
				measure().check(t, before, deviceKeeps, x.alloc)
				if x.ends || x.want == nil { // left, or idle
					if err != nil {
						t.Errorf("Serve = %v, want nil", err)
					}
				} else {
					wantEnd(t, err, x.want)
				}
				if said, _ := io.ReadAll(far); i < len(onTheWire) && len(said) > 0 {
					t.Errorf("the device says %q", said)
				}
				far.Close()
				<-played
				runtime.KeepAlive(p)
			})
		})
	}
}
