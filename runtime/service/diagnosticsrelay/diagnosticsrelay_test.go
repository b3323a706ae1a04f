package diagnosticsrelay

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
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

func newPhone(tb testing.TB, profile string) *phone.Phone {
	tb.Helper()
	p := phonetest.New(tb, phone.Options{Profile: profile})
	return p
}

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		return NewDevice(service.Env{Phone: newPhone(tb, "ios16")})
	},
	Calls: servicetest.Calls[*Client]{
		"gestalt": servicetest.Value(func(c *Client, ctx context.Context) (plist.Dict, error) {
			return c.MobileGestalt(ctx)
		}),
		"registry": servicetest.With((*Client).IORegistry, Query{}),
		"battery":  servicetest.Value((*Client).Battery),
		"all":      servicetest.Value((*Client).All),
		"wifi":     servicetest.Value((*Client).WiFi),
		"restart": func(c *Client, ctx context.Context) error {
			return c.Restart(ctx, PowerOptions{})
		},
		"sleep":   (*Client).Sleep,
		"goodbye": (*Client).Goodbye,
	},
	Typed:  fuzztest.Typed[*service.Error],
	Framed: true,
}

func TestService(t *testing.T) { suite.Test(t) }

type rig struct {
	t      *testing.T
	phone  *phone.Phone
	dev    *Device
	power  []power.Action
	client *Client
	conn   *link.PlistConn // the same connection, for requests that the client does not make
	ended  <-chan error
}

func newRig(t *testing.T, profile string) *rig {
	p := newPhone(t, profile)
	r := &rig{t: t, phone: p, dev: &Device{Env: service.Env{Phone: p}}}
	p.Power.OnAction(func(a power.Action) { r.power = append(r.power, a) })
	c, ended := servicetest.Dial(t.Context(), t, r.dev)
	r.ended = ended
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
		if err != nil {
			t.Errorf("MobileGestalt: %v", err)
		}
		want := plist.Dict{"ProductType": r.phone.Identity.ProductType}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("MobileGestalt = %v, want %v", got, want)
		}
		d := r.ask(
			plist.Dict{"Request": "MobileGestalt", "MobileGestaltKeys": []any{"ProductType"}},
		)
		want = plist.Dict{"Status": "Success", "Diagnostics": plist.Dict{
			"MobileGestalt": plist.Dict{"Status": "Success",
				"ProductType": r.phone.Identity.ProductType},
		}}
		if !reflect.DeepEqual(d, want) {
			t.Errorf("answer %v, want %v", d, want)
		}
		for _, keys := range []any{"ProductType", []any{int64(1)}} {
			d := r.ask(plist.Dict{"Request": "MobileGestalt", "MobileGestaltKeys": keys})
			inner, _ := d.Dict("Diagnostics")
			g, _ := inner.Dict("MobileGestalt")
			if d["Status"] != "Failure" {
				t.Errorf("keys %v: answer %v, want Failure", keys, d)
			}
			if g["Status"] != "Failure" {
				t.Errorf("keys %v: answer %v, want Failure inside", keys, d)
			}
		}
	})
}

func TestGestaltDeprecated(t *testing.T) {
	bubble(t, "ios18", func(t *testing.T, r *rig) {
		got, err := r.client.MobileGestalt(t.Context(), "ProductType")
		if got != nil {
			t.Errorf("MobileGestalt = %v beside an error", got)
		}
		if !errors.Is(err, ErrGestaltDeprecated) {
			t.Errorf("MobileGestalt: %v, want ErrGestaltDeprecated", err)
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("MobileGestalt: %v, want errors.ErrUnsupported", err)
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
			if got, _ := all.Dict(name); !reflect.DeepEqual(got, model) {
				t.Errorf("All has %s = %v, want %v", name, got, model)
			}
			if len(model) < 2 {
				t.Errorf("the phone has %s = %v, want values", name, model)
			}
			delete(model, "Status")
			got, err := get(t.Context())
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !reflect.DeepEqual(got, model) {
				t.Errorf("%s = %v, want %v", name, got, model)
			}
		}
	})
}

