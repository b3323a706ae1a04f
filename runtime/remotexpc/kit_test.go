package remotexpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The messages that open a connection, from the protocol page.
var (
	emptyBytes = unhex(
		"920bb029 01000000 1400000000000000 0000000000000000 42371342 05000000 00f00000 04000000 00000000",
	)
	openedBytes = unhex("920bb029 01020000 0000000000000000 0000000000000000")
	initBytes   = unhex("920bb029 01004000 0000000000000000 0000000000000000")
)

// pair opens a connection over a pipe and returns both sides.
func pair(t testing.TB, host, dev Options) (*Conn, *Conn) {
	t.Helper()
	a, b := linktest.Prompt()
	return pairOver(t, a, b, host, dev)
}

func pairOver(t testing.TB, a, b net.Conn, host, dev Options) (*Conn, *Conn) {
	t.Helper()
	accepted := make(chan *Conn, 1)
	failed := make(chan error, 1)
	go func() {
		d, err := Accept(context.Background(), b, dev)
		accepted <- d
		failed <- err
	}()
	h, err := Connect(context.Background(), a, host)
	if err != nil {
		t.Fatal(err)
	}
	d := <-accepted
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		d.Close()
	})
	return h, d
}

// peer sends and reads HTTP/2 frames as the test tells it.
type peer struct {
	t  testing.TB
	c  net.Conn
	fr *http2.Framer
}

func newPeer(t testing.TB, c net.Conn) *peer {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	fr := http2.NewFramer(c, c)
	fr.AllowIllegalWrites = true
	return &peer{t, c, fr}
}

func (p *peer) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) preface()     { p.t.Helper(); p.raw([]byte(http2.ClientPreface)) }
func (p *peer) raw(b []byte) { p.t.Helper(); _, err := p.c.Write(b); p.check(err) }
func (p *peer) headers(id uint32) {
	p.t.Helper()
	p.check(p.fr.WriteRawFrame(http2.FrameHeaders, 4, id, nil))
}
func (p *peer) grow(id, n uint32) { p.t.Helper(); p.check(p.fr.WriteWindowUpdate(id, n)) }
func (p *peer) ack()              { p.t.Helper(); p.check(p.fr.WriteSettingsAck()) }
func (p *peer) settings(n uint32) {
	p.t.Helper()
	p.check(p.fr.WriteSettings(http2.Setting{ID: 4, Val: n}))
}
func (p *peer) data(id uint32, b []byte) {
	p.t.Helper()
	p.check(p.fr.WriteData(id, false, b))
}

// frame reads a frame and describes it, "DATA#1 0102".
func (p *peer) frame() string {
	p.t.Helper()
	f, err := p.fr.ReadFrame()
	if err != nil {
		return "error: " + err.Error()
	}
	return describe(f)
}

func describe(f http2.Frame) string {
	h := f.Header()
	s := h.Type.String() + "#" + string(rune('0'+h.StreamID))
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return "SETTINGS ACK"
		}
		s = "SETTINGS"
		_ = f.ForeachSetting(func(x http2.Setting) error { s += " " + x.String(); return nil })
	case *http2.DataFrame:
		s += " " + hex.EncodeToString(f.Data())
		if f.StreamEnded() {
			s += " END"
		}
	case *http2.HeadersFrame:
		if len(f.HeaderBlockFragment()) > 0 || !f.HeadersEnded() {
			s += " with a block"
		}
	case *http2.WindowUpdateFrame:
		s += " " + uitoa(f.Increment)
	case *http2.RSTStreamFrame:
		s += " " + f.ErrCode.String()
	case *http2.GoAwayFrame:
		s = "GOAWAY " + f.ErrCode.String() + " " + string(f.DebugData())
	case *http2.PingFrame:
		s = "PING"
		if f.IsAck() {
			s += " ACK"
		}
	}
	return s
}

func uitoa(n uint32) string {
	var b []byte
	for ; n > 0 || b == nil; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

// expect reads frames and compares them with their descriptions.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.frame(); got != w {
			p.t.Fatalf("frame %s, want %s", got, w)
		}
	}
}

