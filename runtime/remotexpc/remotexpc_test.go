package remotexpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

var (
	emptyData  = "DATA#1 " + hex.EncodeToString(emptyBytes)
	openedData = "DATA#1 " + hex.EncodeToString(openedBytes)
	initData   = "DATA#3 " + hex.EncodeToString(initBytes)
	settings   = []string{"SETTINGS [MAX_CONCURRENT_STREAMS = 100] [INITIAL_WINDOW_SIZE = 1048576]", "WINDOW_UPDATE#0 983041"}
)

// TestHostOpens compares what a host sends first with the protocol page.
func TestHostOpens(t *testing.T) {
	t.Parallel()
	p, _ := handDevice(t, Options{}, DefaultWindow)
	p.expect(settings...)
	p.expect("HEADERS#1", emptyData, "HEADERS#3", openedData, initData, "SETTINGS ACK")
}

// TestHostBytes has the whole opening as bytes.
func TestHostBytes(t *testing.T) {
	t.Parallel()
	a, b := link.Pipe()
	defer b.Close()
	newPeer(t, b).settings(1 << 20)
	h, err := Connect(context.Background(), a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	want := []byte(http2.ClientPreface)
	want = append(want, unhex("00000c 04 00 00000000 0003 00000064 0004 00100000  000004 08 00 00000000 000f0001")...)
	want = append(want, unhex("000000 01 04 00000001  00002c 00 00 00000001")...)
	want = append(want, emptyBytes...)
	want = append(want, unhex("000000 01 04 00000003  000018 00 00 00000001")...)
	want = append(want, openedBytes...)
	want = append(want, unhex("000018 00 00 00000003")...)
	want = append(want, initBytes...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the host sends\n% x\nwant\n% x (%v)", got, want, err)
	}
}

// TestDeviceMirrors plays the opening of each known host, in its order and as
// much in lock-step as that host is.
func TestDeviceMirrors(t *testing.T) {
	t.Parallel()
	type step struct {
		do   func(*peer)
		want []string
	}
	start := step{func(p *peer) { p.preface(); p.settings(1 << 20) }, append(settings[:2:2], "SETTINGS ACK")}
	root := step{func(p *peer) { p.headers(1); p.data(1, emptyBytes) }, []string{"HEADERS#1", emptyData}}
	opened := step{func(p *peer) { p.data(1, openedBytes) }, []string{openedData}}
	reply := step{func(p *peer) { p.headers(3); p.data(3, initBytes) }, []string{"HEADERS#3", initData}}
	headers3 := step{func(p *peer) { p.headers(3) }, nil}
	init := step{func(p *peer) { p.data(3, initBytes) }, []string{"HEADERS#3", initData}}
	for name, steps := range map[string][]step{
		"pymobiledevice3 and devicectl": {start, root, headers3, opened, init},
		"idevice":                       {start, root, reply, opened},
		"go-ios":                        {start, root, reply, opened},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := link.Pipe()
			p := newPeer(t, a)
			accepted := make(chan *Conn, 1)
			go func() {
				c, err := Accept(context.Background(), b, Options{})
				if err != nil {
					t.Error(err)
				}
				accepted <- c
			}()
			if name == "go-ios" {
				for _, s := range steps {
					s.do(p)
					p.expect(s.want...)
				}
			} else {
				for _, s := range steps {
					s.do(p)
				}
				var rest []string
				for _, s := range steps[1:] {
					rest = append(rest, s.want...)
				}
				p.unordered(steps[0].want, rest...)
			}
			d := <-accepted
			defer d.Close()
			// Only now may the device speak.
			if err := d.Send(context.Background(), xpc.Dict{{Key: "k", Value: true}}); err != nil {
				t.Fatal(err)
			}
			p.expect("DATA#1 " + hex.EncodeToString(message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "k", Value: true}})))
		})
	}
}

// unordered expects frames in this order but for the acknowledgement, which may
// come anywhere behind the settings.
func (p *peer) unordered(first []string, rest ...string) {
	p.t.Helper()
	p.expect(first[:2]...)
	acked := false
	for len(rest) > 0 || !acked {
		got := p.frame()
		switch {
		case got == first[2] && !acked:
			acked = true
		case len(rest) > 0 && got == rest[0]:
			rest = rest[1:]
		default:
			p.t.Fatalf("frame %s, want %q", got, rest)
		}
	}
}

