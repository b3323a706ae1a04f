package psk

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

var _ net.Conn = (*Conn)(nil)

var allSuites = []Suite{AES256GCMSHA384, AES256CBCSHA384, AES128CBCSHA}

func testKey() []byte { return bytes.Repeat([]byte{0x5A}, 32) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The values come from another implementation, see the protocol page on
// tunnels: PSK 11 x 32, client random 22 x 32, server random 33 x 32.
func TestKeySchedule(t *testing.T) {
	t.Parallel()
	fill := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	s := suiteByID(AES256GCMSHA384)
	master := s.masterSecret(fill(0x11), fill(0x22), fill(0x33))
	want := unhex(t,
		"e457b2f38a9bac9d23338cf6318fd9fbf902042b28bac0ac1964923da0ac5add6adfd59575ca46ec525c8e9b25acd370")
	if !bytes.Equal(master, want) {
		t.Errorf("master secret = %x, want %x", master, want)
	}
	block := s.keyBlock(master, fill(0x22), fill(0x33))
	want = unhex(t,
		"ae561aadd5c354ece6ece1d43a8cfbce42f8b4a0ab8abc05f23491aff0c4513c2f190dd522b5298a072b8cc243d0d9d5498fabacce4085a0b4571ac24c5ba0e115792cba844087f6")
	if !bytes.Equal(block, want) {
		t.Errorf("key block = %x, want %x", block, want)
	}
}

// pair connects a client and a server over a pipe.
func pair(t testing.TB, client, server *Config) (*Conn, *Conn) {
	t.Helper()
	a, b := link.Pipe()
	c, s := mustMeet(t, a, b, client, server)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

// mustMeet returns both ends of a handshake over a and b.
func mustMeet(t testing.TB, a, b net.Conn, client, server *Config) (c, s *Conn) {
	t.Helper()
	c, s, cerr, serr := meet(t.Context(), a, b, client, server)
	if cerr != nil {
		t.Fatalf("client: %v (server: %v)", cerr, serr)
	}
	if serr != nil {
		t.Fatalf("server: %v", serr)
	}
	return c, s
}

// wantAlert checks that err is an Error with this alert.
func wantAlert(t testing.TB, what string, err error, want Alert) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v (%T), want an *Error", what, err, err)
	} else if e.Alert != want {
		t.Errorf("%s: the alert of %v is %v, want %v", what, err, e.Alert, want)
	}
}

// wantNoConn checks that a failed handshake returned no connection.
func wantNoConn(t testing.TB, what string, c *Conn) {
	t.Helper()
	if c != nil {
		t.Errorf("%s: a connection is returned with the error", what)
	}
}

// meet is mustMeet for handshakes that may fail.
func meet(
	ctx context.Context, a, b net.Conn, client, server *Config,
) (c, s *Conn, cerr, serr error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, serr = Server(ctx, b, server)
	}()
	c, cerr = Client(ctx, a, client)
	<-done
	return c, s, cerr, serr
}

func TestBothSides(t *testing.T) {
	t.Parallel()
	for _, suite := range allSuites {
		for _, size := range []int{1, 32, 64, MaxKey} {
			t.Run(fmt.Sprint(suite, size), func(t *testing.T) {
				t.Parallel()
				key := bytes.Repeat([]byte{7}, size)
				c, s := pair(t, &Config{Key: key, Identity: "com.example", Suites: []Suite{suite}},
					&Config{Key: key})
				for side, conn := range map[string]*Conn{"client": c, "server": s} {
					if conn.Suite() != suite {
						t.Errorf("the suite of the %s is %v, want %v", side, conn.Suite(), suite)
					}
					if conn.Identity() != "com.example" {
						t.Errorf("the identity of the %s is %q, want com.example", side,
							conn.Identity())
					}
				}
				for _, n := range []int{
					0, 1, 15, 16, 255, 4096, maxPlain - 1, maxPlain, maxPlain + 1, 200_000,
				} {
					exchange(t, c, s, n)
					exchange(t, s, c, n)
				}
			})
		}
	}
}

