package tunnel

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// hush is a connection that can fall silent. What is written to it is then lost.
type hush struct {
	net.Conn
	silent atomic.Bool
}

func (h *hush) Write(b []byte) (int, error) {
	if h.silent.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

// upHush is up with a carrier that can fall silent in both directions.
func upHush(t *testing.T, o Options, d *Device) (tun *Tunnel, silence func()) {
	var a, b *hush
	tun = up(t, func(testing.TB) (net.Conn, net.Conn) {
		x, y := link.Pipe()
		a, b = &hush{Conn: x}, &hush{Conn: y}
		return a, b
	}, o, d)
	return tun, func() { a.silent.Store(true); b.silent.Store(true) }
}

// wantTimeout checks that err is a net.Error of a timeout.
func wantTimeout(t *testing.T, what string, err error) {
	t.Helper()
	var e net.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v (%T), want a net.Error", what, err, err)
	} else if !e.Timeout() {
		t.Errorf("%s: %v is not a timeout", what, err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	tun, silence := upHush(t, Options{}, nil)
	for range 3 {
		if err := tun.Probe(within(t)); err != nil {
			t.Errorf("a device that answers: %v", err)
		}
	}
	silence()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := tun.Probe(ctx)
	wantError(t, "a device that is silent", err, "probe", context.DeadlineExceeded)
	wantTimeout(t, "a device that is silent", err)
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = tun.Dial(ctx, portEcho)
	wantError(t, "Dial to it", err, "dial", context.DeadlineExceeded)
	wantTimeout(t, "Dial to it", err)
	tun.Close()
	if err := tun.Probe(within(t)); !errors.Is(err, ErrDown) {
		t.Errorf("a tunnel that ended: %v", err)
	}
}

// TestProbeWithoutEcho probes a device that answers connections but no pings.
func TestProbeWithoutEcho(t *testing.T) {
	t.Parallel()
	for _, port := range []uint16{portEcho, 1} {
		tun := up(t, memory, Options{}, &Device{Open: services, RSDPort: port})
		tun.end.(*inside).filter = func(h []byte, _ int) bool { return h[6] == protocolTCP }
		if err := tun.Probe(within(t)); err != nil {
			t.Errorf("RSD on port %d: %v", port, err)
		}
	}
}

// An idle connection must be found dead by its keep-alives, unless its peer answers
// them.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	tun, silence := upHush(t, Options{}, nil)
	// A stack answers one of these in half a second at most.
	tun.end.(*inside).liveness = liveness{
		idle: 600 * time.Millisecond, interval: 600 * time.Millisecond, count: 5,
	}
	c := dial(t, tun, portMute)
	c.SetReadDeadline(time.Now().Add(2500 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	wantTimeout(t, "while the device answers", err)
	if errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("while the device answers: %v, want the deadline", err)
	}
	c.SetReadDeadline(time.Time{})
	silence()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("a device that is silent: %v, want ETIMEDOUT", err)
	}
	if err := tun.Err(); err != nil {
		t.Errorf("the tunnel ended: %v", err)
	}
	if l := defaultLiveness; l.idle+time.Duration(l.count)*l.interval > time.Minute {
		t.Errorf("a dead connection is found after %v", l.idle+time.Duration(l.count)*l.interval)
	}
}
