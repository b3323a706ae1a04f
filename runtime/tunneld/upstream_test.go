package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// other serves a fixed answer as another tunneld.
func (b *bench) other(at string, h http.HandlerFunc) (stop func()) {
	l := b.listener(netip.MustParseAddrPort(at))
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	return func() {
		_ = s.Close()
		<-done
	}
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// TestUpstreamAPI covers the rows of the table of the upstream requests.
func TestUpstreamAPI(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		b.server.Upstreams = []string{"http://127.0.0.1:9"}
	}, func(b *bench) {
		var many strings.Builder
		for n := range maxUpstreams - 2 {
			fmt.Fprintf(&many, "http://127.0.0.1:%d ", n+100)
		}
		for _, tt := range []struct {
			line, body string
			status     int
			want       string
		}{
			{
				"POST /upstream", `{"url":"http://127.0.0.1:50000"}`, 200,
				`{"operation":"add_upstream","url":"http://127.0.0.1:50000","data":true,"message":"upstream http://127.0.0.1:50000 added"}`,
			},
			{
				"POST /upstream", `{"url":"http://127.0.0.1:50000"}`, 200,
				`{"operation":"add_upstream","url":"http://127.0.0.1:50000","data":true,"message":"upstream http://127.0.0.1:50000 added"}`,
			},
			{"GET /upstream", "", 200, `["http://127.0.0.1:50000","http://127.0.0.1:9"]`},
			{
				"DELETE /upstream", `{"url":"http://127.0.0.1:9"}`, 200,
				`{"operation":"remove_upstream","url":"http://127.0.0.1:9","data":true,"message":"upstream http://127.0.0.1:9 removed"}`,
			},
			{
				"DELETE /upstream", `{"url":"http://never"}`, 200,
				`{"operation":"remove_upstream","url":"http://never","data":true,"message":"upstream http://never removed"}`,
			},
			{"GET /upstream", "", 200, `["http://127.0.0.1:50000"]`},
			{"PUT /upstream", `{}`, 405, `{"detail":"Method Not Allowed"}`},
			{
				"POST /upstream", "", 422,
				`{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}`,
			},
			{
				"DELETE /upstream", `{"URL":1}`, 422,
				`{"detail":[{"type":"missing","loc":["body","url"],"msg":"Field required","input":{"URL":1}}]}`,
			},
			{
				"POST /upstream", `{"url":5}`, 422,
				`{"detail":[{"type":"string_type","loc":["body","url"],"msg":"Input should be a valid string","input":5}]}`,
			},
			{
				"POST /upstream", `{"url":null}`, 422,
				`{"detail":[{"type":"string_type","loc":["body","url"],"msg":"Input should be a valid string","input":null}]}`,
			},
			{
				"POST /upstream", `["x"]`, 422,
				`{"detail":[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":["x"]}]}`,
			},
			{
				"POST /upstream", `{"url`, 422,
				`{"detail":[{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error","input":{},"ctx":{"error":"Expecting value"}}]}`,
			},
			{
				"POST /upstream", `{"url":"file:///etc/passwd"}`, 422,
				`{"detail":[{"type":"value_error","loc":["body","url"],"msg":"Value error, upstream \"file:///etc/passwd\": not an http://HOST:PORT","input":"file:///etc/passwd"}]}`,
			},
			{
				"POST /upstream", `{"url":"http://user:pass@x"}`, 422,
				`{"detail":[{"type":"value_error","loc":["body","url"],"msg":"Value error, upstream \"http://user:pass@x\": not an http://HOST:PORT","input":"http://user:pass@x"}]}`,
			},
		} {
			status, got := b.post(pythonAt, tt.line, tt.body)
			wantAnswer(t, tt.line+" "+tt.body, status, got, tt.status, tt.want)
		}
		for n := range maxUpstreams {
			status, _ := b.post(pythonAt, "POST /upstream",
				fmt.Sprintf(`{"url":"http://127.0.0.1:%d"}`, n+1000))
			if want := n < maxUpstreams-1; (status == 200) != want {
				t.Errorf("upstream %d: status %d", n+2, status)
			}
		}
	})
}

