package dtx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// service is a channel as Instruments has them: values, refusals, and events
// while it is open.
func service(ch *Channel) Handler {
	return Methods{
		"echo:":   func(_ context.Context, a Args) (any, error) { return a.At(0), nil },
		"void":    func(context.Context, Args) (any, error) { return nil, nil },
		"picture": func(context.Context, Args) (any, error) { return make([]byte, 1<<20), nil },
		"refuse": func(context.Context, Args) (any, error) {
			return nil, Refuse("com.apple.some",
				9, "not now")
		},
		"fail": func(context.Context, Args) (any, error) {
			return nil, errors.New("disk on fire")
		},
		"wrapped": func(context.Context, Args) (any, error) {
			return nil, fmt.Errorf("x: %w",
				Refuse("d", 2, "inner"))
		},
		"odd": func(context.Context, Args) (any, error) { return make(chan int), nil },
		"start": func(context.Context, Args) (any, error) {
			ch.Go(func(ctx context.Context) {
				for i := int64(0); ch.SendObject(ctx, Data,
					nskeyed.Dict{{Key: "n", Value: i}}) == nil; i++ {
					select {
					case <-time.After(time.Second):
					case <-ctx.Done():
						return
					}
				}
			})
			return nil, nil
		},
	}
}

func TestDevice(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		c := serve(t, &Server{
			Capabilities: nskeyed.Dict{
				{Key: "com.apple.instruments.server.services.screenshot", Value: int64(3)},
			},
			Channels: map[string]func(*Channel) Handler{"service": service},
		}, Options{})
		caps, err := c.Capabilities(ctx)
		if n, ok := caps.Int("com.apple.instruments.server.services.screenshot"); n != 3 || !ok ||
			err != nil {
			t.Errorf("capabilities %v, %v", caps, err)
		}
		ch := open(t, c, "service", ChannelOptions{})
		for _, v := range []any{
			"text", int64(-1), 2.5, true, nil, []byte("data"), []any{"a", int64(1)},
			strings.Repeat("large ", 100_000),
		} {
			if got, err := ch.Call(ctx, "echo:", v); err != nil || text(got) != text(v) {
				t.Errorf("echo of %.50v = %.50v, %v", v, got, err)
			}
		}
		for arg, want := range map[any]string{1: "5", 2: "-6", 3: "1.5"} {
			a := map[any]Arg{1: Int32(5), 2: Int64(-6), 3: Double(1.5)}[arg]
			if got, err := ch.Call(ctx, "echo:", a); err != nil || text(got) != want {
				t.Errorf("echo of %v = %v, %v, want %s", a, got, err, want)
			}
		}
		if v, err := ch.Call(ctx, "void"); v != nil || err != nil {
			t.Errorf("void: %v, %v", v, err)
		}
		for selector, want := range map[string]string{
			"refuse":  "dtx: call refuse: not now (com.apple.some 9)",
			"fail":    "dtx: call fail: disk on fire (DTXMessage 1)",
			"wrapped": "dtx: call wrapped: inner (d 2)",
			"odd":     "dtx: call odd: the result cannot be sent (DTXMessage 1)",
			"none:":   "dtx: call none:: Unable to invoke 'none:' - it does not respond to the selector (DTXMessage 1)",
		} {
			v, err := ch.Call(ctx, selector)
			if v != nil || !errors.Is(err, ErrRemote) || err.Error() != want ||
				errors.Is(err, ErrUnknownSelector) != (selector == "none:") {
				t.Errorf("%s: %v, %v, want %s", selector, v, err, want)
			}
		}
		if _, err := c.Open(ctx, "none", ChannelOptions{}); !errors.Is(err, ErrRemote) ||
			len(c.channels) != 2 {
			t.Errorf("Open of an unknown channel: %v, %d channels", err, len(c.channels))
		}
		if _, err := c.Control().Call(ctx, "anything"); !errors.Is(err, ErrUnknownSelector) {
			t.Errorf("call on channel 0: %v", err)
		}
		if _, err := ch.Call(ctx, "echo:", make(chan int)); err == nil ||
			errors.Is(err, ErrRemote) {
			t.Errorf("argument that cannot be sent: %v", err)
		}
	})
}

