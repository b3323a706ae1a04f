package lockdown

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/power"
)

// It is not an error if a host disconnects before or during its handshake.
func TestHostLeaves(t *testing.T) {
	t.Parallel()
	p, _, _ := paired(t)
	for _, raw := range []string{"", "\x16\x03\x01"} {
		c, end := serve(t, never(p))
		talk(t, c, plist.Dict{"Request": "StartSession", "HostID": hostID})
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Errorf("handshake %q: Serve = %v", raw, err)
		}
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{})
		for _, x := range []struct{ set, want time.Duration }{
			{0, 60 * time.Second}, {time.Second, time.Second},
		} {
			c, end := serve(t, &Device{Phone: p, IdleTimeout: x.set})
			time.Sleep(x.want / 2)
			talk(t, c, plist.Dict{"Request": "QueryType"}) // starts it anew
			begin := time.Now()
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("Read = %v, want EOF", err)
			}
			if d := time.Since(begin); d != x.want {
				t.Errorf("IdleTimeout %v: closed after %v", x.set, d)
			}
			if err := end(); err != nil {
				t.Errorf("Serve = %v", err)
			}
		}
		c, _ := serve(t, &Device{Phone: p, IdleTimeout: -1})
		time.Sleep(1000 * time.Hour)
		talk(t, c, plist.Dict{"Request": "QueryType"})
	})
}

// A host that stalls during its handshake counts as idle.
func TestIdleInHandshake(t *testing.T) {
	t.Parallel()
	keys()
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := paired(t)
		c, end := serve(t, &Device{Phone: p, IdleTimeout: 5 * time.Second})
		talk(t, c, plist.Dict{"Request": "StartSession", "HostID": hostID})
		begin := time.Now()
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read = %v, want EOF", err)
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("closed after %v", d)
		}
		if err := end(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestServeEndsWithContext(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	for _, encrypted := range []bool{false, true} {
		a, b := linktest.Prompt()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- never(p).Serve(ctx, b) }()
		cl := New(a, Options{})
		if encrypted {
			if err := cl.StartSession(t.Context(), h.id); err != nil {
				t.Fatal(err)
			}
		} else if _, err := cl.QueryType(t.Context()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("encrypted %v: Serve = %v, want context.Canceled", encrypted, err)
		}
		cl.Close()
		b.Close()
	}
}

func TestGoodbyeAndRecovery(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	ctx := t.Context()
	powered := make(chan power.Action, 2)
	p.Power.OnAction(func(a power.Action) { powered <- a })

	cl := session(t, never(p), h.id)
	if err := cl.Goodbye(ctx); err != nil {
		t.Error(err)
	}
	if _, err := cl.QueryType(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Goodbye = %v", err)
	}

	cl = session(t, never(p), h.id)
	if err := cl.EnterRecovery(ctx); err != nil {
		t.Error(err)
	}
	if a := <-powered; a != power.Recovery {
		t.Errorf("power action %v", a)
	}
	if _, err := cl.QueryType(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after EnterRecovery = %v", err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	ctx := t.Context()

	// A refusal once.
	d := never(p)
	once := true
	d.Fault = func(_ context.Context, op string) error {
		if op == "GetValue" && once {
			once = false
			return ErrSessionInactive
		}
		return nil
	}
	cl := session(t, d, h.id)
	_, err := cl.Get(ctx, "", "SerialNumber")
	wantCode(t, "Get with a fault", err, ErrSessionInactive)
	if _, err := cl.Get(ctx, "", "SerialNumber"); err != nil {
		t.Error(err)
	}

	// The host disconnects instead of starting the handshake.
	d = never(p)
	d.Fault = func(_ context.Context, op string) error {
		if op == FaultHandshake {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	err = dial(t, d).StartSession(ctx, h.id)
	if !errors.Is(err, ErrTLS) {
		t.Errorf("StartSession = %v, want %v", err, ErrTLS)
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("StartSession = %v, want %v", err, net.ErrClosed)
	}

	// A late answer.
	release := make(chan struct{})
	d = never(p)
	d.Fault = func(ctx context.Context, _ string) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	cl = dial(t, d)
	close(release)
	if _, err := cl.QueryType(ctx); err != nil {
		t.Error(err)
	}
}

// The log has requests and refusals, but no values.
func TestLog(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	var b bytes.Buffer
	d := never(p)
	d.Logger = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, end := serve(t, d)
	cl := New(c, Options{Label: "prog"})
	if err := cl.StartSession(t.Context(), h.id); err != nil {
		t.Fatal(err)
	}
	if err := cl.Set(t.Context(), "", "DeviceName", "secret name"); err != nil {
		t.Fatal(err)
	}
	_, err := cl.Get(t.Context(), "", "Nope")
	wantCode(t, "Get(Nope)", err, ErrMissingValue)
	if err := end(); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"layer=lockdown", "request=SetValue subject=DeviceName label=prog",
		"request=GetValue subject=Nope label=prog code=MissingValue",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("log lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret name") {
		t.Error("log shows a value")
	}
}

// Connections, sessions and refusals leave no goroutine behind. synctest checks this,
// because a bubble ends only after all of its goroutines have ended.
func TestNoGoroutineIsLeft(t *testing.T) {
	t.Parallel()
	keys()
	synctest.Test(t, func(t *testing.T) {
		p, h, _ := paired(t)
		for i := range 40 {
			c, end := serve(t, never(p))
			cl := New(c, Options{})
			id := h.id
			if i%4 == 3 {
				id = h.stranger
			}
			err := cl.StartSession(t.Context(), id)
			if (err != nil) != (i%4 == 3) {
				t.Fatalf("%d: %v", i, err)
			}
			if i%2 == 0 {
				if err := cl.StopSession(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			cl.Close()
			_ = end()
		}
	})
}
