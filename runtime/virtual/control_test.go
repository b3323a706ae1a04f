package virtual

import (
	"context"
	"net"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
)

// TestControlCharacters sends text that XML cannot represent to the services that echo
// text. Each service answers this request and the next one.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	m, err := New(Options{Phone: phone.Options{LogRate: -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const text = "a\x01\x1bb"
	for _, c := range []struct {
		name     string
		serve    func(context.Context, net.Conn) error
		requests []plist.Dict
		key      string // of the answer, which holds text
	}{
		{"lockdown", m.lockdown.Serve, []plist.Dict{{"Request": "GetValue", "Key": text}}, "Key"},
		{"notification", notificationproxy.NewDevice(service.Env{Phone: m.phone}).Serve,
			[]plist.Dict{
				{"Command": "ObserveNotification", "Name": text},
				{"Command": "PostNotification", "Name": text},
			}, "Name"},
	} {
		host, device := link.Pipe()
		served := make(chan error, 1)
		go func() { served <- c.serve(context.Background(), device) }()
		conn := &link.PlistConn{Conn: host, Format: plist.Binary}
		for range 2 {
			for _, r := range c.requests {
				if err := conn.Send(fuzztest.Context(t), r); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			answer, err := conn.RecvDict(fuzztest.Context(t))
			if err != nil {
				t.Fatalf("%s: no answer: %v", c.name, err)
			}
			if answer[c.key] != text {
				t.Errorf("%s: %v", c.name, answer)
			}
		}
		host.Close()
		if err := <-served; err != nil {
			t.Errorf("%s: Serve: %v", c.name, err)
		}
	}
}
