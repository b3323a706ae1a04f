package tunneld

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/rsd"
)

// far returns a client on a machine that reaches only the APIs of the server.
func (b *bench) far(address string) *Client {
	return &Client{Address: address, Token: "secret",
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			if at != PythonAddress && at != GoIOSAddress {
				return nil, fmt.Errorf("%s is not reached from here", at)
			}
			return b.mesh.dial(ctx, network, at)
		}}
}

// TestConnect uses a tunnel from another machine.
func TestConnect(t *testing.T) {
	t.Parallel()
	for _, alias := range []bool{true, false} {
		for _, address := range []string{PythonAddress, GoIOSAddress} {
			bubble(t, func(b *bench) {
				b.server.Token, b.server.net.alias = "secret", alias
			}, func(b *bench) {
				g := b.plug(udid)
				e := mustList(t, b.far(address), 1)[0]
				c := b.services(e)
				defer c.Close()
				// These connections do not count as clients of the API.
				for range maxClients + 1 {
					s, _ := c.Find("com.apple.afc")
					nc, err := e.Dial(context.Background(), s.Port)
					if err != nil {
						t.Fatal(err)
					}
					defer nc.Close()
				}
				s, _ := c.Find("com.apple.misagent")
				wantEcho(t, e.Dial, s.Port)
				if e, err := b.far(address).Find(context.Background(), udid); err == nil {
					t.Errorf("Find = %+v, though another phone answers", e)
				}
				g.die()
				<-c.Done()
			})
		}
	}
}

// TestConnectRefused covers the requests that the server refuses.
func TestConnectRefused(t *testing.T) {
	t.Parallel()
	at := aliasOf(udid, 0).String()
	for name, tt := range map[string]struct {
		query, headers string
		status         int
	}{
		"a port that is not listed": {
			"address=" + at + "&port=9", "Upgrade: tcp\r\nAuthorization: Bearer secret\r\n", 404,
		},
		"another address": {
			"address=127.0.0.1&port=22", "Upgrade: tcp\r\nAuthorization: Bearer secret\r\n", 404,
		},
		"no address": {
			"address=localhost&port=58034", "Upgrade: tcp\r\nAuthorization: Bearer secret\r\n", 400,
		},
		"port 0": {
			"address=" + at + "&port=0", "Upgrade: tcp\r\nAuthorization: Bearer secret\r\n", 400,
		},
		"a large port": {
			"address=" + at + "&port=65536", "Upgrade: tcp\r\nAuthorization: Bearer secret\r\n",
			400,
		},
		"no upgrade": {"address=" + at + "&port=58034", "Authorization: Bearer secret\r\n", 400},
		"no token":   {"address=" + at + "&port=58034", "Upgrade: tcp\r\n", 401},
		"a web page": {
			"address=" + at + "&port=58034",
			"Upgrade: tcp\r\nAuthorization: Bearer secret\r\nOrigin: http://evil.example\r\n", 403,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(b *bench) { b.server.Token = "secret" }, func(b *bench) {
				b.plug(udid)
				r, body := b.exchange(pythonAt, "GET /imdlua/connect?"+tt.query+
					" HTTP/1.1\r\nHost: "+PythonAddress+"\r\nConnection: Upgrade\r\n"+
					tt.headers+"\r\n")
				if r.StatusCode != tt.status {
					t.Errorf("%d %s, want %d", r.StatusCode, body, tt.status)
				}
			})
		})
	}
	bubble(t, nil, func(b *bench) { // without a token the server does not offer this
		b.plug(udid)
		r, _ := b.exchange(pythonAt, "GET /imdlua/connect?address="+at+
			"&port=58034 HTTP/1.1\r\nHost: "+PythonAddress+
			"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		if r.StatusCode != 404 {
			t.Errorf("status %d without a token, want 404", r.StatusCode)
		}
	})
}

// TestConnectEarly sends the first bytes together with the request.
func TestConnectEarly(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) { b.server.Token = "secret" }, func(b *bench) {
		b.plug(udid)
		c, err := b.mesh.dial(context.Background(), "tcp", PythonAddress)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c,
			"GET /imdlua/connect?address=%s&port=%d HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nAuthorization: Bearer secret\r\n\r\nhello",
			aliasOf(udid, 0), rsd.FirstPort, PythonAddress)
		want := "HTTP/1.1 101 Switching Protocols\r\nServer: imdlua-tunneld\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n49152:hello"
		got := make([]byte, len(want))
		_, err = io.ReadFull(c, got)
		wantText(t, "the server's answer", string(got), err, want)
	})
}

// TestConnectUpstream checks that the client itself dials the tunnels of an upstream.
func TestConnectUpstream(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		b.server.Token, b.server.Upstreams = "secret", []string{"http://127.0.0.1:1001"}
	}, func(b *bench) {
		defer b.other("127.0.0.1:1001",
			says(200, `{"u":[{"tunnel-address":"127.0.0.9","tunnel-port":5,"interface":""}]}`))()
		l := b.listener(mustAt("127.0.0.9:5"))
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				io.WriteString(c, "direct")
				c.Close()
			}
		}()
		c := b.client(PythonAddress)
		c.Token = "secret"
		nc, err := mustList(t, c, 1)[0].Dial(context.Background(), 5)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		got, err := io.ReadAll(nc)
		wantText(t, "read", string(got), err, "direct")
	})
}

// TestConnectAnswers uses servers with invalid answers.
func TestConnectAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ answer, text string }{
		"refused": {
			"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", "401 Unauthorized: no",
		},
		"no HTTP": {"SSH-2.0-x\r\n", "malformed HTTP"},
		"endless": {
			"HTTP/1.1 101 x\r\nX: " + strings.Repeat("x", 2*maxHeader), "unexpected EOF",
		},
		"hangs up":   {"", "unexpected EOF"},
		"in a hurry": {"HTTP/1.1 101 x\r\n\r\nhello", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMesh()
			l, err := m.listen(mustAt(elsewhere))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				b := make([]byte, 1024)
				_, _ = c.Read(b)
				io.WriteString(c, tt.answer)
				c.Close()
			}()
			c := &Client{Address: elsewhere, Token: "secret", DialContext: m.dial}
			nc, err := c.dialer(entry(Python, "u", "127.77.0.1", 1, 0, ""),
				serverName)(context.Background(), 5)
			if tt.text == "" {
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got, err := io.ReadAll(nc)
				wantText(t, name, string(got), err, "hello")
				nc.Close()
			} else if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: Dial = %v, want %q", name, err, tt.text)
			}
			if err != nil {
				wantError(t, name, err, "dial", "")
			}
			l.Close()
		})
	}
}
