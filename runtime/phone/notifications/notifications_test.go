package notifications_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

func TestObserver(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	a, b := p.Notifications.Observe(), p.Notifications.Observe()
	defer b.Close()
	a.Add("one")
	a.Add("one")
	a.Add("two")
	b.Add("two")
	if got := strings.Join(a.Names(), ","); got != "one,two" {
		t.Errorf("Names = %s", got)
	}
	for _, n := range []string{"one", "two", "three"} {
		p.Notifications.Post(n)
	}
	a.Remove("one")
	p.Notifications.Post("one")
	if got := strings.Join(phonetest.Heard(a), ","); got != "one,two" {
		t.Errorf("a heard %s", got)
	}
	if got := strings.Join(phonetest.Heard(b), ","); got != "two" {
		t.Errorf("b heard %s", got)
	}
	a.Close()
	a.Close()
	if _, err := a.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Next after Close = %v", err)
	}
	if p.Notifications.Observers() != 1 {
		t.Errorf("%d observers are left, want 1", p.Notifications.Observers())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with a cancelled context = %v", err)
	}
	for range notifications.ObserverQueue + 3 {
		p.Notifications.Post("two")
	}
	if b.Dropped() != 3 {
		t.Errorf("Dropped = %d, want 3", b.Dropped())
	}
}
