package tunneld

import (
	"bytes"
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

	"github.com/gorilla/websocket"

	"github.com/imdlua/imdlua/runtime/rsd"
)

// dialBridge opens the WebSocket of pymobiledevice3's API with a client of another
// library than that of the server.
func (b *bench) dialBridge(query string, header http.Header) (*websocket.Conn, *http.Response) {
	b.t.Helper()
	d := websocket.Dialer{NetDialContext: b.mesh.dial}
	c, response, err := d.Dial("ws://"+PythonAddress+"/connect?"+query, header)
	if err != nil && !errors.Is(err, websocket.ErrBadHandshake) {
		b.t.Fatalf("/connect?%s: %v", query, err)
	}
	return c, response
}

// bridgeConn is a WebSocket as a net.Conn.
type bridgeConn struct {
	net.Conn
	ws   *websocket.Conn
	rest io.Reader
}

func (c *bridgeConn) Read(p []byte) (int, error) {
	for {
		if c.rest == nil {
			_, r, err := c.ws.NextReader()
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			c.rest = r
		}
		n, err := c.rest.Read(p)
		if err == io.EOF {
			c.rest = nil
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (c *bridgeConn) Write(p []byte) (int, error) {
	return len(p), c.ws.WriteMessage(websocket.BinaryMessage, p)
}

// wantClosed checks with which code and reason the server closes a WebSocket.
func wantClosed(t *testing.T, what string, c *websocket.Conn, code int, reason string) {
	t.Helper()
	defer c.Close()
	for {
		_, _, err := c.ReadMessage()
		if err == nil {
			continue
		}
		var closed *websocket.CloseError
		if !errors.As(err, &closed) {
			t.Errorf("%s: %v, want a close frame", what, err)
			return
		}
		if closed.Code != code {
			t.Errorf("%s: close %d, want %d", what, closed.Code, code)
		}
		if !strings.Contains(closed.Text, reason) {
			t.Errorf("%s: the reason is %q, want %q in it", what, closed.Text, reason)
		}
		return
	}
}

// TestBridge uses a tunnel as a client that reaches the server only: it reads the list of
// services, and then uses a service of it and a port that is not listed.
func TestBridge(t *testing.T) {
	t.Parallel()
	for _, alias := range []bool{true, false} {
		t.Run(fmt.Sprintf("alias %v", alias), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(b *bench) { b.server.net.alias = alias }, func(b *bench) {
				g := b.plug(udid)
				g.extra = []uint16{8100}
				e := mustList(t, b.client(PythonAddress), 1)[0]
				first := true
				dial := func(_ context.Context, port uint16) (net.Conn, error) {
					query := fmt.Sprintf("udid=%s&port=%d&address=%s", udid, port, e.Address)
					if first && alias {
						query = "udid=" + strings.ReplaceAll(udid, "-", "")
					}
					first = false
					c, _ := b.dialBridge(query, nil)
					return &bridgeConn{Conn: c.NetConn(), ws: c}, nil
				}
				list, err := rsd.Dial(context.Background(), dial, e.RSDPort, rsd.Options{})
				if err != nil {
					t.Fatalf("the list of services: %v", err)
				}
				defer list.Close()
				s, _ := list.Find("com.apple.afc")
				for _, port := range []uint16{s.Port, 8100} {
					c, err := dial(context.Background(), port)
					if err != nil {
						t.Fatal(err)
					}
					sent := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
					go c.Write(sent)
					greeting := readGreeting(t, c)
					if alias && greeting != fmt.Sprint(port) {
						t.Errorf("port %d: the service at port %s answers", port, greeting)
					}
					got := make([]byte, len(sent))
					if _, err := io.ReadFull(c, got); err != nil {
						t.Fatalf("port %d: %v", port, err)
					}
					if !bytes.Equal(got, sent) {
						t.Errorf("port %d: the bytes that come back differ", port)
					}
					c.Close()
				}
			})
		})
	}
}

// readGreeting returns the port that the echo service of a gadget begins with.
func readGreeting(t *testing.T, c net.Conn) string {
	t.Helper()
	var text strings.Builder
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		if b[0] == ':' {
			return text.String()
		}
		text.Write(b)
	}
}

