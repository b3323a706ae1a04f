package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// Whatever a lossy carrier does to packets, the bytes must arrive.
func TestFaultsSurvived(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]Faults{
		"loss":    {Loss: 50},
		"reorder": {Reorder: 20, Seed: 1},
		"delay":   {Delay: time.Millisecond},
		"all":     {Loss: 70, Reorder: 30, Seed: 2, Delay: time.Millisecond},
	} {
		for route, up := range map[string]func(testing.TB, *Device) *Tunnel{
			"quic": upQUIC,
			"stream": func(tb testing.TB, d *Device) *Tunnel {
				return up(tb, memory, Options{},
					d)
			},
		} {
			t.Run(route+"/"+name, func(t *testing.T) {
				t.Parallel()
				tun := up(t, &Device{Open: services, RSDPort: 1, Faults: f})
				data := noise(1 << 20)
				c := dial(t, tun, portEcho)
				go func() { c.Write(data); link.CloseWrite(c) }()
				check(t, c, data)
			})
		}
	}
}

// Whichever packets are lost, including the first and the last ones, the bytes and the
// end of the stream must arrive.
func TestLossSurvived(t *testing.T) {
	t.Parallel()
	data := noise(200 << 10)
	for loss := 3; loss < 60; loss++ {
		t.Run(strconv.Itoa(loss), func(t *testing.T) {
			t.Parallel()
			d := &Device{Open: services, RSDPort: 1, Faults: Faults{Loss: loss}}
			c := dial(t, up(t, memory, Options{}, d), portEcho)
			c.SetDeadline(time.Now().Add(time.Minute))
			// If every third packet is lost, nearly each one waits for a timer of 200 ms.
			data := data[:min(loss*10<<10, len(data))]
			go func() { c.Write(data); link.CloseWrite(c) }()
			check(t, c, data)
		})
	}
}

// If a device never answers, Open must end by its context. The device must not fail
// when the host gives up.
func TestMute(t *testing.T) {
	t.Parallel()
	d := &Device{Open: services, RSDPort: 1, Faults: Faults{Mute: true}}
	a, b := link.Pipe()
	result := serve(d, context.Background(), b)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	tun, err := Open(ctx, a, Options{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open: %v, want context.DeadlineExceeded", err)
	}
	wantNone(t, "Open", tun)
	if err := result(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	_, b = link.Pipe()
	stopped, stop := context.WithCancel(context.Background())
	result = serve(d, stopped, b)
	stop()
	if err := result(); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve of a device that stops: %v", err)
	}
	at, _ := quicDevice(t, d, Keys{Own: deviceKey()})
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	tun, err = DialQUIC(ctx, at, Keys{Own: hostKey()}, Options{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DialQUIC: %v, want context.DeadlineExceeded", err)
	}
	wantNone(t, "DialQUIC", tun)
}

// A carrier that breaks must end the tunnel, wherever it breaks.
func TestCutAfter(t *testing.T) {
	t.Parallel()
	open := len(goldenRequest) + len(goldenResponse)
	for _, after := range []int{
		1, len(goldenRequest), open - 50, open + 20, open + ipHeader, 10_000, 100_001,
	} {
		a, b := link.Pipe()
		result := serve(&Device{Open: services, RSDPort: 1, Faults: Faults{CutAfter: int64(after)}},
			context.Background(), b)
		tun, err := Open(within(t), a, Options{})
		switch {
		case err == nil && after < open-50:
			t.Errorf("after %d bytes a tunnel came up", after)
		case err != nil && after > open:
			t.Errorf("after %d bytes no tunnel came up: %v", after, err)
		}
		if err == nil {
			down(t, tun)
		}
		if err := result(); err == nil && after < open-50 {
			t.Errorf("after %d bytes Serve has no error", after)
		}
	}
	down(t, upQUIC(t, &Device{Open: services, RSDPort: 1, Faults: Faults{CutAfter: 50_000}}))
}

// down transfers bytes until the tunnel ends, and checks the errors of the calls.
func down(t *testing.T, tun *Tunnel) {
	t.Helper()
	defer tun.Close()
	c, err := tun.Dial(within(t), portSource)
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	if !errors.Is(err, ErrDown) {
		t.Errorf("a call in a tunnel that is torn: %v", err)
	}
	<-tun.Done()
}

// packetLog is a carrier that records the packets that it sends.
type packetLog struct {
	carrier
	mu   sync.Mutex
	out  [][]byte
	sent []time.Time
}

func (p *packetLog) send(b []byte, _ int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		n, _ := packetLength(b)
		p.out, p.sent = append(p.out, bytes.Clone(b[:n])), append(p.sent, time.Now())
		b = b[n:]
	}
	return nil
}

func (p *packetLog) Close() error { return nil }
func (p *packetLog) free()        {}

// The same faults must affect the same packets, each as documented.
func TestFaultsDeterministic(t *testing.T) {
	t.Parallel()
	sizes := func(f Faults) []int {
		l := &packetLog{}
		c := f.spoil(l)
		for n := range 200 {
			if err := c.send(blank(ipHeader+1+n), 0); err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		for _, b := range l.out {
			got = append(got, len(b)-ipHeader-1)
		}
		return got
	}
	lost := sizes(Faults{Loss: 10})
	for n := range 200 {
		if slices.Contains(lost, n) == (n%10 == 9) {
			t.Errorf("packet %d: lost %v", n, !slices.Contains(lost, n))
		}
	}
	one, again := sizes(Faults{Reorder: 5, Seed: 1}), sizes(Faults{Reorder: 5, Seed: 1})
	other := sizes(Faults{Reorder: 5, Seed: 2})
	if !slices.Equal(one, again) {
		t.Errorf("seed 1 gives %v, then %v", one, again)
	}
	if slices.Equal(one, other) {
		t.Errorf("seeds 1 and 2 both give %v", one)
	}
	overtaken := 0
	for i, n := range one {
		if n > i+1 || n < i-1 {
			t.Fatalf("packet %d at place %d: more than neighbours change places", n, i)
		}
		if n == i+1 {
			overtaken++
		}
	}
	if overtaken < 10 || overtaken > 80 {
		t.Errorf("%d of 200 packets were overtaken, want about one in six", overtaken)
	}
}
