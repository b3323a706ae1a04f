package virtual

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/service/crashreportmover"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/service/housearrest"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/mobileimagemounter"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// addFrames adds what hosts and devices say to each other.
func addFrames(f *testing.F) {
	dict := func(d plist.Dict) []byte {
		b, err := plist.Encode(d, plist.Binary)
		if err != nil {
			f.Fatal(err)
		}
		return link.AppendFrame(nil, b)
	}
	for _, seed := range [][]byte{
		dict(plist.Dict{"Request": "GetValue", "Key": "a\x01"}),
		dict(plist.Dict{"Request": "QueryType"}),
		dict(plist.Dict{"Request": "PidList"}),
		dict(plist.Dict{"Request": "StartActivity", "Pid": int64(-1)}),
		dict(plist.Dict{"Request": "All"}),
		dict(plist.Dict{"Command": "Browse", "ClientOptions": plist.Dict{}}),
		dict(plist.Dict{"Command": "LookupImage"}),
		dict(plist.Dict{"Command": "VendContainer", "Identifier": "x\x02"}),
		append(dict(plist.Dict{"Command": "ObserveNotification", "Name": "a\x01"}),
			dict(plist.Dict{"Command": "PostNotification", "Name": "a\x01"})...),
		dict(plist.Dict{"Command": "Polo"}),
		[]byte(
			"CFA6LPAA\x29\x00\x00\x00\x00\x00\x00\x00\x29\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00/",
		),
		[]byte("CDTunnel\x00\x3d{\"type\":\"clientHandshakeRequest\",\"mtu\":16000}"),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
		[]byte("RPPairing\x00\x02{}"),
		dict(plist.Dict{"Request": "GetValue", "Value": plist.Dict{"x": int64(1)}}),
		dict(plist.Dict{"Request": "StartService", "Port": int64(1)}),
		dict(plist.Dict{
			"Status": "Complete", "CurrentList": []any{plist.Dict{"CFBundleIdentifier": "x"}},
		}),
		dict(plist.Dict{
			"Status":      "Success",
			"Diagnostics": plist.Dict{"IORegistry": plist.Dict{"Voltage": int64(1)}},
		}),
		dict(plist.Dict{"Command": "RelayNotification", "Name": "x"}),
		dict(plist.Dict{"Command": "Marco", "Interval": int64(10)}),
		dict(plist.Dict{"EntryList": []any{plist.Dict{"MountPath": "/x"}}}), []byte("ping\x00"),
		[]byte("CDTunnel\x00\x02{}"), []byte("\x01\x00\x00\x00\x02{}\x02\x01\x00\x00\x00x"),
	} {
		f.Add(seed)
	}
}

