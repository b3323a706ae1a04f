package dtx

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestControlChannel serves methods on channel 0, as the accessibility audit
// daemon does, and answers one of them later.
func TestControlChannel(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		later := make(chan *Incoming, 1)
		c := serve(t, &Server{Control: func(ch *Channel) Handler {
			return HandlerFunc(func(ctx context.Context, in *Incoming) (any, error) {
				switch in.Selector {
				case "later":
					later <- in
					return nil, ErrLater
				case "answer":
					return nil, (<-later).Reply(ctx, "now")
				case "event":
					return nil, ch.Send(ctx, "hostAppStateChanged:", "x")
				}
				return int64(20), nil
			})
		}}, Options{
			Silent: true, Control: func(*Channel) ChannelOptions { return ChannelOptions{} },
		})
		wantResult(t, c.Control(), int64(20), "deviceApiVersion")
		got := make(chan any, 1)
		go func() { v, _ := c.Control().Call(ctx, "later"); got <- v }()
		synctest.Wait()
		if _, err := c.Control().Call(ctx, "answer"); err != nil {
			t.Error(err)
		}
		if v := <-got; v != "now" {
			t.Errorf("answered later: %v", v)
		}
		if err := c.Control().Send(ctx, "event"); err != nil {
			t.Error(err)
		}
		in := mustNext(t, c.Control())
		if in.Selector != "hostAppStateChanged:" {
			t.Errorf("event %s, want hostAppStateChanged:", in.Selector)
		}
	})
}

// TestBarrier checks that a barrier is answered after all messages that were sent before.
func TestBarrier(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		var log bytes.Buffer
		a, b := linktest.Pipe()
		done := make(chan error, 1)
		s := &Server{Channels: map[string]func(*Channel) Handler{"x": func(*Channel) Handler {
			return HandlerFunc(func(_ context.Context, in *Incoming) (any, error) {
				<-time.After(time.Second)
				log.WriteString(in.Selector)
				return nil, nil
			})
		}}}
		go func() { done <- s.Serve(ctx, b) }()
		p := &wirePeer{t: t, Conn: a, r: NewReader(a)}
		p.read()
		p.send(call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(1), "x"),
			call(t, Message{ID: 2, Channel: 1}, "a"), call(t, Message{ID: 3, Channel: 1}, "b"),
			&Message{ID: 4, Channel: 1, Type: Barrier, ExpectsReply: true})
		p.read()
		m := p.read()
		if m.ID != 4 {
			t.Errorf("answer to the message %d, want 4", m.ID)
		}
		if m.Type != Ack {
			t.Errorf("answer of the type %v, want Ack", m.Type)
		}
		if log.String() != "ab" {
			t.Errorf("answered after %q, want after ab", log.String())
		}
		p.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
