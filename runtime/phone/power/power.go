// Package power is the battery of the phone, and what happens to the phone as a machine.
package power

import (
	"strconv"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/log"
)

// Action is what happens to the phone as a machine.
type Action int

// The power actions that hosts can ask for.
const (
	// Restart turns the phone off and on.
	Restart Action = iota
	// Shutdown turns it off.
	Shutdown
	// Sleep turns the screen off; connections over USB survive.
	Sleep
)

// String names the action.
func (a Action) String() string {
	switch a {
	case Restart:
		return "restart"
	case Shutdown:
		return "shutdown"
	case Sleep:
		return "sleep"
	}
	return "Action(" + strconv.Itoa(int(a)) + ")"
}

// Battery is the charge of the battery.
type Battery struct {
	Percent  int
	Charging bool // the charger is connected
	Cycles   int
}

// Filling reports whether the charge grows.
func (b Battery) Filling() bool { return b.Charging && b.Percent < 100 }

// Options of Power.
type Options struct {
	Log *log.Log
	// Sleep and Boot carry an Action out: Sleep every Sleep, Boot a Restart that no
	// machine takes care of.
	Sleep, Boot func()
}

// Power is the battery and the switch of a phone. All methods may be called
// concurrently.
type Power struct {
	o Options

	mu       sync.RWMutex
	battery  Battery
	onAction []func(Action)
}

// New returns the power of a new phone.
func New(o Options) *Power {
	return &Power{o: o, battery: Battery{Percent: 87, Cycles: 143}}
}

// Battery returns the charge of the battery.
func (p *Power) Battery() Battery {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.battery
}

// SetBattery sets the charge, 0 to 100 (clamped), and the charger.
func (p *Power) SetBattery(percent int, charging bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.battery.Percent = min(max(percent, 0), 100)
	p.battery.Charging = charging
}

// OnAction registers a function that Do calls. The machine around the
// model registers one that detaches the phone and, after a restart, boots the phone and
// attaches it again. Functions are called in order of registration, on the goroutine
// of Do.
func (p *Power) OnAction(fn func(Action)) {
	if fn == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onAction = append(p.onAction, fn)
}

// Do carries an action out. Sleep locks the phone. A restart without a
// machine around (no OnAction) is a boot on the spot.
func (p *Power) Do(a Action) {
	p.mu.RLock()
	fns := p.onAction[:len(p.onAction):len(p.onAction)]
	p.mu.RUnlock()
	p.o.Log.Writef("powerd", "com.apple.powerd", "system", "Power action requested: %s", a)
	if a == Sleep {
		p.o.Sleep()
	}
	for _, fn := range fns {
		fn(a)
	}
	if a == Restart && len(fns) == 0 {
		p.o.Boot()
	}
}
