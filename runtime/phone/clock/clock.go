// Package clock is the phone's idea of time: the time of day, which hosts may set, and
// the time since boot.
package clock

import (
	"fmt"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// ticksPerSecond are the ticks of the mach clock.
const ticksPerSecond = 24_000_000

// firstUptime is how long a new phone has been running.
const firstUptime = 31*time.Hour + 17*time.Minute

// Clock tells the time. All methods may be called concurrently.
type Clock struct {
	udid string
	host func() time.Time

	mu     sync.RWMutex
	skew   time.Duration // what Set added
	boots  int
	bootID string
	booted time.Time
}

// New returns the clock of the phone with a UDID, booted some time ago. A nil host
// means time.Now.
func New(udid string, host func() time.Time) *Clock {
	if host == nil {
		host = time.Now
	}
	c := &Clock{udid: udid, host: host}
	c.Boot()
	// A phone that somebody just plugged in was not switched on just now.
	c.booted = c.booted.Add(-firstUptime)
	return c
}

// Now is the time on the phone's clock.
func (c *Clock) Now() time.Time {
	c.mu.RLock()
	skew := c.skew
	c.mu.RUnlock()
	return c.host().Add(skew)
}

// Set sets the time of day. The time since boot goes on as before.
func (c *Clock) Set(now time.Time) {
	skew := now.Sub(c.host())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.booted = c.booted.Add(skew - c.skew)
	c.skew = skew
}

// Boot begins a new boot.
func (c *Clock) Boot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boots++
	c.bootID = identity.UUIDText(identity.UUID("boot", c.udid, fmt.Sprint(c.boots)))
	c.booted = c.host().Add(c.skew)
}

// BootID is the BootSessionID, another UUID after each Boot.
func (c *Clock) BootID() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.bootID
}

// Booted returns the time of the last boot and its number, the first being 1.
func (c *Clock) Booted() (at time.Time, number int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.booted, c.boots
}

// MachTime is the time since boot in ticks of 24 MHz.
func (c *Clock) MachTime() uint64 { return c.MachTimeAt(c.Now()) }

// MachTimeAt is MachTime at a time of day.
func (c *Clock) MachTimeAt(t time.Time) uint64 {
	booted, _ := c.Booted()
	return MachTicks(max(t.Sub(booted), 0))
}

// MachTicks is a duration in ticks of 24 MHz.
func MachTicks(d time.Duration) uint64 { return uint64(d.Seconds() * ticksPerSecond) }