// TestGreeting has the greeting in place of the last mirrored message, as go-ios
// needs it.
func TestGreeting(t *testing.T) {
	t.Parallel()
	greeting := xpc.Dict{{Key: "ServiceVersion", Value: uint64(2)}}
	p, _ := handHost(t, Options{Greeting: greeting}, 1<<20)
	got := p.messages(1, 2)
	want := &xpc.Message{Flags: xpc.FlagsOneWay, ID: 2, Body: greeting}
	if len(got[0].Body) != 0 || !reflect.DeepEqual(got[1], want) {
		t.Errorf("stream 1 has %+v, %+v, want an empty one and %+v", got[0], got[1], want)
	}
}

// TestExchange has a call, a push and a message each way.
func TestExchange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h, d := pair(t, Options{}, Options{})
	go func() {
		m, err := d.Receive(ctx)
		if err != nil || !m.WantsReply() || m.Flags != xpc.FlagsRequest || m.ID != 1 || m.Stream != 1 {
			t.Errorf("the device receives %+v, %v", m, err)
			return
		}
		if err := d.Send(ctx, xpc.Dict{{Key: "news", Value: int64(1)}}); err != nil {
			t.Error(err)
		}
		if err := d.Reply(ctx, m, xpc.Dict{{Key: "echo", Value: m.Body}}); err != nil {
			t.Error(err)
		}
	}()
	body := xpc.Dict{{Key: "n", Value: uint64(7)}}
	got, err := h.Call(ctx, body)
	if want := (xpc.Dict{{Key: "echo", Value: body}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("Call = %v, %v, want %v", got, err, want)
	}
	m, err := h.Receive(ctx)
	if n, _ := m.Body.Int("news"); err != nil || n != 1 || m.Stream != 1 || m.ID != 2 {
		t.Errorf("Receive = %+v, %v", m, err)
	}
	// The device asks, on its own stream; the host's reply would use 3.
	go func() {
		m, err := h.Receive(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		if err := h.Reply(ctx, m, xpc.Dict{{Key: "yes", Value: true}}); err != nil {
			t.Error(err)
		}
	}()
	if got, err := d.Call(ctx, body); err != nil || len(got) != 1 {
		t.Errorf("the device's Call = %v, %v", got, err)
	}
}

// TestLargeMessages crosses frame and window borders, both ways at once.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, o := range map[string]Options{"usual windows": {}, "five bytes": {Window: 5}, "one byte": {Window: 1}, "bulk": {Window: BulkWindow}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, d := pair(t, o, o)
			sizes := []int{0, 1, 16383 - 64, 16384, 16385, 100_000, 3_000_000}
			if o.Window > 0 && o.Window < 10 {
				sizes = []int{0, 1, 500, 3000}
			}
			go echo(ctx, d)
			for _, n := range sizes {
				data := bytes.Repeat([]byte{byte(n), 1, 2}, n/3+1)[:n]
				got, err := h.Call(ctx, xpc.Dict{{Key: "data", Value: data}, {Key: "end", Value: true}})
				if b, _ := got.Data("data"); err != nil || !bytes.Equal(b, data) {
					t.Fatalf("%d bytes come back as %d, %v", n, len(b), err)
				}
			}
		})
	}
}

func echo(ctx context.Context, d *Conn) {
	for {
		m, err := d.Receive(ctx)
		if err != nil {
			return
		}
		_ = d.Reply(ctx, m, m.Body)
	}
}

