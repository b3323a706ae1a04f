package remotexpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"reflect"
	"testing"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

var (
	emptyData  = "DATA#1 " + hex.EncodeToString(emptyBytes)
	openedData = "DATA#1 " + hex.EncodeToString(openedBytes)
	initData   = "DATA#3 " + hex.EncodeToString(initBytes)
	settings   = []string{
		"SETTINGS [MAX_CONCURRENT_STREAMS = 100] [INITIAL_WINDOW_SIZE = 1048576]",
		"WINDOW_UPDATE#0 983041",
	}
)

// TestHostOpens compares a host's first frames with the protocol page.
func TestHostOpens(t *testing.T) {
	t.Parallel()
	p, _ := handDevice(t, Options{}, DefaultWindow)
	p.expect(settings...)
	p.expect("HEADERS#1", emptyData, "HEADERS#3", openedData, initData, "SETTINGS ACK")
}

// TestHostBytes checks the bytes of the complete opening.
func TestHostBytes(t *testing.T) {
	t.Parallel()
	a, b := linktest.Pipe()
	defer b.Close()
	newPeer(t, b).settings(1 << 20)
	h, err := Connect(context.Background(), a, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	want := []byte(http2.ClientPreface)
	want = append(want, unhex(
		"00000c 04 00 00000000 0003 00000064 0004 00100000  000004 08 00 00000000 000f0001",
	)...)
	want = append(want, unhex("000000 01 04 00000001  00002c 00 00 00000001")...)
	want = append(want, emptyBytes...)
	want = append(want, unhex("000000 01 04 00000003  000018 00 00 00000001")...)
	want = append(want, openedBytes...)
	want = append(want, unhex("000018 00 00 00000003")...)
	want = append(want, initBytes...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil {
		t.Errorf("reading the opening: %v", err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("the host sends\n% x\nwant\n% x", got, want)
	}
}

// TestDeviceMirrors performs the opening of each known host, in its order, and waits
// for answers where that host does.
func TestDeviceMirrors(t *testing.T) {
	t.Parallel()
	type step struct {
		do   func(*peer)
		want []string
	}
	start := step{
		func(p *peer) { p.preface(); p.settings(1 << 20) }, append(settings[:2:2], "SETTINGS ACK"),
	}
	root := step{
		func(p *peer) { p.headers(1); p.data(1, emptyBytes) }, []string{"HEADERS#1", emptyData},
	}
	opened := step{func(p *peer) { p.data(1, openedBytes) }, []string{openedData}}
	reply := step{
		func(p *peer) { p.headers(3); p.data(3, initBytes) }, []string{"HEADERS#3", initData},
	}
	headers3 := step{func(p *peer) { p.headers(3) }, nil}
	init := step{func(p *peer) { p.data(3, initBytes) }, []string{"HEADERS#3", initData}}
	for name, steps := range map[string][]step{
		"pymobiledevice3 and devicectl": {start, root, headers3, opened, init},
		"idevice":                       {start, root, reply, opened},
		"go-ios":                        {start, root, reply, opened},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := linktest.Pipe()
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
			// The device must not send anything before this.
			if err := d.Send(context.Background(), xpc.Dict{{Key: "k", Value: true}}); err != nil {
				t.Fatal(err)
			}
			p.expect("DATA#1 " +
				hex.EncodeToString(message(xpc.FlagsOneWay, 2, xpc.Dict{{Key: "k", Value: true}})))
		})
	}
}

// unordered expects frames in this order, except for the acknowledgement, which may
// arrive anywhere after the settings.
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

// TestGreeting checks that the greeting replaces the last mirrored message, which
// go-ios requires.
func TestGreeting(t *testing.T) {
	t.Parallel()
	greeting := xpc.Dict{{Key: "ServiceVersion", Value: uint64(2)}}
	p, _ := handHost(t, Options{Greeting: greeting}, 1<<20)
	got := p.messages(1, 2)
	want := &xpc.Message{Flags: xpc.FlagsOneWay, ID: 2, Body: greeting}
	if len(got[0].Body) != 0 {
		t.Errorf("the first message of stream 1 has the body %v, want none", got[0].Body)
	}
	if !reflect.DeepEqual(got[1], want) {
		t.Errorf("the second message of stream 1 = %+v, want %+v", got[1], want)
	}
}

// TestExchange sends a call and a message in each direction.
func TestExchange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h, d := pair(t, Options{}, Options{})
	go func() {
		m, err := d.Receive(ctx)
		if err != nil {
			t.Errorf("the device's Receive: %v", err)
			return
		} else if !m.WantsReply() {
			t.Errorf("the device receives %+v, which wants no reply", m)
			return
		} else if m.Flags != xpc.FlagsRequest {
			t.Errorf("the device receives the flags %#x, want %#x", m.Flags, xpc.FlagsRequest)
			return
		} else if m.ID != 1 {
			t.Errorf("the device receives the id %d, want 1", m.ID)
			return
		} else if m.Stream != 1 {
			t.Errorf("the device receives on stream %d, want 1", m.Stream)
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
	if err != nil {
		t.Fatalf("Call: %v", err)
	}
	if want := (xpc.Dict{{Key: "echo", Value: body}}); !reflect.DeepEqual(got, want) {
		t.Fatalf("Call = %v, want %v", got, want)
	}
	m, err := h.Receive(ctx)
	if n, _ := m.Body.Int("news"); err != nil {
		t.Errorf("Receive: %v", err)
	} else if n != 1 {
		t.Errorf("Receive has news = %d, want 1", n)
	} else if m.Stream != 1 {
		t.Errorf("Receive has the stream %d, want 1", m.Stream)
	} else if m.ID != 2 {
		t.Errorf("Receive has the id %d, want 2", m.ID)
	}
	// The device makes a call on its own stream. The host's reply would use stream 3.
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
	if got, err := d.Call(ctx, body); err != nil {
		t.Errorf("the device's Call: %v", err)
	} else if len(got) != 1 {
		t.Errorf("the device's Call = %v, want one field", got)
	}
}

// TestLargeMessages sends messages larger than frames and windows, in both directions
// at once.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, o := range map[string]Options{
		"usual windows": {}, "five bytes": {Window: 5}, "one byte": {Window: 1},
		"bulk": {Window: BulkWindow},
	} {
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
				got, err := h.Call(ctx,
					xpc.Dict{{Key: "data", Value: data}, {Key: "end", Value: true}})
				if b, _ := got.Data("data"); err != nil {
					t.Fatalf("Call with %d bytes: %v", n, err)
				} else if !bytes.Equal(b, data) {
					t.Fatalf("%d bytes come back as other %d bytes", n, len(b))
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

// TestFrames checks that no frame has more than 16384 bytes and that messages are not
// interleaved, because pymobiledevice3 and appium have one buffer for all streams.
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
		if begins := bytes.HasPrefix(data.Data(),
			[]byte{0x92, 0x0b, 0xb0, 0x29}); begins != (done%size == 0) {
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

// TestCoalescedAndSplit sends two messages in one frame, and one message in many.
func TestCoalescedAndSplit(t *testing.T) {
	t.Parallel()
	p, h := handDevice(t, Options{}, 1<<20)
	p.headers(1)
	p.headers(3)
	var all []byte
	for i := range 3 {
		all = append(all,
			message(xpc.FlagsOneWay, uint64(i), xpc.Dict{{Key: "i", Value: int64(i)}})...)
	}
	p.data(1, all[:100])
	for _, b := range all[100:] {
		p.data(1, []byte{b})
		p.data(3, nil)
	}
	p.check(p.fr.WriteDataPadded(1, false, all, make([]byte, 9)))
	for i := range 6 {
		m, err := h.Receive(context.Background())
		if n, _ := m.Body.Int("i"); err != nil {
			t.Fatalf("message %d: %v", i, err)
		} else if n != int64(i%3) {
			t.Fatalf("message %d has i = %d, want %d", i, n, i%3)
		}
	}
}