// TestEvents opens an identifier twice: each channel has its own events, until
// it is closed.
func TestEvents(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		var mu sync.Mutex
		live := map[int32]context.Context{}
		c := serve(t, &Server{Channels: map[string]func(
			*Channel,
		) Handler{"service": func(ch *Channel) Handler {
			mu.Lock()
			defer mu.Unlock()
			live[ch.Code()] = ch.Context()
			return service(ch)
		}}}, Options{})
		a, b := open(t, c, "service", ChannelOptions{}), open(t, c, "service", ChannelOptions{})
		for _, ch := range []*Channel{a, b} {
			if err := ch.Send(ctx, "start"); err != nil {
				t.Fatal(err)
			}
			for want := range int64(3) {
				in, err := ch.Next(ctx)
				if err != nil || in.Type != Data || in.ExpectsReply {
					t.Fatalf("Next: %+v, %v", in, err)
				}
				v, err := in.Object()
				d, _ := v.(nskeyed.Dict)
				if n, ok := d.Int("n"); !ok || n != want || err != nil {
					t.Errorf("event %v, %v, want %d", v, err, want)
				}
			}
		}
		if err := a.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Next(ctx); !errors.Is(err, ErrChannelClosed) {
			t.Errorf("Next after Close: %v", err)
		}
		if _, err := b.Call(ctx, "void"); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if live[-1].Err() == nil || live[-2].Err() != nil {
			t.Errorf("the device's channels: %v, %v, want only the first to be over",
				live[-1].Err(), live[-2].Err())
		}
	})
}

// TestBothWays has each side open its channel 1 and call on both, with the same
// ids at the same time.
func TestBothWays(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		whoami := func(who string) Handler {
			return HandlerFunc(func(_ context.Context, in *Incoming) (any, error) {
				args, err := in.Args()
				return who + " " + fmt.Sprint(args.At(0)), err
			})
		}
		ask := func(ch *Channel, want string) {
			for i := range 20 {
				if v, err := ch.Call(ctx, "ask:", int64(i)); err != nil ||
					v != fmt.Sprint(want, " ", i) {
					t.Errorf("%s: %v, %v", want, v, err)
				}
			}
		}
		devices := make(chan *Channel, 2)
		finished := make(chan struct{})
		hosts := make(chan *Channel, 1)
		c := serve(t, &Server{
			Channels: map[string]func(*Channel) Handler{"to device": func(ch *Channel) Handler {
				devices <- ch
				return whoami("device, host's channel")
			}},
			Connected: func(ctx context.Context, c *Conn) {
				defer close(finished)
				ch, err := c.Open(ctx, "to host",
					ChannelOptions{Handler: whoami("device, own channel")})
				if err != nil || ch.Code() != 1 {
					t.Errorf("device opens channel: %v", err)
					return
				}
				var wg sync.WaitGroup
				wg.Go(func() { ask(ch, "host, device's channel") })
				wg.Go(func() { ask(<-devices, "host, own channel") })
				wg.Wait()
			},
		}, Options{Accept: func(ch *Channel) (ChannelOptions, error) {
			hosts <- ch
			return ChannelOptions{Handler: whoami("host, device's channel")}, nil
		}})
		ch := open(t, c, "to device", ChannelOptions{Handler: whoami("host, own channel")})
		var wg sync.WaitGroup
		wg.Go(func() { ask(ch, "device, host's channel") })
		wg.Go(func() { ask(<-hosts, "device, own channel") })
		wg.Wait()
		<-finished
	})
}

// TestLastWords checks that what a host asks for right before it leaves or
// cancels the channel is done.
func TestLastWords(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		t.Run(fmt.Sprint("cancel ", cancel), func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context) {
				begin, done := make(chan struct{}), make(chan string, 10)
				s := &Server{Channels: map[string]func(
					*Channel,
				) Handler{"x": func(*Channel) Handler {
					return HandlerFunc(func(_ context.Context, in *Incoming) (any, error) {
						<-begin
						done <- in.Selector
						return nil, nil
					})
				}}}
				a, b := linktest.Pipe()
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx, b) }()
				c := New(a, Options{})
				ch := open(t, c, "x", ChannelOptions{})
				for i := range 5 {
					if err := ch.Send(ctx, fmt.Sprint("kill", i)); err != nil {
						t.Fatal(err)
					}
				}
				if cancel {
					if err := ch.Close(ctx); err != nil {
						t.Fatal(err)
					}
				} else {
					c.Close()
				}
				synctest.Wait()
				close(begin)
				for i := range 5 {
					if s := <-done; s != fmt.Sprint("kill", i) {
						t.Errorf("%s is done, want kill%d", s, i)
					}
				}
				c.Close()
				if err := <-served; err != nil {
					t.Errorf("Serve: %v", err)
				}
			})
		})
	}
}