// FuzzServices lets a host say anything to each service of a device, and to lockdown and
// the list of services. When it has said it, the device answers or closes: no connection
// outlives its host.
func FuzzServices(f *testing.F) {
	addFrames(f)
	m, err := New(Options{Phone: phone.Options{Profile: "ios17", LogRate: -1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { m.Close() })
	sides := map[string]handler{
		"lockdown": m.lockdown.Serve,
		"list": func(ctx context.Context, c net.Conn) error {
			m.serveRSD(ctx, c,
				m.remoteServices)
			return nil
		},
	}
	for i := range m.catalog {
		e := &m.catalog[i]
		sides[e.name.String()] = m.handler(e).Serve
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, serve := range sides {
			_ = fuzztest.Device(t, name, link.Pipe, b, serve)
		}
	})
}

// clientCalls is what hosts ask of each plain service: a call, and whether its error is that
// of its package.
var clientCalls = map[string]func(context.Context, *testing.T, net.Conn){
	"afc": typed[*afc.Error](
		func(ctx context.Context, c net.Conn) error { return afcCalls(ctx, afc.New(c)) },
	),
	"apps": of("installationproxy", appCalls),
	"container": of("housearrest",
		func(ctx context.Context, c net.Conn) error {
			return second(housearrest.New(c).VendContainer(ctx, "x"))
		},
	),
	"diagnostics": of("diagnosticsrelay", func(ctx context.Context, c net.Conn) error {
		d := diagnosticsrelay.New(c)
		return first(
			second(d.MobileGestalt(ctx, "x")),
			second(d.IORegistry(ctx, diagnosticsrelay.Query{})),
			second(d.Battery(ctx)),
			d.Goodbye(ctx),
		)
	}),
	"heartbeat": of("heartbeat",
		func(ctx context.Context, c net.Conn) error { return second(heartbeat.New(c).Beat(ctx)) },
	),
	"image":    of("mobileimagemounter", imageCalls),
	"lockdown": typed[*lockdown.Error](lockdownCalls),
	"notification": of("notificationproxy", func(ctx context.Context, c net.Conn) error {
		n := notificationproxy.New(c)
		defer n.Close()
		return first(n.Observe(ctx, "x"), second(n.Next(ctx)), n.Shutdown(ctx))
	}),
	"crash mover": of("crashreportmover",
		func(ctx context.Context, c net.Conn) error { return crashreportmover.New(c).Flush(ctx) },
	),
	"trace": of("ostracerelay", func(ctx context.Context, c net.Conn) error {
		s, err := ostracerelay.New(c).StartActivity(ctx, ostracerelay.Activity{})
		if err != nil {
			return err
		}
		return second(s.Next(ctx))
	}),
	"syslog": of("syslogrelay",
		func(ctx context.Context, c net.Conn) error { return second(syslogrelay.New(c).Next(ctx)) },
	),
	"instruments": typed[*dvt.Error](func(ctx context.Context, c net.Conn) error {
		s := dvt.New(c, dvt.Options{})
		defer s.Close()
		return first(second(s.Capabilities(ctx)), second(s.Processes(ctx)))
	}),
	"core device": typed[*coredevice.Error](func(ctx context.Context, c net.Conn) error {
		conn, err := coredevice.New(ctx, c, coredevice.Options{})
		if err != nil {
			return err
		}
		defer conn.Close()
		return second(conn.Invoke(ctx, "listprocesses", nil))
	}),
	"tunnel": typed[*tunnel.Error](func(ctx context.Context, c net.Conn) error {
		t, err := tunnel.Open(ctx, c, tunnel.Options{})
		if err == nil {
			t.Close()
		}
		return err
	}),
	"pairing": typed[*remotepair.Error](func(ctx context.Context, c net.Conn) error {
		r, err := remotepair.Connect(
			ctx,
			remotepair.NewStream(c),
			remotepair.Options{Identity: remotepair.NewIdentity("x", nil)},
		)
		if err != nil {
			return err
		}
		defer r.Close()
		return first(r.Verify(ctx))
	}),
}

// of is for services that have no error type of their own.
func of(
	name string, call func(context.Context, net.Conn) error,
) func(context.Context, *testing.T, net.Conn) {
	return func(ctx context.Context, t *testing.T, c net.Conn) {
		err := call(ctx, c)
		var e *service.Error
		if err != nil && (!errors.As(err, &e) || e.Service != name) {
			t.Errorf("call: %v (%T), want an error of %s", err, err, name)
		}
	}
}

func typed[E error](
	call func(context.Context, net.Conn) error,
) func(context.Context, *testing.T, net.Conn) {
	return func(ctx context.Context, t *testing.T, c net.Conn) {
		fuzztest.Typed[E](t, "call",
			call(ctx, c))
	}
}

func second[T any](_ T, err error) error { return err }

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func afcCalls(ctx context.Context, c *afc.Client) error {
	defer c.Close()
	return first(
		second(c.ReadDir(ctx, "/")),
		second(c.Stat(ctx, "/x")),
		second(c.DeviceInfo(ctx)),
		second(c.ReadFile(ctx, "/x")),
		c.RemoveAll(ctx, "/x"),
	)
}

func appCalls(ctx context.Context, c net.Conn) error {
	p := installationproxy.New(c)
	defer p.Close()
	return first(
		second(p.Browse(ctx, installationproxy.Options{})),
		second(p.Lookup(ctx, installationproxy.Options{})),
		second(p.CheckCapabilities(ctx, "x")),
	)
}

func imageCalls(ctx context.Context, c net.Conn) error {
	m := mobileimagemounter.New(c)
	defer m.Close()
	return first(second(m.Images(ctx)), second(m.Lookup(ctx, "Developer")))
}

func lockdownCalls(ctx context.Context, c net.Conn) error {
	l := lockdown.New(c, lockdown.Options{})
	defer l.Close()
	return first(
		second(l.QueryType(ctx)),
		second(l.Get(ctx, "", "x")),
		second(l.Domain(ctx, "")),
		second(l.StartService(ctx, "x", nil)),
		second(
			l.Pair(ctx, plist.Dict{}, lockdown.PairOptions{}),
		),
		l.StartSession(ctx, lockdown.Identity{HostID: "x"}),
	)
}

// FuzzClients lets a device say anything to the client of each service, framed and not.
// Each call ends, and what it fails with is of the type of its package.
func FuzzClients(f *testing.F) {
	addFrames(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, call := range clientCalls {
			for _, said := range [][]byte{b, link.AppendFrame(nil, b)} {
				ctx := fuzztest.Context(t)
				here, there := link.Pipe()
				go fuzztest.Say(there, said)
				call(ctx, t, here)
				here.Close()
				if t.Failed() {
					t.Fatalf("%s: the call does not end with its error", name)
				}
				if err := ctx.Err(); err != nil {
					t.Fatalf("%s: the call does not end: %v", name, err)
				}
			}
		}
	})
}
