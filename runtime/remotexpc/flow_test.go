package remotexpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// sent reads DATA frames of all streams until no more arrive, which means that the
// writer waits. It runs in a synctest bubble.
func (p *peer) sent(stop <-chan struct{}) map[uint32][]byte {
	p.t.Helper()
	got := map[uint32][]byte{}
	frames := make(chan http2.Frame)
	next := make(chan struct{})
	go func() {
		for range next {
			f, err := p.fr.ReadFrame()
			if err != nil {
				close(frames)
				return
			}
			frames <- f
		}
	}()
	defer close(next)
	for {
		next <- struct{}{}
		select {
		case f, ok := <-frames:
			if !ok {
				return got
			}
			if d, ok := f.(*http2.DataFrame); ok {
				got[d.StreamID] = append(got[d.StreamID], d.Data()...)
			}
		case <-stop:
			return got
		}
	}
}

// TestSendWindows checks that no more is sent than the windows of the stream and of the
// connection allow, and that sending continues when they grow. go-ios never grows them.
func TestSendWindows(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		initial uint32      // window of each stream
		grants  [][2]uint32 // stream, bytes
		bodies  int         // each of 40,000 bytes on stream 1
		want    int         // bytes on stream 1 in the end
	}{
		"stream":               {100, nil, 1, 100},
		"stream grows":         {100, [][2]uint32{{1, 50}, {1, 7}}, 1, 157},
		"connection":           {1 << 20, nil, 3, 65535 - 24},
		"connection grows":     {1 << 20, [][2]uint32{{0, 10}, {0, 5}}, 3, 65535 - 24 + 15},
		"connection of others": {1 << 20, [][2]uint32{{3, 1000}}, 3, 65535 - 24},
		"opening alone":        {68, nil, 1, 68},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, d := handHost(t, Options{}, tt.initial)
				var senders sync.WaitGroup
				for range tt.bodies {
					senders.Go(func() {
						_ = d.Send(context.Background(),
							xpc.Dict{{Key: "data", Value: make([]byte, 40_000)}})
					})
				}
				for _, g := range tt.grants {
					p.grow(g[0], g[1])
				}
				stop := make(chan struct{})
				go func() { synctest.Wait(); close(stop) }()
				got := p.sent(stop)
				if len(got[1]) != tt.want {
					t.Errorf("%d bytes on stream 1, want %d", len(got[1]), tt.want)
				}
				d.Close()
				p.c.Close()
				senders.Wait()
			})
		})
	}
}

// TestSettingsShrinkWindow makes a window negative, and positive again.
func TestSettingsShrinkWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := handHost(t, Options{}, 1000)
		p.settings(10) // 58 bytes below what was used
		synctest.Wait()
		sent := make(chan error, 1)
		body := xpc.Dict{{Key: "k", Value: true}}
		go func() { sent <- d.Send(context.Background(), body) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("Send = %v into a closed window", err)
		default:
		}
		p.grow(1, 58)
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("Send = %v into an empty window", err)
		default:
		}
		p.settings(1000)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		d.Close()
		p.c.Close()
	})
}

// TestCredits checks the windows that this side grants. A credit is sent at half of the
// window, at once for the connection, and for a stream when its messages are received.
func TestCredits(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, h := handDevice(t, Options{Window: 1000}, 1<<20)
	p.ack()
	p.expect("SETTINGS [MAX_CONCURRENT_STREAMS = 100] [INITIAL_WINDOW_SIZE = 1000]",
		"HEADERS#1", emptyData, "HEADERS#3", openedData, initData, "SETTINGS ACK")
	p.headers(1)
	p.headers(3)
	news := message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "data", Value: make([]byte, 400)}})
	half := len(news) / 2
	p.data(1, news[:half])
	p.data(1, news[half:])
	p.data(1, news)
	// A reply must not be delayed, and needs no window of stream 1.
	called := make(chan error, 1)
	go func() { _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); called <- err }()
	request := "DATA#1 " +
		hex.EncodeToString(message(xpc.FlagsRequest, 1, xpc.Dict{{Key: "k", Value: true}}))
	p.expect(request)
	big := message(xpc.FlagsReply, 1, xpc.Dict{{Key: "data", Value: make([]byte, 100_000)}})
	p.data(3, big[:600])
	p.expect("WINDOW_UPDATE#3 600")
	p.data(3, big[600:1200])
	p.expect("WINDOW_UPDATE#3 600")
	// Half of the connection's window is over here: 32768 of 65535.
	n := 32768 - 2*len(news) - 1200
	p.data(3, big[1200:1200+n])
	p.expect("WINDOW_UPDATE#0 32768", "WINDOW_UPDATE#3 "+uitoa(uint32(n)))
	for rest := big[1200+n:]; len(rest) > 0; {
		k := min(len(rest), 16384)
		p.data(3, rest[:k])
		rest = rest[k:]
	}
	if err := <-called; err != nil {
		t.Fatal(err)
	}
	// The window of stream 1 grows when its messages are received.
	for range 2 {
		if _, err := h.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for {
		got := p.frame()
		if strings.HasPrefix(got, "WINDOW_UPDATE#1 ") {
			if got != "WINDOW_UPDATE#1 "+uitoa(uint32(2*len(news))) {
				t.Errorf("%s, want %d", got, 2*len(news))
			}
			break
		}
		if !strings.HasPrefix(got, "WINDOW_UPDATE#") {
			t.Fatalf("%s, want windows", got)
		}
	}
}