// TestServeEnds checks how Serve returns, and that it takes everything with it.
func TestServeEnds(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		a, b := linktest.Pipe()
		served := make(chan error, 1)
		s := &Server{
			Channels:  map[string]func(*Channel) Handler{"x": service},
			Connected: func(ctx context.Context, _ *Conn) { <-ctx.Done() },
		}
		go func() { served <- s.Serve(ctx, b) }()
		c := New(a, Options{})
		defer c.Close()
		if err := open(t, c, "x", ChannelOptions{}).Send(ctx, "start"); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
		<-c.Done()
		if !errors.Is(c.Err(), ErrPeerClosed) {
			t.Errorf("host: %v", c.Err())
		}

		a, b = linktest.Pipe()
		if _, err := a.Write([]byte("not DTX, but long enough for it.")); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(context.Background(), b); !errors.Is(err, ErrMagic) ||
			err.Error() != "dtx: serve: bad magic" {
			t.Errorf("Serve of garbage: %v", err)
		}
		a.Close()
	})
}

// TestCapabilitiesFirst checks what hosts rely on: the device speaks first, with
// id 1, even if a request is there already.
func TestCapabilitiesFirst(t *testing.T) {
	for name, hold := range map[string]time.Duration{"at once": 0, "held": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context) {
				a, b := linktest.Pipe()
				p := &wirePeer{t: t, Conn: a, r: NewReader(a)}
				p.send(call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(1),
					"none"))
				done := make(chan error, 1)
				go func() { done <- (&Server{Hold: hold}).Serve(ctx, b) }()
				start := time.Now()
				m := p.read()
				p.wantCall(m, 0, selCapabilities)
				if m.ID != 1 || time.Since(start) != 0 {
					t.Errorf("capabilities %+v after %v", m, time.Since(start))
				}
				p.wantRefusal(p.read(), 1, 0)
				p.Close()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestHold checks that a device which holds back speaks when its time is over,
// and copes with hosts that leave.
func TestHold(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		s := &Server{Hold: 200 * time.Millisecond}
		c := serve(t, s, Options{Silent: true})
		start := time.Now()
		if _, err := c.Capabilities(ctx); err != nil || time.Since(start) != s.Hold {
			t.Errorf("capabilities after %v, %v", time.Since(start), err)
		}
		a, b := linktest.Pipe()
		a.Close()
		if err := s.Serve(ctx, b); err != nil {
			t.Errorf("host that leaves: %v", err)
		}
		_, b = linktest.Pipe()
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := s.Serve(gone, b); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("connection after Serve: %v", err)
		}
	})
}

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
		if v, err := c.Control().Call(ctx, "deviceApiVersion"); v != int64(20) || err != nil {
			t.Errorf("call: %v, %v", v, err)
		}
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
		in, err := c.Control().Next(ctx)
		if err != nil || in.Selector != "hostAppStateChanged:" {
			t.Errorf("event: %+v, %v", in, err)
		}
	})
}

// TestBarrier asks for an answer after all that was sent before.
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
		if m := p.read(); m.ID != 4 || m.Type != Ack || log.String() != "ab" {
			t.Errorf("%+v after %q", m, log.String())
		}
		p.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestManyConnections opens and closes connections, some in the middle of a
// call. The bubble fails if a goroutine stays.
func TestManyConnections(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		s := &Server{Channels: map[string]func(*Channel) Handler{"x": service}}
		for i := range 300 {
			a, b := linktest.Pipe()
			done := make(chan error, 1)
			go func() { done <- s.Serve(ctx, b) }()
			c := New(a, Options{})
			var wg sync.WaitGroup
			wg.Go(func() {
				ch, err := c.Open(ctx, "x", ChannelOptions{})
				for err == nil {
					_, err = ch.Call(ctx, "echo:", int64(i))
				}
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			})
			if i%2 == 0 {
				if _, err := c.Capabilities(ctx); err != nil {
					t.Error(err)
				}
			}
			c.Close()
			wg.Wait()
			if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
}
