package dtx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// TestWire checks what a connection writes against the captures: the channel
// request is theirs but for its id, the acknowledgement byte for byte.
func TestWire(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c, p := peer(t, Options{})
		m := p.read()
		caps, ok := p.wantCall(m, 0, selCapabilities).Dict(0)
		if !ok || len(caps) != 2 || m.ID != 1 || m.ExpectsReply {
			t.Errorf("capabilities %v in %+v", caps, m)
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
		in, err := ch.Next(ctx)
		if err != nil || in.Selector != "event:" {
			t.Fatalf("Next: %+v, %v", in, err)
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

// TestTestRun replays what a device sent while Xcode ran unit tests. The answers
// must be those that Xcode gave: there is one for each message that asks.
func TestTestRun(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		taken := make(chan string, 100)
		handler := HandlerFunc(func(_ context.Context, in *Incoming) (any, error) {
			if _, err := in.Args(); err != nil {
				t.Error(err)
			}
			taken <- fmt.Sprint(in.code, in.Selector)
			return nil, nil
		})
		a, b := linktest.Pipe()
		c := New(a, Options{Silent: true, Accept: func(ch *Channel) (ChannelOptions, error) {
			if ch.Code() != -1 ||
				ch.Identifier() != "dtxproxy:XCTestDriverInterface:XCTestManager_IDEInterface" {
				t.Errorf("channel %d, %s", ch.Code(), ch.Identifier())
			}
			return ChannelOptions{Handler: handler}, nil
		}})
		defer c.Close()
		if err := c.register(newChannel(c, 1, "dtxproxy"),
			ChannelOptions{Handler: handler}); err != nil {
			t.Fatal(err)
		}
		dump := fixture(t, "conn-in4.dump")
		go b.Write(dump)
		defer b.Close()
		answers := map[string]bool{}
		for _, m := range messages(t, fixture(t, "conn-out4.dump")) {
			if m.Conversation == 1 {
				answers[string(Append(nil, m))] = true
			}
		}
		asked, events := 0, 0
		for _, m := range messages(t, dump) {
			if m.Conversation == 0 && m.Channel != 0 {
				events++
			}
			if m.ExpectsReply {
				asked++
			}
		}
		r := NewReader(b)
		for range asked {
			m, err := r.Read()
			if err != nil || m.Conversation != 1 || m.Type != Ack {
				t.Fatalf("answer %+v, %v", m, err)
			}
			delete(answers, string(Append(nil, m)))
		}
		if len(answers) != 0 || asked < 50 {
			t.Errorf("%d answers of Xcode were not given, %d were", len(answers), asked)
		}
		synctest.Wait()
		if len(taken) != events {
			t.Errorf("%d messages taken, want %d", len(taken), events)
		}
		caps, err := c.Capabilities(ctx)
		if n, ok := caps.Int(CapabilityCompression); err != nil || !ok || n != 2 {
			t.Errorf("capabilities %v, %v", caps, err)
		}
	})
}

// messages returns all messages of a capture.
func messages(t *testing.T, b []byte) (list []*Message) {
	t.Helper()
	for r := NewReader(bytes.NewReader(b)); ; {
		m, err := r.Read()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
}

// TestAudit replays an accessibility audit daemon, which does everything on
// channel 0. Its replies belong to no call here and are dropped.
func TestAudit(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		const name = "accesibility-inspector-dump-from-device-1.bin"
		c, p := peer(t, Options{
			Silent: true, Control: func(*Channel) ChannelOptions { return ChannelOptions{} },
		})
		go p.Write(fixture(t, name))
		var want expected
		if err := json.Unmarshal(fixture(t, name+".expected.json"), &want); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for _, w := range want.Messages {
			if w.Type != Dispatch || w.Selector == selCapabilities {
				continue
			}
			in, err := c.Control().Next(ctx)
			if err != nil || in.Selector != w.Selector || in.ID != w.ID {
				t.Fatalf("%+v, %v, want %s", in, err, w.Selector)
			}
			taken++
		}
		if taken < 60 {
			t.Errorf("only %d events", taken)
		}
		caps, err := c.Capabilities(ctx)
		if n, _ := caps.Int("com.apple.accessibility.axAuditDaemon.protocolVersion"); n != 157 ||
			err != nil {
			t.Errorf("capabilities %v, %v", caps, err)
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
		if in, err := c.Control().Next(ctx); err != nil || in.Selector != "a" {
			t.Errorf("Next: %+v, %v", in, err)
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
		if r := <-results[2]; r.v != "three" || r.err != nil {
			t.Errorf("third call: %v", r)
		}
		if r := <-results[1]; r.v != nil || r.err != nil {
			t.Errorf("second call: %v", r)
		}
		r := <-results[0]
		var own *Error
		if !errors.As(r.err, &own) || !errors.Is(r.err, ErrRemote) ||
			errors.Is(r.err, ErrUnknownSelector) || own.Remote().Domain != "some.domain" ||
			own.Remote().Code != 7 {
			t.Errorf("first call: %v", r)
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
		if v != nil || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) ||
			time.Since(start) != 3*time.Second {
			t.Errorf("Call: %v, %v after %v", v, err, time.Since(start))
		}
		if want := "dtx: call slow: timeout waiting for reply 1/3"; err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if _, err := ch.Call(short, "fast"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call after the deadline: %v", err)
		}
		close(release)
		if v, err := ch.Call(ctx, "fast"); v != "now" || err != nil {
			t.Errorf("Call after a late reply: %v, %v", v, err)
		}
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

// TestSlowConsumer lets one channel overflow: it ends with an error and the peer
// is told, the others go on.
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
		if in, err := other.Next(ctx); err != nil || string(in.Payload) != "other" {
			t.Errorf("other channel: %v, %v", in, err)
		}
		if n, _ := p.wantCall(p.read(), 0, selCancelChannel).Int(0); n != 1 {
			t.Errorf("cancelled channel %d", n)
		}
		p.wantRefusal(p.read(), 10, -1)
		for i := range 4 {
			if in, err := slow.Next(ctx); err != nil || in.Payload[0] != byte(i) {
				t.Errorf("message %d: %v, %v", i, in, err)
			}
		}
		_, err := slow.Next(ctx)
		if !errors.Is(err, ErrOverflow) || !errors.Is(slow.Err(), ErrOverflow) ||
			slow.Context().Err() == nil {
			t.Errorf("Next: %v, want ErrOverflow", err)
		}
		if _, err := slow.Call(ctx, "x"); !errors.Is(err, ErrOverflow) {
			t.Errorf("Call: %v, want ErrOverflow", err)
		}
		// A message over the limit of bytes is taken alone, not beside another.
		p.send(&Message{ID: 12, Channel: -2, Type: Data, Payload: make([]byte, 200)},
			&Message{ID: 13, Channel: -2, Type: Data, Payload: []byte("y")})
		if in, err := other.Next(ctx); err != nil || len(in.Payload) != 200 {
			t.Errorf("large message: %v, %v", in, err)
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
		if !errors.Is(err, context.DeadlineExceeded) || sent < 50 || sent > 100 {
			t.Errorf("%d messages sent, %v", sent, err)
		}
		blocked := make(chan error, 1)
		go func() { blocked <- c.Control().SendBytes(ctx, Data, []byte("x")) }()
		synctest.Wait()
		start := time.Now()
		if err := c.Close(); err != nil || time.Since(start) > closeGrace {
			t.Errorf("Close: %v after %v", err, time.Since(start))
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
		if !errors.Is(c.Err(), ErrStalled) || !errors.Is(c.Err(), net.ErrClosed) {
			t.Errorf("Err = %v, want ErrStalled", c.Err())
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
					if err := <-errs; !errors.Is(err, want) || !errors.Is(err, net.ErrClosed) {
						t.Errorf("error %v, want %v", err, want)
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

// TestBrokenMessages checks that a message which is wrong in itself costs that
// message alone.
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
		// What expects no reply gets none, and a barrier is answered.
		p.send(call(t, Message{ID: 22}, "unknown"),
			&Message{ID: 23, Type: Barrier, ExpectsReply: true})
		if m := p.read(); m.ID != 23 || m.Type != Ack {
			t.Errorf("answer %+v, want that to the barrier", m)
		}
	})
}
