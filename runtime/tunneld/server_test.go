package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
			if status, body := b.get(tt.at, tt.line); status != 200 || body != tt.want {
				t.Errorf("%s: %d %q, want 200 %q", tt.line, status, body, tt.want)
			}
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
				if status != tt.status || body != tt.body {
					t.Errorf("%d %s\nwant %d %s", status, body, tt.status, tt.body)
				}
				if took := time.Since(begin); took != tt.takes {
					t.Errorf("took %v, want %v", took, tt.takes)
				}
			})
		})
	}
}

// TestRefusals covers requests of web pages and of other programs that are refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		headers string
		status  int
	}{
		{"Host: HERE", 200},
		{"Host: localhost:PORT", 200},
		{"Host: LocalHost:PORT", 200},
		{"Host: [::1]:PORT", 200},
		{"Host: HERE\r\nSec-Fetch-Site: none", 200},
		{"Host: HERE\r\nSec-Fetch-Site: cross-site", 403}, // an image in a page
		{"Host: HERE\r\nSec-Fetch-Site: same-site", 403},
		{"Host: HERE\r\nOrigin: http://evil.example", 403},
		{"Host: HERE\r\nOrigin: null", 403},
		{"Host: HERE\r\nOrigin:", 403},
		{"Host: 127.0.0.1", 403},
		{"Host: 127.0.0.1:80", 403},
		{"Host: 127.0.0.2:PORT", 403},
		{"Host: evil.example:PORT", 403}, // a host name that was rebound
		{"Host: localhost.evil.example:PORT", 403},
		{"Host: [::2]:PORT", 403},
		{"Host: ", 403},
	} {
		t.Run(tt.headers, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				for at, path := range map[netip.AddrPort]string{
					pythonAt: "/hello", goiosAt: "/health",
				} {
					headers := strings.NewReplacer("HERE", at.String(), "PORT",
						fmt.Sprint(at.Port())).Replace(tt.headers)
					r, body := b.exchange(at, "GET "+path+" HTTP/1.1\r\n"+headers+"\r\n\r\n")
					if r.StatusCode != tt.status {
						t.Errorf("%s: %d %s, want %d", path, r.StatusCode, body, tt.status)
					}
					if r.StatusCode == 403 && body != `{"detail":"Forbidden"}` &&
						body != "forbidden\n" {
						t.Errorf("%s is refused with %q", path, body)
					}
				}
			})
		})
	}
}

// TestRefusedHasNoEffect checks that a web page cannot end the server or a tunnel.
func TestRefusedHasNoEffect(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		for _, path := range []string{"/shutdown", "/clear_tunnels", "/cancel?udid=" + udid} {
			b.exchange(pythonAt, "GET "+path+
				" HTTP/1.1\r\nHost: 127.0.0.1:49151\r\nOrigin: http://evil.example\r\n\r\n")
			b.exchange(goiosAt, "GET "+path+" HTTP/1.1\r\nHost: evil.example\r\n\r\n")
		}
		time.Sleep(time.Minute)
		if status, body := b.get(pythonAt, "GET /"); status != 200 ||
			!strings.Contains(body, udid) || b.keeper.calls != nil {
			t.Errorf("%d %s, and the Manager was told %q", status, body, b.keeper.calls)
		}
	})
}

// TestToken checks that the token is required in every request.
func TestToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header string
		status int
	}{
		{"Authorization: Bearer secret", 200},
		{"Authorization: bearer secret", 200},
		{"Authorization: Bearer secret2", 401},
		{"Authorization: Bearer secre", 401},
		{"Authorization: Bearer ", 401},
		{"Authorization: secret", 401},
		{"Authorization: Basic secret", 401},
		{"X: y", 401},
		{"Authorization: Bearer secret\r\nOrigin: http://evil.example", 403},
	} {
		t.Run(tt.header, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(b *bench) { b.server.Token = "secret" }, func(b *bench) {
				for at, path := range map[netip.AddrPort]string{
					pythonAt: "/hello", goiosAt: "/health",
				} {
					r, body := b.exchange(at,
						"GET "+path+" HTTP/1.1\r\nHost: "+at.String()+"\r\n"+tt.header+"\r\n\r\n")
					if r.StatusCode != tt.status ||
						(r.Header.Get("WWW-Authenticate") == "Bearer") != (tt.status == 401) {
						t.Errorf("%s: %d %s %v, want %d", path, r.StatusCode, body, r.Header,
							tt.status)
					}
				}
			})
		})
	}
}

// TestTokenBeyondLoopback checks that a server with a token can be asked by other
// machines, under any host name.
func TestTokenBeyondLoopback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		for _, token := range []string{"", "secret"} {
			l, err := m.listen(netip.MustParseAddrPort("192.0.2.1:49151"))
			if err != nil {
				t.Fatal(err)
			}
			s := &Server{
				Manager: &keeper{}, Token: token, net: &network{listen: m.listen, dial: m.dial},
			}
			result := make(chan error, 1)
			go func() { result <- s.Serve(context.Background(), l, nil) }()
			synctest.Wait()
			if token == "" {
				if err := <-result; !errors.Is(err, ErrNotLoopback) || m.count() != 0 {
					t.Errorf("Serve = %v with %d listeners left, want %v", err, m.count(),
						ErrNotLoopback)
				}
				continue
			}
			c := &Client{Address: "192.0.2.1:49151", Token: token, DialContext: m.dial}
			if list, err := c.List(context.Background()); err != nil || len(list) != 0 {
				t.Errorf("List = %v, %v", list, err)
			}
			b := &bench{t: t, mesh: m}
			if r, _ := b.exchange(netip.MustParseAddrPort("192.0.2.1:49151"),
				"GET /hello HTTP/1.1\r\nHost: farm.example\r\nAuthorization: Bearer secret\r\n\r\n"); r.StatusCode != 200 {
				t.Errorf("status %d under another name, want 200", r.StatusCode)
			}
			s.Close()
			if err := <-result; err != nil {
				t.Errorf("Serve = %v", err)
			}
		}
	})
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
			if status, body := b.get(at, "GET /shutdown"); status != 200 ||
				!strings.Contains(body, "hutting down") {
				t.Errorf("%v: %d %s", at, status, body)
			}
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
		var e *Error
		if err := <-result; !errors.As(err, &e) || e.Op != "serve" || e.Address != PythonAddress {
			t.Errorf("Serve = %v, want an Error", err)
		}
		l, _ = m.listen(pythonAt)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		begin := time.Now()
		if err := s.Serve(ctx, l, nil); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("Serve = %v after %v, want nil after an hour", err, time.Since(begin))
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
		if _, err := io.Copy(io.Discard, c); err != nil || time.Since(begin) > bodyTimeout {
			t.Errorf("half a request is endured for %v, %v", time.Since(begin), err)
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

// TestLimited checks that a connection waits until another one is closed.
func TestLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		inner, err := m.listen(pythonAt)
		if err != nil {
			t.Fatal(err)
		}
		l := newLimited(inner, 1)
		accepted := make(chan net.Conn)
		go func() {
			defer close(accepted)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- c
			}
		}()
		for range 2 {
			c, err := m.dial(context.Background(), "tcp", PythonAddress)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		first := <-accepted
		synctest.Wait()
		select {
		case <-accepted:
			t.Error("two connections at a time, want one")
		default:
		}
		first.Close()
		first.Close() // a second Close does not count
		<-accepted
		synctest.Wait()
		l.Close() // Close also ends the wait of Accept
		<-accepted
	})
}