// TestFrames has no frame above 16384 bytes and no two messages mixed: hosts
// have one buffer for all streams.
func TestFrames(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, d := handHost(t, Options{}, 1<<20)
	p.grow(0, 1<<24)
	big := xpc.Dict{{Key: "data", Value: make([]byte, 100_000)}}
	sent := make(chan error, 3)
	for range 2 {
		go func() { sent <- d.Send(ctx, big) }()
	}
	go func() { sent <- d.Reply(ctx, &Message{}, big) }()
	size := len(message(0, 0, big))
	for done := 0; done < 3*size; {
		f, err := p.fr.ReadFrame()
		p.check(err)
		data, ok := f.(*http2.DataFrame)
		if !ok || len(data.Data()) < 100 {
			continue
		}
		if len(data.Data()) > 16384 {
			t.Fatalf("frame of %d bytes", len(data.Data()))
		}
		if begins := bytes.HasPrefix(data.Data(), []byte{0x92, 0x0b, 0xb0, 0x29}); begins != (done%size == 0) {
			t.Fatalf("at byte %d of %d begins = %v", done%size, size, begins)
		}
		done += len(data.Data())
	}
	for range 3 {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
}

// TestCoalescedAndSplit takes two messages in a frame and one in many.
func TestCoalescedAndSplit(t *testing.T) {
	t.Parallel()
	p, h := handDevice(t, Options{}, 1<<20)
	p.headers(1)
	p.headers(3)
	var all []byte
	for i := range 3 {
		all = append(all, message(xpc.FlagsOneWay, uint64(i), xpc.Dict{{Key: "i", Value: int64(i)}})...)
	}
	p.data(1, all[:100])
	for _, b := range all[100:] {
		p.data(1, []byte{b})
		p.data(3, nil)
	}
	p.check(p.fr.WriteDataPadded(1, false, all, make([]byte, 9)))
	for i := range 6 {
		m, err := h.Receive(context.Background())
		if n, _ := m.Body.Int("i"); err != nil || n != int64(i%3) {
			t.Fatalf("message %d = %+v, %v", i, m, err)
		}
	}
}

// TestReplies has the ways in which replies are matched.
func TestReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	type reply struct {
		stream, flags uint32
		id            uint64 // 0 means the first request's, 1 the second's, and so on
		body          int64  // 0 means none
	}
	for name, tt := range map[string]struct {
		replies []reply
		any     bool
		want    [2]int64
		queued  int64
	}{
		"in order":          {[]reply{{3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 3, 20}}, false, [2]int64{10, 20}, 0},
		"crossed":           {[]reply{{3, xpc.FlagsReply, 3, 20}, {3, xpc.FlagsReply, 1, 10}}, false, [2]int64{10, 20}, 0},
		"one id for all":    {[]reply{{3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 1, 20}}, false, [2]int64{10, 20}, 0},
		"strange ids":       {[]reply{{3, xpc.FlagsReply, 0, 10}, {3, xpc.FlagsReply, 99, 20}}, false, [2]int64{10, 20}, 0},
		"no mark":           {[]reply{{3, xpc.FlagsOneWay, 1, 10}, {3, xpc.FlagsOneWay, 3, 20}}, false, [2]int64{10, 20}, 0},
		"news in between":   {[]reply{{1, xpc.FlagsOneWay, 1, 5}, {3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 3, 20}}, false, [2]int64{10, 20}, 5},
		"marked on 1":       {[]reply{{1, xpc.FlagsReply, 3, 20}, {1, xpc.FlagsReply, 1, 10}}, false, [2]int64{10, 20}, 0},
		"on 1":              {[]reply{{1, xpc.FlagsOneWay, 2, 10}, {1, xpc.FlagsOneWay, 4, 20}}, true, [2]int64{10, 20}, 0},
		"empty ones before": {[]reply{{3, xpc.FlagAlwaysSet, 1, 0}, {1, xpc.FlagAlwaysSet, 1, 0}, {3, xpc.FlagsReply, 1, 10}, {3, xpc.FlagsReply, 3, 20}}, false, [2]int64{10, 20}, 0},
		"a request":         {[]reply{{1, xpc.FlagsRequest, 1, 5}, {1, xpc.FlagsOneWay, 1, 10}, {1, xpc.FlagsOneWay, 3, 20}}, true, [2]int64{10, 20}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, h := handDevice(t, Options{Pipeline: true}, 1<<20)
			p.headers(1)
			p.headers(3)
			var got [2]chan int64
			for i := range got {
				got[i] = make(chan int64, 1)
				go func() {
					call := h.Call
					if tt.any {
						call = h.CallAny
					}
					body, err := call(ctx, xpc.Dict{{Key: "ask", Value: int64(i)}})
					if err != nil {
						t.Error(err)
					}
					n, _ := body.Int("n")
					got[i] <- n
				}()
				// The request is out before the second is made.
				if m := p.messages(1, 1)[0]; len(m.Body) == 0 {
					p.messages(1, 2-min(i, 1))
				}
			}
			for _, r := range tt.replies {
				var body xpc.Dict
				if r.body != 0 {
					body = xpc.Dict{{Key: "n", Value: r.body}}
				}
				p.data(r.stream, message(r.flags, r.id, body))
			}
			for i, want := range tt.want {
				if n := <-got[i]; n != want {
					t.Errorf("call %d = %d, want %d", i, n, want)
				}
			}
			if tt.queued != 0 {
				m, err := h.Receive(ctx)
				if n, _ := m.Body.Int("n"); err != nil || n != tt.queued {
					t.Errorf("Receive = %+v, %v", m, err)
				}
			}
		})
	}
}

// TestCallsTakeTurns has the second call wait for the first one's reply.
func TestCallsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		h, d := pair(t, Options{}, Options{})
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}})
				results <- err
			}()
		}
		first, err := d.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.mu.Lock()
		n := len(d.queue)
		d.mu.Unlock()
		if n != 0 {
			t.Errorf("%d requests more before the first reply", n)
		}
		for m := first; ; m, err = d.Receive(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Reply(ctx, m, m.Body); err != nil {
				t.Fatal(err)
			}
			if m != first {
				break
			}
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		h.Close()
		d.Close()
	})
}

