package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// errorText is the length of the longest error text, whatever the peer has sent.
const errorText = 1500

// rawServer accepts one connection after the other. It reads the head of a request,
// sends say and then waits until the client closes the connection.
func (b *bench) rawServer(at, say string, pause time.Duration) (stop func()) {
	l := b.listener(netip.MustParseAddrPort(at))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			for rest := say; rest != ""; {
				n := len(rest)
				if pause > 0 {
					n = 1
					time.Sleep(pause) // synthetic time
				}
				if _, err := io.WriteString(c, rest[:n]); err != nil {
					break
				}
				rest = rest[n:]
			}
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	return func() { l.Close(); <-done }
}

// TestHostileServer uses programs whose answers are no list of tunnels. The contexts of
// the calls have no deadline.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	whole := func(body string) string {
		return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", ok, len(body), body)
	}
	digits := strings.Repeat("1", 1<<20)
	long := strings.Repeat("x", 1<<20)
	for name, row := range map[string]struct {
		say   string
		pause time.Duration
		want  error // nil is any *Error
	}{
		"silent":   {"", 0, context.DeadlineExceeded},
		"one byte": {"H", 0, context.DeadlineExceeded},
		"slow headers": {
			ok + strings.Repeat("X: y\r\n", 2000), time.Second, context.DeadlineExceeded,
		},
		"slow body": {
			whole(strings.Repeat(" ", 2000)), time.Second, context.DeadlineExceeded,
		},
		"length of 2 GB": {
			ok + "Content-Length: 2147483648\r\n\r\n{", 0, context.DeadlineExceeded,
		},
		"endless":      {whole(strings.Repeat(" ", maxAnswer+1)), 0, ErrAnswer},
		"long headers": {ok + "X: " + long + "\r\n\r\n", 0, nil},
		"interim answers": {
			strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n", 100_000), 0, nil,
		},
		"no HTTP": {long, 0, nil},
		"elsewhere": {
			"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 0,
			nil,
		},
		"long number": {whole(`{"u":[{"tunnel-port":` + digits + `}]}`), 0, link.ErrProtocol},
		"long address": {
			whole(`{"u":[{"tunnel-address":"` + long + `","tunnel-port":1}]}`), 0, link.ErrProtocol,
		},
		"long device": {
			whole(`{"` + long + `":[{"tunnel-address":"::1","tunnel-port":1}]}`), 0,
			link.ErrProtocol,
		},
		"nested": {whole(strings.Repeat("[", 1<<20)), 0, link.ErrProtocol},
	} {
		for call, f := range map[string]func(*Client) error{
			"List": func(c *Client) error { _, err := c.List(context.Background()); return err },
			"Find": func(c *Client) error {
				_, err := c.Find(context.Background(),
					udid)
				return err
			},
			"Start": func(c *Client) error {
				_, err := c.Start(context.Background(),
					udid)
				return err
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				b := &bench{t: t, mesh: newMesh()}
				stop := b.rawServer(elsewhere, row.say, row.pause)
				err := f(&Client{Address: elsewhere, DialContext: b.mesh.dial})
				var e *Error
				if !errors.As(err, &e) {
					t.Errorf("%s: %s = %.200v, want an *Error", name, call, err)
				} else if n := len(err.Error()); n > errorText {
					t.Errorf("%s: %s: the error's text has %d bytes", name, call, n)
				}
				if row.want != nil && call != "Start" && !errors.Is(err, row.want) {
					t.Errorf("%s: %s = %.200v, want %v", name, call, err, row.want)
				}
				stop()
			})
		}
	}
}

// TestFindTarpits uses a program that lists many tunnels to one device, none of which
// answers. Find must end.
func TestFindTarpits(t *testing.T) {
	t.Parallel()
	entry := `{"tunnel-address":"127.0.0.1","tunnel-port":7001,"interface":""},`
	body := `{"` + udid + `":[` + strings.TrimSuffix(strings.Repeat(entry, 4000), ",") + `]}`
	against(t, paths{"/": body}, func(b *bench, c *Client) {
		stop := b.rawServer("127.0.0.1:7001", "", 0)
		_, err := c.Find(context.Background(), udid)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Find = %.200v (%T), want an *Error", err, err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Find = %.200v, want a time-out", err)
		}
		if err != nil && len(err.Error()) > 10*errorText {
			t.Errorf("the error's text has %d bytes", len(err.Error()))
		}
		if e != nil && e.Op == "find" && strings.Count(err.Error(), "rsd:") > maxChecked {
			t.Errorf("%d tunnels are tried, want at most %d", strings.Count(err.Error(), "rsd:"),
				maxChecked)
		}
		stop()
	})
}

