package tunneld

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const elsewhere = "127.0.0.1:7000"

// against runs a test with another program's API at the address elsewhere.
func against(t *testing.T, h http.Handler, f func(b *bench, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, mesh: newMesh()}
		stop := b.other(elsewhere, h.ServeHTTP)
		f(b, b.client(elsewhere))
		stop()
	})
}

// paths is a program that answers on a few paths.
type paths map[string]string

func (p paths) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, ok := p[q.URL.RequestURI()]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		body = `{"error":"Not found"}`
	}
	io.WriteString(w, body)
}

var (
	foreignPython = paths{
		"/":      `{"u":[{"tunnel-address":"fd00::1","tunnel-port":5,"interface":"i"}]}`,
		"/hello": `{"message":"Hello, I'm alive"}`,
	}
	foreignAgent = paths{
		"/health":  "",
		"/tunnels": `[{"address":"fd00::1","rsdPort":5,"udid":"u","userspaceTun":true,"userspaceTunPort":7001}]`,
	}
	foreignAppium = paths{
		registryPath: `{"tunnels":{"u":{"address":"fd00::1","rsdPort":5}},"metadata":{}}`,
	}
)

// TestList checks that List uses the API that answers.
func TestList(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		program http.Handler
		want    Entry
		text    string // of the error
		is      error
	}{
		"pymobiledevice3": {foreignPython, entry(Python, "u", "fd00::1", 5, 0, "i"), "", nil},
		"go-ios":          {foreignAgent, entry(GoIOS, "u", "fd00::1", 5, 7001, ""), "", nil},
		"appium":          {foreignAppium, entry(Appium, "u", "fd00::1", 5, 0, ""), "", nil},
		"none": {
			paths{}, Entry{}, "tunneld: list 127.0.0.1:7000: speaks none of the known APIs",
			ErrUnknownAPI,
		},
		"a web page": {
			paths{"/": "<html>"}, Entry{},
			"tunneld: list 127.0.0.1:7000: pymobiledevice3: answer is not understood: invalid character",
			ErrAnswer,
		},
		"bad go-ios": {
			paths{"/tunnels": "{"}, Entry{}, "go-ios: answer is not understood", ErrAnswer,
		},
		"a token missing": {
			says(401, `{"detail":"Not authenticated"}`), Entry{},
			"401 Unauthorized: Not authenticated", fs.ErrPermission,
		},
		"forbidden": {says(403, `no`), Entry{}, "403 Forbidden: no", fs.ErrPermission},
		"broken":    {says(500, ``), Entry{}, "500 Internal Server Error", nil},
		"endless": {
			says(200, strings.Repeat(" ", maxAnswer+1)), Entry{}, "over the limit", ErrAnswer,
		},
		"long headers": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
		}), Entry{}, "header", nil},
		"elsewhere": {
			http.RedirectHandler("http://127.0.0.1:7000/x", http.StatusFound), Entry{}, "302 Found",
			nil,
		},
		"silent": {
			http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }),
			Entry{}, "deadline exceeded", context.DeadlineExceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			against(t, tt.program, func(_ *bench, c *Client) {
				begin := time.Now()
				list, err := c.List(context.Background())
				if took := time.Since(begin); took > requestTimeout {
					t.Errorf("List takes %v", took)
				}
				if tt.text != "" {
					if list != nil {
						t.Errorf("List = %+v, want none", list)
					}
					wantError(t, "List", err, "list", "")
					if err != nil && !strings.Contains(err.Error(), tt.text) {
						t.Errorf("List: %v, want %q", err, tt.text)
					}
					if tt.is != nil && !errors.Is(err, tt.is) {
						t.Errorf("List: %v, want %v", err, tt.is)
					}
					return
				}
				if err != nil {
					t.Fatalf("List: %v", err)
				}
				if len(list) != 1 {
					t.Fatalf("List = %+v, want one entry", list)
				}
				got := list[0]
				if got.Dial == nil {
					t.Errorf("List = %+v, want a Dial", list)
				}
				got.Dial = nil
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("List = %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

// TestListOrder checks that the API whose default port is used is tried first.
func TestListOrder(t *testing.T) {
	t.Parallel()
	for port, want := range map[string]API{
		"49151": Python, "60105": GoIOS, "42314": Appium, "7000": Python,
	} {
		list := ordered("localhost:" + port)
		if got := list[0].api; got != want {
			t.Errorf("at port %s %s is first, want %s", port, got, want)
		}
		if len(list) != len(probes) {
			t.Errorf("at port %s %d APIs are tried, want %d", port, len(list), len(probes))
		}
	}
}

// TestListNobody uses addresses at which nothing answers.
func TestListNobody(t *testing.T) {
	t.Parallel()
	m := newMesh()
	for _, address := range []string{
		elsewhere, "127.0.0.1", "", "127.0.0.1:7000/x", "http://127.0.0.1:7000",
	} {
		c := &Client{Address: address, DialContext: m.dial}
		list, err := c.List(context.Background())
		wantError(t, "List", err, "list", address)
		if list != nil {
			t.Errorf("List of %q = %v, want none", address, list)
		}
		id, err := c.Identify(context.Background())
		wantError(t, "Identify", err, "identify", address)
		if id != (Identity{}) {
			t.Errorf("Identify %q = %v, want none", address, id)
		}
	}
}

// TestStartClient covers the answers to /start-tunnel.
func TestStartClient(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status       int
		answer, text string
		is           error
	}{
		"started": {200, `{"interface":"i","port":5,"address":"fd00::1"}`, "", nil},
		"no device": {
			501, `{"error":"task not created"}`, "501 Not Implemented: task not created",
			fs.ErrNotExist,
		},
		"exception": {
			501, `{"error":{"exception":"it is locked","traceback":"long"}}`,
			"501 Not Implemented: it is locked", fs.ErrNotExist,
		},
		"no such": {
			404, `{"error":"something went wrong during tunnel creation"}`,
			"404 Not Found: something went wrong", fs.ErrNotExist,
		},
		"an old one": {404, `{"detail":"Not Found"}`, "404 Not Found: Not Found", fs.ErrNotExist},
		"half":       {200, `{"interface":"i","port":5}`, `"" is not an address`, ErrAnswer},
		"invalid":    {422, `{"detail":[{"type":"missing"}]}`, "422 Unprocessable Entity", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked string
			h := func(w http.ResponseWriter, q *http.Request) {
				asked = q.URL.RequestURI()
				says(tt.status, tt.answer)(w, q)
			}
			against(t, http.HandlerFunc(h), func(_ *bench, c *Client) {
				e, err := c.Start(context.Background(), "a b&c")
				if asked != "/start-tunnel?udid=a+b%26c" {
					t.Errorf("asked for %s", asked)
				}
				if tt.text != "" {
					if err == nil || !strings.Contains(err.Error(), tt.text) {
						t.Errorf("Start: %v, want %q", err, tt.text)
					}
					if tt.is != nil && !errors.Is(err, tt.is) {
						t.Errorf("Start: %v, want %v", err, tt.is)
					}
					return
				}
				if err != nil {
					t.Errorf("Start: %v", err)
				}
				if e.Dial == nil {
					t.Errorf("Start = %+v, want a Dial", e)
				}
				e.Dial = nil
				want := entry(Python, "a b&c", "fd00::1", 5, 0, "i")
				if !reflect.DeepEqual(e, want) {
					t.Errorf("Start = %+v, want %+v", e, want)
				}
			})
		})
	}
}

// TestIdentify covers the programs that Identify recognizes.
func TestIdentify(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		program http.Handler
		want    Identity
		text    string
	}{
		"pymobiledevice3": {foreignPython, Identity{API: Python}, "pymobiledevice3 tunneld"},
		"go-ios":          {foreignAgent, Identity{API: GoIOS}, "go-ios agent"},
		"appium":          {foreignAppium, Identity{API: Appium}, "appium tunnel registry"},
		"a web server": {
			paths{"/": "<html>", "/hello": "hi", "/health": "ok"}, Identity{}, "unknown program",
		},
		"a token": {says(401, ""), Identity{}, "unknown program"},
		"silent": {
			http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }),
			Identity{}, "unknown program",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			against(t, tt.program, func(_ *bench, c *Client) {
				id, err := c.Identify(context.Background())
				if err != nil {
					t.Errorf("Identify: %v", err)
				}
				if id != tt.want {
					t.Errorf("Identify = %+v, want %+v", id, tt.want)
				}
				if id.String() != tt.text {
					t.Errorf("Identify = %q, want %q", id, tt.text)
				}
			})
		})
	}
	for token, want := range map[string][2]string{
		"":       {"imdlua (pymobiledevice3 API)", "imdlua (go-ios API)"},
		"secret": {"imdlua (wants a token)", "imdlua (wants a token)"},
	} {
		bubble(t, func(b *bench) { b.server.Token = token }, func(b *bench) {
			for i, address := range []string{PythonAddress, GoIOSAddress} {
				id, err := b.client(address).Identify(context.Background())
				if err != nil {
					t.Errorf("Identify %s: %v", address, err)
				}
				if !id.Ours {
					t.Errorf("Identify %s = %v, which is not ours", address, id)
				}
				if id.String() != want[i] {
					t.Errorf("Identify %s = %v, want %s", address, id, want[i])
				}
			}
		})
	}
}