// TestSlowReceiver checks that replies arrive while the device's messages are not
// received. Only the stream of those messages may stop.
func TestSlowReceiver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		h, d := pair(t, Options{Window: 5000}, Options{})
		pushed := make(chan int, 1)
		go func() {
			n := 0
			for d.Send(ctx, xpc.Dict{
				{Key: "n", Value: int64(n)}, {Key: "data", Value: make([]byte, 500)},
			}) == nil {
				n++
			}
			pushed <- n
		}()
		go echo(ctx, d)
		synctest.Wait()
		// The device's writer is blocked in the middle of a message, and messages must
		// not be interleaved, so the reply arrives only when messages are received.
		called := make(chan error, 1)
		go func() { _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); called <- err }()
		for i := range 100 {
			m, err := h.Receive(ctx)
			if n, _ := m.Body.Int("n"); err != nil || n != int64(i) {
				t.Fatalf("Receive = %+v, %v, want %d", m, err, i)
			}
		}
		if err := <-called; err != nil {
			t.Error(err)
		}
		h.Close()
		d.Close()
		if n := <-pushed; n < 100 {
			t.Errorf("%d messages", n)
		}
	})
}

// TestOverflow has peers that do not respect the windows. A device must end the
// connection, and a host must drop the oldest messages.
func TestOverflow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	numbered := func(n int) []byte {
		body := xpc.Dict{{Key: "n", Value: int64(n)}, {Key: "data", Value: make([]byte, 4000)}}
		return message(xpc.FlagsOneWay, 2, body)
	}
	p, d := handHost(t, Options{Buffer: 10_000}, 1<<20)
	for i := range 3 {
		p.data(1, numbered(i))
	}
	p.expectGoAway("ENHANCE_YOUR_CALM")
	<-d.Done()
	for range 2 {
		if _, err := d.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	_, err := d.Receive(ctx)
	if !errors.Is(err, ErrOverflow) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v, want %v", err, ErrOverflow)
	}

	p, h := handDevice(t, Options{Buffer: 10_000}, 1<<20)
	p.headers(1)
	for i := range 50 {
		p.data(1, numbered(i))
	}
	p.pong()
	if n := h.Dropped(); n != 48 {
		t.Errorf("%d dropped, want 48", n)
	}
	for _, want := range []int64{48, 49} {
		m, err := h.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := m.Body.Int("n"); n != want {
			t.Errorf("message %d, want %d", n, want)
		}
	}
}

