package phone

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// asked begins an AskTrust and returns where it ends.
func asked(ctx context.Context, p *Phone, name string) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- p.AskTrust(ctx, Dialog{Label: name, HostName: name}) }()
	synctest.Wait()
	return ended
}

func wantAsk(t *testing.T, what string, ended <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		var e *Error
		if !errors.Is(err, want) || (err == nil) != (want == nil) ||
			err != nil && !errors.As(err, &e) {
			t.Errorf("%s: AskTrust = %v, want %v", what, err, want)
		}
	default:
		t.Fatalf("%s: AskTrust still waits", what)
	}
}

func wantShown(t *testing.T, p *Phone, host string) {
	t.Helper()
	synctest.Wait()
	if d, ok := p.ShownDialog(); ok != (host != "") || d.HostName != host {
		t.Errorf("shown is %+v, %v, want %q", d, ok, host)
	}
}

func TestAskTrustPolicies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy TrustPolicy
		after  time.Duration
		dialog bool
		want   error
	}{
		{"accept", TrustPolicy{}, 0, false, nil},
		{
			"after", TrustPolicy{Mode: TrustAfter, After: 5 * time.Second}, 5 * time.Second, true,
			nil,
		},
		{"at once", TrustPolicy{Mode: TrustAfter}, 0, true, nil},
		{"deny", TrustPolicy{Mode: TrustDeny}, 0, true, ErrUserDenied},
		{"ignore", TrustPolicy{Mode: TrustIgnore}, time.Minute, true, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPhone(t, Options{Trust: c.policy})
				o := p.ObserveNotifications()
				defer o.Close()
				o.Add(NoteRequestPair)
				shown := 0
				p.OnDialog(func(d Dialog) { shown++ })
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for n := range 2 {
					begun := time.Now()
					if c.want == context.DeadlineExceeded && n > 0 {
						break
					}
					err := p.AskTrust(ctx, Dialog{HostName: "laptop"})
					if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) ||
						time.Since(begun) != c.after {
						t.Errorf("AskTrust = %v after %v, want %v after %v", err, time.Since(begun),
							c.want, c.after)
					}
					wantShown(t, p, "")
				}
				if (shown > 0) != c.dialog {
					t.Errorf("the dialog was shown %d times, want %v", shown, c.dialog)
				}
				if got := heard(o); len(got) != 0 {
					t.Errorf("lockdown's hosts heard %v", got)
				}
			})
		})
	}
}

func TestAskTrustTaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
		a := asked(t.Context(), p, "a")
		wantShown(t, p, "a")
		b := asked(t.Context(), p, "b") // waits its turn
		wantShown(t, p, "a")
		p.TapTrust()
		wantAsk(t, "trusted", a, nil)
		wantShown(t, p, "b")
		p.TapDeny()
		wantAsk(t, "denied", b, ErrUserDenied)
		wantShown(t, p, "")
		p.TapTrust() // nobody asks

		p.OnDialog(func(Dialog) { p.TapTrust() })
		wantAsk(t, "tapped as it appears", asked(t.Context(), p, "c"), nil)
	})
}

func TestAskTrustEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(p *Phone, cancel context.CancelFunc)
		want error
	}{
		"host leaves": {func(_ *Phone, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"lock": {
			func(p *Phone, _ context.CancelFunc) { p.SetPasscode(true); p.Lock() }, ErrDialogClosed,
		},
		"boot":  {func(p *Phone, _ context.CancelFunc) { p.Boot() }, ErrDialogClosed},
		"reset": {func(p *Phone, _ context.CancelFunc) { p.ResetPairing() }, ErrDialogClosed},
		"policy": {
			func(p *Phone, _ context.CancelFunc) { p.SetTrust(TrustPolicy{Mode: TrustAsk}) },
			ErrDialogClosed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := asked(ctx, p, "a")
				wantShown(t, p, "a")
				c.end(p, cancel)
				wantAsk(t, name, ended, c.want)
				wantShown(t, p, "")
			})
		})
	}
	p := newPhone(t, Options{})
	p.SetPasscode(true)
	p.Lock()
	if err := p.AskTrust(t.Context(), Dialog{}); !errors.Is(err, ErrPasswordProtected) {
		t.Errorf("locked: AskTrust = %v, want ErrPasswordProtected", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
	if err := q.AskTrust(ctx, Dialog{}); !errors.Is(err, context.Canceled) {
		t.Errorf("host gone: AskTrust = %v, want context.Canceled", err)
	}
}

// TestAskTrustWaitingHostLeaves: who waits for another's dialog may go.
func TestAskTrustWaitingHostLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
		a := asked(t.Context(), p, "a")
		ctx, cancel := context.WithCancel(t.Context())
		b := asked(ctx, p, "b")
		cancel()
		wantAsk(t, "second", b, context.Canceled)
		wantShown(t, p, "a")
		p.TapTrust()
		wantAsk(t, "first", a, nil)
	})
}

// TestAskTrustLateTap: the answer that a user was about to give to one dialog
// does not reach the next.
func TestAskTrustLateTap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAfter, After: 10 * time.Second}})
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		if err := p.AskTrust(ctx, Dialog{HostName: "a"}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("AskTrust = %v, want the deadline", err)
		}
		begun := time.Now()
		if err := p.AskTrust(t.Context(), Dialog{HostName: "b"}); err != nil ||
			time.Since(begun) != 10*time.Second {
			t.Errorf("AskTrust = %v after %v, want nil after 10s", err, time.Since(begun))
		}
		p.SetTrust(TrustPolicy{Mode: TrustAsk})
		ended := asked(t.Context(), p, "c")
		p.tapTrust(1) // the timer of the first, had it been too late to stop
		wantShown(t, p, "c")
		p.TapTrust()
		wantAsk(t, "third", ended, nil)
	})
}

// TestAskTrustAndPair: both show the one dialog that there is.
func TestAskTrustAndPair(t *testing.T) {
	t.Parallel()
	first := newPhone(t, Options{})
	r := request(t, first, "H", "B") // outside of the bubble: it makes keys
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
		o := p.ObserveNotifications()
		defer o.Close()
		o.Add(NoteRequestPair)
		wantPair(t, p, r, ErrDialogPending)
		wantShown(t, p, "laptop")
		ended := asked(t.Context(), p, "a") // takes the place
		wantShown(t, p, "a")
		wantPair(t, p, r, ErrDialogPending) // and keeps it
		wantShown(t, p, "a")
		p.TapDeny()
		wantAsk(t, "denied", ended, ErrUserDenied)
		wantPair(t, p, r, ErrDialogPending) // was not denied
		wantShown(t, p, "laptop")
		p.TapTrust()
		wantPair(t, p, r, nil)
		if got := heard(o); !slices.Equal(got, []string{NoteRequestPair}) {
			t.Errorf("observers heard %v", got)
		}
	})
}

func TestOnReset(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	var got []string
	p.OnReset(func() { got = append(got, "one") })
	p.OnReset(func() { got = append(got, "two"); p.Hosts() }) // no lock is held
	p.ResetPairing()
	if !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("called %v", got)
	}
}
