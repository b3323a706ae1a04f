package remotepair

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

func TestWhichPIN(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		consent, pinless bool
		model, want      string
	}{
		"dialog":              {true, false, "iPhone15,2", pinless},
		"dialog on a TV":      {true, false, "AppleTV11,1", pinless},
		"without any":         {false, true, "iPhone15,2", pinless},
		"TV that promises":    {false, true, "AppleTV11,1", "123456"},
		"device with a PIN":   {false, false, "RealityDevice14,1", "123456"},
		"says nothing of PIN": {false, false, "", "123456"},
	} {
		client := &Client{info: DeviceInfo{Model: c.model, AllowsPinlessPairing: c.pinless},
			o: Options{PIN: func(context.Context) (string, error) { return "123456", nil }}}
		got, err := client.pin(t.Context(), c.consent)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got != c.want {
			t.Errorf("%s: PIN %q, want %q", name, got, c.want)
		}
	}
}

// The bytes are those that the protocol page gives.
func TestBackOffBytes(t *testing.T) {
	t.Parallel()
	list, err := tlv8.Decode([]byte{7, 1, 3, 8, 2, 0x7C, 0x20, 6, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	e := pairingError("pair", &pairingData{list: list})
	if e == nil {
		t.Fatal("pairingError = nil, want an error")
	}
	if !errors.Is(e, ErrBackOff) {
		t.Errorf("%v, want %v", e, ErrBackOff)
	}
	if want := 0x207C * time.Second; e.Retry != want {
		t.Errorf("retry after %v, want %v", e.Retry, want)
	}
	if want := "remotepair: pair M2: too many attempts, wait (3)"; e.Error() != want {
		t.Errorf("the text is %q, want %q", e, want)
	}
	if e := pairingError("pair", &pairingData{}); e != nil {
		t.Errorf("no error item: %v", e)
	}
}

func TestConsent(t *testing.T) {
	bubble(t, func(r *rig) {
		r.dev.Consent = r.phone.Trust.Ask
		r.phone.Trust.SetPolicy(trust.Policy{Mode: trust.Deny})
		var e *Error
		c := r.connect(Options{})
		_, err := c.Pair(r.Context())
		if !errors.Is(err, ErrDenied) {
			r.Errorf("denied: %v, want %v", err, ErrDenied)
		}
		if !errors.As(err, &e) {
			r.Fatalf("denied: %v (%T), want an *Error", err, err)
		}
		if e.Code == 0 {
			r.Errorf("denied: %v has no code", err)
		}
		if e.Domain == "" {
			r.Errorf("denied: %v has no domain", err)
		}
		if len(r.dev.Peers.All()) != 0 {
			r.Error("a denied host is trusted")
		}
		r.phone.Trust.SetPolicy(trust.Policy{Mode: trust.After, After: 30 * time.Second})
		begun := time.Now()
		if _, err := c.Pair(r.Context()); err != nil {
			r.Errorf("after a while: %v", err)
		}
		if took := time.Since(begun); took != 30*time.Second {
			r.Errorf("after a while: Pair takes %v, want 30s", took)
		}
		if r.phone.Trust.Reset(); len(r.dev.Peers.All()) != 0 {
			r.Errorf("a phone that forgot all hosts trusts %v", r.dev.Peers.All())
		}
		if err := c.Verify(r.Context()); !errors.Is(err, ErrNotPaired) {
			r.Errorf("verify of a forgotten host: %v", err)
		}
		r.phone.Trust.SetPolicy(trust.Policy{Mode: trust.Ignore})
		if _, err := r.connect(Options{ConsentTimeout: time.Hour}).Pair(r.Context()); !errors.Is(
			err, ErrDenied,
		) {
			r.Errorf("dialog goes by itself: %v", err)
		}
		begun = time.Now()
		c = r.connect(Options{ConsentTimeout: 5 * time.Second})
		if _, err := c.Pair(r.Context()); !errors.Is(err, context.DeadlineExceeded) {
			r.Errorf("the host does not wait: %v, want %v", err, context.DeadlineExceeded)
		}
		if took := time.Since(begun); took != 5*time.Second {
			r.Errorf("the host does not wait: Pair takes %v, want 5s", took)
		}
		if err := c.Verify(r.Context()); err == nil {
			r.Error("a channel with half a setup went on")
		}
	})
}

// TestConsentIsClosed checks that the host learns when the dialog is closed: as soon as
// the user has answered, and when the host no longer waits.
func TestConsentIsClosed(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy trust.Policy
		after  time.Duration
		want   error
	}{
		{
			"trusted", trust.Policy{Mode: trust.After, After: 7 * time.Second},
			7 * time.Second, nil,
		},
		{"denied", trust.Policy{Mode: trust.Deny}, 0, ErrDenied},
		{"ignored", trust.Policy{Mode: trust.Ignore}, 5 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.dev.Consent = r.phone.Trust.Ask
				r.phone.Trust.SetPolicy(c.policy)
				var shown time.Time
				var took []time.Duration
				o := Options{OnConsent: func() func() {
					shown = time.Now()
					return func() { took = append(took, time.Since(shown)) }
				}}
				if c.want == context.DeadlineExceeded {
					o.ConsentTimeout = c.after
				}
				if _, err := r.connect(o).Pair(r.Context()); !errors.Is(err, c.want) {
					r.Errorf("Pair = %v, want %v", err, c.want)
				}
				if want := []time.Duration{c.after}; !slices.Equal(took, want) {
					r.Errorf("the dialog was closed after %v, want %v", took, want)
				}
			})
		})
	}
}

