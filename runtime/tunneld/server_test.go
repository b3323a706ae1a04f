package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const example = `{"00008120-001A2D3E4F567890":[{"tunnel-address":"ALIAS","tunnel-port":58034,"interface":"usbmux-00008120-001A2D3E4F567890-USB"}]}`

// TestPythonAPI covers each row of the table of pymobiledevice3's API, and FastAPI's
// answers to other requests.
func TestPythonAPI(t *testing.T) {
	t.Parallel()
	alias := aliasOf(udid, 0).String()
	missing := `{"detail":[{"type":"missing","loc":["query","udid"],"msg":"Field required","input":null}]}`
	for _, tt := range []struct {
		request string
		status  int
		body    string
		call    string // the expected call of the Manager
	}{
		{"GET /", 200, example, ""},
		{
			"GET /start-tunnel?udid=" + udid, 200,
			`{"interface":"usbmux-00008120-001A2D3E4F567890-USB","port":58034,"address":"ALIAS"}`,
			"start " + udid,
		},
		{
			"GET /start-tunnel?udid=00008120001a2d3e4f567890&ip=10.0.0.1&connection_type=wifi", 200,
			`{"interface":"usbmux-00008120-001A2D3E4F567890-USB","port":58034,"address":"ALIAS"}`,
			"start " + udid + " 10.0.0.1 wifi",
		},
		{"GET /start-tunnel?udid=other", 501, `{"error":"task not created"}`, "start other"},
		{"GET /start-tunnel?udid=", 501, `{"error":"task not created"}`, ""},
		{
			"GET /start-tunnel?udid=" + strings.Repeat("0", maxUDID+1), 501,
			`{"error":"task not created"}`, "",
		},
		{"GET /start-tunnel", 422, missing, ""},
		{"GET /cancel", 422, missing, ""},
		{
			"GET /cancel?udid=other", 200,
			`{"operation":"cancel","udid":"other","data":true,"message":"tunnel other Canceled ..."}`,
			"cancel other",
		},
		{
			"GET /cancel?udid=00008120001a2d3e4f567890", 200,
			`{"operation":"cancel","udid":"00008120001a2d3e4f567890","data":true,"message":"tunnel 00008120001a2d3e4f567890 Canceled ..."}`,
			"cancel " + udid,
		},
		{
			"GET /clear_tunnels", 200,
			`{"operation":"clear_tunnels","data":true,"message":"Cleared tunnels..."}`, "clear",
		},
		{"GET /hello", 200, `{"message":"Hello, I'm alive"}`, ""},
		{
			"GET /shutdown", 200,
			`{"operation":"shutdown","data":true,"message":"Server shutting down..."}`, "",
		},
		{"GET /upstream", 200, `[]`, ""},
		{"GET /nothing", 404, `{"detail":"Not Found"}`, ""},
		{"GET /tunnels", 404, `{"detail":"Not Found"}`, ""},
		{"POST /", 405, `{"detail":"Method Not Allowed"}`, ""},
		{"DELETE /hello", 405, `{"detail":"Method Not Allowed"}`, ""},
	} {
		t.Run(tt.request, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				b.plug(udid)
				r, body := b.exchange(pythonAt,
					tt.request+" HTTP/1.1\r\nHost: 127.0.0.1:49151\r\n\r\n")
				want := strings.ReplaceAll(tt.body, "ALIAS", alias)
				if r.StatusCode != tt.status {
					t.Errorf("status %d, want %d", r.StatusCode, tt.status)
				}
				if ctype := r.Header.Get("Content-Type"); ctype != "application/json" {
					t.Errorf("type %q, want application/json", ctype)
				}
				if body != want {
					t.Errorf("body %s\nwant %s", body, want)
				}
				if got := strings.Join(b.keeper.calls, ", "); got != tt.call {
					t.Errorf("Manager was told %q, want %q", got, tt.call)
				}
			})
		})
	}
}

