package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		missed := func() { tb.Error("a host that left counts as one that does not answer") }
		p := phonetest.New(tb, phone.Options{})
		return &Device{Env: service.Env{Phone: p}, OnMissed: missed}
	},
	Calls: servicetest.Calls[*Client]{
		"beat": servicetest.Value((*Client).Beat),
		"run": func(c *Client, ctx context.Context) error {
			err := c.Run(ctx)
			if c.next <= 0 {
				return fmt.Errorf("waits %v for the next message after %v", c.next, err)
			}
			return err
		},
	},
	Typed:  fuzztest.Typed[*service.Error],
	Framed: true,
}

func TestService(t *testing.T) { suite.Test(t) }

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	dev    *Device
	missed int
}

// wantEnd checks how Serve ended and how many connections missed their answers.
func (r *rig) wantEnd(ended <-chan error, want error, missed int) {
	r.t.Helper()
	if err := <-ended; !errors.Is(err, want) {
		r.t.Errorf("Serve: %v, want %v", err, want)
	}
	if r.missed != missed {
		r.t.Errorf("missed %d times, want %d", r.missed, missed)
	}
}

func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		r := &rig{t: t, phone: p}
		r.dev = &Device{Env: service.Env{Phone: p}, OnMissed: func() { r.missed++ }}
		f(t, r)
	})
}

func (r *rig) dial(ctx context.Context) (net.Conn, <-chan error) {
	return servicetest.Dial(ctx, servicetest.Prompt(r.t), r.dev)
}

func pass(d time.Duration) { <-time.NewTimer(d).C }

func TestMarco(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		raw, ended := r.dial(t.Context())
		c := link.NewPlistConn(raw)
		start := time.Now()
		want := plist.Dict{"Command": "Marco", "Interval": int64(10), "SupportsSleepyTime": true}
		for i := range 4 {
			got, err := c.RecvDict(t.Context())
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("message %d is %v, want %v", i, got, want)
			}
			if at := time.Since(start); at != time.Duration(i)*10*time.Second {
				t.Errorf("message %d came after %v", i, at)
			}
			if err := c.Send(t.Context(), plist.Dict{"Command": "Polo"}); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		r.wantEnd(ended, nil, 0)
	})
}

func TestMissed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		polos int // answers before the host stops answering
		noise bool
		after time.Duration
	}{
		{"never answers", 0, false, 20 * time.Second},
		{"stops answering", 2, false, 40 * time.Second}, // 20 s: the first without
		{"answers nonsense", 0, true, 20 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				raw, ended := r.dial(t.Context())
				c := link.NewPlistConn(raw)
				start := time.Now()
				for i := 0; ; i++ {
					if _, err := c.RecvDict(t.Context()); err == io.EOF {
						break
					} else if err != nil {
						t.Fatal(err)
					}
					answer := plist.Dict{"Command": "Polo"}
					if i >= tc.polos {
						answer["Command"] = "Pluto"
					}
					if i < tc.polos || tc.noise {
						if err := c.Send(t.Context(), answer); err != nil {
							t.Fatal(err)
						}
					}
				}
				r.wantEnd(ended, ErrMissed, 1)
				if passed := time.Since(start); passed != tc.after {
					t.Errorf("Serve took %v, want %v", passed, tc.after)
				}
			})
		})
	}
}

func TestClientKeepsAlive(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dev.Heartbeat = 15 * time.Second
		raw, ended := r.dial(t.Context())
		c := New(raw)
		c.Start()
		c.Start()
		pass(time.Hour)
		select {
		case <-c.Done():
			t.Fatalf("ended: %v", c.Err())
		case err := <-ended:
			t.Fatalf("Serve = %v", err)
		default:
		}
		if c.Err() != nil {
			t.Errorf("Err = %v", c.Err())
		}
		c.Close()
		c.Close()
		if c.next != 45*time.Second {
			t.Errorf("waits %v for a message", c.next)
		}
		r.wantEnd(ended, nil, 0)
		if err := c.Err(); !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Err = %v", err)
		}
	})
}

func TestSleepyTime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		raw, ended := r.dial(t.Context())
		c := New(raw)
		defer c.Close()
		second, secondEnded := r.dial(t.Context())
		defer second.Close()
		running := make(chan error, 1)
		go func() { running <- c.Run(t.Context()) }()
		pass(35 * time.Second)
		r.phone.Power.Do(power.Restart) // a restart is not sleep
		synctest.Wait()
		select {
		case err := <-running:
			t.Fatalf("Run = %v", err)
		default:
		}
		again, againEnded := r.dial(t.Context())
		defer again.Close()
		synctest.Wait()
		r.phone.Power.Do(power.Sleep)
		err := <-running
		if !errors.Is(err, ErrSleep) {
			t.Errorf("Run: %v, want ErrSleep", err)
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("Run: %v, want io.EOF", err)
		}
		for _, e := range []<-chan error{ended, againEnded} {
			if err := <-e; err != nil {
				t.Errorf("Serve = %v", err)
			}
		}
		if err := <-secondEnded; !errors.Is(err, ErrMissed) { // ended before
			t.Errorf("Serve = %v", err)
		}
		r.phone.Power.Do(power.Sleep) // no connection is left
	})
}

func TestSilentDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe()
		defer d.Close()
		cl := New(c)
		defer cl.Close()
		if err := link.NewPlistConn(d).Send(t.Context(),
			marco{Command: cmdMarco, Interval: 12}); err != nil {
			t.Fatal(err)
		}
		b, err := cl.Beat(t.Context())
		if err != nil {
			t.Errorf("Beat: %v", err)
		}
		if want := (Beat{Interval: 12 * time.Second}); b != want {
			t.Errorf("Beat = %v, want %v", b, want)
		}
		start := time.Now()
		err = cl.Run(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v, want DeadlineExceeded", err)
		}
		if passed := time.Since(start); passed != 36*time.Second {
			t.Errorf("Run took %v, want 36s", passed)
		}
	})
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	run := (*Client).Run
	suite.Fails(t, "end", "", run, io.EOF)
	suite.Fails(t, "half", "\x00\x00\x00\x09<", run, io.ErrUnexpectedEOF)
	suite.Fails(t, "no plist", "\x00\x00\x00\x02hi", run, io.EOF)
	suite.Fails(t, "another command",
		frame("<dict><key>Command</key><string>Polo</string></dict>"), run, io.EOF)
	suite.Fails(t, "absurd interval", frame(absurd), run, io.EOF)
}

// absurd has an interval that is longer than maxInterval.
const absurd = "<dict><key>Command</key><string>Marco</string>" +
	"<key>Interval</key><integer>18446744073709551615</integer></dict>"

func frame(s string) string {
	return string(link.AppendFrame(nil, []byte("<plist>"+s+"</plist>")))
}

func TestAbsurdInterval(t *testing.T) {
	t.Parallel()
	c := New(servicetest.Peer(t, []byte(frame(absurd))))
	defer c.Close()
	b, err := c.Beat(t.Context())
	if err != nil {
		t.Errorf("Beat: %v", err)
	}
	if b.Interval != 0 {
		t.Errorf("Beat = %+v, want no interval", b)
	}
	if c.next != firstBeat {
		t.Errorf("waits %v for the next message, want %v", c.next, firstBeat)
	}
}

// TestBadMessages sends an unexpected message between two Marco messages. The client
// answers both.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]string{
		"no plist":        "hi",
		"empty":           "",
		"list":            "<plist><array/></plist>",
		"no command":      "<plist><dict/></plist>",
		"another command": "<plist><dict><key>Command</key><string>Polo</string></dict></plist>",
		"wrong type":      "<plist><dict><key>Command</key><integer>1</integer></dict></plist>",
	} {
		c, d := linktest.Pipe()
		cl := New(c)
		peer := link.NewPlistConn(d)
		go func() {
			_ = peer.Send(context.Background(), marco{Command: cmdMarco, Interval: 10})
			_, _ = d.Write(link.AppendFrame(nil, []byte(odd)))
			_ = peer.Send(context.Background(), marco{Command: cmdMarco, Interval: 20})
		}()
		for _, want := range []time.Duration{10 * time.Second, 20 * time.Second} {
			b, err := cl.Beat(t.Context())
			if err != nil {
				t.Errorf("%s: Beat: %v", name, err)
			}
			if b.Interval != want {
				t.Errorf("%s: Beat = %v, want %v", name, b.Interval, want)
			}
		}
		if n := cl.Malformed(); n != 1 {
			t.Errorf("%s: %d malformed messages, want 1", name, n)
		}
		cl.Close()
		d.Close()
	}
}

func TestContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		_, ended := r.dial(ctx)
		synctest.Wait()
		cancel()
		r.wantEnd(ended, context.Canceled, 0)
	})
}

// FuzzDevice sends arbitrary data instead of an answer. The device side ends when the
// host disconnects or at its own time limit.
func FuzzDevice(f *testing.F) {
	suite.FuzzDevice(f,
		"<plist><dict><key>Command</key><string>Polo</string></dict></plist>",
		"<plist><dict><key>Command</key><integer>1</integer></dict></plist>",
	)
}

func FuzzClient(f *testing.F) {
	suite.FuzzClient(f,
		"<plist><dict><key>Command</key><string>Marco</string><key>Interval</key><integer>-1</integer></dict></plist>",
	)
}

func BenchmarkBeat(b *testing.B) {
	m, err := plist.Encode(marco{cmdMarco, 10, true}, plist.XML)
	if err != nil {
		b.Fatal(err)
	}
	frame := link.AppendFrame(nil, m)
	c, d := link.Pipe()
	cl := New(c)
	peer := link.NewPlistConn(d)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := cl.Beat(context.Background()); err != nil {
			b.Fatal(err)
		}
		if _, err := peer.RecvBytes(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	cl.Close()
	d.Close()
}