// exchange sends n bytes from one end to the other.
func exchange(t *testing.T, from, to net.Conn, n int) {
	t.Helper()
	want := make([]byte, n)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(want)
		done <- err
	}()
	got := make([]byte, n)
	if read, err := io.ReadFull(to, got); err != nil {
		t.Fatalf("read %d of %d bytes: %v", read, n, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the %d bytes that arrive are not those that were sent", n)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// countedWrites records the size of each write.
type countedWrites struct {
	net.Conn
	sizes []int
}

func (c *countedWrites) Write(p []byte) (int, error) {
	c.sizes = append(c.sizes, len(p))
	return c.Conn.Write(p)
}

func TestOneRecordOneWrite(t *testing.T) {
	t.Parallel()
	a, b := link.Pipe()
	counted := &countedWrites{Conn: a}
	c, s := mustMeet(t, counted, b, &Config{Key: testKey()}, &Config{Key: testKey()})
	defer s.Close()
	defer c.Close()
	if len(counted.sizes) != 2 {
		t.Errorf("client hello and finish took writes of %v bytes, want two", counted.sizes)
	}
	counted.sizes = nil
	exchange(t, c, s, 16000)
	want := []int{16000 + recordHeader + explicitNonce + 16}
	if !slices.Equal(counted.sizes, want) {
		t.Errorf("a packet of 16000 bytes took writes of %v bytes, want %v", counted.sizes, want)
	}
}

func TestServerPrefersItsOrder(t *testing.T) {
	t.Parallel()
	c, _ := pair(t,
		&Config{Key: testKey(), Suites: []Suite{AES128CBCSHA, AES256CBCSHA384, AES256GCMSHA384}},
		&Config{Key: testKey()})
	if c.Suite() != AES256GCMSHA384 {
		t.Errorf("chosen %v", c.Suite())
	}
}

func TestRefusedHandshakes(t *testing.T) {
	t.Parallel()
	never := func(string) bool { return false }
	for name, c := range map[string]struct {
		client, server Config
		calert, salert Alert
		cause          error // on the server's side
	}{
		"wrong key": {
			Config{Key: testKey()}, Config{Key: []byte("other")}, AlertBadRecordMAC,
			AlertBadRecordMAC, nil,
		},
		"wrong key, CBC": {Config{Key: testKey(), Suites: []Suite{AES128CBCSHA}},
			Config{Key: []byte("other")},
			AlertBadRecordMAC, AlertBadRecordMAC, nil},
		"wrong identity": {Config{Key: testKey(), Identity: "x"},
			Config{Key: testKey(), CheckIdentity: never},
			AlertUnknownPSKIdentity, AlertUnknownPSKIdentity, ErrIdentity},
		"no common suite": {Config{Key: testKey(), Suites: []Suite{AES128CBCSHA}},
			Config{Key: testKey(), Suites: []Suite{AES256CBCSHA384}},
			AlertHandshakeFailure, AlertHandshakeFailure, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := link.Pipe()
			cc, s, cerr, serr := meet(t.Context(), a, b, &c.client, &c.server)
			wantNoConn(t, "client", cc)
			wantNoConn(t, "server", s)
			wantAlert(t, "client", cerr, c.calert)
			wantAlert(t, "server", serr, c.salert)
			var remote RemoteAlert
			if !errors.As(cerr, &remote) {
				t.Errorf("client: %v has no RemoteAlert", cerr)
			}
			if c.cause != nil && !errors.Is(serr, c.cause) {
				t.Errorf("server: %v, want %v", serr, c.cause)
			}
			for side, conn := range map[string]net.Conn{"client": a, "server": b} {
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s's connection after the failure: %v", side, err)
				}
			}
		})
	}
}

