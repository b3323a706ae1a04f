package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// errorText is the longest text that an error may have, whatever the peer sent.
const errorText = 1000

// badTerms are answers of a device that a host cannot accept.
var badTerms = map[string]string{
	"nothing":            frame(""),
	"null":               frame("null"),
	"a list":             frame("[]"),
	"no JSON":            frame("{"),
	"nested":             frame(strings.Repeat("[", maxHandshake)),
	"long type":          frame(`{"type":"` + strings.Repeat("x", 60_000) + `"}`),
	"long number":        frame(`{"serverRSDPort":` + strings.Repeat("1", 60_000) + `}`),
	"long address":       answering("fd6c:7a1e:52b3::1", strings.Repeat("f", 60_000)),
	"long netmask":       answering("ffff:ffff:ffff:ffff::", strings.Repeat("f", 60_000)),
	"long zone":          answering("fd6c:7a1e:52b3::1", "fe80::1%"+strings.Repeat("z", 60_000)),
	"a request":          goldenRequest,
	"another protocol":   "SSH-2.0-OpenSSH\r\n",
	"IPv4":               answering("fd6c:7a1e:52b3::1", "192.0.2.1"),
	"IPv4 in IPv6":       answering("fd6c:7a1e:52b3::1", "::ffff:192.0.2.1"),
	"multicast":          answering("fd6c:7a1e:52b3::1", "ff02::1"),
	"own loopback":       answering("fd6c:7a1e:52b3::1", "::1"),
	"same address":       answering("fd6c:7a1e:52b3::1", "fd6c:7a1e:52b3::2"),
	"port 0":             answering("58034", "0"),
	"port -1":            answering("58034", "-1"),
	"port 65536":         answering("58034", "65536"),
	"mtu -1":             answering("16000", "-1"),
	"mtu below IPv6's":   answering("16000", "1279"),
	"mtu 2^31":           answering("16000", "2147483648"),
	"mtu beyond 64 bits": answering("16000", "18446744073709551616"),
}

// answering is the golden response with old replaced by new.
func answering(old, new string) string {
	return frame(strings.Replace(goldenResponse[handshakeHeader:], old, new, 1))
}

// TestHostileDevice has devices that answer the request for a tunnel with anything else
// and then send nothing more. The context of the call has no deadline.
func TestHostileDevice(t *testing.T) {
	t.Parallel()
	type row struct {
		say  string
		slow time.Duration // between two bytes
		end  bool          // the device hangs up afterwards
		want error
	}
	rows := map[string]row{
		"silent":   {want: context.DeadlineExceeded},
		"one byte": {say: "C", want: context.DeadlineExceeded},
		"length and no more": {
			say: goldenResponse[:handshakeHeader], want: context.DeadlineExceeded,
		},
		"lying length": {
			say:  "CDTunnel\xff\xff" + goldenResponse[handshakeHeader:],
			want: context.DeadlineExceeded,
		},
		"slow": {say: goldenResponse, slow: time.Second, want: context.DeadlineExceeded},
	}
	for name, say := range badTerms {
		rows[name] = row{say: say, want: link.ErrProtocol}
	}
	for n := range len(goldenResponse) {
		r := row{say: goldenResponse[:n], end: true, want: io.ErrUnexpectedEOF}
		if n == 0 {
			r.want = io.EOF
		}
		rows["cut after "+goldenResponse[:n]] = r
	}
	for name, r := range rows {
		synctest.Test(t, func(t *testing.T) {
			a, b := link.Pipe()
			said := drip(b, r.say, r.slow, r.end)
			tun, err := Open(context.Background(), a, Options{})
			if tun != nil {
				t.Fatalf("%s: a tunnel", name)
			}
			refusedWith(t, name, err, r.want)
			_, err = a.Write([]byte("x"))
			if !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: the connection is not closed: %v", name, err)
			}
			b.Close()
			said()
		})
	}
}

// drip sends a text, byte by byte if there is a pause, and reads the answer. The function
// that it returns waits until both have ended.
func drip(c net.Conn, say string, pause time.Duration, end bool) (said func()) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
	wg.Go(func() {
		for pause > 0 && say != "" {
			if _, err := io.WriteString(c, say[:1]); err != nil {
				return
			}
			say = say[1:]
			time.Sleep(pause) // synthetic time
		}
		_, _ = io.WriteString(c, say)
		if end {
			_ = link.CloseWrite(c)
		}
	})
	return wg.Wait
}