// TestCallGivenUp has the late reply of a call that timed out go nowhere.
func TestCallGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		h, d := pair(t, Options{}, Options{})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := h.Call(short, xpc.Dict{{Key: "k", Value: int64(1)}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Call = %v, want a time-out", err)
		}
		first, err := d.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			second, err := d.Receive(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for _, m := range []*Message{first, second} {
				if err := d.Reply(ctx, m, m.Body); err != nil {
					t.Error(err)
				}
			}
		}()
		got, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: int64(2)}})
		if n, _ := got.Int("k"); err != nil || n != 2 {
			t.Errorf("Call = %v, %v, want the second reply", got, err)
		}
		h.Close()
		d.Close()
	})
}

// TestEnd has what waits when a connection ends.
func TestEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	t.Run("peer closes", func(t *testing.T) {
		t.Parallel()
		h, d := pair(t, Options{}, Options{})
		called := make(chan error, 1)
		go func() { _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); called <- err }()
		if _, err := d.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if err := d.Send(ctx, xpc.Dict{{Key: "last", Value: true}}); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if err := <-called; !errors.Is(err, net.ErrClosed) || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "remotexpc: call: connection closed by peer" {
			t.Errorf("Call = %v", err)
		}
		if m, err := h.Receive(ctx); err != nil || len(m.Body) != 1 {
			t.Errorf("Receive of what came before = %+v, %v", m, err)
		}
		if m, err := h.Receive(ctx); m != nil || !errors.Is(err, io.EOF) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Receive at the end = %v, %v", m, err)
		}
		<-h.Done()
		if err := h.Err(); !errors.Is(err, io.EOF) {
			t.Errorf("Err = %v", err)
		}
	})
	t.Run("own close", func(t *testing.T) {
		t.Parallel()
		h, _ := pair(t, Options{}, Options{})
		ended := make(chan error, 3)
		go func() { _, err := h.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); ended <- err }()
		go func() { _, err := h.Receive(ctx); ended <- err }()
		go func() { _, err := h.ReceiveFile(ctx, 0, 1); ended <- err }()
		for range 2 {
			if err := h.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		}
		for range 3 {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		if err := h.Send(ctx, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send after Close = %v", err)
		}
	})
	t.Run("in a message", func(t *testing.T) {
		t.Parallel()
		p, h := handDevice(t, Options{}, 1<<20)
		p.headers(1)
		p.data(1, emptyBytes[:30])
		p.c.Close()
		if m, err := h.Receive(ctx); m != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Receive = %v, %v", m, err)
		}
	})
}

// TestContexts has every call end with its context.
func TestContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := handHost(t, Options{}, 100)
		h, silent := handDevice(t, Options{}, 1<<20)
		_ = h
		big := xpc.Dict{{Key: "data", Value: make([]byte, 1000)}}
		for name, call := range map[string]func(context.Context) error{
			"Receive":       func(ctx context.Context) error { _, err := silent.Receive(ctx); return err },
			"Call":          func(ctx context.Context) error { _, err := silent.Call(ctx, big); return err },
			"ReceiveFile":   func(ctx context.Context) error { _, err := silent.ReceiveFile(ctx, 0, 5); return err },
			"ReceiveFileID": func(ctx context.Context) error { _, err := silent.ReceiveFileID(ctx, 9, 5); return err },
			"Connect": func(ctx context.Context) error {
				a, _ := link.Pipe()
				_, err := Connect(ctx, a, Options{})
				return err
			},
			"Accept": func(ctx context.Context) error {
				a, b := link.Pipe()
				defer b.Close()
				_, err := Accept(ctx, a, Options{})
				return err
			},
			"Accept of a slow one": func(ctx context.Context) error {
				a, b := link.Pipe()
				defer b.Close()
				p := newPeer(t, b)
				p.preface()
				p.settings(0)
				p.headers(1)
				p.data(1, emptyBytes)
				_, err := Accept(ctx, a, Options{})
				return err
			},
			"Shutdown": func(ctx context.Context) error { _, other := handDevice(t, Options{}, 5); return other.Shutdown(ctx) },
		} {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "remotexpc: ") {
				t.Errorf("%s = %v, want a time-out", name, err)
			}
			cancel()
			if err := call(ctx); err == nil {
				t.Errorf("%s succeeds with a context that is over", name)
			}
		}
		if err := silent.Err(); err != nil {
			t.Errorf("the connection ended with a call: %v", err)
		}
		// A message that is stuck half way ends the connection, as nothing
		// can be sent behind it.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := d.Send(ctx, big); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send = %v, want a time-out", err)
		}
		if err := d.Send(context.Background(), big); !errors.Is(err, ErrCut) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("the next Send = %v, want %v", err, ErrCut)
		}
		_ = p
	})
}
