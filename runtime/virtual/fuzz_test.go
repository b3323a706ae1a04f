package virtual

import (
	"context"
	"net"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
)

// addFrames adds messages of hosts and devices to the corpus.
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

// FuzzServices sends any bytes to each service of a device, to lockdown and to the list of
// services. The device must answer or close the connection, and a connection must end
// when its host disconnects.
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
			m.newInside().serveList(ctx, c)
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