// TestGoIOSAPI covers each row of the table of go-ios' API.
func TestGoIOSAPI(t *testing.T) {
	t.Parallel()
	tunnel := `{"address":"fd6c:7a1e:52b3::1","rsdPort":58034,"udid":"00008120-001A2D3E4F567890","userspaceTun":true,"userspaceTunPort":60106}`
	for _, tt := range []struct {
		request     string
		status      int
		body, ctype string
	}{
		{"GET /tunnel/" + udid, 200, tunnel + "\n", "application/json"},
		{"GET /tunnel/00008120001a2d3e4f567890", 200, tunnel + "\n", "application/json"},
		{"GET /tunnel/other", 404, "tunnel not found\n", "text/plain; charset=utf-8"},
		{"GET /tunnel/", 400, "missing udid\n", "text/plain; charset=utf-8"},
		{"DELETE /tunnel/" + udid, 204, "", ""},
		{"DELETE /tunnel/other", 404, "tunnel not found\n", "text/plain; charset=utf-8"},
		{"POST /tunnel/" + udid, 405, "method not allowed\n", "text/plain; charset=utf-8"},
		{"GET /tunnels", 200, "[" + tunnel + "]\n", "application/json"},
		{"DELETE /tunnels", 405, "method not allowed\n", "text/plain; charset=utf-8"},
		{"GET /health", 200, "", ""},
		{"GET /ready", 503, "not ready\n", "text/plain; charset=utf-8"},
		{"GET /shutdown", 200, "shutting down in 1 second...", "text/plain; charset=utf-8"},
		{"POST /shutdown", 405, "method not allowed\n", "text/plain; charset=utf-8"},
		{"GET /", 404, "404 page not found\n", "text/plain; charset=utf-8"},
		{"GET /hello", 404, "404 page not found\n", "text/plain; charset=utf-8"},
	} {
		t.Run(tt.request, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				b.plug(udid)
				r, body := b.exchange(goiosAt,
					tt.request+" HTTP/1.1\r\nHost: localhost:60105\r\n\r\n")
				if r.StatusCode != tt.status {
					t.Errorf("status %d, want %d", r.StatusCode, tt.status)
				}
				if ctype := r.Header.Get("Content-Type"); ctype != tt.ctype {
					t.Errorf("type %q, want %q", ctype, tt.ctype)
				}
				if body != tt.body {
					t.Errorf("body %q\nwant %q", body, tt.body)
				}
			})
		})
	}
}

// TestEmpty checks both APIs of a server without tunnels that is ready.
func TestEmpty(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) { b.keeper.ready = true }, func(b *bench) {
		for _, tt := range []struct {
			at         netip.AddrPort
			line, want string
		}{{
			pythonAt, "GET /", "{}",
		}, {goiosAt, "GET /tunnels", "[]\n"}, {goiosAt, "GET /ready", ""}} {
			status, body := b.get(tt.at, tt.line)
			wantAnswer(t, tt.line, status, body, 200, tt.want)
		}
	})
}

// TestStart asks for a tunnel that must be made first, and covers each failure.
func TestStart(t *testing.T) {
	t.Parallel()
	wrong := `{"error":"something went wrong during tunnel creation"}`
	for name, tt := range map[string]struct {
		start func(
			b *bench, g *gadget,
		) func(ctx context.Context, udid, address, connection string) (Tunnel, error)
		status int
		body   string
		takes  time.Duration
	}{
		"made": {func(b *bench, g *gadget) func(context.Context, string, string, string) (Tunnel,
			error) {
			return func(context.Context, string, string, string) (Tunnel, error) {
				time.Sleep(3 * time.Second)
				return b.keeper.add(g, udid), nil
			}
		}, 200, `{"interface":"usbmux-00008120-001A2D3E4F567890-USB","port":58034,"address":"` +
			aliasOf(udid, 0).String() + `"}`, 3 * time.Second},
		"refused": {func(*bench, *gadget) func(context.Context, string, string, string) (Tunnel,
			error) {
			return func(context.Context, string, string, string) (Tunnel, error) {
				return Tunnel{}, errors.New("device is locked <&>")
			}
		}, 501, `{"error":{"exception":"device is locked <&>","traceback":""}}`, 0},
		"too late": {func(*bench, *gadget) func(context.Context, string, string, string) (Tunnel,
			error) {
			return func(ctx context.Context, _, _, _ string) (Tunnel, error) {
				<-ctx.Done()
				return Tunnel{}, ctx.Err()
			}
		}, 404, wrong, time.Minute},
		"lost at once": {func(
			b *bench, g *gadget,
		) func(context.Context, string, string, string) (Tunnel, error) {
			return func(context.Context, string, string, string) (Tunnel, error) {
				return g.tunnel(udid), nil
			}
		}, 404, wrong, 0},
		"without a list": {func(
			b *bench, g *gadget,
		) func(context.Context, string, string, string) (Tunnel, error) {
			return func(context.Context, string, string, string) (Tunnel, error) {
				g.broken.Store(true)
				return b.keeper.add(g, udid), nil
			}
		}, 404, wrong, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				g := newGadget(t)
				defer g.die()
				b.keeper.start = tt.start(b, g)
				begin := time.Now()
				status, body := b.get(pythonAt, "GET /start-tunnel?udid="+udid)
				wantAnswer(t, "GET /start-tunnel", status, body, tt.status, tt.body)
				if took := time.Since(begin); took != tt.takes {
					t.Errorf("took %v, want %v", took, tt.takes)
				}
			})
		})
	}
}

