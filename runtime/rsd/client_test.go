package rsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// openDevice returns a device with services of each kind. The escrow bags that it gets
// are sent to bags.
func openDevice(t *testing.T) (*Client, <-chan []byte) {
	t.Helper()
	m, _ := newDevice(t, newPhone(t, "ios18"), TableOptions{Image: true})
	c := dialClient(t, m, Options{EscrowBag: []byte("bag")})
	port := func(name string) uint16 {
		s, ok := c.Find(name)
		if !ok {
			t.Fatalf("%s is not listed", name)
		}
		return s.Port
	}
	hello := handlerFunc(func(ctx context.Context, c net.Conn) error {
		// The service sends this directly after the check-in, for a host that reads too
		// much.
		_, _ = io.WriteString(c, "hello ")
		_, err := io.Copy(c, c)
		return err
	})
	bags := make(chan []byte, 1)
	m.listen(port("com.apple.afc"), &CheckinDevice{Service: "afc", Handler: hello})
	m.listen(port("com.apple.mobilebackup2"), &CheckinDevice{
		Handler: hello,
		Refuse:  func(_ context.Context, escrow []byte) error { bags <- escrow; return nil },
	})
	m.listen(port("com.apple.misagent"), &CheckinDevice{Handler: hello, Refuse: func(
		context.Context, []byte,
	) error {
		return fmt.Errorf("no: %w", ErrPasswordProtected)
	}})
	m.listen(port("com.apple.pcapd"), &CheckinDevice{
		Handler: hello,
		Refuse:  func(context.Context, []byte) error { return errors.New("out of order") },
	})
	m.listen(port("com.apple.instruments.dtservicehub"), hello)
	m.listen(port("com.apple.coredevice.appservice"),
		&remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
			msg, err := c.Receive(ctx)
			if err != nil {
				return err
			}
			return c.Reply(ctx, msg, msg.Body)
		}})
	return c, bags
}

// TestOpen opens a service of each kind.
func TestOpen(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c, bags := openDevice(t)
	for _, n := range []service.Name{
		{Lockdown: "com.apple.afc"},
		{Lockdown: "com.apple.afc", Remote: "com.apple.afc.shim.remote", Checkin: true},
		{Remote: "com.apple.instruments.dtservicehub"},
		{Lockdown: "com.apple.mobilebackup2", Escrow: true},
	} {
		nc, err := c.Open(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, "world")
		_ = link.CloseWrite(nc)
		if got, err := io.ReadAll(nc); err != nil {
			t.Errorf("reading from %s: %v", n, err)
		} else if string(got) != "hello world" {
			t.Errorf("reading from %s has %v, want %v", n, string(got), "hello world")
		}
		nc.Close()
	}
	if bag := <-bags; string(bag) != "bag" {
		t.Errorf("the escrow bag is %q", bag)
	}
	x, err := c.OpenXPC(ctx, "com.apple.coredevice.appservice", remotexpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Call(ctx, xpc.Dict{{Key: "k", Value: true}}); err != nil {
		t.Errorf("Call: %v", err)
	} else if len(got) != 1 {
		t.Errorf("Call has the length %d, want %d", len(got), 1)
	}
	x.Close()

}

// TestOpenRefused covers services that do not exist or refuse the connection.
func TestOpenRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c, _ := openDevice(t)
	for name, want := range map[string]error{
		"com.apple.misagent": fs.ErrPermission, "com.apple.nothing": fs.ErrNotExist,
		"com.apple.pcapd": io.ErrUnexpectedEOF, "com.apple.atc": nil,
	} {
		nc, err := c.Open(ctx, service.Name{Lockdown: name})
		var e *Error
		if nc != nil {
			t.Errorf("%s: Open returns a connection", name)
		}
		if err == nil {
			t.Errorf("%s: Open does not fail", name)
		}
		if want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want an Error", name, err)
		} else if !strings.HasPrefix(e.Service, name) {
			t.Errorf("%s: the error is about %q, want %q", name, e.Service, name)
		}
	}
	_, err := c.Open(ctx, service.Name{Lockdown: "com.apple.misagent"})
	if !errors.Is(err, ErrPasswordProtected) {
		t.Errorf("Open = %v, want %v", err, ErrPasswordProtected)
	}
	want := `rsd: checkin "com.apple.misagent.shim.remote": PasswordProtected`
	if err == nil || err.Error() != want {
		t.Errorf("Open = %v, want %s", err, want)
	}
	if _, err := c.Open(ctx, service.Name{
		Remote: "com.apple.none",
	}); err.Error() != `rsd: open "com.apple.none": service is not listed` {
		t.Errorf("%v", err)
	}
}