func TestRegistry(t *testing.T) {
	bubble(t, "", func(t *testing.T, r *rig) {
		r.phone.Power.SetBattery(41, true)
		b, err := r.client.Battery(t.Context())
		if err != nil {
			t.Fatalf("Battery: %v", err)
		}
		if b.Percent != 41 {
			t.Errorf("the battery has %d percent, want 41", b.Percent)
		}
		if !b.Charging {
			t.Errorf("the battery %+v is not charging", b)
		}
		if b.DesignCapacity == 0 {
			t.Errorf("the battery %+v has no capacity", b)
		}
		if b.Temperature < 1 || b.Temperature > 60 {
			t.Errorf("the battery has %v degrees, want 1 to 60", b.Temperature)
		}
		_, err = r.client.IORegistry(t.Context(), Query{Name: "NoSuchThing"})
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("unknown entry: %v, want ErrNotFound", err)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("unknown entry: %v, want fs.ErrNotExist", err)
		}
		if want := `diagnosticsrelay: ioregistry "NoSuchThing": no such entry`; err.Error() != want {
			t.Errorf("text %q, want %q", err, want)
		}
		if d := r.ask(
			plist.Dict{"Request": "IORegistry", "EntryName": "NoSuchThing"},
		); !reflect.DeepEqual(d, plist.Dict{"Status": "Success"}) {
			t.Errorf("no match answers %v", d)
		}
		// idevicediagnostics sends empty strings for fields that it does not restrict.
		with := r.ask(plist.Dict{
			"Request": "IORegistry", "CurrentPlane": "", "EntryName": "",
			"EntryClass": "IOPMPowerSource",
		})
		without := r.ask(plist.Dict{"Request": "IORegistry", "EntryClass": "IOPMPowerSource"})
		if !reflect.DeepEqual(with, without) {
			t.Errorf("empty strings change the answer: %v, %v", with, without)
		}
		tree, err := r.client.IORegistry(t.Context(), Query{Plane: "IODeviceTree"})
		if err != nil {
			t.Errorf("IORegistry of a plane: %v", err)
		}
		if len(tree) == 0 {
			t.Error("IORegistry of a plane is empty")
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
		late bool // only after the end of the connection
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
				early := slices.Equal(r.power, tc.want)
				if tc.late == early {
					t.Errorf("before the end: %v, want that only at the end: %v", r.power, tc.late)
				}
				if tc.late && len(r.power) > 0 {
					t.Errorf("before the end: %v, want nothing", r.power)
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

// TestDetachCancelsPower checks that a phone that is unplugged does not perform the
// action.
func TestDetachCancelsPower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, "")
		p.Power.OnAction(func(a power.Action) { t.Errorf("power %v", a) })
		ctx, cancel := context.WithCancel(t.Context())
		c, ended := servicetest.Dial(ctx, t, NewDevice(service.Env{Phone: p}))
		if err := New(c).Restart(t.Context(), PowerOptions{WaitForDisconnect: true}); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	frame := func(s string) string {
		return string(link.AppendFrame(nil, []byte("<plist><dict>"+s+"</dict></plist>")))
	}
	const (
		ok     = "<key>Status</key><string>Success</string>"
		failed = "<key>Status</key><string>Failure</string>"
	)
	wifi := servicetest.Value((*Client).WiFi)
	suite.Fails(t, "nothing", "", wifi, io.ErrUnexpectedEOF)
	suite.Fails(t, "half", "\x00\x00\x00\x09<", wifi, io.ErrUnexpectedEOF)
	suite.Fails(t, "no plist", "\x00\x00\x00\x02hi", wifi, plist.ErrFormat)
	suite.Fails(t, "no status", frame(""), wifi, ErrProtocol)
	suite.Fails(t, "failure", frame(failed), wifi, ErrFailure)
	suite.Fails(t, "no diagnostics", frame(ok), wifi, ErrProtocol)
	suite.Fails(t, "group failed", frame(ok+"<key>Diagnostics</key><dict><key>WiFi</key><dict>"+
		failed+"</dict></dict>"), wifi, ErrFailure)
}

func TestDeadlineBreaksStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, d := linktest.Pipe() // the device does not answer
		defer d.Close()
		cl := New(c)
		start := time.Now()
		_, err := cl.All(context.Background())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("All: %v, want DeadlineExceeded", err)
		}
		if passed := time.Since(start); passed != exchanges.Timeout {
			t.Errorf("All took %v, want %v", passed, exchanges.Timeout)
		}
		_, err = cl.All(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second call: %v, want DeadlineExceeded", err)
		} else if !strings.Contains(err.Error(), "out of step") {
			t.Errorf("second call: %v, want out of step", err)
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
	suite.FuzzDevice(f,
		"<plist><dict><key>Request</key><string>IORegistry</string><key>EntryClass</key><string>x</string></dict></plist>",
		"<plist><dict><key>Request</key><string>MobileGestalt</string><key>MobileGestaltKeys</key><array><true/></array></dict></plist>",
	)
}

func FuzzClient(f *testing.F) {
	suite.FuzzClient(f, "<plist><dict><key>Status</key><string>Success</string><key>Diagnostics</key><dict/></dict></plist>")
}

func BenchmarkBattery(b *testing.B) {
	cl := New(servicetest.Conn(b, &Device{Env: service.Env{Phone: newPhone(b, "")}}))
	defer cl.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cl.Battery(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
