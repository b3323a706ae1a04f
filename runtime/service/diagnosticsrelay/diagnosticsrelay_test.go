package diagnosticsrelay

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
)

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	dev    *Device
	power  []power.Action
	client *Client
	conn   *link.PlistConn // the same connection, for requests the client does not make
	ended  chan error
}

func newRig(t *testing.T, profile string) *rig {
	p, err := phone.New(phone.Options{Profile: profile, LogRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, phone: p, dev: &Device{Phone: p}, ended: make(chan error, 1)}
	p.Power.OnAction(func(a power.Action) { r.power = append(r.power, a) })
	c, d := link.Pipe()
	go func() {
		err := r.dev.Serve(t.Context(), d)
		d.Close()
		r.ended <- err
	}()
	r.client, r.conn = New(c), link.NewPlistConn(c)
	t.Cleanup(func() { r.client.Close() })
	return r
}

// ask makes one exchange and returns the whole answer.
func (r *rig) ask(req plist.Dict) plist.Dict {
	r.t.Helper()
	var d plist.Dict
	if err := r.conn.Call(r.t.Context(), req, &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

func bubble(t *testing.T, profile string, f func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, profile)) })
}

func TestGestalt(t *testing.T) {
	bubble(t, "ios16", func(t *testing.T, r *rig) {
		got, err := r.client.MobileGestalt(t.Context(), "ProductType", "NoSuchKey")
		if want := (plist.Dict{"ProductType": r.phone.Identity.ProductType}); err != nil ||
			!reflect.DeepEqual(got, want) {
			t.Errorf("MobileGestalt = %v, %v, want %v", got, err, want)
		}
		d := r.ask(
			plist.Dict{"Request": "MobileGestalt", "MobileGestaltKeys": []any{"ProductType"}},
		)
		want := plist.Dict{"Status": "Success", "Diagnostics": plist.Dict{
			"MobileGestalt": plist.Dict{"Status": "Success", "ProductType": r.phone.Identity.ProductType},
		}}
		if !reflect.DeepEqual(d, want) {
			t.Errorf("answer %v, want %v", d, want)
		}
		for _, keys := range []any{"ProductType", []any{int64(1)}} {
			d := r.ask(plist.Dict{"Request": "MobileGestalt", "MobileGestaltKeys": keys})
			inner, _ := d.Dict("Diagnostics")
			if g, _ := inner.Dict("MobileGestalt"); d["Status"] != "Failure" ||
				g["Status"] != "Failure" {
				t.Errorf("keys %v: answer %v", keys, d)
			}
		}
	})
}

func TestGestaltDeprecated(t *testing.T) {
	bubble(t, "ios18", func(t *testing.T, r *rig) {
		got, err := r.client.MobileGestalt(t.Context(), "ProductType")
		if got != nil || !errors.Is(err, ErrGestaltDeprecated) ||
			!errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("MobileGestalt = %v, %v", got, err)
		}
		want := plist.Dict{"Status": "Success", "Diagnostics": plist.Dict{
			"MobileGestalt": plist.Dict{"Status": "MobileGestaltDeprecated"},
		}}
		if d := r.ask(plist.Dict{"Request": "MobileGestalt"}); !reflect.DeepEqual(d, want) {
			t.Errorf("answer %v, want %v", d, want)
		}
	})
}

func TestGroups(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		all, err := r.client.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, get := range map[string]func(context.Context) (plist.Dict, error){
			"WiFi": r.client.WiFi, "GasGauge": r.client.GasGauge, "NAND": r.client.NAND,
			"HDMI": r.client.HDMI,
		} {
			model, _ := r.phone.Diagnostics.Answer(name)
			if got, _ := all.Dict(name); !reflect.DeepEqual(got, model) || len(model) < 2 {
				t.Errorf("All has %s = %v, want %v", name, got, model)
			}
			delete(model, "Status")
			if got, err := get(t.Context()); err != nil || !reflect.DeepEqual(got, model) {
				t.Errorf("%s = %v, %v, want %v", name, got, err, model)
			}
		}
	})
}