// TestBridgeCloses covers the codes with which the server closes.
func TestBridgeCloses(t *testing.T) {
	t.Parallel()
	const other = "00008110-000A1B2C3D4E5F60"
	for _, tt := range []struct {
		name, query  string
		code         int
		reason, text string
	}{
		{"no tunnel", "udid=" + other, 4404, other, ""},
		{"another tunnel", "udid=" + udid + "&address=fd00::1", 4404, udid, ""},
		{"refused", "udid=" + udid + "&port=9", 4502, "[fd6c:7a1e:52b3::1]:9", ""},
		{"refused at the address in the tunnel",
			"udid=" + udid + "&port=9&address=fd6c:7a1e:52b3::1", 4502, "refused", ""},
		{"text", "udid=" + udid + "&port=8100", 1003, "binary", "text"},
		{"the device closes", "udid=" + udid + "&port=8101", 1000, "", ""},
		{"no device", "port=9", 1008, "udid", ""},
		{"port 0", "udid=" + udid + "&port=0", 1008, "port", ""},
		{"a large port", "udid=" + udid + "&port=65536", 1008, "port", ""},
		{"a name", "udid=" + udid + "&address=localhost", 1008, "address", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				g := b.plug(udid)
				g.extra, g.brief = []uint16{8100}, 8101
				c, _ := b.dialBridge(tt.query, nil)
				if tt.text != "" {
					if err := c.WriteMessage(websocket.TextMessage, []byte(tt.text)); err != nil {
						t.Fatal(err)
					}
				}
				wantClosed(t, tt.name, c, tt.code, tt.reason)
			})
		})
	}
}

// TestBridgeEnds ends the tunnel, and then the server, below open WebSockets.
func TestBridgeEnds(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		g := b.plug(udid)
		second := b.plug(oldUDID)
		second.extra, g.extra = []uint16{8100}, []uint16{8100}
		c, _ := b.dialBridge("udid="+udid+"&port=8100", nil)
		stays, _ := b.dialBridge("udid="+oldUDID+"&port=8100", nil)
		defer stays.Close()
		synctest.Wait()
		g.die()
		c.SetReadLimit(1 << 20)
		for {
			_, _, err := c.ReadMessage()
			if err == nil {
				continue
			}
			if !websocket.IsCloseError(err, 1000, 1011) {
				t.Errorf("after the end of the tunnel: %v, want a close frame", err)
			}
			break
		}
		c.Close()
	})
}

// TestBridgeLimit opens as many WebSockets as the server has, and one more.
func TestBridgeLimit(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		query := fmt.Sprintf("udid=%s&port=%d", udid, rsd.FirstPort)
		for range maxBridges {
			c, _ := b.dialBridge(query, nil)
			defer c.Close()
		}
		synctest.Wait()
		c, _ := b.dialBridge(query, nil)
		wantClosed(t, "one more", c, websocket.CloseTryAgainLater, "too many")
		b.wantGet(pythonAt, "GET /hello", "alive") // they do not count as clients of the API
	})
}

// TestBridgeRefused covers what is no WebSocket, or comes from a web page.
func TestBridgeRefused(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) { b.server.Token = "secret" }, func(b *bench) {
		b.plug(udid)
		for what, tt := range map[string]struct {
			header http.Header
			status int
		}{
			"no token": {http.Header{}, 401},
			"a web page": {
				http.Header{
					"Authorization": {"Bearer secret"}, "Origin": {"http://" + PythonAddress},
				}, 403,
			},
			"the token": {http.Header{"Authorization": {"Bearer secret"}}, 101},
		} {
			c, response := b.dialBridge("udid=x", tt.header)
			if response.StatusCode != tt.status {
				t.Errorf("%s: status %d, want %d", what, response.StatusCode, tt.status)
			}
			if c != nil {
				wantClosed(t, what, c, 4404, "x")
			}
		}
	})
	bubble(t, nil, func(b *bench) {
		if status, _ := b.get(pythonAt, "GET /connect?udid=x"); status != 426 {
			t.Errorf("without an upgrade: status %d, want 426", status)
		}
		if status, _ := b.get(goiosAt, "GET /connect?udid=x"); status != 404 {
			t.Errorf("at the API of go-ios: status %d, want 404", status)
		}
	})
}