// refusedWith checks an error of the package.
func refusedWith(t *testing.T, name string, err, want error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %.200v is no *Error", name, err)
	}
	if !errors.Is(err, want) {
		t.Errorf("%s: %.200v, want %v", name, err, want)
	}
	if err != nil && len(err.Error()) > errorText {
		t.Errorf("%s: the error's text has %d bytes", name, len(err.Error()))
	}
}

// TestHostileHost has hosts that begin with anything but a request for a tunnel.
func TestHostileHost(t *testing.T) {
	t.Parallel()
	type row struct {
		say  string
		slow time.Duration
		end  bool
		want error
	}
	rows := map[string]row{
		"silent":             {want: context.DeadlineExceeded},
		"one byte":           {say: "C", want: context.DeadlineExceeded},
		"length and no more": {say: "CDTunnel\xff\xff", want: context.DeadlineExceeded},
		"slow": {
			say: goldenRequest, slow: time.Second, want: context.DeadlineExceeded,
		},
		"nothing": {say: frame(""), want: link.ErrProtocol},
		"no JSON": {say: frame("mtu"), want: link.ErrProtocol},
		"nested": {
			say: frame(strings.Repeat("[", maxHandshake)), want: link.ErrProtocol,
		},
		"a list":             {say: frame("[]"), want: link.ErrProtocol},
		"mtu -1":             {say: frame(`{"mtu":-1}`), want: link.ErrProtocol},
		"mtu beyond 64 bits": {say: frame(`{"mtu":18446744073709551616}`), want: link.ErrProtocol},
		"long mtu": {
			say: frame(`{"mtu":` + strings.Repeat("1", 60_000) + `}`), want: link.ErrProtocol,
		},
		"long type": {
			say: frame(`{"type":"` + strings.Repeat("\x01", 9000) + `"}`), want: link.ErrProtocol,
		},
		"a response":       {say: goldenResponse, want: link.ErrProtocol},
		"another protocol": {say: "GET / HTTP/1.1\r\n\r\n", want: link.ErrProtocol},
	}
	for n := range len(goldenRequest) {
		r := row{say: goldenRequest[:n], end: true, want: io.ErrUnexpectedEOF}
		if n == 0 {
			r.want = io.EOF
		}
		rows["cut after "+goldenRequest[:n]] = r
	}
	for name, r := range rows {
		synctest.Test(t, func(t *testing.T) {
			a, b := link.Pipe()
			said := drip(a, r.say, r.slow, r.end)
			err := (&Device{Open: services, RSDPort: 1}).Serve(context.Background(), b)
			refusedWith(t, name, err, r.want)
			a.Close()
			said()
		})
	}
}

// TestKernelTerms checks that a device cannot choose addresses that would make the
// kernel's interface take over other connections of the computer.
func TestKernelTerms(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]string{
		"half the internet": answering("ffff:ffff:ffff:ffff::", "8000::"),
		"a /48":             answering("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff::"),
		"public host":       answering("fd6c:7a1e:52b3::2", "2001:db8::2"),
		"public device":     answering("fd6c:7a1e:52b3::1", "2001:db8::1"),
		"another network":   answering("fd6c:7a1e:52b3::1", "fd6c:7a1e:52b4::1"),
	} {
		a, b := link.Pipe()
		said := drip(b, say, 0, false)
		tun, err := Open(within(t), a, Options{Kernel: true})
		if tun != nil {
			t.Fatalf("%s: a tunnel", name)
		}
		refusedWith(t, name, err, link.ErrProtocol)
		b.Close()
		said()
	}
}

// TestGrantedTooMuch checks that a host sends no larger packets than it asked for.
func TestGrantedTooMuch(t *testing.T) {
	t.Parallel()
	for _, asked := range []int{1280, 9000, MaxMTU} {
		a, b := link.Pipe()
		said := drip(b, answering("16000", "65535"), 0, false)
		tun, err := Open(within(t), a, Options{MTU: asked})
		if err != nil {
			t.Fatal(err)
		}
		if tun.MTU() != asked {
			t.Errorf("MTU = %d, want %d", tun.MTU(), asked)
		}
		tun.Close()
		b.Close()
		said()
	}
}