// TestUpstreamMerge checks that the tunnels of upstreams are listed after ours, and
// that an upstream that is slow, invalid or gone costs no more than the time-out.
func TestUpstreamMerge(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		for port, h := range map[string]http.HandlerFunc{
			"1001": says(200,
				`{"`+udid+
					`":[{"tunnel-address":"fd00::2","tunnel-port":2,"interface":"two"}],"zz":[{"tunnel-address":"fd00::3","tunnel-port":3,"interface":"three"},{"tunnel-address":"fd00::4","tunnel-port":4,"interface":""}]}`),
			"1002": says(500,
				`{"x":[{"tunnel-address":"fd00::5","tunnel-port":5,"interface":""}]}`),
			"1003": says(200,
				`{"x":[{"tunnel-address":"nowhere","tunnel-port":5,"interface":""}]}`),
			"1004": says(200, `<html>`),
			"1005": func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
			"1006": func(w http.ResponseWriter, q *http.Request) {
				http.Redirect(w, q, "http://127.0.0.1:1001/", http.StatusFound)
			},
			"1007": says(200, strings.Repeat(" ", maxAnswer+1)),
		} {
			defer b.other("127.0.0.1:"+port, h)()
			b.post(pythonAt, "POST /upstream", `{"url":"http://127.0.0.1:`+port+`/"}`)
		}
		b.post(pythonAt, "POST /upstream",
			`{"url":"http://127.0.0.1:1008"}`) // nothing listens there
		begin := time.Now()
		_, body := b.get(pythonAt, "GET /")
		if took := time.Since(begin); took != upstreamTimeout {
			t.Errorf("GET / takes %v, want %v", took, upstreamTimeout)
		}
		want := `{"` + udid + `":[{"tunnel-address":"` + aliasOf(udid,
			0).String() + `","tunnel-port":58034,"interface":"usbmux-` + udid + `-USB"},` +
			`{"tunnel-address":"fd00::2","tunnel-port":2,"interface":"two"}],` +
			`"zz":[{"tunnel-address":"fd00::3","tunnel-port":3,"interface":"three"},{"tunnel-address":"fd00::4","tunnel-port":4,"interface":""}]}`
		if body != want {
			t.Errorf("GET / = %s\nwant %s", body, want)
		}
	})
}

// TestUpstreamCircle has two servers that are each other's upstream.
func TestUpstreamCircle(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		b.server.Upstreams = []string{"http://127.0.0.1:1001"}
	}, func(b *bench) {
		b.plug(udid)
		asked := 0
		defer b.other("127.0.0.1:1001", func(w http.ResponseWriter, q *http.Request) {
			// A foreign server: it asks us and does not pass Via on.
			asked++
			_, body := b.get(pythonAt, "GET /")
			io.WriteString(w, body)
		})()
		begin := time.Now()
		status, body := b.get(pythonAt, "GET /")
		if status != 200 {
			t.Errorf("status %d, want 200", status)
		}
		if took := time.Since(begin); took > upstreamTimeout {
			t.Errorf("GET / takes %v, want %v at most", took, upstreamTimeout)
		}
		if asked > maxAsking {
			t.Errorf("the upstream is asked %d times, want %d at most", asked, maxAsking)
		}
		if n := strings.Count(body, "interface"); n < 2 {
			t.Errorf("GET / = %s, want our tunnel twice at least", body)
		}
		synctest.Wait()
	})
}