func TestRegistry(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		r.phone.Power.SetBattery(41, true)
		b, err := r.client.Battery(t.Context())
		if err != nil || b.Percent != 41 || !b.Charging || b.DesignCapacity == 0 ||
			b.Temperature < 1 || b.Temperature > 60 {
			t.Errorf("Battery = %+v, %v", b, err)
		}
		_, err = r.client.IORegistry(t.Context(), Query{Name: "NoSuchThing"})
		if !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unknown entry: %v", err)
		}
		if want := `diagnosticsrelay: ioregistry "NoSuchThing": no such entry`; err.Error() != want {
			t.Errorf("text %q, want %q", err, want)
		}
		if d := r.ask(
			plist.Dict{"Request": "IORegistry", "EntryName": "NoSuchThing"},
		); !reflect.DeepEqual(d, plist.Dict{"Status": "Success"}) {
			t.Errorf("no match answers %v", d)
		}
		// idevicediagnostics sends empty strings for what it does not filter.
		with := r.ask(plist.Dict{
			"Request": "IORegistry", "CurrentPlane": "", "EntryName": "",
			"EntryClass": "IOPMPowerSource",
		})
		without := r.ask(plist.Dict{"Request": "IORegistry", "EntryClass": "IOPMPowerSource"})
		if !reflect.DeepEqual(with, without) {
			t.Errorf("empty strings change the answer: %v, %v", with, without)
		}
		if tree, err := r.client.IORegistry(t.Context(),
			Query{Plane: "IODeviceTree"}); err != nil || len(tree) == 0 {
			t.Errorf("plane = %v, %v", tree, err)
		}
		if d := r.ask(
			plist.Dict{"Request": "IORegistry", "EntryClass": int64(4)},
		); d["Status"] != "Failure" {
			t.Errorf("class that is a number: %v", d)
		}
	})
}

func TestUnknown(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		for _, req := range []plist.Dict{{"Request": "Fly"}, {}, {"Request": int64(1)}} {
			if d := r.ask(req); !reflect.DeepEqual(d, plist.Dict{"Status": "UnknownRequest"}) {
				t.Errorf("%v answers %v", req, d)
			}
		}
	})
}

func TestPower(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(ctx context.Context, c *Client) error
		want []power.Action
		late bool // only after the connection's end
	}{
		{"restart and goodbye", func(ctx context.Context, c *Client) error {
			return errors.Join(c.Restart(ctx, PowerOptions{}), c.Goodbye(ctx))
		}, []power.Action{power.Restart}, false},
		{"restart without goodbye", func(ctx context.Context, c *Client) error {
			return c.Restart(ctx, PowerOptions{DisplayPass: true})
		}, []power.Action{power.Restart}, false},
		{"restart waits for the end", func(ctx context.Context, c *Client) error {
			return c.Restart(ctx, PowerOptions{WaitForDisconnect: true})
		}, []power.Action{power.Restart}, true},
		{"shutdown waits, questions go on", func(ctx context.Context, c *Client) error {
			_, err := c.Battery(ctx)
			return errors.Join(c.Shutdown(ctx, PowerOptions{WaitForDisconnect: true}), err)
		}, []power.Action{power.Shutdown}, true},
		{
			"sleep", func(ctx context.Context, c *Client) error { return c.Sleep(ctx) },
			[]power.Action{power.Sleep}, false,
		},
		{
			"goodbye", func(ctx context.Context, c *Client) error { return c.Goodbye(ctx) }, nil,
			false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, "", func(t *testing.T, r *rig) {
				if err := tc.do(t.Context(), r.client); err != nil {
					t.Fatal(err)
				}
				timer := time.NewTimer(time.Minute)
				<-timer.C
				synctest.Wait()
				if early := slices.Equal(r.power, tc.want); tc.late == early ||
					tc.late && len(r.power) > 0 {
					t.Errorf("before the end: %v", r.power)
				}
				r.client.Close()
				if err := <-r.ended; err != nil {
					t.Errorf("Serve = %v", err)
				}
				if !slices.Equal(r.power, tc.want) {
					t.Errorf("power actions %v, want %v", r.power, tc.want)
				}
			})
		})
	}
}

// TestDetachCancelsPower: a phone that is unplugged half-way does nothing.
func TestDetachCancelsPower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := phone.New(phone.Options{LogRate: -1})
		if err != nil {
			t.Fatal(err)
		}
		p.Power.OnAction(func(a power.Action) { t.Errorf("power %v", a) })
		ctx, cancel := context.WithCancel(t.Context())
		c, d := link.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- (&Device{Phone: p}).Serve(ctx, d) }()
		if err := New(c).Restart(t.Context(), PowerOptions{WaitForDisconnect: true}); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestDeviceBrokenInput(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		fails    bool
	}{
		{"leaves", "", false},
		{"half a length", "\x00\x00", true},
		{"half a frame", "\x00\x00\x00\x09<pl", true},
		{"huge", "\x7f\x00\x00\x00", true},
		{"no plist", "\x00\x00\x00\x02hi", true},
		{"array", "\x00\x00\x00\x17<plist><array/></plist>", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, "", func(t *testing.T, r *rig) {
				if _, err := io.WriteString(r.conn, tc.in); err != nil {
					t.Fatal(err)
				}
				_ = r.conn.CloseWrite()
				var e *Error
				if err := <-r.ended; (err != nil) != tc.fails || err != nil && !errors.As(err, &e) {
					t.Errorf("Serve = %v", err)
				}
			})
		})
	}
}