// TestBridgeUpstream reaches a tunnel of an upstream, whose codes are passed on.
func TestBridgeUpstream(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		b.server.Upstreams = []string{"http://127.0.0.1:1001/"}
	}, func(b *bench) {
		k := &keeper{}
		s := &Server{Manager: k, net: &network{
			listen: b.mesh.listen, dial: b.mesh.dial, alias: true,
		}}
		done := make(chan error, 1)
		l := b.listener(netip.MustParseAddrPort("127.0.0.1:1001"))
		go func() { done <- s.Serve(context.Background(), l, nil) }()
		g := newGadget(t)
		defer g.die()
		g.extra, g.brief = []uint16{8100}, 8101
		k.add(g, oldUDID)
		synctest.Wait()
		s.Changed()
		synctest.Wait()

		c, _ := b.dialBridge("udid="+oldUDID+"&port=8100", nil)
		conn := &bridgeConn{Conn: c.NetConn(), ws: c}
		go io.WriteString(conn, "hello")
		got := make([]byte, len("8100:hello"))
		_, err := io.ReadFull(conn, got)
		wantText(t, "through two servers", string(got), err, "8100:hello")
		c.Close()
		for query, want := range map[string]struct {
			code   int
			reason string
		}{
			"port=9":    {4502, "refused"},
			"port=8101": {1000, ""},
		} {
			c, _ := b.dialBridge("udid="+oldUDID+"&"+query, nil)
			wantClosed(t, query, c, want.code, want.reason)
		}
		c, _ = b.dialBridge("udid="+oldUDID+"&port=8100", http.Header{hopsHeader: {"0"}})
		wantClosed(t, "no hops left", c, 4404, "no tunnel")
		synctest.Wait()
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve of the upstream = %v, want nil", err)
		}
	})
}

// TestHops checks that a request goes through a bounded number of servers.
func TestHops(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) {
		b.server.Upstreams = []string{"http://127.0.0.1:1001"}
	}, func(b *bench) {
		var asked []string
		defer b.other("127.0.0.1:1001", func(w http.ResponseWriter, q *http.Request) {
			asked = append(asked, q.Header.Get(hopsHeader))
			io.WriteString(w, "{}")
		})()
		for _, header := range []string{
			"", "x-tunneld-hops-remaining: 2\r\n", "x-tunneld-hops-remaining: 0\r\n",
			"x-tunneld-hops-remaining: 999999\r\n",
		} {
			b.exchange(pythonAt, "GET / HTTP/1.1\r\nHost: "+PythonAddress+"\r\n"+header+"\r\n")
		}
		if got := strings.Join(asked, " "); got != "3 1 3" {
			t.Errorf("the upstream is asked with %q hops left, want 3, 1 and 3", got)
		}
	})
}

// TestEnds checks which ends of tunnels are final: a tunnel that pymobiledevice3's API
// cancels is not made again, one that go-ios' API deletes is.
func TestEnds(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		b.wantGet(pythonAt, "GET /cancel?udid="+udid, "Canceled")
		b.plug(oldUDID)
		if status, body := b.get(goiosAt, "DELETE /tunnel/"+oldUDID); status != 204 {
			t.Errorf("DELETE: %d %s, want 204", status, body)
		}
		want := "cancel " + udid + ", restart " + oldUDID
		if got := strings.Join(b.keeper.calls, ", "); got != want {
			t.Errorf("the Manager was told %q, want %q", got, want)
		}
		for _, at := range []netip.AddrPort{pythonAt, goiosAt} {
			path := map[netip.AddrPort]string{pythonAt: "GET /", goiosAt: "GET /tunnels"}[at]
			if _, body := b.get(at, path); strings.Contains(body, "interface") ||
				strings.Contains(body, "rsdPort") {
				t.Errorf("%s lists %s, want nothing", path, body)
			}
		}
	})
}

// TestDecodeTarget checks the values; TestBridgeCloses has the errors.
func TestDecodeTarget(t *testing.T) {
	t.Parallel()
	got, err := decodeTarget(map[string][]string{
		"udid": {udid}, "port": {"8100"}, "address": {"fe80::1%eth0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := target{udid: udid, port: 8100, address: netip.MustParseAddr("fe80::1")}
	if got != want {
		t.Errorf("decodeTarget = %+v, want %+v", got, want)
	}
}