// TestShutdown checks that the server ends after it has answered.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, at := range []netip.AddrPort{pythonAt, goiosAt} {
		var told []string
		bubble(t, func(b *bench) {
			b.server.OnShutdown = func() {
				told = append(told, fmt.Sprintf("%d listeners", b.mesh.count()))
			}
		}, func(b *bench) {
			g := b.plug(udid)
			begin := time.Now()
			b.wantGet(at, "GET /shutdown", "hutting down")
			err := <-b.result
			b.result <- err
			want := time.Duration(0)
			if at == goiosAt {
				want = agentDelay
			}
			if took := time.Since(begin); took < want || took > want+closeTimeout {
				t.Errorf("%v: ended after %v, want %v", at, took, want)
			}
			if g.ctx.Err() != nil {
				t.Error("the tunnel was closed; that is the Manager's business")
			}
		})
		if want := []string{"0 listeners"}; !reflect.DeepEqual(told, want) {
			t.Errorf("%v: OnShutdown saw %q, want %q", at, told, want)
		}
	}
}

// TestServeRefuses covers arguments that Serve refuses.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		other := netip.MustParseAddrPort("127.0.0.1:1")
		if err := b.server.Serve(context.Background(), b.listener(other), nil); err == nil {
			t.Error("a server serves twice")
		}
		if err := (&Server{}).Serve(context.Background(), b.listener(other), nil); err == nil {
			t.Error("a server without a Manager serves")
		}
		if err := (&Server{Manager: b.keeper}).Serve(context.Background(), nil, nil); err == nil {
			t.Error("a server without a listener serves")
		}
		if err := (&Server{Manager: b.keeper, Upstreams: []string{"ftp://x"}}).Serve(
			context.Background(), b.listener(other), nil,
		); err == nil {
			t.Error("an impossible upstream is taken")
		}
	})
}

// TestServeFails covers a listener that fails and a context that ends.
func TestServeFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		s := &Server{Manager: &keeper{}, net: &network{listen: m.listen, dial: m.dial}}
		l, _ := m.listen(pythonAt)
		result := make(chan error, 1)
		go func() { result <- s.Serve(context.Background(), l, nil) }()
		synctest.Wait()
		l.Close()
		wantError(t, "Serve", <-result, "serve", PythonAddress)
		l, _ = m.listen(pythonAt)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		begin := time.Now()
		if err := s.Serve(ctx, l, nil); err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if took := time.Since(begin); took != time.Hour {
			t.Errorf("Serve ends after %v, want an hour", took)
		}
		s.Close()
		s.Changed()
	})
}

// TestSlowClient checks that a slow client is disconnected and does not keep the server
// from ending.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		c, err := b.mesh.dial(context.Background(), "tcp", PythonAddress)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HT")
		begin := time.Now()
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("half a request: %v, want the end", err)
		}
		if took := time.Since(begin); took > bodyTimeout {
			t.Errorf("a connection with half a request lives for %v, want %v", took, bodyTimeout)
		}
		d, err := b.mesh.dial(context.Background(), "tcp", PythonAddress)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		io.WriteString(d, "GET / HT")
	})
}

// TestBodyLimit checks that a large request is not read.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		if status, body := b.post(pythonAt, "POST /upstream",
			strings.Repeat(" ", maxRequest+1)); status != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s, want %d", status, body, http.StatusRequestEntityTooLarge)
		}
		r, _ := b.exchange(pythonAt, "GET / HTTP/1.1\r\nHost: 127.0.0.1:49151\r\nX: "+
			strings.Repeat("x", 8*maxHeader)+"\r\n\r\n")
		if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d for large headers", r.StatusCode)
		}
	})
}