// TestIdentifyOther uses a program that does not speak HTTP, and a context that ends.
func TestIdentifyOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		l, err := m.listen(netip.MustParseAddrPort(elsewhere))
		if err != nil {
			t.Fatal(err)
		}
		hello := "SSH-2.0-x\r\n"
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, hello)
				go func() { io.Copy(io.Discard, c); c.Close() }()
			}
		}()
		c := &Client{Address: elsewhere, DialContext: m.dial}
		id, err := c.Identify(context.Background())
		if err != nil {
			t.Errorf("Identify: %v", err)
		}
		if id != (Identity{}) {
			t.Errorf("Identify = %v, want an unknown program", id)
		}
		hello = ""
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if id, err := c.Identify(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Identify = %v, %v", id, err)
		}
		l.Close()
		synctest.Wait()
	})
}

// TestTokenClient checks that the token is sent in requests, and nowhere else.
func TestTokenClient(t *testing.T) {
	t.Parallel()
	bubble(t, func(b *bench) { b.server.Token = "secret" }, func(b *bench) {
		b.plug(udid)
		c := b.client(PythonAddress)
		if _, err := c.List(context.Background()); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("List without a token = %v", err)
		}
		c.Token = "secret"
		mustList(t, c, 1)
		e, err := c.Start(context.Background(), udid)
		if err != nil {
			t.Errorf("Start: %v", err)
		}
		if want := aliasOf(udid, 0); e.Address != want {
			t.Errorf("Start = %+v, want the address %v", e, want)
		}
	})
	var headers []http.Header
	h := func(w http.ResponseWriter, q *http.Request) {
		headers = append(headers, q.Header)
		http.Redirect(w, q, "http://127.0.0.1:7001/", http.StatusTemporaryRedirect)
	}
	against(t, http.HandlerFunc(h), func(b *bench, c *Client) {
		defer b.other("127.0.0.1:7001", func(_ http.ResponseWriter, q *http.Request) {
			t.Errorf("redirected with %v", q.Header)
		})()
		c.Token = "secret"
		_, _ = c.List(context.Background())
		for _, h := range headers {
			if h.Get("Authorization") != "Bearer secret" {
				t.Errorf("headers %v", h)
			}
		}
	})
}

