package phone

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
)

// ErrConditionActive is the enabling of a condition while one is active.
var ErrConditionActive = errors.New("a condition is already active")

// ConditionProfile is a strength of a condition.
type ConditionProfile struct{ ID, Name, Description string }

// Condition is something bad that a developer can have the phone pretend.
type Condition struct {
	ID, Name    string
	Profiles    []ConditionProfile
	Sorted      bool // the profiles are in order of strength
	Destructive bool // the phone may have to restart to recover
	Active      string
}

// conditionState is the active condition.
type conditionState struct {
	mu          sync.Mutex
	id, profile string
	gen         uint64
}

// Conditions lists what the phone can pretend, with the active profile.
func (p *Phone) Conditions() []Condition {
	p.conditions.mu.Lock()
	defer p.conditions.mu.Unlock()
	out := slices.Clone(knownConditions)
	for i := range out {
		out[i].Profiles = slices.Clone(out[i].Profiles)
		if out[i].ID == p.conditions.id {
			out[i].Active = p.conditions.profile
		}
	}
	return out
}

// EnableCondition makes the phone pretend. One condition at most is active:
// another is refused with ErrConditionActive. An unknown condition or profile
// is fs.ErrNotExist. It ends with DisableCondition, or with release.
func (p *Phone) EnableCondition(id, profile string) (release func(), err error) {
	if !knownCondition(id, profile) {
		return nil, fail("enable condition", id+" "+profile, fs.ErrNotExist)
	}
	s := &p.conditions
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != "" {
		return nil, fail("enable condition", id, ErrConditionActive)
	}
	s.gen++
	s.id, s.profile = id, profile
	mine := s.gen
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.gen == mine {
			s.id, s.profile = "", ""
		}
	}, nil
}

func knownCondition(id, profile string) bool {
	for _, c := range knownConditions {
		if c.ID == id {
			return slices.ContainsFunc(c.Profiles,
				func(q ConditionProfile) bool { return q.ID == profile })
		}
	}
	return false
}

// DisableCondition ends the condition, whoever enabled it, and reports whether
// one was active. An identifier limits it to that condition, "" means any.
func (p *Phone) DisableCondition(id string) bool {
	s := &p.conditions
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == "" || id != "" && id != s.id {
		return false
	}
	s.id, s.profile = "", ""
	return true
}

// ActiveCondition returns the condition that is active, "" if none is.
func (p *Phone) ActiveCondition() (id, profile string) {
	p.conditions.mu.Lock()
	defer p.conditions.mu.Unlock()
	return p.conditions.id, p.conditions.profile
}

var knownConditions = []Condition{
	{ID: "SlowNetworkCondition", Name: "Network Link", Profiles: []ConditionProfile{
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
	{ID: "ThermalCondition", Name: "Thermal State", Sorted: true, Profiles: []ConditionProfile{
		{"ThermalNominal", "Nominal", "The phone is cool."},
		{"ThermalFair", "Fair", "The phone is warm; background work is put off."},
		{"ThermalSerious", "Serious", "The phone is hot; it slows down."},
		{"ThermalCritical", "Critical", "The phone is very hot; it must cool down."},
	}},
}