// TestLargeBeyondBuffer checks that one message larger than the buffer is accepted.
func TestLargeBeyondBuffer(t *testing.T) {
	t.Parallel()
	h, d := pair(t, Options{Buffer: 1000}, Options{})
	sent := make(chan error, 1)
	go func() {
		sent <- d.Send(context.Background(), xpc.Dict{{Key: "data", Value: make([]byte, 50_000)}})
	}()
	m, err := h.Receive(context.Background())
	if err != nil || len(m.Body) != 1 {
		t.Errorf("Receive = %v, %v", m, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestHostile sends each side what no peer may send. The connection must end with the
// code, and the peer must be told.
func TestHostile(t *testing.T) {
	t.Parallel()
	frame := func(typ http2.FrameType, flags http2.Flags, id uint32, b []byte) func(*peer) {
		return func(p *peer) { p.check(p.fr.WriteRawFrame(typ, flags, id, b)) }
	}
	huge := append([]byte{}, initBytes...)
	huge[13] = 1 // a body of a terabyte
	for name, tt := range map[string]struct {
		do     func(*peer)
		device bool // send it to a device, not to a host
		code   string
	}{
		"DATA on stream 0": {
			frame(http2.FrameData, 0, 0, []byte{1}), true, "PROTOCOL_ERROR",
		},
		"DATA on an idle stream": {
			frame(http2.FrameData, 0, 9, []byte{1}), true, "PROTOCOL_ERROR",
		},
		"DATA on an idle even one": {
			frame(http2.FrameData, 0, 2, []byte{1}), false, "PROTOCOL_ERROR",
		},
		"too much padding": {
			frame(http2.FrameData, 8, 1, []byte{9, 0}), true, "PROTOCOL_ERROR",
		},
		"no XPC": {
			func(p *peer) { p.data(1, bytes.Repeat([]byte("x"), 24)) }, true,
			"PROTOCOL_ERROR message begins with",
		},
		"a terabyte": {func(p *peer) { p.data(1, huge) }, true, "ENHANCE_YOUR_CALM"},
		"HEADERS on an even stream": {
			frame(http2.FrameHeaders, 4, 2, nil), true,
			"PROTOCOL_ERROR request HEADERS: invalid stream_id",
		},
		"HEADERS on an odd stream": {
			frame(http2.FrameHeaders, 4, 5, nil), false,
			"PROTOCOL_ERROR request HEADERS: invalid stream_id",
		},
		"HEADERS on stream 0": {frame(http2.FrameHeaders, 4, 0, nil), true, "PROTOCOL_ERROR"},
		"long HEADERS": {
			frame(http2.FrameHeaders, 4, 5, make([]byte, 16385)), true, "FRAME_SIZE_ERROR",
		},
		"HEADERS without an end": {
			func(p *peer) { frame(http2.FrameHeaders, 0, 5, nil)(p); p.data(1, nil) }, true,
			"PROTOCOL_ERROR",
		},
		"window of 2^31": {
			func(p *peer) { p.grow(1, maxWindow) }, true, "FLOW_CONTROL_ERROR",
		},
		"connection window of 2^31": {
			func(p *peer) { p.grow(0, maxWindow) }, false, "FLOW_CONTROL_ERROR",
		},
		"window of nothing": {
			frame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4)), true, "PROTOCOL_ERROR",
		},
		"window of an idle stream": {func(p *peer) { p.grow(9, 1) }, true, "PROTOCOL_ERROR"},
		"short window": {
			frame(http2.FrameWindowUpdate, 0, 1, make([]byte, 3)), true, "FRAME_SIZE_ERROR",
		},
		"initial window of 2^31": {
			func(p *peer) { p.settings(1 << 31) }, true, "FLOW_CONTROL_ERROR",
		},
		"windows over by SETTINGS": {
			func(p *peer) { p.grow(1, maxWindow-1<<20); p.settings(maxWindow) }, false,
			"FLOW_CONTROL_ERROR",
		},
		"broken SETTINGS": {
			frame(http2.FrameSettings, 0, 0, make([]byte, 5)), true, "FRAME_SIZE_ERROR",
		},
		"long GOAWAY": {
			frame(http2.FrameGoAway, 0, 0, make([]byte, 20_000)), true, "FRAME_SIZE_ERROR",
		},
		"RST of an idle stream": {
			frame(http2.FrameRSTStream, 0, 9, make([]byte, 4)), true, "PROTOCOL_ERROR",
		},
		"PUSH_PROMISE": {
			frame(http2.FramePushPromise, 4, 1, make([]byte, 4)), false, "PROTOCOL_ERROR",
		},
		"CONTINUATION out of place": {
			frame(http2.FrameContinuation, 4, 1, nil), true, "PROTOCOL_ERROR",
		},
		"a file over its window": {
			func(p *peer) { p.ack(); p.headers(5); p.overrun(5) }, true, "FLOW_CONTROL_ERROR",
		},
		"an HTTP/1 answer": {
			func(p *peer) { p.raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, false,
			"FRAME_SIZE_ERROR",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p *peer
			var c *Conn
			if tt.device {
				p, c = handHost(t, Options{}, 1<<20)
			} else {
				p, c = handDevice(t, Options{}, 1<<20)
			}
			tt.do(p)
			p.expectGoAway(tt.code)
			<-c.Done()
			if err := c.Err(); !errors.Is(err, ErrProtocol) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("Err = %v, want %v", err, ErrProtocol)
			}
		})
	}
}

// overrun sends more on a stream than its window allows.
func (p *peer) overrun(id uint32) {
	preamble := bare(flagsFileRequest, 7)
	p.data(id, preamble)
	for n := 0; n <= DefaultWindow; n += 16384 {
		if p.fr.WriteData(id, false, make([]byte, 16384)) != nil {
			return
		}
	}
}

