package tunneld

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

func nobody(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }

// FuzzRequest sends any request to both APIs. Each request must get one answer, and a
// request that a web page can send must not change anything.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		"GET / HTTP/1.1", "GET /start-tunnel?udid=%00&connection_type=usb HTTP/1.1",
		"GET /cancel?udid=u HTTP/1.1", "GET /tunnels HTTP/1.1",
		"GET /tunnel/..%2f HTTP/1.1", "DELETE /tunnel/u HTTP/1.1",
		"POST /upstream HTTP/1.1\r\nContent-Length: 12\r\n\r\n{\"url\":\"x\"}\n",
		"GET /ready HTTP/1.1\r\nOrigin: http://evil", "PUT /shutdown HTTP/1.0",
	} {
		f.Add([]byte(line + "\r\nHost: 127.0.0.1:49151\r\n\r\n"))
	}
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 49151}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, goios := range []bool{false, true} {
			q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
			if err != nil {
				return
			}
			k := &keeper{
				start: func(context.Context, string, string, string) (Tunnel, error) {
					return Tunnel{}, fs.ErrNotExist
				},
			}
			s := &Server{Manager: k, net: &network{listen: newMesh().listen, dial: nobody}}
			r := s.newRun()
			r.ctx, r.cancel = context.WithCancel(fuzztest.Context(t))
			h := r.guard(at, refusePython, r.pythonAPI())
			if goios {
				h = r.guard(at, refuseGoIOS, r.goiosAPI())
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, q.WithContext(r.ctx))
			if w.Code < 200 || w.Code > 599 {
				t.Errorf("status %d, want 200 to 599", w.Code)
			}
			if q.Header.Get("Origin") != "" && w.Code != http.StatusForbidden {
				t.Errorf("a web page gets status %d", w.Code)
			}
			r.cancel()
			r.wg.Wait()
		}
	})
}

// FuzzClient gives the client any answer over HTTP.
func FuzzClient(f *testing.F) {
	f.Add(
		[]byte(
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"u\":[{\"tunnel-address\":\"fd00::1\",\"tunnel-port\":1}]}",
		),
	)
	f.Add([]byte("HTTP/1.1 500 x\r\nContent-Length: 99999999999\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 301 x\r\nLocation: http://127.0.0.1:1/\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Client{
			Address: "127.0.0.1:49151",
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				here, there := link.Pipe()
				go fuzztest.Say(there, b)
				return here, nil
			},
		}
		_, err := c.List(fuzztest.Context(t))
		fuzztest.Typed[*Error](t, "List", err)
	})
}