// TestUpstreamItself names a server as its own upstream in all forms.
func TestUpstreamItself(t *testing.T) {
	t.Parallel()
	at := func(text string) net.Addr {
		return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text))
	}
	for _, test := range []struct {
		url, at string
		want    bool
	}{
		{"http://127.0.0.1:49151", "127.0.0.1:49151", true},
		{"http://127.0.0.1:49151/base/", "127.0.0.1:49151", true},
		{"http://LOCALHOST:49151", "127.0.0.1:49151", true},
		{"http://[::ffff:127.0.0.1]:49151", "127.0.0.1:49151", true},
		{"http://127.0.0.1:49151", "0.0.0.0:49151", true},
		{"http://[::1]:49151", "[::]:49151", true},
		{"http://localhost", "127.0.0.1:80", true},
		{"http://192.0.2.1:49151", "192.0.2.1:49151", true},
		{"http://localhost:49151", "192.0.2.1:49151", false},
		{"http://127.0.0.1:49152", "127.0.0.1:49151", false},
		{"http://127.0.0.2:49151", "127.0.0.1:49151", false},
		{"http://192.0.2.2:49151", "0.0.0.0:49151", false},
		{"http://host.example:49151", "127.0.0.1:49151", false},
		{"::", "127.0.0.1:49151", false},
	} {
		if got := IsItself(test.url, at(test.at)); got != test.want {
			t.Errorf("IsItself(%q, %s) = %v, want %v", test.url, test.at, got, test.want)
		}
	}
	bubble(t, nil, func(b *bench) {
		s := &Server{Manager: b.keeper, Upstreams: []string{"http://localhost:49160"}}
		l := b.listener(netip.MustParseAddrPort("127.0.0.1:49160"))
		if err := s.Serve(context.Background(), l, nil); !errors.Is(err, ErrItself) {
			t.Errorf("Serve = %v, want ErrItself", err)
		}
		status, body := b.post(pythonAt, "POST /upstream", `{"url":"http://127.0.0.1:49151"}`)
		if status != 422 {
			t.Errorf("POST /upstream: status %d, want 422", status)
		}
		if !strings.Contains(body, "is this server itself") {
			t.Errorf("POST /upstream = %s, want the reason", body)
		}
		// The upstream is the server itself under a name. The request shows this when
		// it arrives.
		b.plug(udid)
		defer b.other("127.0.0.1:1001", func(w http.ResponseWriter, q *http.Request) {
			answer, body := b.exchange(pythonAt, "GET / HTTP/1.1\r\nHost: 127.0.0.1:49151\r\nVia: "+
				q.Header.Get("Via")+"\r\n\r\n")
			w.WriteHeader(answer.StatusCode)
			io.WriteString(w, body)
		})()
		b.post(pythonAt, "POST /upstream", `{"url":"http://127.0.0.1:1001"}`)
		_, body = b.get(pythonAt, "GET /")
		if n := strings.Count(body, "interface"); n != 1 {
			t.Errorf("GET / = %s, want our tunnel once", body)
		}
		if _, body := b.get(pythonAt, "GET /upstream"); body != "[]" {
			t.Errorf("the upstream is kept: %s", body)
		}
	})
}

// TestUpstreamVia checks that no upstream is asked for a request of our own that comes
// back.
func TestUpstreamVia(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		b.server.Upstreams = []string{"http://127.0.0.1:1001/base/"}
	}, func(b *bench) {
		var path, via string
		defer b.other("127.0.0.1:1001", func(w http.ResponseWriter, q *http.Request) {
			path, via = q.URL.Path, q.Header.Get("Via")
			_, body := b.exchange(pythonAt,
				"GET / HTTP/1.1\r\nHost: 127.0.0.1:49151\r\nVia: 1.1 other, "+via+"\r\n\r\n")
			io.WriteString(w, body)
		})()
		mustList(t, b.client(PythonAddress), 0)
		if path != "/base/" {
			t.Errorf("asked for %q, want /base/", path)
		}
		if !strings.HasPrefix(via, "1.1 imdlua-") {
			t.Errorf("asked with Via %q, want 1.1 imdlua-...", via)
		}
	})
}
