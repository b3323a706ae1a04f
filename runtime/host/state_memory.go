package host

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// memoryPeriod is how often the heap is looked at. A script can fill memory
// with few instructions (s = s..s), so the hook alone would come too late.
const memoryPeriod = 20 * time.Millisecond

// watchMemory cancels all tasks when the heap passes the soft limit. It is a
// guard against accidents, not against hostile code.
func (h *Host) watchMemory() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(memoryPeriod)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			if heapBytes() <= h.o.MaxMemory {
				continue
			}
			// Much of it may be garbage.
			runtime.GC()
			if heapBytes() > h.o.MaxMemory {
				e := Errorf("memory", "the script uses more than %d MB", h.o.MaxMemory>>20)
				h.cancelAll(e.WithHint("raise the limit, or keep less at a time"))
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