func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"no key":        {},
		"long key":      {Key: make([]byte, MaxKey+1)},
		"long identity": {Key: testKey(), Identity: strings.Repeat("x", MaxIdentity+1)},
		"other suite":   {Key: testKey(), Suites: []Suite{0x00AE}},
		"no suite":      {Key: testKey(), Suites: []Suite{}},
	} {
		for _, side := range []func(context.Context, net.Conn, *Config) (*Conn, error){
			Client, Server,
		} {
			a, _ := link.Pipe()
			var e *Error
			conn, err := side(t.Context(), a, &c)
			wantNoConn(t, name, conn)
			if !errors.As(err, &e) {
				t.Errorf("%s: %v (%T), want an *Error", name, err, err)
			}
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: connection is open: %v", name, err)
			}
		}
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	c := &Config{Key: []byte("swordfish"), Identity: "me"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c)
	secrets := []string{"swordfish", hex.EncodeToString(c.Key), "115 119", "c3dvcmRm"}
	for _, s := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c), fmt.Sprintf("%x", c),
		fmt.Sprintf("%d", *c), log.String(),
	} {
		for _, secret := range secrets {
			if strings.Contains(s, secret) {
				t.Errorf("printed as %q, which has the key as %q", s, secret)
			}
		}
		if !strings.Contains(s, "me") {
			t.Errorf("printed as %q without the identity", s)
		}
	}
}

// wantRest checks the bytes up to the end of the connection.
func wantRest(t *testing.T, c *Conn, want string) {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	if string(b) != want {
		t.Errorf("read %q, want %q", b, want)
	}
}

func TestCloseNotify(t *testing.T) {
	t.Parallel()
	c, s := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	if _, err := c.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	wantRest(t, s, "last")
	exchange(t, s, c, 100) // the other direction still works
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	n, err := c.Read(make([]byte, 1))
	if err != io.EOF {
		t.Errorf("read after close_notify: %v, want EOF", err)
	}
	if n != 0 {
		t.Errorf("read after close_notify: %d bytes", n)
	}
	if _, err := s.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("empty write after Close: %v", err)
	}
}

func TestEndWithoutCloseNotify(t *testing.T) {
	t.Parallel()
	c, s := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	c.conn.Close()
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read at the end of the connection: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second write: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
		s.SetReadDeadline(time.Now().Add(time.Second))
		_, err := s.Read(make([]byte, 1))
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read past its deadline: %v, want os.ErrDeadlineExceeded", err)
		}
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("read past its deadline: %v is not a timeout", err)
		}
		s.SetReadDeadline(time.Time{})
		exchange(t, c, s, 1000) // a read that timed out has lost nothing

		c.SetWriteDeadline(time.Now().Add(time.Second))
		big := make([]byte, 1<<20)
		n, err := c.Write(big)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write past its deadline: %v, want os.ErrDeadlineExceeded", err)
		}
		if n%maxPlain != 0 {
			t.Errorf("write past its deadline: %d bytes, want whole records of %d", n, maxPlain)
		}
		if n == len(big) {
			t.Error("write past its deadline: everything is written")
		}
		c.SetWriteDeadline(time.Time{})
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("a write after half a record succeeded")
		}
		c.Close()
	})
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, side := range map[string]func(context.Context, net.Conn, *Config) (*Conn, error){
		"client": Client, "server": Server,
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := link.Pipe()
			defer b.Close()
			if _, err := side(t.Context(), a, &Config{Key: testKey()}); !errors.Is(err,
				context.DeadlineExceeded) {
				t.Errorf("%s without a peer: %v", name, err)
			}
			a, b = link.Pipe()
			defer b.Close()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := side(ctx, a, &Config{Key: testKey()}); !errors.Is(err, context.Canceled) {
				t.Errorf("%s canceled: %v", name, err)
			}
			a, b = link.Pipe()
			b.Close()
			if _, err := side(t.Context(), a, &Config{Key: testKey()}); !errors.Is(err,
				io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%s, peer gone: %v", name, err)
			}
		})
	}
}

// A Close must end a Write that waits. The bubble fails its test if a goroutine is left.
func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
		writes, reads := make(chan error, 1), make(chan error, 1)
		go func() { _, err := c.Write(make([]byte, 1<<20)); writes <- err }()
		go func() { _, err := c.Read(make([]byte, 1)); reads <- err }()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-writes; !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := <-reads; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
	})
}