// TestHostileOpening has peers that speak another protocol, or never open the
// connection.
func TestHostileOpening(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"nothing": "", "half a preface": preface[:10],
		"TLS":         "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaa",
		"no SETTINGS": preface + "\x00\x00\x00\x01\x04\x00\x00\x00\x01",
	} {
		a, b := linktest.Pipe()
		_, _ = io.WriteString(b, in)
		_ = link.CloseWrite(b)
		if c, err := Accept(context.Background(), a, Options{}); c != nil ||
			!errors.Is(err, net.ErrClosed) ||
			!strings.HasPrefix(err.Error(), "remotexpc: accept: ") {
			t.Errorf("%s: Accept = %v, %v", name, c, err)
		}
		if n, err := a.Write([]byte("x")); err == nil {
			t.Errorf("%s: %d bytes written to a connection that should be closed", name, n)
		}
		b.Close()
	}
	for name, in := range map[string]string{
		"nothing": "", "HTTP/1": "HTTP/1.1 400 Bad Request\r\n\r\n",
		"HEADERS first": "\x00\x00\x00\x01\x04\x00\x00\x00\x01",
		"half a frame":  "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00",
	} {
		a, b := linktest.Pipe()
		_, _ = io.WriteString(b, in)
		_ = link.CloseWrite(b)
		if c, err := Connect(context.Background(), a, Options{}); c != nil ||
			!errors.Is(err, net.ErrClosed) ||
			!strings.HasPrefix(err.Error(), "remotexpc: connect: ") {
			t.Errorf("%s: Connect = %v, %v", name, c, err)
		}
		b.Close()
	}
	// Messages without end before the connection is open.
	a, b := linktest.Pipe()
	p := newPeer(t, a)
	failed := make(chan error, 1)
	go func() { _, err := Accept(context.Background(), b, Options{}); failed <- err }()
	p.preface()
	p.settings(0) // nothing can be mirrored
	p.headers(1)
	for range 20 {
		if p.fr.WriteData(1, false, emptyBytes) != nil {
			break
		}
	}
	if err := <-failed; !errors.Is(err, ErrProtocol) {
		t.Errorf("Accept = %v, want %v", err, ErrProtocol)
	}
}

// TestFlood has a peer that causes answers and does not read them.
func TestFlood(t *testing.T) {
	t.Parallel()
	p, c := handHost(t, Options{}, 1<<20)
	for range 200_000 {
		if p.fr.WritePing(false, [8]byte{}) != nil {
			break
		}
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, ErrProtocol) {
		t.Errorf("Err = %v, want %v", err, ErrProtocol)
	}
}

// TestPing checks that a ping is answered, although devices never send one.
func TestPing(t *testing.T) {
	t.Parallel()
	p, _ := handHost(t, Options{}, 1<<20)
	p.check(p.fr.WritePing(false, [8]byte{1}))
	for {
		switch got := p.frame(); {
		case got == "PING ACK":
			return
		case strings.HasPrefix(got, "error"):
			t.Fatal(got)
		}
	}
}

// TestPeerGivesUp checks that the error has the peer's reason for ending the
// connection.
func TestPeerGivesUp(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, h := handDevice(t, Options{}, 1<<20)
	p.check(
		p.fr.WriteGoAway(0, http2.ErrCodeProtocol, []byte("request HEADERS: invalid stream_id")),
	)
	_, err := h.Receive(ctx)
	if want := "remotexpc: receive: connection refused further use by peer: request HEADERS: invalid stream_id (PROTOCOL_ERROR)"; !errors.Is(
		err, ErrGoAway,
	) || err.Error() != want {
		t.Errorf("Receive = %v, want %s", err, want)
	}
	p, h = handDevice(t, Options{}, 1<<20)
	p.check(p.fr.WriteRSTStream(3, http2.ErrCodeStreamClosed))
	_, err = h.Receive(ctx)
	var e *Error
	if !errors.As(err, &e) || e.Code != 5 || e.Stream != 3 || !errors.Is(err, ErrReset) ||
		!errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v", err)
	}
}

// TestBadMessage has a message whose body is not XPC. Only that message may be lost.
func TestBadMessage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, h := handDevice(t, Options{}, 1<<20)
	p.headers(1)
	good := message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "k", Value: true}})
	bad := bytes.Clone(good)
	bad[32] = 0x77
	p.data(1, bad)
	p.data(1, good)
	var e *Error
	if m, err := h.Receive(ctx); m != nil || !errors.As(err, &e) || errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v, %v", m, err)
	}
	if m, err := h.Receive(ctx); err != nil || len(m.Body) != 1 {
		t.Errorf("the next Receive = %v, %v", m, err)
	}
}