// TestCheckinBytes covers the bytes of the request, and each kind of answer.
func TestCheckinBytes(t *testing.T) {
	t.Parallel()
	frame := func(d plist.Dict) string {
		b, err := plist.Encode(d, plist.XML)
		if err != nil {
			t.Fatal(err)
		}
		return string(link.AppendFrame(nil, b))
	}
	first := frame(plist.Dict{"Request": "RSDCheckin"})
	for name, tt := range map[string]struct{ answer, want string }{
		"good": {
			first + frame(plist.Dict{"Request": "StartService", "Service": "x"}) + "surplus", "",
		},
		"refused": {first + frame(plist.Dict{
			"Request": "StartService", "Error": "InvalidService", "ErrorDescription": "why",
		}), "InvalidService (why)"},
		"refused early": {
			frame(plist.Dict{"Request": "RSDCheckin", "Error": "ServiceProhibited"}),
			"ServiceProhibited",
		},
		"error number": {
			first + frame(plist.Dict{"Request": "StartService", "Error": 5}),
			"refused without a reason",
		},
		"other request": {
			frame(plist.Dict{"Request": "QueryType"}), `answer is to "QueryType", not RSDCheckin`,
		},
		"one answer":     {first, "unexpected EOF"},
		"nothing":        {"", "unexpected EOF"},
		"half an answer": {first[:50], "unexpected EOF"},
		"huge": {
			"\x7f\xff\xff\xff", "frame of 2147483647 bytes is over the limit of 1048576",
		},
	} {
		a, b := linktest.Prompt()
		_, _ = io.WriteString(b, tt.answer)
		_ = link.CloseWrite(b)
		err := checkin(context.Background(), a, "x", "imdlua", []byte("bag"))
		var text string
		if err != nil {
			text = strings.TrimPrefix(err.Error(), `rsd: checkin "x": `)
		}
		if text != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if name == "good" {
			if rest, err := io.ReadAll(a); string(rest) != "surplus" {
				t.Errorf("what follows is %q, want surplus", rest)
			} else if err != nil {
				t.Errorf("reading what follows: %v", err)
			}
		}
		got, err := link.NewPlistConn(b).RecvDict(context.Background())
		if want := (plist.Dict{
			"Label": "imdlua", "ProtocolVersion": "2", "Request": "RSDCheckin",
			"EscrowBag": []byte("bag"),
		}); err != nil {
			t.Errorf("receiving the request: %v", err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("the request is %v, want %v", got, want)
		}
		a.Close()
		b.Close()
	}
}

// TestCheckinDevice covers each kind of host.
func TestCheckinDevice(t *testing.T) {
	t.Parallel()
	serve := func(in string) (string, string, error) {
		a, b := linktest.Prompt()
		defer a.Close()
		_, _ = io.WriteString(a, in)
		_ = link.CloseWrite(a)
		var seen bytes.Buffer
		d := &CheckinDevice{Service: "s",
			Handler: handlerFunc(func(_ context.Context, c net.Conn) error {
				_, err := io.Copy(&seen, c)
				_ = link.CloseWrite(c)
				return err
			})}
		err := d.Serve(context.Background(), b)
		b.Close()
		out, _ := io.ReadAll(a)
		return seen.String(), string(out), err
	}
	xml := `<plist version="1.0"><dict><key>Request</key><string>%s</string></dict></plist>`
	request := func(name string) string {
		return string(link.AppendFrame(nil, fmt.Appendf(nil, xml, name)))
	}
	if seen, out, err := serve(request("RSDCheckin") + "rest"); err != nil {
		t.Errorf("Serve: %v", err)
	} else if seen != "rest" {
		t.Errorf("%q follows the check-in, want rest", seen)
	} else if strings.Count(out, "RSDCheckin") != 1 {
		t.Errorf("RSDCheckin is in the answer %q %d times, want once", out,
			strings.Count(out, "RSDCheckin"))
	} else if strings.Count(out, "StartService") != 1 {
		t.Errorf("StartService is in the answer %q %d times, want once", out,
			strings.Count(out, "StartService"))
	}
	dtx := "\x79\x5b\x3d\x1f and more"
	if seen, out, err := serve(dtx); err != nil {
		t.Errorf("DTX without a check-in: %v", err)
	} else if seen != dtx {
		t.Errorf("DTX without a check-in arrives as %q, want %q", seen, dtx)
	} else if out != "" {
		t.Errorf("DTX without a check-in is answered %q", out)
	}
	if _, _, err := serve(""); err != nil {
		t.Errorf("a host that leaves: %v", err)
	}
	for _, bad := range []string{
		"\x00", request("RSDCheckin")[:20], request("QueryType"), "\xff\xff\xff\xffx",
		"\x00\x00\x00\x04junk",
	} {
		var e *Error
		if seen, _, err := serve(bad); !errors.As(err, &e) {
			t.Errorf("%q: Serve = %v, want an Error", bad, err)
		} else if e.Op != "checkin" {
			t.Errorf("%q: the error has the operation %q, want checkin", bad, e.Op)
		} else if e.Service != "s" {
			t.Errorf("%q: the error has the service %q, want s", bad, e.Service)
		} else if seen != "" {
			t.Errorf("%q: the service is started with %q", bad, seen)
		}
	}
}

// TestRefresh checks that a service is listed that was added after Dial.
func TestRefresh(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := newPhone(t, "ios17")
	var mounted bool
	m := newMachine(t)
	m.listen(listPort, &Device{
		Phone: p, Services: func() []Service { return Table(p, TableOptions{Image: mounted}) },
	})
	c := dialClient(t, m, Options{})
	before, _ := c.Find("com.apple.afc")
	if _, ok := c.Find("com.apple.instruments.dtservicehub"); ok {
		t.Error("dtservicehub is listed without an image")
	}
	mounted = true
	old := c.Done()
	if err := c.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	<-old
	if _, ok := c.Find("com.apple.instruments.dtservicehub"); !ok {
		t.Error("dtservicehub is not listed with an image")
	}
	if after, _ := c.Find("com.apple.afc"); after.Port != before.Port {
		t.Errorf("afc moves from %d to %d", before.Port, after.Port)
	}
	if c.Err() != nil {
		t.Errorf("Err = %v", c.Err())
	}
	c.Close()
	if err := c.Refresh(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Refresh after Close = %v", err)
	}
	c.Close()
}

// TestDialFails covers each reason for which there is no list.
func TestDialFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		p := newPhone(t, "ios17")
		say := func(body xpc.Dict) service.Handler {
			return &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
				return c.Send(ctx, body)
			}}
		}
		for name, h := range map[string]service.Handler{
			"nobody listens": nil,
			"another service": handlerFunc(
				func(_ context.Context, c net.Conn) error {
					_, err := io.WriteString(c,
						"SSH-2.0")
					return err
				},
			),
			"hangs up": handlerFunc(func(context.Context, net.Conn) error { return nil }),
			"says nothing": &remotexpc.Device{Handle: func(
				ctx context.Context, c *remotexpc.Conn,
			) error {
				_, err := c.Receive(ctx)
				<-ctx.Done()
				return err
			}},
			"hangs up later": &Device{
				Phone: p, Services: func() []Service { return nil },
				Fault: func(context.Context, string) error { return errors.New("no") },
			},
			"no handshake": say(xpc.Dict{{Key: "MessageType", Value: "Other"}}),
			"half of one":  say(xpc.Dict{{Key: "MessageType", Value: "Handshake"}}),
		} {
			m.listen(listPort, h)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			c, err := Dial(ctx, m.dial, listPort, Options{})
			cancel()
			var e *Error
			if c != nil {
				t.Errorf("%s: %v, want no client", name, c)
			}
			if !errors.As(err, &e) {
				t.Errorf("%s: %v, want an Error", name, err)
			} else if !strings.HasPrefix(err.Error(), "rsd: ") {
				t.Errorf("%s: %q, want the prefix rsd", name, err)
			}
			if name == "says nothing" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want a time-out", name, err)
			}
		}
		m.close()
	})
}