// next reads a frame that is not the acknowledgement of SETTINGS, which may arrive at
// any time.
func (p *peer) next() string {
	p.t.Helper()
	for {
		if got := p.frame(); got != "SETTINGS ACK" {
			return got
		}
	}
}

// expectNext does what expect does, but ignores acknowledgements.
func (p *peer) expectNext(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.t.Fatalf("frame %s, want %s", got, w)
		}
	}
}

// pong waits until everything that was written has been read.
func (p *peer) pong() {
	p.t.Helper()
	p.check(p.fr.WritePing(false, [8]byte{}))
	for {
		got := p.frame()
		if got == "PING ACK" {
			return
		}
		if strings.HasPrefix(got, "error") || strings.HasPrefix(got, "GOAWAY") {
			p.t.Fatal(got)
		}
	}
}

// expectGoAway expects a GOAWAY frame with the code and ignores all other frames.
func (p *peer) expectGoAway(want string) {
	p.t.Helper()
	for {
		got := p.frame()
		if strings.HasPrefix(got, "GOAWAY") {
			if !strings.HasPrefix(got, "GOAWAY "+want) {
				p.t.Errorf("%s, want GOAWAY %s", got, want)
			}
			return
		}
		if strings.HasPrefix(got, "error") {
			p.t.Errorf("%s, want GOAWAY %s", got, want)
			return
		}
	}
}

// handHost opens a connection to a device with the test as the host, and returns both.
func handHost(t testing.TB, o Options, window uint32) (*peer, *Conn) {
	t.Helper()
	a, b := linktest.Prompt()
	p := newPeer(t, a)
	accepted := make(chan *Conn, 1)
	go func() {
		c, err := Accept(context.Background(), b, o)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	p.preface()
	p.settings(window)
	p.headers(1)
	p.data(1, emptyBytes)
	p.headers(3)
	p.data(3, initBytes)
	p.data(1, openedBytes)
	d := <-accepted
	if d == nil {
		t.FailNow()
	}
	t.Cleanup(func() { a.Close(); d.Close() })
	return p, d
}

// handDevice opens a connection to a host with the test as the device, and returns
// both.
func handDevice(t testing.TB, o Options, window uint32) (*peer, *Conn) {
	t.Helper()
	a, b := linktest.Prompt()
	p := newPeer(t, b)
	p.settings(window)
	h, err := Connect(context.Background(), a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); h.Close() })
	got := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatalf("reading the preface: %v", err)
	} else if string(got) != http2.ClientPreface {
		t.Fatalf("preface = %q, want %q", got, http2.ClientPreface)
	}
	return p, h
}

func message(flags uint32, id uint64, body xpc.Dict) []byte {
	b, err := xpc.Append(nil, &xpc.Message{Flags: flags, ID: id, Body: body})
	if err != nil {
		panic(err)
	}
	return b
}

// wantFields receives a message and expects n fields in its body.
func wantFields(t *testing.T, c *Conn, n int) {
	t.Helper()
	m, err := c.Receive(context.Background())
	if err != nil {
		t.Errorf("Receive: %v", err)
	} else if len(m.Body) != n {
		t.Errorf("Receive = %v, want %d fields", m.Body, n)
	}
}

// wantNotOpened expects that a connection was closed before it was open. The error must
// begin with prefix.
func wantNotOpened(t *testing.T, what string, c *Conn, err error, prefix string) {
	t.Helper()
	if c != nil {
		t.Errorf("%s returns a connection", what)
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("%s = %v, want %v", what, err, net.ErrClosed)
	} else if !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("%s = %q, want the prefix %q", what, err, prefix)
	}
}

// messages reads the DATA of a stream until it has n messages.
func (p *peer) messages(stream uint32, n int) []*xpc.Message {
	p.t.Helper()
	var buf bytes.Buffer
	var out []*xpc.Message
	for len(out) < n {
		f, err := p.fr.ReadFrame()
		p.check(err)
		d, ok := f.(*http2.DataFrame)
		if !ok || d.StreamID != stream {
			continue
		}
		buf.Write(d.Data())
		for {
			m, size, err := xpc.Decode(buf.Bytes())
			if err != nil {
				break
			}
			buf.Next(size)
			out = append(out, m)
		}
	}
	return out
}
