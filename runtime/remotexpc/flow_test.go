package remotexpc

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
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
		synctest.Wait() // the reply waits for its turn
		for i := range 100 {
			m, err := h.Receive(ctx)
			if n, _ := m.Body.Int("n"); err != nil {
				t.Fatalf("Receive of message %d: %v", i, err)
			} else if n != int64(i) {
				t.Fatalf("Receive has n = %d, want %d", n, i)
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
	if !errors.Is(err, ErrOverflow) {
		t.Errorf("Receive = %v, want %v", err, ErrOverflow)
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %v, want %v", err, net.ErrClosed)
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
	if err != nil {
		t.Errorf("Receive: %v", err)
	} else if len(m.Body) != 1 {
		t.Errorf("Receive = %v, want one field", m.Body)
	}
	if err := <-sent; err != nil {
		t.Error(err)
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