// If the host leaves while its dialog is shown, the dialog must end.
func TestLeavingDuringConsent(t *testing.T) {
	bubble(t, func(r *rig) {
		shown, gone := make(chan struct{}), make(chan struct{})
		r.dev.Consent = func(ctx context.Context, _ trust.Dialog) error {
			close(shown)
			<-ctx.Done()
			close(gone)
			return ctx.Err()
		}
		begun := time.Now()
		tr, ended := r.serve()
		c, err := Connect(r.Context(), tr, Options{Identity: r.host})
		if err != nil {
			r.Fatal(err)
		}
		paired := make(chan error, 1)
		go func() { _, err := c.Pair(context.Background()); paired <- err }()
		<-shown
		for range 2 {
			c.Close()
		}
		if err := <-paired; !errors.Is(err, net.ErrClosed) {
			r.Errorf("pair on a closed client: %v", err)
		}
		<-gone
		if err := <-ended; err != nil {
			r.Errorf("device: %v", err)
		}
		if took := time.Since(begun); took != 0 {
			r.Errorf("the device ends after %v, want at once", took)
		}
		if err := c.Verify(r.Context()); !errors.Is(err, net.ErrClosed) {
			r.Errorf("verify after Close: %v", err)
		}
	})
}

func TestPIN(t *testing.T) {
	bubble(t, func(r *rig) {
		var shown string
		r.dev.ShowPIN = func(pin string) { shown = pin }
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrPINNeeded) {
			r.Errorf("without a PIN: %v", err)
		}
		wrong := func(context.Context) (string, error) { return "x" + shown, nil }
		right := func(context.Context) (string, error) { return " " + shown + "\n", nil }
		cancel := func(context.Context) (string, error) { return "", context.Canceled }
		_, err := r.connect(Options{PIN: wrong}).Pair(r.Context())
		wantCode(r, "wrong PIN", err, ErrWrongPIN, "M4", 2)
		if _, err := r.connect(Options{PIN: cancel}).Pair(r.Context()); !errors.Is(err,
			context.Canceled) {
			r.Errorf("no PIN: %v", err)
		}
		if len(r.dev.Peers.All()) != 0 {
			r.Fatal("a host without the PIN is trusted")
		}
		c := r.connect(Options{PIN: right})
		if c.Device().AllowsPinlessPairing {
			r.Error("a device with a PIN says that it pairs without")
		}
		if _, err := c.Pair(r.Context()); err != nil {
			r.Errorf("right PIN %q: %v", shown, err)
		}
		if len(shown) != 6 {
			r.Errorf("the PIN %q has %d digits, want 6", shown, len(shown))
		}
	})
}

func TestTooManyAttempts(t *testing.T) {
	bubble(t, func(r *rig) {
		r.dev.ShowPIN = func(string) {}
		wrong := func(context.Context) (string, error) { return "no", nil }
		c := r.connect(Options{PIN: wrong})
		for range backOffAfter {
			if _, err := c.Pair(r.Context()); !errors.Is(err, ErrWrongPIN) {
				r.Fatal(err)
			}
		}
		_, err := c.Pair(r.Context())
		e := wantCode(r, "right afterwards", err, ErrBackOff, "", 3)
		if e.Retry != backOffTime {
			r.Errorf("right afterwards: retry after %v, want %v", e.Retry, backOffTime)
		}
		<-time.After(backOffTime)
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrWrongPIN) {
			r.Errorf("after waiting: %v", err)
		}
		for range maxTries {
			r.dev.Peers.tried(false)
		}
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrMaxTries) {
			r.Errorf("after %d attempts: %v", maxTries, err)
		}
		r.dev.Peers.Reset()
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrWrongPIN) {
			r.Errorf("after Reset: %v", err)
		}
	})
}

func TestRefusedSetups(t *testing.T) {
	bubble(t, func(r *rig) {
		r.dev.Peers.SetMax(0)
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrMaxPeers) {
			r.Errorf("no room: %v", err)
		}
		r.dev.Peers.SetMax(1)
		r.phone.Screen.SetPasscode(true)
		r.phone.Screen.Lock()
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrDenied) {
			r.Errorf("locked: %v", err)
		}
		r.phone.Screen.Unlock()
		r.dev.NoSetup = true
		c := r.connect(Options{})
		if _, err := c.Pair(r.Context()); !errors.Is(err, ErrDenied) {
			r.Errorf("not allowed: %v, want %v", err, ErrDenied)
		}
		if c.Device().AllowsPairSetup {
			r.Error("not allowed: the device says that it can be paired")
		}
		r.dev.NoSetup = false
		r.pair()
		r.pair() // the same host is not counted again
		r.host = NewIdentity("another", nil)
		if _, err := r.connect(Options{}).Pair(r.Context()); !errors.Is(err, ErrMaxPeers) {
			r.Errorf("second host: %v", err)
		}
		all := r.dev.Peers.All()
		if len(all) != 1 {
			r.Fatalf("peers %v, want one", all)
		}
		if !r.dev.Peers.Remove(all[0].Identifier) {
			r.Error("the peer is not removed")
		}
		if r.dev.Peers.Remove("x") {
			r.Error("an unknown peer is removed")
		}
	})
}
