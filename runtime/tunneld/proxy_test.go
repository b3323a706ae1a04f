package tunneld

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/proxy"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link"
)

const proxyAt = "127.0.0.1:1080"

// proxyBench is a Proxy for one device in a synctest bubble.
type proxyBench struct {
	t      *testing.T
	mesh   *mesh
	gadget *gadget
	asked  []string // hosts that were asked for
}

// proxied runs a test with a Proxy, at whose end no goroutine and no connection may be
// left.
func proxied(t *testing.T, f func(b *proxyBench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &proxyBench{t: t, mesh: newMesh(), gadget: newGadget(t)}
		b.gadget.extra = []uint16{8100}
		p := &Proxy{Token: "secret", Dial: func(
			ctx context.Context, host string, port uint16,
		) (net.Conn, error) {
			b.asked = append(b.asked, host)
			switch {
			case host == "slow":
				<-ctx.Done()
				return nil, ctx.Err()
			case !SameUDID(host, udid):
				return nil, fs.ErrNotExist
			}
			return b.gadget.dial(ctx, port)
		}}
		l, err := b.mesh.listen(mustAt(proxyAt))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() { result <- p.Serve(ctx, l) }()
		synctest.Wait()
		f(b)
		cancel()
		if err := <-result; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		b.gadget.die()
		if n := b.mesh.count(); n != 0 {
			t.Errorf("%d listeners are left", n)
		}
	})
}

// Dial connects to the proxy; it implements proxy.Dialer.
func (b *proxyBench) Dial(network, address string) (net.Conn, error) {
	return b.mesh.dial(context.Background(), network, address)
}

// socks returns a client of another library for SOCKS5.
func (b *proxyBench) socks(auth *proxy.Auth) proxy.Dialer {
	d, err := proxy.SOCKS5("tcp", proxyAt, auth, b)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func TestProxySOCKS(t *testing.T) {
	t.Parallel()
	for _, host := range []string{
		udid, udid + HostSuffix, strings.ToLower(udid) + ".IMDLUA.",
		strings.ReplaceAll(udid, "-", ""),
	} {
		proxied(t, func(b *proxyBench) {
			dial := func(_ context.Context, port uint16) (net.Conn, error) {
				return b.socks(&proxy.Auth{User: "anybody", Password: "secret"}).
					Dial("tcp", fmt.Sprintf("%s:%d", host, port))
			}
			wantEcho(t, dial, 8100) // with a half-close
			c, err := dial(context.Background(), 8100)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			time.Sleep(time.Hour) // no deadline of the request applies any more
			io.WriteString(c, "later")
			got := make([]byte, len("8100:later"))
			_, err = io.ReadFull(c, got)
			wantText(t, "after an hour", string(got), err, "8100:later")
		})
	}
}

func TestProxySOCKSRefuses(t *testing.T) {
	t.Parallel()
	known := &proxy.Auth{User: "imdlua", Password: "secret"}
	for _, tt := range []struct {
		name, address string
		auth          *proxy.Auth
		want          string
		asked         bool // whether the device was asked
	}{
		{"no password", udid + ":8100", nil, "no acceptable authentication methods", false},
		{"a wrong one", udid + ":8100", &proxy.Auth{User: "imdlua", Password: "secre"},
			"username/password authentication failed", false},
		{"a user for a password", udid + ":8100", &proxy.Auth{User: "secret", Password: "x"},
			"username/password authentication failed", false},
		{"no such device", "example.com:80", known, "host unreachable", true},
		{"an address", "127.0.0.1:22", known, "host unreachable", true},
		{"an address of IPv6", "[::1]:22", known, "host unreachable", true},
		{"a closed port", udid + ":9", known, "connection refused", true},
		{"a silent device", "slow:9", known, "TTL expired", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxied(t, func(b *proxyBench) {
				c, err := b.socks(tt.auth).Dial("tcp", tt.address)
				if err == nil {
					c.Close()
					t.Fatal("the connection succeeds")
				}
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				if (len(b.asked) > 0) != tt.asked {
					t.Errorf("the hosts %q are asked for", b.asked)
				}
			})
		})
	}
}

// talk sends bytes to the proxy and returns all that it answers, and for how long.
func (b *proxyBench) talk(text string) (answer []byte, took time.Duration) {
	b.t.Helper()
	c, err := b.Dial("tcp", proxyAt)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	if _, err := io.WriteString(c, text); err != nil {
		b.t.Fatal(err)
	}
	answer, _ = io.ReadAll(c)
	return answer, time.Since(begin)
}

// TestProxyCommands asks for the commands of SOCKS5 that the proxy does not have.
func TestProxyCommands(t *testing.T) {
	t.Parallel()
	for _, command := range []byte{2, 3, 9} {
		proxied(t, func(b *proxyBench) {
			answer, _ := b.talk("\x05\x01\x02" + "\x01\x01u\x06secret" +
				"\x05" + string(command) + "\x00\x01\x7f\x00\x00\x01\x00\x16")
			want := []byte("\x05\x02" + "\x01\x00" + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00")
			if !bytes.Equal(answer, want) {
				t.Errorf("command %d: % x, want % x", command, answer, want)
			}
			if len(b.asked) > 0 {
				t.Errorf("command %d: the hosts %q are asked for", command, b.asked)
			}
		})
	}
}

// TestProxySilence connects clients that do not finish their request.
func TestProxySilence(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "\x05", "\x05\x01\x02", "\x05\x01\x02\x01\xff", "CONNECT ",
		"CONNECT x:1 HTTP/1.1\r\nA:",
	} {
		proxied(t, func(b *proxyBench) {
			if _, took := b.talk(text); took != proxyTimeout {
				t.Errorf("%q: the connection lives for %v, want %v", text, took, proxyTimeout)
			}
		})
	}
}

