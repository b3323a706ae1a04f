package dtx

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestBudget has hosts that send as much as they can to a device which answers nothing.
// Together they take no more memory than the budget, and all of it is given back.
func TestBudget(t *testing.T) {
	const limit = 8 << 20
	piece := make([]byte, 64<<10)
	for name, flood := range map[string]func(a *attacker){
		"unfinished messages": func(a *attacker) {
			a.say(patched(wireFirst, 12, 60<<20))
			for range 60 << 20 / len(piece) {
				if !a.say(patched(wireFirst, 8, 0x00030001, 12, 60<<20-1)) || !a.say(piece) {
					return
				}
			}
		},
		"messages that wait": func(a *attacker) {
			a.say(a.open(1, "stuck"))
			a.flood(60<<20,
				Append(nil, &Message{ID: 1, Channel: 1, Type: Data, Payload: piece[:60_000]}))
		},
		"empty messages that wait": func(a *attacker) {
			for code := range int32(20) {
				a.say(a.open(code+1, "stuck"))
				one := Append(nil, &Message{ID: 1, Channel: code + 1, Type: Data})
				a.flood(DefaultQueue*len(one), bytes.Repeat(one, 512))
			}
		},
		"answers that are not read": func(a *attacker) {
			one := Append(nil, call(a, Message{ID: 1, ExpectsReply: true}, "nothing"))
			a.flood(60<<20, bytes.Repeat(one, 64))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				budget := link.NewBudget(limit)
				s := &Server{
					Budget: budget, Channels: map[string]func(*Channel) Handler{"stuck": stuck},
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				before := measure()
				var wg sync.WaitGroup
				for range 6 {
					near, far := linktest.Pipe()
					wg.Go(func() { _ = s.Serve(ctx, near) })
					wg.Go(func() { defer far.Close(); flood(&attacker{t, far}); <-ctx.Done() })
				}
				synctest.Wait()
				if n := budget.Used(); n > limit {
					t.Errorf("%d bytes of a budget of %d", n, limit)
				}
				// Six pipes and what the writers are about to send are not counted.
				if after := measure(); after.heap > before.heap+4*limit {
					t.Errorf("the heap grew by %d bytes", after.heap-before.heap)
				}
				cancel()
				wg.Wait()
				if n := budget.Used(); n != 0 {
					t.Errorf("%d bytes are not given back", n)
				}
			})
		})
	}
}

// TestBudgetComesBack sends more than the budget holds, in every way that messages are
// used. Nothing stays counted when each was used.
func TestBudgetComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ofHost, ofDevice := link.NewBudget(32<<20), link.NewBudget(32<<20)
		large := make([]byte, 10<<20) // a picture of the screen
		handler := func(ch *Channel) Handler {
			return HandlerFunc(func(ctx context.Context, in *Incoming) (any, error) {
				switch in.Selector {
				case "picture":
					return large, nil
				case "events":
					return nil, errors.Join(ch.SendBytes(ctx, Data, large),
						ch.SendBytes(ctx, Data, nil))
				case "later":
					return nil, errors.Join(in.Reply(ctx, "now"), ErrLater)
				case "refuse":
					return nil, errors.New("no")
				}
				return nil, nil
			})
		}
		s := &Server{Budget: ofDevice, Channels: map[string]func(*Channel) Handler{"x": handler}}
		c := serve(t, s, Options{Budget: ofHost})
		ch := open(t, c, "x", ChannelOptions{})
		for range 3 {
			v, err := ch.Call(ctx, "picture")
			if err != nil {
				t.Fatalf("picture: %v", err)
			}
			if !bytes.Equal(v.([]byte), large) {
				t.Fatalf("picture: %d bytes are not those sent", len(v.([]byte)))
			}
			if _, err := ch.Call(ctx, "take:", large); err != nil {
				t.Fatal(err)
			}
			if err := ch.Send(ctx, "events"); err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{len(large), 0} {
				in := mustNext(t, ch)
				if len(in.Payload) != want {
					t.Fatalf("event of %d bytes, want %d", len(in.Payload), want)
				}
			}
			if _, err := ch.Call(ctx, "later"); err != nil {
				t.Error(err)
			}
			if _, err := ch.Call(ctx, "refuse"); !errors.Is(err, ErrRemote) {
				t.Errorf("refuse: %v", err)
			}
			// The reader refuses these calls. The last message answers no call.
			_, err = c.Control().Call(ctx, strings.Repeat("x", maxSelector))
			if !errors.Is(err, ErrRemote) {
				t.Errorf("unknown selector: %v", err)
			}
			_, err = c.Open(ctx, strings.Repeat("x", maxIdentifier+1), ChannelOptions{})
			if !errors.Is(err, ErrRemote) {
				t.Errorf("long identifier: %v", err)
			}
			late := &Message{ID: 9999, Conversation: 1, Type: Object, Payload: large}
			if err := c.enqueue(ctx, late, nil, false); err != nil {
				t.Fatal(err)
			}
			// The channel is closed while messages wait on it.
			other := open(t, c, "x", ChannelOptions{})
			if err := other.Send(ctx, "events"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := other.Close(ctx); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := ofHost.Used(); n != 0 {
				t.Fatalf("%d bytes stay counted on the host", n)
			}
			if n := ofDevice.Used(); n != 0 {
				t.Fatalf("%d bytes stay counted on the device", n)
			}

		}
	})
}

// TestLargestMessage receives a message of the largest size on a connection with the
// default limits.
func TestLargestMessage(t *testing.T) {
	near, far := linktest.Pipe()
	c := New(near, Options{Silent: true})
	defer c.Close()
	defer far.Close()
	ch := newChannel(c, 1, "x")
	if err := c.register(ch, ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	const body = MaxMessage - payloadHeaderSize
	go func() {
		a := &attacker{t, far}
		head := Append(nil, &Message{ID: 1, Channel: -1, Type: Data})
		a.say(patched(head, 12, MaxMessage, 40, body))
		a.flood(body, make([]byte, body/16))
	}()
	in := mustNext(t, ch)
	if len(in.Payload) != body {
		t.Fatalf("a message of %d bytes, want %d", len(in.Payload), body)
	}

}

// TestEventsWait lets events of a system monitor wait, as those of a script that is
// busy do, and takes them all.
func TestEventsWait(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{Silent: true})
		ch := newChannel(c, 1, "sysmontap")
		if err := c.register(ch, ChannelOptions{}); err != nil {
			t.Fatal(err)
		}
		sample := archive(t, nskeyed.Dict{{Key: "Processes", Value: make([]byte, 100_000)}})
		const count = 200
		go func() {
			for i := range uint32(count) {
				p.send(&Message{ID: i + 1, Channel: -1, Type: Data, Payload: sample})
			}
		}()
		synctest.Wait()
		for i := range count {
			in := mustNext(t, ch)
			if !bytes.Equal(in.Payload, sample) {
				t.Fatalf("event %d holds %d bytes that are not the sample", i, len(in.Payload))
			}
		}
	})
}