// TestHeartbeat checks that the loss of a silent device is noticed.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, "ios17")
		m, d := newDevice(t, p, TableOptions{})
		beats := make(chan struct{}, 100)
		var silent bool
		var mu sync.Mutex
		d.Fault = func(ctx context.Context, op string) error {
			mu.Lock()
			defer mu.Unlock()
			if op == typeHeartbeat {
				if silent {
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
				}
				beats <- struct{}{}
			}
			return nil
		}
		c := dialClient(t, m, Options{Heartbeat: 10 * time.Second})
		start := time.Now()
		for range 3 {
			<-beats
		}
		if since := time.Since(start); since != 30*time.Second {
			t.Errorf("three heartbeats in %v", since)
		}
		mu.Lock()
		silent = true
		mu.Unlock()
		<-c.Done()
		if since := time.Since(start); since != 50*time.Second {
			t.Errorf("the device is lost after %v", since)
		}
		if err := c.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Err = %v", err)
		}
		c.Close()
		m.close()
	})
}

// TestHeartbeatUnknown checks that a device without heartbeats is not taken for lost.
func TestHeartbeatUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.listen(listPort, &remotexpc.Device{Handle: func(
			ctx context.Context, c *remotexpc.Conn,
		) error {
			if err := c.Send(ctx, xpc.Dict{
				{Key: "MessageType", Value: "Handshake"}, {Key: "Properties", Value: xpc.Dict{}},
				{Key: "Services", Value: xpc.Dict{}},
			}); err != nil {
				return err
			}
			for {
				if _, err := c.Receive(ctx); err != nil {
					return err
				}
			}
		}})
		c := dialClient(t, m, Options{Heartbeat: time.Second})
		select {
		case <-c.Done():
			t.Errorf("the device is lost: %v", c.Err())
		case <-time.After(time.Hour):
		}
		m.close() // and now it is
		<-c.Done()
		if err := c.Err(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Err = %v", err)
		}
		c.Close()
	})
}

