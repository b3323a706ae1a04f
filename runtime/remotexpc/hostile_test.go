package remotexpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

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
			err := c.Err()
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("Err = %v, want %v", err, ErrProtocol)
			}
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("Err = %v, want %v", err, net.ErrClosed)
			}
		})
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
		c, err := Accept(context.Background(), a, Options{})
		wantNotOpened(t, name+": Accept", c, err, "remotexpc: accept: ")
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
		c, err := Connect(context.Background(), a, Options{})
		wantNotOpened(t, name+": Connect", c, err, "remotexpc: connect: ")
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
	if !errors.Is(err, ErrGoAway) {
		t.Errorf("Receive = %v, want %v", err, ErrGoAway)
	}
	want := "remotexpc: receive: connection refused further use by peer: " +
		"request HEADERS: invalid stream_id (PROTOCOL_ERROR)"
	if err.Error() != want {
		t.Errorf("Receive = %q, want %q", err, want)
	}
	p, h = handDevice(t, Options{}, 1<<20)
	p.check(p.fr.WriteRSTStream(3, http2.ErrCodeStreamClosed))
	_, err = h.Receive(ctx)
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("Receive = %v, want an Error", err)
	} else if e.Code != 5 {
		t.Errorf("Receive has the code %d in its error, want 5", e.Code)
	} else if e.Stream != 3 {
		t.Errorf("Receive has the stream %d in its error, want 3", e.Stream)
	} else if !errors.Is(err, ErrReset) {
		t.Errorf("Receive = %v, want %v", err, ErrReset)
	} else if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v, want %v", err, net.ErrClosed)
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
	if m, err := h.Receive(ctx); m != nil {
		t.Errorf("Receive returns %+v", m)
	} else if !errors.As(err, &e) {
		t.Errorf("Receive = %v, want an Error", err)
	} else if errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v, which says that the connection is closed", err)
	}
	wantFields(t, h, 1)
}
