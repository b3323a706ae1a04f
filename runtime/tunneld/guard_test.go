package tunneld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
		b.wantGet(pythonAt, "GET /", udid)
		if b.keeper.calls != nil {
			t.Errorf("the Manager was told %q", b.keeper.calls)
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
					if r.StatusCode != tt.status {
						t.Errorf("%s: %d %s, want %d", path, r.StatusCode, body, tt.status)
					}
					want := ""
					if tt.status == 401 {
						want = "Bearer"
					}
					if got := r.Header.Get("WWW-Authenticate"); got != want {
						t.Errorf("%s: WWW-Authenticate %q, want %q", path, got, want)
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
				if err := <-result; !errors.Is(err, ErrNotLoopback) {
					t.Errorf("Serve = %v, want %v", err, ErrNotLoopback)
				}
				if n := m.count(); n != 0 {
					t.Errorf("%d listeners are left", n)
				}
				continue
			}
			c := &Client{Address: "192.0.2.1:49151", Token: token, DialContext: m.dial}
			mustList(t, c, 0)
			b := &bench{t: t, mesh: m}
			r, _ := b.exchange(netip.MustParseAddrPort("192.0.2.1:49151"),
				"GET /hello HTTP/1.1\r\nHost: farm.example\r\n"+
					"Authorization: Bearer secret\r\n\r\n")
			if r.StatusCode != 200 {
				t.Errorf("status %d under another name, want 200", r.StatusCode)
			}
			s.Close()
			if err := <-result; err != nil {
				t.Errorf("Serve = %v", err)
			}
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