// FuzzDevice sends any bytes to the device side.
func FuzzDevice(f *testing.F) {
	f.Add([]byte(
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x00\x01",
	))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	p := newPhone(f, "ios18")
	d := &Device{
		Phone: p, Services: func() []Service { return Table(p, TableOptions{Image: true}) },
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Typed[*Error](t, "Serve", fuzztest.Device(t, "list", link.Pipe, b, d.Serve))
	})
}

// FuzzList answers with any message in place of the list, and with any bytes.
func FuzzList(f *testing.F) {
	p := newPhone(f, "ios18")
	d := &Device{
		Phone: p, Services: func() []Service { return Table(p, TableOptions{Image: true}) },
	}
	for _, body := range []xpc.Dict{d.handshake(), hostHandshake(xpc.UUID{}), {}} {
		b, err := xpc.Append(nil, &xpc.Message{Flags: xpc.FlagsOneWay, Body: body})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := fuzztest.Context(t)
		for _, serve := range []func(net.Conn){
			func(c net.Conn) { fuzztest.Say(c, b) },
			func(c net.Conn) {
				defer c.Close()
				x := &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
					if m, _, err := xpc.Decode(b); err == nil && m.Body != nil {
						return c.Send(ctx, m.Body)
					}
					return nil
				}}
				_ = x.Serve(ctx, c)
			},
		} {
			c, err := Dial(ctx, func(context.Context, uint16) (net.Conn, error) {
				here, there := link.Pipe()
				go serve(there)
				return here, nil
			}, 1, Options{})
			if fuzztest.Typed[*Error](t, "Dial", err); err == nil {
				c.Close()
			}
			if ctx.Err() != nil {
				t.Fatalf("Dial does not end: %v", err)
			}
		}
	})
}