func TestClientBrokenAnswers(t *testing.T) {
	t.Parallel()
	frame := func(s string) string {
		return string(link.AppendFrame(nil, []byte("<plist><dict>"+s+"</dict></plist>")))
	}
	ok := "<key>Status</key><string>Success</string>"
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.ErrUnexpectedEOF},
		{"half", "\x00\x00\x00\x09<", io.ErrUnexpectedEOF},
		{"no plist", "\x00\x00\x00\x02hi", plist.ErrFormat},
		{"no status", frame(""), ErrProtocol},
		{"failure", frame("<key>Status</key><string>Failure</string>"), ErrFailure},
		{"no diagnostics", frame(ok), ErrProtocol},
		{"group failed", frame(
			ok +
				"<key>Diagnostics</key><dict><key>WiFi</key><dict><key>Status</key><string>Failure</string></dict></dict>",
		), ErrFailure},
	} {
		c, d := link.Pipe()
		go func() { _, _ = io.WriteString(d, tc.in); _ = link.CloseWrite(d) }()
		cl := New(c)
		got, err := cl.WiFi(t.Context())
		var e *Error
		if got != nil || !errors.Is(err, tc.want) || !errors.As(err, &e) ||
			!strings.HasPrefix(err.Error(), "diagnosticsrelay: ") {
			t.Errorf("%s: WiFi = %v, %v, want %v", tc.name, got, err, tc.want)
		}
		cl.Close()
		d.Close()
	}
}

func TestDeadlineBreaksStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := link.Pipe() // nobody answers
		defer d.Close()
		cl := New(c)
		start := time.Now()
		if _, err := cl.All(context.Background()); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(start) != callTimeout {
			t.Errorf("All = %v after %v", err, time.Since(start))
		}
		if _, err := cl.All(t.Context()); !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "out of step") {
			t.Errorf("second call = %v", err)
		}
		cl.Close()
		if err := cl.Close(); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		errs := make(chan error)
		for range 20 {
			go func() {
				b, err := r.client.Battery(t.Context())
				if err == nil && b.Raw == nil {
					err = errors.New("no battery")
				}
				errs <- err
			}()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestParseBattery(t *testing.T) {
	t.Parallel()
	got := parseBattery(plist.Dict{
		"InstantAmperage": uint64(
			1<<64 - 350,
		), "Temperature": int64(2950), "Voltage": int64(4100), "CurrentCapacity": int64(80),
		"UpdateTime": int64(1700000000), "Serial": "F5D", "IsCharging": true, "CycleCount": "many",
	})
	got.Raw = nil
	want := Battery{
		Milliamperes: -350, Temperature: 29.5, Millivolts: 4100, Percent: 80,
		Updated: time.Unix(1700000000, 0).UTC(), Serial: "F5D", Charging: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parseBattery = %+v, want %+v", got, want)
	}
}

func FuzzDevice(f *testing.F) {
	f.Add([]byte(
		"<plist><dict><key>Request</key><string>IORegistry</string><key>EntryClass</key><string>x</string></dict></plist>",
	))
	f.Add([]byte(
		"<plist><dict><key>Request</key><string>MobileGestalt</string><key>MobileGestaltKeys</key><array><true/></array></dict></plist>",
	))
	p, err := phone.New(phone.Options{Profile: "ios16", LogRate: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, d := link.Pipe()
		defer c.Close()
		go func() {
			_, _ = c.Write(link.AppendFrame(nil, b))
			_ = link.CloseWrite(c)
			_, _ = io.Copy(io.Discard, c)
		}()
		_ = (&Device{Phone: p}).Serve(t.Context(), d)
		d.Close()
	})
}

func FuzzClient(f *testing.F) {
	f.Add([]byte(
		"<plist><dict><key>Status</key><string>Success</string><key>Diagnostics</key><dict/></dict></plist>",
	))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, call := range []func(*Client) (any, error){
			func(c *Client) (any, error) { v, err := c.MobileGestalt(t.Context()); return v, err },
			func(c *Client) (any, error) { v, err := c.Battery(t.Context()); return v, err },
			func(c *Client) (any, error) { v, err := c.All(t.Context()); return v, err },
		} {
			c, d := link.Pipe()
			go func() { _, _ = d.Write(link.AppendFrame(nil, b)); _ = link.CloseWrite(d) }()
			if v, err := call(New(c)); err == nil && reflect.ValueOf(v).IsNil() {
				t.Error("neither value nor error")
			}
			c.Close()
			d.Close()
		}
	})
}

func BenchmarkBattery(b *testing.B) {
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	c, d := link.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- (&Device{Phone: p}).Serve(context.Background(), d) }()
	cl := New(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cl.Battery(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	cl.Close()
	if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
		b.Fatal(err)
	}
}