// TestUpstreamFloods checks that our own tunnels stay readable for our clients,
// whatever the other servers list.
func TestUpstreamFloods(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for n := range maxListed {
		fmt.Fprintf(&many, `,"d%d":[{"tunnel-address":"::1","tunnel-port":1,"interface":""}]`, n)
	}
	bubble(t, nil, func(b *bench) {
		b.plug(udid)
		for port := 1001; port < 1004; port++ {
			at := fmt.Sprintf("127.0.0.1:%d", port)
			defer b.other(at, says(200, "{"+many.String()[1:]+"}"))()
			b.post(pythonAt, "POST /upstream", `{"url":"http://`+at+`"}`)
		}
		list := mustList(t, b.client(PythonAddress), maxListed)
		own := 0
		for _, e := range list {
			if e.UDID == udid {
				own++
			}
		}
		if own != 1 {
			t.Errorf("our own tunnel is listed %d times", own)
		}
	})
}

// TestHostileRequests sends requests that try to bypass the checks or to hold
// resources.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		request string
		status  int
	}{
		"absolute form":    {"GET http://evil.example/hello HTTP/1.1\r\nHost: HERE", 403},
		"two hosts":        {"GET /hello HTTP/1.1\r\nHost: HERE\r\nHost: evil.example", 400},
		"user in the host": {"GET /hello HTTP/1.1\r\nHost: HERE@evil.example", 400},
		"host with a dot":  {"GET /hello HTTP/1.1\r\nHost: localhost.:PORT", 403},
		"no host":          {"GET /hello HTTP/1.0", 403},
		"second fetch site": {"GET /shutdown HTTP/1.1\r\nHost: HERE\r\n" +
			"Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", 403},
		"preflight": {"OPTIONS /shutdown HTTP/1.1\r\nHost: HERE\r\n" +
			"Origin: http://evil.example", 403},
		"path with dots": {"GET /x/../shutdown HTTP/1.1\r\nHost: HERE", 404},
		"escaped path":   {"GET /x%2f..%2fshutdown HTTP/1.1\r\nHost: HERE", 404},
		"two slashes":    {"GET //shutdown HTTP/1.1\r\nHost: HERE", 404},
		"connect, no token": {"GET /imdlua/connect?address=127.0.0.1&port=22 HTTP/1.1\r\n" +
			"Host: HERE\r\nUpgrade: tcp\r\nConnection: Upgrade", 404},
		"CONNECT":             {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22", 403},
		"HTTP/2":              {"PRI * HTTP/2.0\r\n\r\nSM", 403},
		"length and chunks":   {"POST /upstream HTTP/1.1\r\nHost: HERE\r\nContent-Length: -1", 400},
		"header without name": {"GET /hello HTTP/1.1\r\nHost: HERE\r\n: x", 400},
	} {
		bubble(t, nil, func(b *bench) {
			b.plug(udid)
			for _, at := range []netip.AddrPort{pythonAt, goiosAt} {
				r := strings.NewReplacer("HERE", at.String(), "PORT", fmt.Sprint(at.Port()))
				c, err := b.mesh.dial(context.Background(), "tcp", at.String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(c, r.Replace(row.request)+"\r\n\r\n")
				begin := time.Now()
				answer, _ := io.ReadAll(c)
				took := time.Since(begin)
				c.Close()
				if !strings.Contains(string(answer), fmt.Sprintf(" %d ", row.status)) {
					t.Errorf("%s: %v answers %.100q, want %d", name, at, answer, row.status)
				}
				if row.status == http.StatusForbidden && took >= idleTimeout {
					t.Errorf("%s: %v keeps a refused connection for %v", name, at, took)
				}
			}
			b.wantGet(pythonAt, "GET /", udid)
		})
	}
}

// TestLongAnswers checks that the errors about long answers are short.
func TestLongAnswers(t *testing.T) {
	t.Parallel()
	digits, long := strings.Repeat("1", 1<<20), strings.Repeat("x", 1<<20)
	for _, body := range []string{
		`{"port":` + digits + `}`,
		`{"address":"` + long + `","port":1}`,
		`{"address":"::1","port":1,"interface":"` + long + `"}`,
	} {
		e, err := decodeStarted("u", []byte(body))
		if e.UDID != "" {
			t.Errorf("decodeStarted(%.50s) = %.50q, want no device", body, e.UDID)
		}
		if !errors.Is(err, ErrAnswer) {
			t.Errorf("decodeStarted(%.50s): %.200v, want %v", body, err, ErrAnswer)
		} else if n := len(err.Error()); n > errorText {
			t.Errorf("decodeStarted(%.50s): the error's text has %d bytes", body, n)
		}
	}
}