func FuzzDecodePeer(f *testing.F) {
	p, err := phone.New(phone.Options{})
	if err != nil {
		f.Fatal(err)
	}
	d := &Device{
		Phone: p, Services: func() []Service { return Table(p, TableOptions{Image: true}) },
	}
	for _, body := range []xpc.Dict{d.handshake(), hostHandshake(xpc.UUID{}), heartbeat(1)} {
		b, err := xpc.Append(nil, &xpc.Message{Flags: xpc.FlagsOneWay, Body: body})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _, err := xpc.Decode(b)
		if err != nil {
			return
		}
		peer, err := decodePeer(m.Body)
		if (peer == nil) == (err == nil) {
			t.Fatalf("decodePeer = %v, %v", peer, err)
		}
		if err != nil {
			return
		}
		for name, s := range peer.Services {
			if s.Name != name {
				t.Fatalf("%q has the name %q", name, s.Name)
			} else if s.Port == 0 {
				t.Fatalf("%q has no port", name)
			}
			_ = s.Transport()
		}
	})
}

func FuzzCheckin(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04junk"))
	f.Add([]byte(dtxMagic))
	f.Add(link.AppendFrame(nil, []byte(
		`<plist version="1.0"><dict><key>Request</key><string>RSDCheckin</string><key>EscrowBag</key><data>AAAA</data></dict></plist>`,
	)))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y := link.Pipe()
		defer x.Close()
		defer y.Close()
		go func() {
			_, _ = x.Write(b)
			_ = link.CloseWrite(x)
		}()
		d := &CheckinDevice{Handler: handlerFunc(func(_ context.Context, c net.Conn) error {
			_, err := io.Copy(io.Discard, c)
			return err
		})}
		_ = d.Serve(context.Background(), y)
	})
}

// BenchmarkDial reads a list of full length.
func BenchmarkDial(b *testing.B) {
	m, _ := newDevice(b, newPhone(b, "ios18"), TableOptions{Image: true})
	b.ReportAllocs()
	for b.Loop() {
		c, err := Dial(context.Background(), m.dial, listPort, Options{})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// TestRefreshTogether asks for the list while it is being read. The list must be read
// once more for all who ask, and never by two connections at once.
func TestRefreshTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lists, reading, together atomic.Int32
		release := make(chan struct{})
		d := &Device{Phone: newPhone(t, "ios17"), Services: func() []Service {
			if reading.Add(1) > 1 {
				together.Add(1)
			}
			defer reading.Add(-1)
			n := lists.Add(1)
			if n == 2 {
				<-release
			}
			return []Service{{Name: fmt.Sprint("list ", n), Port: 1}}
		}}
		m := newMachine(t)
		m.listen(listPort, d)
		c := dialClient(t, m, Options{})
		const callers = 5
		results := make(chan error, callers+1)
		go func() { results <- c.Refresh(t.Context()) }()
		synctest.Wait() // it has begun to read
		for range callers {
			go func() { results <- c.Refresh(t.Context()) }()
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Refresh(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Refresh behind another one = %v, want DeadlineExceeded", err)
		}
		close(release)
		for range callers + 1 {
			if err := <-results; err != nil {
				t.Errorf("Refresh: %v", err)
			}
		}
		if _, ok := c.Find("list 3"); !ok {
			t.Errorf("the list is %v, want the third", c.Peer().Services)
		}
		if n := lists.Load(); n != 3 {
			t.Errorf("the list was read %d times, want 3", n)
		}
		if n := together.Load(); n != 0 {
			t.Errorf("the list was read %d times by two connections at once", n)
		}
		c.Close()
		m.close()
	})
}