// TestDial covers each way into a tunnel.
func TestDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dialled []string
		var sent strings.Builder
		c := &Client{Address: "localhost:60105",
			DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
				dialled = append(dialled, network+" "+address)
				return &sink{to: &sent}, nil
			}}
		for _, e := range []Entry{
			entry(Python, "u", "fd00::1", 1, 0, ""), entry(Python, "u", "127.77.0.1", 1, 0, ""),
			entry(GoIOS, "u", "fd6c:7a1e:52b3::1", 1, 60106, ""),
		} {
			nc, err := c.dialer(e, "")(context.Background(), 58034)
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
			if nc, err := c.dialer(e, "")(context.Background(), 0); err == nil {
				t.Errorf("port 0 is dialled: %v", nc)
			}
		}
		if want := []string{
			"tcp [fd00::1]:58034", "tcp 127.77.0.1:58034", "tcp localhost:60106",
		}; !reflect.DeepEqual(dialled, want) {
			t.Errorf("dialled %q, want %q", dialled, want)
		}
		if got := fmt.Sprintf("%x", sent.String()); got != preambleHex {
			t.Errorf("the relay is sent %s, want %s", got, preambleHex)
		}
		c.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("refused")
		}
		_, err := c.dialer(entry(GoIOS, "u", "fd00::1", 1, 2, ""), "")(context.Background(), 5)
		wantError(t, "Dial", err, "dial", "")
		if want := "tunneld: dial [fd00::1]:5: refused"; err == nil || err.Error() != want {
			t.Errorf("Dial = %v, want %s", err, want)
		}
	})
}

// sink is a connection that keeps the bytes that are written.
type sink struct {
	net.Conn
	to *strings.Builder
}

func (s *sink) Write(b []byte) (int, error)      { return s.to.Write(b) }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Close() error                     { return nil }

// wantAbsent checks the error of Find for a device that is not reached. text is a part
// of the error.
func wantAbsent(t *testing.T, err error, text string) {
	t.Helper()
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find = %v, want fs.ErrNotExist", err)
	} else if !strings.Contains(err.Error(), text) {
		t.Errorf("Find = %v, want %q in it", err, text)
	}
}

// TestFind checks that Find compares the device in the tunnel with the requested one.
func TestFind(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		g := newGadget(t)
		own := g.phone.Identity.UDID
		b.keeper.add(g, own)
		b.plug(udid) // a phone with another identifier answers in its tunnel
		other := `{"` + own + `":[{"tunnel-address":"fd00::1","tunnel-port":1,"interface":""}]}`
		defer b.other(elsewhere, says(200, other))()
		ctx := context.Background()
		for _, address := range []string{PythonAddress, GoIOSAddress} {
			e, err := b.client(address).Find(ctx, strings.ToLower(own))
			if err != nil {
				t.Errorf("Find: %v", err)
			}
			if e.UDID != own {
				t.Errorf("Find = %+v, want %s", e, own)
			}
			if e.Dial == nil {
				t.Errorf("Find = %+v, want a Dial", e)
			}
			_, err = b.client(address).Find(ctx, udid)
			wantAbsent(t, err, "answers in place of")
		}
		_, err := b.client(PythonAddress).Find(ctx, "other")
		wantAbsent(t, err, "")
		_, err = b.client(elsewhere).Find(ctx, own)
		wantAbsent(t, err, "refused")
		_, err = b.client("127.0.0.1:7009").Find(ctx, own)
		if err == nil {
			t.Error("Find succeeds where nothing listens")
		}
		if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Find = %v where nothing listens, which matches fs.ErrNotExist", err)
		}
	})
}
