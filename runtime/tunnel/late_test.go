package tunnel

import (
	"testing"
	"testing/synctest"
	"time"
)

// Every packet must be sent at its time, in order.
func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &packetLog{}
		c := Faults{Delay: time.Second}.spoil(log)
		start := time.Now()
		for n := range 3 {
			c.send(blank(100+n), 0)
			time.Sleep(time.Second / 4)
		}
		time.Sleep(time.Minute)
		c.send(blank(200), 0)
		c.Close() // packets that are not sent yet are lost
		c.free()
		if len(log.out) != 3 {
			t.Fatalf("%d packets left, want 3", len(log.out))
		}
		for n, at := range log.sent {
			want := time.Second + time.Duration(n)*time.Second/4
			if got := at.Sub(start); got != want {
				t.Errorf("packet %d is sent after %v, want %v", n, got, want)
			}
			if got := len(log.out[n]); got != 100+n {
				t.Errorf("packet %d has %d bytes, want %d", n, got, 100+n)
			}
		}
	})
}
