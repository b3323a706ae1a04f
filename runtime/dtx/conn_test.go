package dtx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestWire compares what a connection writes with the captures. The request for a channel
// differs only in its id, the acknowledgement not at all.
func TestWire(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{})
		m := p.read()
		caps, ok := p.wantCall(m, 0, selCapabilities).Dict(0)
		if !ok {
			t.Errorf("the capabilities are not a dictionary: %+v", m)
		}
		if len(caps) != 2 {
			t.Errorf("capabilities %v, want 2", caps)
		}
		if m.ID != 1 {
			t.Errorf("capabilities have the id %d, want 1", m.ID)
		}
		if m.ExpectsReply {
			t.Error("capabilities expect a reply")
		}
		opened := make(chan error, 1)
		go func() {
			_, err := c.Open(ctx,
				"dtxproxy:XCTestManager_IDEInterface:XCTestManager_DaemonConnectionInterface",
				ChannelOptions{})
			opened <- err
		}()
		m = p.read()
		want := patched(fixture(t, "requestChannelWithCodeIdentifier.bin"), 16, 2)
		if got := Append(nil, m); !bytes.Equal(got, want) {
			t.Errorf("channel request\n% x, want\n% x", got, want)
		}
		p.send(&Message{ID: 2, Conversation: 1})
		if err := <-opened; err != nil {
			t.Error(err)
		}
		p.send(call(t, Message{ID: 9, Channel: -1, ExpectsReply: true}, "event:"))
		ch := c.channels[1]
		in := mustNext(t, ch)
		if in.Selector != "event:" {
			t.Fatalf("Next = %q, want event:", in.Selector)
		}
		if err := errors.Join(in.Reply(ctx, nil), in.Reply(ctx, "twice")); err != nil {
			t.Error(err)
		}
		ack := make([]byte, 48)
		if _, err := io.ReadFull(p.r.src, ack); err != nil {
			t.Fatal(err)
		}
		if want := Append(nil, &Message{ID: 9, Conversation: 1, Channel: -1}); !bytes.Equal(ack,
			want) {
			t.Errorf("acknowledgement % x, want % x", ack, want)
		}
		if err := ch.Close(ctx); err != nil {
			t.Error(err)
		}
		if n, _ := p.wantCall(p.read(), 0, selCancelChannel).Int(0); n != 1 {
			t.Errorf("cancelled channel %d", n)
		}
		if err := ch.Close(ctx); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestControlOverflow checks that channels can still be opened after channel 0
// was not emptied.
func TestControlOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{
			Silent:  true,
			Control: func(*Channel) ChannelOptions { return ChannelOptions{Queue: 1} },
		})
		p.send(call(t, Message{ID: 1}, "a"), call(t, Message{ID: 2, ExpectsReply: true}, "b"),
			call(t, Message{ID: 3, ExpectsReply: true}, "c"))
		p.wantRefusal(p.read(), 2, 0)
		p.wantRefusal(p.read(), 3, 0)
		opened := make(chan error, 1)
		go func() { _, err := c.Open(ctx, "x", ChannelOptions{}); opened <- err }()
		p.wantCall(p.read(), 0, selRequestChannel)
		p.send(&Message{ID: 1, Conversation: 1})
		if err := <-opened; err != nil {
			t.Errorf("Open: %v", err)
		}
		if in := mustNext(t, c.Control()); in.Selector != "a" {
			t.Errorf("Next = %q, want a", in.Selector)
		}
		if _, err := c.Control().Next(ctx); !errors.Is(err, ErrOverflow) {
			t.Errorf("Next: %v, want ErrOverflow", err)
		}
	})
}

