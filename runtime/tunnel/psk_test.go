package tunnel

import (
	"context"
	"errors"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/tunnel/psk"
)

// upPSK is up in TLS with a pre-shared key over loopback.
func upPSK(tb testing.TB, d *Device) *Tunnel {
	tb.Helper()
	if d == nil {
		d = &Device{Open: services, RSDPort: 58034}
	}
	key := noise(32)
	a, b := loopback(tb)
	served := make(chan error, 1)
	go func() { served <- d.ServePSK(context.Background(), b, key) }()
	tun, err := OpenPSK(within(tb), a, key, Options{})
	if err != nil {
		tb.Fatal(err, <-served)
	}
	tb.Cleanup(func() {
		tun.Close()
		<-served
	})
	return tun
}

func TestPSK(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]pipes{"memory": memory, "loopback": loopback} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := noise(32)
			a, b := p(t)
			served := make(chan error, 1)
			d := &Device{Open: services, RSDPort: 58034}
			go func() { served <- d.ServePSK(context.Background(), b, key) }()
			tun, err := OpenPSK(within(t), a, key, Options{})
			if err != nil {
				t.Fatal(err)
			}
			data := noise(1 << 20)
			c := dial(t, tun, portEcho)
			go func() { c.Write(data); link.CloseWrite(c) }()
			check(t, c, data)
			tun.Close()
			if err := <-served; err != nil {
				t.Errorf("ServePSK: %v", err)
			}
		})
	}
}

func TestPSKWrongKey(t *testing.T) {
	t.Parallel()
	a, b := memory(t)
	served := make(chan error, 1)
	go func() { served <- (&Device{Open: services}).ServePSK(context.Background(), b, noise(32)) }()
	tun, err := OpenPSK(within(t), a, noise(33), Options{})
	wantError(t, "OpenPSK", err, "open", nil)
	wantNone(t, "OpenPSK", tun)
	deviceErr := <-served
	wantError(t, "ServePSK", deviceErr, "serve", nil)
	for _, err := range []error{err, deviceErr} {
		var alert *psk.Error
		if !errors.As(err, &alert) {
			t.Errorf("%v has no *psk.Error", err)
		}
	}
}
