package device

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

// slowBrowser finds nothing and takes some time for it. It counts its calls.
type slowBrowser struct{ asked atomic.Int32 }

func (b *slowBrowser) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	b.asked.Add(1)
	select {
	case <-time.After(q.Timeout):
	case <-ctx.Done():
	}
	return []bonjour.Instance{{
		Name: "x", Type: q.Type, Port: 1, Addresses: []netip.Addr{netip.MustParseAddr("0.0.0.0")},
	}}, ctx.Err()
}

// TestLooksAreShared looks for fifty devices at once. The network must be searched
// once, and once more for the callers that joined, since nothing was found.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBrowser{}
		f := NewFinder(Options{Browser: b})
		done := make(chan []Route)
		for n := range 50 {
			go func() {
				done <- f.lookFor(t.Context(), string(rune('a'+n)), bonjour.RemotePairing)
			}()
		}
		for range 50 {
			if routes := <-done; routes != nil {
				t.Errorf("found %v", routes)
			}
		}
		if n := b.asked.Load(); n != 2 {
			t.Errorf("the network was searched %d times, want 2", n)
		}
	})
}

// TestLookEndsWithItsCallers cancels all callers, after which no search may be running.
func TestLookEndsWithItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFinder(Options{Browser: &slowBrowser{}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []Route)
		for range 2 {
			go func() { done <- f.lookFor(ctx, "a", bonjour.RemotePairing) }()
		}
		synctest.Wait()
		begun := time.Now()
		cancel()
		<-done
		<-done
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("it went on for %v", waited)
		}
		if len(f.looks.running) != 0 {
			t.Error("a look is still there")
		}
	})
}
