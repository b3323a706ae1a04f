package dtx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

func TestLimits(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{
			Silent: true,
			Accept: func(*Channel) (ChannelOptions, error) { return ChannelOptions{}, nil },
		})
		for i := range int32(MaxChannels) {
			p.send(call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(i+1), "x"))
			if m := p.read(); i < MaxChannels-1 && m.Type != Ack {
				t.Fatalf("channel %d: %v", i+1, m.Type)
			} else if i == MaxChannels-1 {
				p.wantRefusal(m, 1, 0)
			}
		}
		p.send(call(t, Message{ID: 1, ExpectsReply: true}, selCancelChannel, Int32(1), Int32(2),
			Int32(77)))
		m := p.read()
		if m.Type != Ack {
			t.Errorf("answer of the type %v to cancelling, want Ack", m.Type)
		}
		if len(c.channels) != MaxChannels-3 {
			t.Errorf("%d channels after cancelling, want %d", len(c.channels), MaxChannels-3)
		}
		p.send(call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(5), "x"))
		p.wantRefusal(p.read(), 1, 0)
		if err := c.Control().SendBytes(ctx, Data, make([]byte, MaxMessage)); !errors.Is(err,
			ErrTooLarge) {
			t.Errorf("Send of too much: %v", err)
		}
		huge := nskeyed.Dict{}
		for i := range maxCapabilities + 10 {
			huge = append(huge, nskeyed.Pair{Key: fmt.Sprint(i), Value: int64(1)})
		}
		p.send(call(t, Message{ID: 1, ExpectsReply: true}, selCapabilities, huge))
		p.read()
		caps, err := c.Capabilities(ctx)
		if len(caps) != maxCapabilities {
			t.Errorf("%d capabilities, want %d", len(caps), maxCapabilities)
		}
		if err != nil {
			t.Errorf("capabilities: %v", err)
		}
	})
}

// TestOpenTimeout tells the peer to forget a channel whose request was given up.
func TestOpenTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{Silent: true})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := c.Open(short, "x", ChannelOptions{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Open: %v, want DeadlineExceeded", err)
		} else if !strings.HasPrefix(err.Error(), "dtx: open channel x: timeout") {
			t.Errorf("Open: %v, want a timeout of channel x", err)
		}
		p.wantCall(p.read(), 0, selRequestChannel)
		n, _ := p.wantCall(p.read(), 0, selCancelChannel).Int(0)
		if n != 1 {
			t.Errorf("cancelled channel %d, want 1", n)
		}
		if len(c.channels) != 1 {
			t.Errorf("%d channels left, want 1", len(c.channels))
		}
	})
}

// TestOrder checks that ids go up on the wire when many send at once, and that
// one channel's messages keep their order.
func TestOrder(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{Silent: true})
		for g := range 8 {
			go func() {
				for i := range 50 {
					if err := c.Control().Send(ctx, "n:", int64(g), int64(i)); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		next := make([]int64, 8)
		var ids []uint32
		for range 400 {
			m := p.read()
			args := p.wantCall(m, 0, "n:")
			g, _ := args.Int(0)
			if i, _ := args.Int(1); i != next[g] {
				t.Fatalf("sender %d: message %d, want %d", g, i, next[g])
			}
			next[g]++
			ids = append(ids, m.ID)
		}
		if !slices.IsSorted(ids) {
			t.Errorf("ids are not in order: %v", ids)
		}
		if ids[0] != 1 || ids[399] != 400 {
			t.Errorf("ids from %d to %d, want 1 to 400", ids[0], ids[399])
		}
	})
}

// FuzzServe gives a device whatever bytes. It must end when they do.
func FuzzServe(f *testing.F) {
	f.Add(fixture(f, "conn-out4.dump"))
	f.Add(fixture(f, "conn-in4.dump"))
	f.Add(append(fixture(f, "notifyOfPublishedCapabilites"),
		fixture(f, "requestChannelWithCodeIdentifier.bin")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := link.Pipe()
		s := &Server{Channels: map[string]func(*Channel) Handler{
			"dtxproxy:XCTestManager_IDEInterface:XCTestManager_DaemonConnectionInterface": func(
				*Channel,
			) Handler {
				return Methods{}
			},
		}, Control: func(*Channel) Handler { return Methods{} }}
		done := make(chan error, 1)
		go func() { done <- s.Serve(context.Background(), far) }()
		go func() {
			defer near.Close()
			_, _ = near.Write(b)
		}()
		<-done
	})
}

// FuzzClient gives a host whatever bytes. Its calls end when they do.
func FuzzClient(f *testing.F) {
	f.Add(fixture(f, "conn-in4.dump"))
	f.Add(fixture(f, "conn-out4.dump"))
	f.Add(
		append(fixture(f, "notifyOfPublishedCapabilites"), fixture(f, "fragmentedmessage.bin")...),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := fuzztest.Context(t)
		near, far := link.Pipe()
		go fuzztest.Say(far, b)
		c := New(near, Options{})
		defer c.Close()
		_, err := c.Capabilities(ctx)
		fuzztest.Typed[*Error](t, "Capabilities", err)
		ch, err := c.Open(ctx, "x", ChannelOptions{})
		fuzztest.Typed[*Error](t, "Open", err)
		if err == nil {
			_, err = ch.Call(ctx, "x")
			fuzztest.Typed[*Error](t, "Call", err)
			_, err = ch.Next(ctx)
			fuzztest.Typed[*Error](t, "Next", err)
		}
		<-c.Done()
		if ctx.Err() != nil {
			t.Errorf("a call does not end: %v", err)
		}
	})
}
