package link

import (
	"sync"
	"testing"
)

// TestBudget has several goroutines that take and give. The number of bytes taken must
// never exceed the limit, and must be 0 at the end.
func TestBudget(t *testing.T) {
	t.Parallel()
	const limit = 100
	b := NewBudget(limit)
	if !b.Take(limit) {
		t.Error("a budget of 100 bytes refuses 100 bytes")
	}
	if b.Take(1) {
		t.Error("a spent budget grants one more byte")
	}
	if n := b.Used(); n != limit {
		t.Errorf("Used = %d after a refusal, want %d", n, limit)
	}
	b.Give(limit)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if b.Take(30) {
					b.Give(30)
				}
			}
		})
	}
	wg.Wait()
	if n := b.Used(); n != 0 {
		t.Errorf("%d bytes are not given back", n)
	}
	var none *Budget
	if !none.Take(1 << 40) {
		t.Error("a nil Budget refuses 1 TiB")
	}
	if none.Used() != 0 {
		t.Errorf("Used of a nil Budget = %d, want 0", none.Used())
	}
	none.Give(1)
}