// TestReplies gives replies early, twice, late and out of order.
func TestReplies(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{Silent: true})
		type result struct {
			v   any
			err error
		}
		results := make([]chan result, 3)
		for i := range results {
			ch := newChannel(c, int32(i+1), "x")
			if err := c.register(ch, ChannelOptions{}); err != nil {
				t.Fatal(err)
			}
			results[i] = make(chan result, 1)
			go func() {
				v, err := ch.Call(ctx, "get", int64(i))
				results[i] <- result{v, err}
			}()
			p.wantCall(p.read(), int32(i+1), "get")
		}
		late := &Message{
			ID: 99, Conversation: 1, Channel: 1, Type: Object, Payload: archive(t, "late"),
		}
		p.send(late,
			&Message{
				ID: 3, Conversation: 1, Channel: 3, Type: Object, Payload: archive(t, "three"),
			},
			&Message{
				ID: 1, Conversation: 1, Channel: 2, Type: Object,
				Payload: archive(t, "wrong channel"),
			},
			&Message{ID: 2, Conversation: 1, Channel: 2},
			&Message{
				ID: 2, Conversation: 1, Channel: 2, Type: Object, Payload: archive(t, "twice"),
			},
			&Message{
				ID: 1, Conversation: 1, Channel: 1, Type: Failure,
				Payload: archive(t, Refuse("some.domain", 7, "no")),
			})
		for i, want := range map[int]any{1: nil, 2: "three"} {
			r := <-results[i]
			if r.err != nil {
				t.Errorf("call %d: %v", i, r.err)
			}
			if r.v != want {
				t.Errorf("call %d = %v, want %v", i, r.v, want)
			}
		}
		r := <-results[0]
		var own *Error
		if !errors.As(r.err, &own) {
			t.Fatalf("first call: %v, %v, want an *Error", r.v, r.err)
		}
		if !errors.Is(r.err, ErrRemote) {
			t.Errorf("first call: %v, want ErrRemote", r.err)
		}
		if errors.Is(r.err, ErrUnknownSelector) {
			t.Errorf("first call: %v is ErrUnknownSelector", r.err)
		}
		if got := own.Remote(); got.Domain != "some.domain" || got.Code != 7 {
			t.Errorf("first call: %s %d, want some.domain 7", got.Domain, got.Code)
		}
		if want := "dtx: call get: no (some.domain 7)"; r.err.Error() != want {
			t.Errorf("error %q, want %q", r.err, want)
		}
	})
}

func TestCallDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		release := make(chan struct{})
		c := serve(t, &Server{Channels: map[string]func(
			*Channel,
		) Handler{"x": func(*Channel) Handler {
			return Methods{
				"slow": func(context.Context, Args) (any, error) { <-release; return "late", nil },
				"fast": func(context.Context, Args) (any, error) { return "now", nil },
			}
		}}}, Options{})
		ch := open(t, c, "x", ChannelOptions{})
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		start := time.Now()
		v, err := ch.Call(short, "slow")
		passed := time.Since(start)
		if v != nil {
			t.Errorf("Call = %v beside an error", v)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Call: %v, want DeadlineExceeded", err)
		}
		if errors.Is(err, net.ErrClosed) {
			t.Errorf("Call: %v is net.ErrClosed", err)
		}
		if passed != 3*time.Second {
			t.Errorf("Call took %v, want 3s", passed)
		}
		if want := "dtx: call slow: timeout waiting for reply 1/3"; err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if _, err := ch.Call(short, "fast"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call after the deadline: %v", err)
		}
		close(release)
		wantResult(t, ch, "now", "fast")
		cancelled, stop := context.WithCancel(ctx)
		stop()
		if err := ch.Send(cancelled, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("Send: %v", err)
		}
		if _, err := ch.Next(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("Next: %v", err)
		}
		if len(c.calls) != 0 {
			t.Errorf("%d calls are remembered", len(c.calls))
		}
	})
}

