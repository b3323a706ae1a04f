package virtual

import (
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/service/housearrest"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/mobileimagemounter"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
)

// TestAnswerFormats checks that each service answers in its own form of property lists, whatever
// form the host uses.
func TestAnswerFormats(t *testing.T) {
	t.Parallel()
	m, err := New(Options{Phone: phone.Options{LogRate: -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	env := service.Env{Phone: m.phone}
	for _, c := range []struct {
		name    string
		device  service.Handler
		request plist.Dict // nil if the device speaks first
		head    int        // bytes before the length
		want    plist.Format
	}{
		{name: "lockdown", device: m.lockdown, request: plist.Dict{"Request": "QueryType"}},
		{name: "heartbeat", device: heartbeat.NewDevice(env)},
		{name: "house_arrest", device: housearrest.NewDevice(env), request: plist.Dict{
			"Command": "VendDocuments", "Identifier": "none",
		}},
		{name: "mobile_image_mounter", device: mobileimagemounter.NewDevice(env),
			request: plist.Dict{"Command": "QueryDeveloperModeStatus"}},
		{name: "notification_proxy", device: notificationproxy.NewDevice(env),
			request: plist.Dict{"Command": "Shutdown"}},
		{name: "installation_proxy", device: installationproxy.NewDevice(env),
			request: plist.Dict{"Command": "LookupArchives"}, want: plist.Binary},
		{name: "os_trace_relay", device: ostracerelay.NewDevice(env),
			request: plist.Dict{"Request": "PidList"}, head: 1, want: plist.Binary},
	} {
		for _, asked := range []plist.Format{plist.XML, plist.Binary} {
			host, device := link.Pipe()
			served := make(chan error, 1)
			ctx, cancel := context.WithCancel(fuzztest.Context(t))
			go func() { served <- c.device.Serve(ctx, device) }()
			if c.request != nil {
				conn := &link.PlistConn{Conn: host, Format: asked}
				if err := conn.Send(ctx, c.request); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			b := make([]byte, c.head+4)
			if _, err := io.ReadFull(host, b); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			b = make([]byte, binary.BigEndian.Uint32(b[c.head:]))
			if _, err := io.ReadFull(host, b); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got, err := plist.FormatOf(b)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if got != c.want {
				t.Errorf("%s: asked in format %v, answers in %v, want %v", c.name, asked, got,
					c.want)
			}
			host.Close()
			cancel()
			<-served
			device.Close()
		}
	}
}
