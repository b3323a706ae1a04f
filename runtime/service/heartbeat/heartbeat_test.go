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
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
)

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	dev    *Device
	missed int
}

func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := phone.New(phone.Options{LogRate: -1})
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, phone: p}
		r.dev = &Device{Phone: p, OnMissed: func() { r.missed++ }}
		f(t, r)
	})
}

func (r *rig) dial(ctx context.Context) (net.Conn, <-chan error) {
	c, d := link.Pipe()
	done := make(chan error, 1)
	go func() {
		err := r.dev.Serve(ctx, d)
		d.Close()
		done <- err
	}()
	r.t.Cleanup(func() { c.Close() })
	return c, done
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
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %v, %v, want %v", got, err, want)
			}
			if at := time.Since(start); at != time.Duration(i)*10*time.Second {
				t.Errorf("message %d came after %v", i, at)
			}
			if err := c.Send(t.Context(), plist.Dict{"Command": "Polo"}); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if err := <-ended; err != nil || r.missed != 0 {
			t.Errorf("Serve = %v, missed %d", err, r.missed)
		}
	})
}

func TestMissed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		polos int // answers before silence
		noise bool
		after time.Duration
	}{
		{"never answers", 0, false, 20 * time.Second},
		{"stops answering", 2, false, 40 * time.Second}, // the third, at 20 s, is the first without
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
				if err := <-ended; !errors.Is(err, ErrMissed) || r.missed != 1 ||
					time.Since(start) != tc.after {
					t.Errorf("Serve = %v after %v, want ErrMissed after %v; missed %d", err,
						time.Since(start), tc.after, r.missed)
				}
			})
		})
	}
}

func TestClientKeepsAlive(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dev.Interval = 15 * time.Second
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
		if err := <-ended; err != nil || r.missed != 0 {
			t.Errorf("Serve = %v, missed %d", err, r.missed)
		}
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
		r.phone.Power.Do(power.Restart) // is no sleep
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
		if err := <-running; !errors.Is(err, ErrSleep) || !errors.Is(err, io.EOF) {
			t.Errorf("Run = %v, want ErrSleep", err)
		}
		for _, e := range []<-chan error{ended, againEnded} {
			if err := <-e; err != nil {
				t.Errorf("Serve = %v", err)
			}
		}
		if err := <-secondEnded; !errors.Is(err, ErrMissed) { // never answered, ended before
			t.Errorf("Serve = %v", err)
		}
		r.phone.Power.Do(power.Sleep) // nobody is left to tell
	})
}

func TestSilentDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := link.Pipe()
		defer d.Close()
		cl := New(c)
		defer cl.Close()
		if err := link.NewPlistConn(d).Send(t.Context(),
			marco{Command: cmdMarco, Interval: 12}); err != nil {
			t.Fatal(err)
		}
		b, err := cl.Beat(t.Context())
		if want := (Beat{Interval: 12 * time.Second}); err != nil || b != want {
			t.Errorf("Beat = %v, %v, want %v", b, err, want)
		}
		start := time.Now()
		if err := cl.Run(t.Context()); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(start) != 36*time.Second {
			t.Errorf("Run = %v after %v", err, time.Since(start))
		}
	})
}

func TestClientHostile(t *testing.T) {
	t.Parallel()
	frame := func(s string) string {
		return string(link.AppendFrame(nil, []byte("<plist>"+s+"</plist>")))
	}
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"end", "", io.EOF},
		{"half", "\x00\x00\x00\x09<", io.ErrUnexpectedEOF},
		{"no plist", "\x00\x00\x00\x02hi", io.EOF},
		{"another command", frame("<dict><key>Command</key><string>Polo</string></dict>"), io.EOF},
		{"absurd interval", frame(
			"<dict><key>Command</key><string>Marco</string><key>Interval</key><integer>18446744073709551615</integer></dict>",
		), io.EOF},
	} {
		c, d := link.Pipe()
		go func() { _, _ = io.WriteString(d, tc.in); _ = link.CloseWrite(d) }()
		cl := New(c)
		if err := cl.Run(t.Context()); !errors.Is(err, tc.want) || cl.next != firstBeat {
			t.Errorf("%s: Run = %v, next %v, want %v", tc.name, err, cl.next, tc.want)
		}
		cl.Close()
		d.Close()
	}
}

// TestBadMessages sends something odd between two questions: both are answered.
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
		c, d := link.Pipe()
		cl := New(c)
		peer := link.NewPlistConn(d)
		go func() {
			_ = peer.Send(context.Background(), marco{Command: cmdMarco, Interval: 10})
			_, _ = d.Write(link.AppendFrame(nil, []byte(odd)))
			_ = peer.Send(context.Background(), marco{Command: cmdMarco, Interval: 20})
		}()
		for _, want := range []time.Duration{10 * time.Second, 20 * time.Second} {
			b, err := cl.Beat(t.Context())
			if err != nil || b.Interval != want {
				t.Errorf("%s: Beat = %+v, %v, want %v", name, b, err, want)
			}
		}
		if n := cl.Malformed(); n != 1 {
			t.Errorf("%s: %d malformed messages, want 1", name, n)
		}
		cl.Close()
		d.Close()
	}
}

func TestDeviceHostile(t *testing.T) {
	for _, in := range []string{
		"\x00\x00", "\x00\x00\x00\x09<", "\x00\x00\x00\x02hi", "\x00\xff\x00\x00",
	} {
		t.Run(fmt.Sprintf("%q", in), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				c, ended := r.dial(t.Context())
				if _, err := io.WriteString(c, in); err != nil {
					t.Fatal(err)
				}
				if err := link.CloseWrite(c); err != nil {
					t.Fatal(err)
				}
				var e *Error
				if err := <-ended; !errors.As(err, &e) || r.missed != 0 {
					t.Errorf("Serve = %v, missed %d", err, r.missed)
				}
			})
		})
	}
}

func TestContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		_, ended := r.dial(ctx)
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || r.missed != 0 {
			t.Errorf("Serve = %v, missed %d", err, r.missed)
		}
	})
}

// FuzzDevice lets a host say anything instead of its answer: the device side ends when
// the host does, or by its own time limit.
func FuzzDevice(f *testing.F) {
	f.Add(link.AppendFrame(nil,
		[]byte("<plist><dict><key>Command</key><string>Polo</string></dict></plist>")))
	f.Add(link.AppendFrame(nil,
		[]byte("<plist><dict><key>Command</key><integer>1</integer></dict></plist>")))
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Typed[*Error](t, "Serve",
			fuzztest.Device(t, "heartbeat", link.Pipe, b, (&Device{Phone: p}).Serve))
	})
}

func FuzzClient(f *testing.F) {
	f.Add([]byte(
		"<plist><dict><key>Command</key><string>Marco</string><key>Interval</key><integer>-1</integer></dict></plist>",
	))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, d := link.Pipe()
		_, _ = d.Write(link.AppendFrame(nil, b[:min(len(b), 1<<15)]))
		_ = link.CloseWrite(d)
		cl := New(c)
		if err := cl.Run(t.Context()); err == nil {
			t.Error("Run = nil")
		}
		if cl.next <= 0 {
			t.Errorf("next = %v", cl.next)
		}
		cl.Close()
		d.Close()
	})
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