// TestSlowConsumer lets one channel overflow. This channel ends with an error and is
// cancelled at the peer. The other channels still work.
func TestSlowConsumer(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{Silent: true})
		slow, other := newChannel(c, 1, "slow"), newChannel(c, 2, "other")
		if err := errors.Join(c.register(slow, ChannelOptions{Queue: 4}),
			c.register(other, ChannelOptions{QueueBytes: 100})); err != nil {
			t.Fatal(err)
		}
		for i := range uint32(10) {
			p.send(&Message{
				ID: i + 1, Channel: -1, Type: Data, Payload: []byte{byte(i)}, ExpectsReply: i == 9,
			})
		}
		p.send(&Message{ID: 11, Channel: -2, Type: Data, Payload: []byte("other")})
		if in := mustNext(t, other); string(in.Payload) != "other" {
			t.Errorf("other channel: %q, want other", in.Payload)
		}
		if n, _ := p.wantCall(p.read(), 0, selCancelChannel).Int(0); n != 1 {
			t.Errorf("cancelled channel %d", n)
		}
		p.wantRefusal(p.read(), 10, -1)
		for i := range 4 {
			if in := mustNext(t, slow); in.Payload[0] != byte(i) {
				t.Errorf("message %d holds % x", i, in.Payload)
			}
		}
		_, err := slow.Next(ctx)
		if !errors.Is(err, ErrOverflow) {
			t.Errorf("Next: %v, want ErrOverflow", err)
		}
		if !errors.Is(slow.Err(), ErrOverflow) {
			t.Errorf("the channel ended with %v, want ErrOverflow", slow.Err())
		}
		if slow.Context().Err() == nil {
			t.Error("the context of the channel is not cancelled")
		}
		if _, err := slow.Call(ctx, "x"); !errors.Is(err, ErrOverflow) {
			t.Errorf("Call: %v, want ErrOverflow", err)
		}
		// A message over the limit of bytes is queued only if the queue is empty.
		p.send(&Message{ID: 12, Channel: -2, Type: Data, Payload: make([]byte, 200)},
			&Message{ID: 13, Channel: -2, Type: Data, Payload: []byte("y")})
		if in := mustNext(t, other); len(in.Payload) != 200 {
			t.Errorf("large message: %d bytes, want 200", len(in.Payload))
		}
		if _, err := other.Next(ctx); !errors.Is(err, ErrOverflow) {
			t.Errorf("Next: %v, want ErrOverflow", err)
		}
		if c.Err() != nil {
			t.Errorf("connection: %v", c.Err())
		}
	})
}

// TestPeerThatDoesNotRead checks that senders wait no longer than they want and
// that Close does not wait either.
func TestPeerThatDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		a, b := linktest.Pipe()
		defer b.Close()
		c := New(a, Options{Silent: true})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		sent := 0
		var err error
		for ; err == nil; sent++ {
			err = c.Control().SendBytes(short, Data, make([]byte, 10_000))
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send: %v, want DeadlineExceeded", err)
		}
		if sent < 50 || sent > 100 {
			t.Errorf("%d messages sent, want 50 to 100", sent)
		}
		blocked := make(chan error, 1)
		go func() { blocked <- c.Control().SendBytes(ctx, Data, []byte("x")) }()
		synctest.Wait()
		start := time.Now()
		err = c.Close()
		if err != nil {
			t.Errorf("Close: %v", err)
		}
		if passed := time.Since(start); passed > closeGrace {
			t.Errorf("Close took %v, want at most %v", passed, closeGrace)
		}
		if err := <-blocked; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send: %v, want net.ErrClosed", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestPeerThatOnlyAsks floods a connection with calls that the reader refuses
// itself, and reads no answer.
func TestPeerThatOnlyAsks(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{Silent: true})
		b := bytes.Repeat(Append(nil, call(t, Message{ID: 1, ExpectsReply: true}, "nothing")), 100)
		var err error
		for err == nil {
			_, err = p.Write(b)
		}
		<-c.Done()
		if !errors.Is(c.Err(), ErrStalled) {
			t.Errorf("Err = %v, want ErrStalled", c.Err())
		}
		if !errors.Is(c.Err(), net.ErrClosed) {
			t.Errorf("Err = %v, want net.ErrClosed", c.Err())
		}
	})
}

