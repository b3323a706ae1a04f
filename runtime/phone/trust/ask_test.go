package trust_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/screen"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// asked starts a call of Ask and returns the channel that receives its result.
func asked(ctx context.Context, p *phone.Phone, name string) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- p.Trust.Ask(ctx, trust.Dialog{Label: name, HostName: name}) }()
	synctest.Wait()
	return ended
}

func wantAsk(t *testing.T, what string, ended <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		var e *failure.Error
		if !errors.Is(err, want) {
			t.Errorf("%s: Ask = %v, want %v", what, err, want)
		}
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%s: Ask = %#v, want a *failure.Error", what, err)
		}
	default:
		t.Fatalf("%s: Ask still waits", what)
	}
}

func wantShown(t *testing.T, p *phone.Phone, host string) {
	t.Helper()
	synctest.Wait()
	if d, ok := p.Trust.ShownDialog(); ok != (host != "") {
		t.Errorf("a dialog is shown: %v, want %v", ok, host != "")
	} else if d.HostName != host {
		t.Errorf("the dialog of %q is shown, want %q", d.HostName, host)
	}
}

func TestAskTrustPolicies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy trust.Policy
		after  time.Duration
		dialog bool
		want   error
	}{
		{"accept", trust.Policy{}, 0, false, nil},
		{
			"after", trust.Policy{Mode: trust.After, After: 5 * time.Second}, 5 * time.Second, true,
			nil,
		},
		{"at once", trust.Policy{Mode: trust.After}, 0, true, nil},
		{"deny", trust.Policy{Mode: trust.Deny}, 0, true, trust.ErrUserDenied},
		{"ignore", trust.Policy{Mode: trust.Ignore}, time.Minute, true, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := phonetest.New(t, phone.Options{Trust: c.policy})
				o := p.Notifications.Observe()
				defer o.Close()
				o.Add(notifications.RequestPair)
				shown := 0
				p.Trust.OnDialog(func(d trust.Dialog) { shown++ })
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for n := range 2 {
					begun := time.Now()
					if c.want == context.DeadlineExceeded && n > 0 {
						break
					}
					err := p.Trust.Ask(ctx, trust.Dialog{HostName: "laptop"})
					if !errors.Is(err, c.want) {
						t.Errorf("Ask = %v, want %v", err, c.want)
					}
					if took := time.Since(begun); took != c.after {
						t.Errorf("Ask ended after %v, want %v", took, c.after)
					}
					wantShown(t, p, "")
				}
				if (shown > 0) != c.dialog {
					t.Errorf("the dialog was shown %d times, want %v", shown, c.dialog)
				}
				if got := phonetest.Heard(o); len(got) != 0 {
					t.Errorf("lockdown's hosts heard %v", got)
				}
			})
		})
	}
}

func TestAskTrustTaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
		a := asked(t.Context(), p, "a")
		wantShown(t, p, "a")
		b := asked(t.Context(), p, "b") // waits until the dialog of a is closed
		wantShown(t, p, "a")
		p.Trust.TapTrust()
		wantAsk(t, "trusted", a, nil)
		wantShown(t, p, "b")
		p.Trust.TapDeny()
		wantAsk(t, "denied", b, trust.ErrUserDenied)
		wantShown(t, p, "")
		p.Trust.TapTrust() // has no effect because no dialog is shown

		p.Trust.OnDialog(func(trust.Dialog) { p.Trust.TapTrust() })
		wantAsk(t, "tapped as it appears", asked(t.Context(), p, "c"), nil)
	})
}

func TestAskTrustEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(p *phone.Phone, cancel context.CancelFunc)
		want error
	}{
		"host leaves": {func(_ *phone.Phone, cancel context.CancelFunc) {
			cancel()
		}, context.Canceled},
		"lock": {
			func(p *phone.Phone, _ context.CancelFunc) {
				p.Screen.SetPasscode(true)
				p.Screen.Lock()
			}, trust.ErrDialogClosed,
		},
		"boot": {func(p *phone.Phone, _ context.CancelFunc) { p.Boot() }, trust.ErrDialogClosed},
		"reset": {func(p *phone.Phone, _ context.CancelFunc) {
			p.Trust.Reset()
		}, trust.ErrDialogClosed},
		"policy": {
			func(p *phone.Phone, _ context.CancelFunc) {
				p.Trust.SetPolicy(trust.Policy{Mode: trust.Ask})
			},
			trust.ErrDialogClosed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
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
	p := phonetest.New(t, phone.Options{})
	p.Screen.SetPasscode(true)
	p.Screen.Lock()
	err := p.Trust.Ask(t.Context(), trust.Dialog{})
	if !errors.Is(err, screen.ErrPasswordProtected) {
		t.Errorf("locked: Ask = %v, want ErrPasswordProtected", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
	if err := q.Trust.Ask(ctx, trust.Dialog{}); !errors.Is(err, context.Canceled) {
		t.Errorf("host gone: Ask = %v, want context.Canceled", err)
	}
}

// TestAskTrustWaitingHostLeaves checks that a host can give up while it waits for the
// dialog of another host.
func TestAskTrustWaitingHostLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
		a := asked(t.Context(), p, "a")
		ctx, cancel := context.WithCancel(t.Context())
		b := asked(ctx, p, "b")
		cancel()
		wantAsk(t, "second", b, context.Canceled)
		wantShown(t, p, "a")
		p.Trust.TapTrust()
		wantAsk(t, "first", a, nil)
	})
}

// TestAskTrustLateTap checks that a late answer to one dialog does not answer the next
// one.
func TestAskTrustLateTap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(
			t,
			phone.Options{Trust: trust.Policy{Mode: trust.After, After: 10 * time.Second}},
		)
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		if err := p.Trust.Ask(ctx, trust.Dialog{HostName: "a"}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("Ask = %v, want the deadline", err)
		}
		begun := time.Now()
		if err := p.Trust.Ask(t.Context(), trust.Dialog{HostName: "b"}); err != nil {
			t.Errorf("Ask: %v", err)
		} else if time.Since(begun) != 10*time.Second {
			t.Errorf("Ask ended after %v, want 10s", time.Since(begun))
		}
		p.Trust.SetPolicy(trust.Policy{Mode: trust.Ask})
		ended := asked(t.Context(), p, "c")
		// The timer of the first dialog may fire before it is stopped.
		trust.TapTrustOn(p.Trust, 1)
		wantShown(t, p, "c")
		p.Trust.TapTrust()
		wantAsk(t, "third", ended, nil)
	})
}

// TestAskTrustAndPair checks that Ask and Pair share the only dialog of the phone.
func TestAskTrustAndPair(t *testing.T) {
	t.Parallel()
	first := phonetest.New(t, phone.Options{})
	r := request(t, first, "H", "B") // outside of the bubble because it makes keys
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
		o := p.Notifications.Observe()
		defer o.Close()
		o.Add(notifications.RequestPair)
		wantPair(t, p, r, trust.ErrDialogPending)
		wantShown(t, p, "laptop")
		ended := asked(t.Context(), p, "a") // shows its dialog
		wantShown(t, p, "a")
		wantPair(t, p, r, trust.ErrDialogPending) // the dialog of a is still shown
		wantShown(t, p, "a")
		p.Trust.TapDeny()
		wantAsk(t, "denied", ended, trust.ErrUserDenied)
		wantPair(t, p, r, trust.ErrDialogPending) // the pairing was not denied
		wantShown(t, p, "laptop")
		p.Trust.TapTrust()
		wantPair(t, p, r, nil)
		if got := phonetest.Heard(o); !slices.Equal(got, []string{notifications.RequestPair}) {
			t.Errorf("observers heard %v", got)
		}
	})
}

func TestOnReset(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	var got []string
	p.Trust.OnReset(func() { got = append(got, "one") })
	p.Trust.OnReset(func() { got = append(got, "two"); p.Trust.Hosts() }) // no lock is held here
	p.Trust.Reset()
	if !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("called %v", got)
	}
}
