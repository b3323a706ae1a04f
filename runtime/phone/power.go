package phone

import "strconv"

// PowerAction is what happens to the phone as a machine.
type PowerAction int

// The power actions that hosts can ask for.
const (
	// Restart turns the phone off and on.
	Restart PowerAction = iota
	// Shutdown turns it off.
	Shutdown
	// Sleep turns the screen off; connections over USB survive.
	Sleep
)

// String names the action.
func (a PowerAction) String() string {
	switch a {
	case Restart:
		return "restart"
	case Shutdown:
		return "shutdown"
	case Sleep:
		return "sleep"
	}
	return "PowerAction(" + strconv.Itoa(int(a)) + ")"
}

// OnPower registers a function that Power calls. The machine around the
// model registers one that detaches the phone and, after a restart, calls
// Boot and attaches it again. Functions are called in order of registration,
// on the goroutine of Power.
func (p *Phone) OnPower(fn func(PowerAction)) {
	if fn == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onPower = append(p.onPower, fn)
}

// Power carries an action out. Sleep locks the phone. A restart without a
// machine around (no OnPower) is a Boot on the spot.
func (p *Phone) Power(a PowerAction) {
	p.mu.RLock()
	fns := p.onPower[:len(p.onPower):len(p.onPower)]
	p.mu.RUnlock()
	p.logf("powerd", "com.apple.powerd", "system", "Power action requested: %s", a)
	if a == Sleep {
		p.Lock()
	}
	for _, fn := range fns {
		fn(a)
	}
	if a == Restart && len(fns) == 0 {
		p.Boot()
	}
}