func TestCloseUnblocks(t *testing.T) {
	for name, end := range map[string]func(c *Conn, p *wirePeer) error{
		"close": func(c *Conn, p *wirePeer) error { c.Close(); return net.ErrClosed },
		"peer":  func(c *Conn, p *wirePeer) error { p.Close(); return ErrPeerClosed },
		"garbage": func(c *Conn, p *wirePeer) error {
			p.Write(bytes.Repeat([]byte("HTTP/1.1 400 Bad Request\r\n"), 2))
			return ErrMagic
		},
		"half a message": func(c *Conn, p *wirePeer) error {
			p.Write(Append(nil, &Message{ID: 1})[:40])
			p.Close()
			return ErrIncomplete
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context) {
				c, p := peer(t, Options{Silent: true})
				ch := newChannel(c, 7, "x")
				if err := c.register(ch, ChannelOptions{}); err != nil {
					t.Fatal(err)
				}
				errs := make(chan error, 4)
				go func() { _, err := c.Control().Call(ctx, "x"); errs <- err }()
				go func() { _, err := ch.Next(ctx); errs <- err }()
				go func() { _, err := c.Capabilities(ctx); errs <- err }()
				go func() { _, err := c.Open(ctx, "y", ChannelOptions{}); errs <- err }()
				synctest.Wait()
				want := end(c, p)
				for range cap(errs) {
					err := <-errs
					if !errors.Is(err, want) {
						t.Errorf("error %v, want %v", err, want)
					}
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("error %v, want net.ErrClosed", err)
					}
				}
				<-c.Done()
				if err := ch.Send(ctx, "x"); !errors.Is(err, want) {
					t.Errorf("Send: %v, want %v", err, want)
				}
				if _, err := c.Open(ctx, "y", ChannelOptions{}); !errors.Is(err, want) {
					t.Errorf("Open: %v, want %v", err, want)
				}
			})
		})
	}
}

// TestBrokenMessages checks that a malformed message is refused and the connection
// stays open.
func TestBrokenMessages(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		_, p := peer(t, Options{Silent: true})
		bad := call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(1), "x")
		bad.Aux = bad.Aux[:20]
		p.send(bad)
		p.wantRefusal(p.read(), 1, 0)
		p.send(&Message{ID: 2, ExpectsReply: true, Type: Dispatch, Payload: []byte("no archive")})
		p.wantRefusal(p.read(), 2, 0)
		p.send(&Message{ID: 3, ExpectsReply: true, Type: Dispatch, Payload: archive(t, int64(5))})
		p.wantRefusal(p.read(), 3, 0)
		p.send(call(t, Message{ID: 4, ExpectsReply: true, Channel: 5}, "x"))
		p.wantRefusal(p.read(), 4, 5)
		for i, args := range [][]any{
			{}, {Int32(0), "x"}, {Int32(-1), "x"}, {Int32(1)}, {Int32(1), int64(3)},
			{int64(1 << 31), "x"},
		} {
			p.send(call(t, Message{ID: uint32(10 + i), ExpectsReply: true}, selRequestChannel,
				args...))
			p.wantRefusal(p.read(), uint32(10+i), 0)
		}
		p.send(call(t, Message{ID: 20, ExpectsReply: true}, selCapabilities, "none"))
		p.wantRefusal(p.read(), 20, 0)
		p.send(call(t, Message{ID: 21, ExpectsReply: true}, selCancelChannel, "none"))
		p.wantRefusal(p.read(), 21, 0)
		// A call that expects no reply is not answered. A barrier is.
		p.send(call(t, Message{ID: 22}, "unknown"),
			&Message{ID: 23, Type: Barrier, ExpectsReply: true})
		m := p.read()
		if m.ID != 23 {
			t.Errorf("answer to the message %d, want 23, the barrier", m.ID)
		}
		if m.Type != Ack {
			t.Errorf("answer of the type %v, want Ack", m.Type)
		}
	})
}
