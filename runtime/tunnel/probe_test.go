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
	var e *Error
	if err := tun.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) ||
		e.Op != "probe" || !e.Timeout() {
		t.Errorf("a device that is silent: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if c, err := tun.Dial(ctx, portEcho); !errors.Is(err, context.DeadlineExceeded) ||
		!errors.As(err, &e) || !e.Timeout() {
		t.Errorf("Dial to it: %v, %v", c, err)
	}
	tun.Close()
	if err := tun.Probe(within(t)); !errors.Is(err, ErrDown) {
		t.Errorf("a tunnel that ended: %v", err)
	}
}

// Probe of a device that answers connections but no pings.
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
	// Stacks answer no more than one of these in half a second.
	tun.end.(*inside).liveness = liveness{
		idle: 600 * time.Millisecond, interval: 600 * time.Millisecond, count: 5,
	}
	c := dial(t, tun, portMute)
	c.SetReadDeadline(time.Now().Add(2500 * time.Millisecond))
	var n net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &n) || !n.Timeout() ||
		errors.Is(err, syscall.ETIMEDOUT) {
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
