package dtx

import (
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
		if err != nil {
			t.Errorf("capabilities: %v", err)
		}
		if n, ok := caps.Int("com.apple.instruments.server.services.screenshot"); !ok || n != 3 {
			t.Errorf("capabilities %v, want screenshot 3", caps)
		}
		ch := open(t, c, "service", ChannelOptions{})
		for _, v := range []any{
			"text", int64(-1), 2.5, true, nil, []byte("data"), []any{"a", int64(1)},
			strings.Repeat("large ", 100_000),
		} {
			got, err := ch.Call(ctx, "echo:", v)
			if err != nil {
				t.Errorf("echo of %.50v: %v", v, err)
				continue
			}
			if text(got) != text(v) {
				t.Errorf("echo of %.50v = %.50v", v, got)
			}
		}
		for arg, want := range map[any]string{1: "5", 2: "-6", 3: "1.5"} {
			a := map[any]Arg{1: Int32(5), 2: Int64(-6), 3: Double(1.5)}[arg]
			got, err := ch.Call(ctx, "echo:", a)
			if err != nil {
				t.Errorf("echo of %v: %v", a, err)
				continue
			}
			if text(got) != want {
				t.Errorf("echo of %v = %v, want %s", a, got, want)
			}
		}
		wantResult(t, ch, nil, "void")
		for selector, want := range map[string]string{
			"refuse":  "dtx: call refuse: not now (com.apple.some 9)",
			"fail":    "dtx: call fail: disk on fire (DTXMessage 1)",
			"wrapped": "dtx: call wrapped: inner (d 2)",
			"odd":     "dtx: call odd: the result cannot be sent (DTXMessage 1)",
			"none:":   "dtx: call none:: Unable to invoke 'none:' - it does not respond to the selector (DTXMessage 1)",
		} {
			v, err := ch.Call(ctx, selector)
			if v != nil {
				t.Errorf("%s = %v beside an error", selector, v)
			}
			if !errors.Is(err, ErrRemote) {
				t.Errorf("%s: %v, want ErrRemote", selector, err)
				continue
			}
			if err.Error() != want {
				t.Errorf("%s: %v, want %s", selector, err, want)
			}
			if got := errors.Is(err, ErrUnknownSelector); got != (selector == "none:") {
				t.Errorf("%s: %v is ErrUnknownSelector: %v", selector, err, got)
			}
		}
		_, err = c.Open(ctx, "none", ChannelOptions{})
		if !errors.Is(err, ErrRemote) {
			t.Errorf("Open of an unknown channel: %v, want ErrRemote", err)
		}
		if len(c.channels) != 2 {
			t.Errorf("%d channels after a refusal, want 2", len(c.channels))
		}
		if _, err := c.Control().Call(ctx, "anything"); !errors.Is(err, ErrUnknownSelector) {
			t.Errorf("call on channel 0: %v", err)
		}
		_, err = ch.Call(ctx, "echo:", make(chan int))
		if err == nil {
			t.Error("argument that cannot be sent: no error")
		} else if errors.Is(err, ErrRemote) {
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
				in := mustNext(t, ch)
				if in.Type != Data {
					t.Fatalf("event of the type %v, want Data", in.Type)
				}
				if in.ExpectsReply {
					t.Fatalf("event %d expects a reply", want)
				}
				v, err := in.Object()
				d, _ := v.(nskeyed.Dict)
				if err != nil {
					t.Errorf("event %d: %v", want, err)
					continue
				}
				if n, ok := d.Int("n"); !ok || n != want {
					t.Errorf("event %v, want %d", v, want)
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
		if live[-1].Err() == nil {
			t.Error("the device's channel is not over after Close")
		}
		if err := live[-2].Err(); err != nil {
			t.Errorf("the device's other channel is over: %v", err)
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
				wantResult(t, ch, fmt.Sprint(want, " ", i), "ask:", int64(i))
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
				if err != nil {
					t.Errorf("device opens channel: %v", err)
					return
				}
				if ch.Code() != 1 {
					t.Errorf("device opens channel %d, want 1", ch.Code())
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

// TestLastWords checks that the device handles the calls that a host made right before it
// disconnected or cancelled the channel.
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
				a, b := linktest.Prompt()
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

// TestServeEnds checks the error of Serve, and that the connection is closed after it.
func TestServeEnds(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		a, b := linktest.Prompt()
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

		a, b = linktest.Prompt()
		if _, err := a.Write([]byte("not DTX, but long enough for it.")); err != nil {
			t.Fatal(err)
		}
		err := s.Serve(context.Background(), b)
		if !errors.Is(err, ErrMagic) {
			t.Errorf("Serve of garbage: %v, want ErrMagic", err)
		} else if err.Error() != "dtx: serve: bad magic" {
			t.Errorf("Serve of garbage: %v, want dtx: serve: bad magic", err)
		}
		a.Close()
	})
}

// TestCapabilitiesFirst checks that the first message of the device has the
// capabilities and the id 1, even if a request has already arrived.
func TestCapabilitiesFirst(t *testing.T) {
	for name, hold := range map[string]time.Duration{"at once": 0, "held": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, ctx context.Context) {
				a, b := linktest.Prompt()
				p := &wirePeer{t: t, Conn: a, r: NewReader(a)}
				p.send(call(t, Message{ID: 1, ExpectsReply: true}, selRequestChannel, Int32(1),
					"none"))
				done := make(chan error, 1)
				go func() { done <- (&Server{Hold: hold}).Serve(ctx, b) }()
				start := time.Now()
				m := p.read()
				p.wantCall(m, 0, selCapabilities)
				if m.ID != 1 {
					t.Errorf("capabilities have the id %d, want 1", m.ID)
				}
				if passed := time.Since(start); passed != 0 {
					t.Errorf("capabilities after %v, want them at once", passed)
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

// TestHold checks that a device with a Hold sends its capabilities after that time, and
// that Serve returns if the host disconnects before.
func TestHold(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		s := &Server{Hold: 200 * time.Millisecond}
		c := serve(t, s, Options{Silent: true})
		start := time.Now()
		_, err := c.Capabilities(ctx)
		if err != nil {
			t.Errorf("capabilities: %v", err)
		}
		if passed := time.Since(start); passed != s.Hold {
			t.Errorf("capabilities after %v, want %v", passed, s.Hold)
		}
		a, b := linktest.Prompt()
		a.Close()
		if err := s.Serve(ctx, b); err != nil {
			t.Errorf("host that leaves: %v", err)
		}
		_, b = linktest.Prompt()
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

// TestManyConnections opens and closes connections, some in the middle of a
// call. The bubble fails if a goroutine is left.
func TestManyConnections(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context) {
		s := &Server{Channels: map[string]func(*Channel) Handler{"x": service}}
		for i := range 300 {
			a, b := linktest.Prompt()
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
