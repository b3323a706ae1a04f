// Package conditions has the device conditions that a developer can simulate on the phone,
// such as a slow network.
package conditions

import (
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/failure"
)

// ErrActive means that a condition cannot be enabled because one is already active.
var ErrActive = errors.New("a condition is already active")

// Profile is a level of a condition. DVT calls it a profile.
type Profile struct{ ID, Name, Description string }

// Condition is a condition that the phone can simulate.
type Condition struct {
	ID, Name    string
	Profiles    []Profile // its levels
	Sorted      bool      // the levels are in ascending order
	Destructive bool      // the phone may need a restart to recover
	Active      string    // ID of the active level, or ""
}

// Conditions holds the condition that is active. The zero value has none. All methods may
// be called concurrently.
type Conditions struct {
	mu          sync.Mutex
	id, profile string
	gen         uint64
}

// List returns all conditions that the phone can simulate.
func (c *Conditions) List() []Condition {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(knownConditions)
	for i := range out {
		out[i].Profiles = slices.Clone(out[i].Profiles)
		if out[i].ID == c.id {
			out[i].Active = c.profile
		}
	}
	return out
}

// Enable activates a level of a condition until Disable or release is called. The
// error is ErrActive if a condition is active already, and fs.ErrNotExist if the
// condition or the level is unknown.
func (c *Conditions) Enable(id, profile string) (release func(), err error) {
	if !knownCondition(id, profile) {
		return nil, failure.Wrap("enable condition", id+" "+profile, fs.ErrNotExist)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != "" {
		return nil, failure.Wrap("enable condition", id, ErrActive)
	}
	c.gen++
	c.id, c.profile = id, profile
	mine := c.gen
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.gen == mine {
			c.id, c.profile = "", ""
		}
	}, nil
}

func knownCondition(id, profile string) bool {
	for _, c := range knownConditions {
		if c.ID == id {
			return slices.ContainsFunc(c.Profiles,
				func(q Profile) bool { return q.ID == profile })
		}
	}
	return false
}

// Disable ends the active condition, whoever enabled it, and reports whether there
// was one. If id is not "", only that condition is ended.
func (c *Conditions) Disable(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == "" || id != "" && id != c.id {
		return false
	}
	c.id, c.profile = "", ""
	return true
}

// Active returns the active condition and its level, or "" if there is none.
func (c *Conditions) Active() (id, profile string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id, c.profile
}

var knownConditions = []Condition{
	{ID: "SlowNetworkCondition", Name: "Network Link", Profiles: []Profile{
		{"SlowNetwork100PctLoss", "100% packet loss", "Nothing arrives."},
		{"SlowNetworkVeryBad", "Very poor network", "1 Mbps, 10% loss, 500 ms delay."},
		{"SlowNetworkEdgeBad", "Edge network - bad", "Download 240 kbps, 1% loss, 850 ms delay."},
		{"SlowNetworkEdgeAverage", "Edge network - average", "Download 240 kbps, 400 ms delay."},
		{"SlowNetworkEdgeGood", "Edge network - good", "Download 250 kbps, 350 ms delay."},
		{"SlowNetworkEdge", "Edge network", "Download 240 kbps, 400 ms delay."},
		{"SlowNetwork2GRural", "2G network - rural", "Download 50 kbps, 500 ms delay."},
		{"SlowNetwork2GUrban", "2G network - urban", "Download 100 kbps, 500 ms delay."},
		{"SlowNetwork3GAverage", "3G network - average", "Download 780 kbps, 100 ms delay."},
		{"SlowNetwork3GGood", "3G network - good", "Download 1.6 Mbps, 90 ms delay."},
		{"SlowNetworkHighLatencyDNS", "High latency DNS", "DNS answers take 3 seconds."},
		{"SlowNetworkDSL", "DSL network", "Download 2 Mbps, 5 ms delay."},
		{"SlowNetwork10PctLoss", "10% packet loss", "Every tenth packet is lost."},
		{"SlowNetworkWiFi", "Wi-Fi network", "Download 40 Mbps, 1 ms delay."},
		{"SlowNetworkWiFi80211AC", "Wi-Fi network - 802.11ac", "Download 250 Mbps, 1 ms delay."},
	}},
	{ID: "ThermalCondition", Name: "Thermal State", Sorted: true, Profiles: []Profile{
		{"ThermalNominal", "Nominal", "The phone is cool."},
		{"ThermalFair", "Fair", "The phone is warm; background work is put off."},
		{"ThermalSerious", "Serious", "The phone is hot; it slows down."},
		{"ThermalCritical", "Critical", "The phone is very hot; it must cool down."},
	}},
}
