// Package clock has the clocks of the phone: the time of day, which hosts may set, and the
// time since boot.
package clock

import (
	"fmt"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// ticksPerSecond is the frequency of the mach clock.
const ticksPerSecond = 24_000_000

// firstUptime is the time since boot of a new phone.
const firstUptime = 31*time.Hour + 17*time.Minute

// Clock tells the time. All methods may be called concurrently.
type Clock struct {
	udid string
	host func() time.Time

	mu     sync.RWMutex
	skew   time.Duration // difference to host, changed by Set
	boots  int
	bootID string
	booted time.Time
}

// New returns the clock of the phone with a UDID. The phone has been running for
// firstUptime. A nil host means time.Now.
func New(udid string, host func() time.Time) *Clock {
	if host == nil {
		host = time.Now
	}
	c := &Clock{udid: udid, host: host}
	c.Boot()
	// A phone that was just plugged in has usually been running for some time.
	c.booted = c.booted.Add(-firstUptime)
	return c
}

// Now returns the time of day on the phone.
func (c *Clock) Now() time.Time {
	c.mu.RLock()
	skew := c.skew
	c.mu.RUnlock()
	return c.host().Add(skew)
}

// Set sets the time of day. It does not change the time since boot.
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

// BootID returns the BootSessionID, a UUID that changes with each Boot.
func (c *Clock) BootID() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.bootID
}

// Booted returns the time of the last boot and its number. The first boot is 1.
func (c *Clock) Booted() (at time.Time, number int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.booted, c.boots
}

// MachTime returns the time since boot in ticks of 24 MHz.
func (c *Clock) MachTime() uint64 { return c.MachTimeAt(c.Now()) }

// AfterFunc calls f on a goroutine of its own when d has passed. Set does not change when.
func (c *Clock) AfterFunc(d time.Duration, f func()) { time.AfterFunc(d, f) }

// MachTimeAt returns the MachTime at a time of day.
func (c *Clock) MachTimeAt(t time.Time) uint64 {
	booted, _ := c.Booted()
	return MachTicks(max(t.Sub(booted), 0))
}

// MachTicks converts a duration to ticks of 24 MHz.
func MachTicks(d time.Duration) uint64 { return uint64(d.Seconds() * ticksPerSecond) }