func basic(user, password string) string {
	return "Proxy-Authorization: Basic " +
		base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
}

// TestProxyHTTP sends the first bytes together with the request.
func TestProxyHTTP(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		basic("imdlua", "secret"), "proxy-authorization: bearer secret\r\n",
	} {
		proxied(t, func(b *proxyBench) {
			c, err := b.Dial("tcp", proxyAt)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "CONNECT %s%s:8100 HTTP/1.1\r\nHost: x\r\n%s\r\nhello", udid,
				HostSuffix, header)
			if err := link.CloseWrite(c); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			wantText(t, header, string(got), err,
				"HTTP/1.1 200 Connection established\r\n\r\n8100:hello")
		})
	}
}

func TestProxyHTTPRefuses(t *testing.T) {
	t.Parallel()
	known := basic("imdlua", "secret")
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"no password", "CONNECT UDID:8100 HTTP/1.1\r\n", 407},
		{"a wrong one", "CONNECT UDID:8100 HTTP/1.1\r\n" + basic("imdlua", "secret2"), 407},
		{"a user for a password", "CONNECT UDID:8100 HTTP/1.1\r\n" + basic("secret", ""), 407},
		{"no base64", "CONNECT UDID:8100 HTTP/1.1\r\nProxy-Authorization: Basic ?\r\n", 407},
		{"a web page",
			"CONNECT UDID:8100 HTTP/1.1\r\nOrigin: http://evil.example\r\n" + known, 403},
		{"an image in a page",
			"GET / HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: cross-site\r\n" + known, 403},
		{"no password for GET", "GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n", 407},
		{"GET", "GET http://UDID:8100/status HTTP/1.1\r\n" + known, 405},
		{"no port", "CONNECT UDID HTTP/1.1\r\n" + known, 400},
		{"a name for the port", "CONNECT UDID:http HTTP/1.1\r\n" + known, 400},
		{"port 0", "CONNECT UDID:0 HTTP/1.1\r\n" + known, 404},
		{"a large port", "CONNECT UDID:65536 HTTP/1.1\r\n" + known, 400},
		{"no such device", "CONNECT example.com:80 HTTP/1.1\r\n" + known, 404},
		{"no host", "CONNECT :80 HTTP/1.1\r\n" + known, 404},
		{"only the suffix", "CONNECT .imdlua:80 HTTP/1.1\r\n" + known, 404},
		{"a closed port", "CONNECT UDID:9 HTTP/1.1\r\n" + known, 502},
		{"a silent device", "CONNECT slow:9 HTTP/1.1\r\n" + known, 504},
		{"no HTTP", "SSH-2.0-x\r\n", 400},
		{"large headers",
			"CONNECT UDID:8100 HTTP/1.1\r\nX: " + strings.Repeat("x", maxHeader) + "\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxied(t, func(b *proxyBench) {
				answer, took := b.talk(strings.ReplaceAll(tt.request, "UDID", udid) + "\r\n")
				r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
				if err != nil {
					t.Fatalf("%q: %v", answer, err)
				}
				defer r.Body.Close()
				if r.StatusCode != tt.status {
					t.Errorf("status %d, want %d", r.StatusCode, tt.status)
				}
				if got := r.Header.Get("Proxy-Authenticate") != ""; got != (tt.status == 407) {
					t.Errorf("status %d with Proxy-Authenticate %v", r.StatusCode, got)
				}
				if took > dialTimeout {
					t.Errorf("the connection lives for %v", took)
				}
				if tt.status != 404 && tt.status < 500 && len(b.asked) > 0 {
					t.Errorf("the hosts %q are asked for", b.asked)
				}
			})
		})
	}
}

// TestProxyNeeds checks that Serve fails without a token or without Dial.
func TestProxyNeeds(t *testing.T) {
	t.Parallel()
	for _, p := range []*Proxy{
		{Token: "x"},
		{Dial: func(context.Context, string, uint16) (net.Conn, error) { return nil, nil }},
	} {
		m := newMesh()
		l, err := m.listen(mustAt(proxyAt))
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, "Serve", p.Serve(context.Background(), l), "serve", "")
		if m.count() != 0 {
			t.Error("the listener is open")
		}
	}
}

// FuzzProxy sends anything to a proxy. Without the token no device is asked for.
func FuzzProxy(f *testing.F) {
	f.Add([]byte("\x05\x01\x02\x01\x01u\x01p\x05\x01\x00\x03\x01x\x00\x16"))
	f.Add([]byte("\x05\x02\x00\x02\x01\x01u\x01p\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16"))
	f.Add([]byte("CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &proxyRun{
			Proxy: &Proxy{Token: "a token that is not guessed", Dial: func(
				context.Context, string, uint16,
			) (net.Conn, error) {
				t.Error("a device is asked for")
				return nil, fs.ErrNotExist
			}},
			ctx: fuzztest.Context(t), log: slog.New(slog.DiscardHandler),
		}
		here, there := link.Pipe()
		go fuzztest.Say(here, b)
		r.client(there)
	})
}
