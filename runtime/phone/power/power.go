// Package power has the battery and the power actions of the phone.
package power

import (
	"strconv"
	"sync"

	"github.com/imdlua/imdlua/runtime/phone/log"
)

// Action is a power action.
type Action int

// The power actions that hosts can ask for.
const (
	// Restart restarts the phone.
	Restart Action = iota
	// Shutdown turns it off.
	Shutdown
	// Sleep turns the screen off. Connections over USB stay open.
	Sleep
	// Recovery restarts the phone into recovery mode, in which it has no services. A
	// Restart ends it.
	Recovery
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
	case Recovery:
		return "recovery"
	}
	return "Action(" + strconv.Itoa(int(a)) + ")"
}

// Battery is the charge of the battery.
type Battery struct {
	Percent  int
	Charging bool // the charger is connected
	Cycles   int
}

// Filling reports whether the charge is increasing.
func (b Battery) Filling() bool { return b.Charging && b.Percent < 100 }

// Options of Power.
type Options struct {
	Log *log.Log
	// Sleep is called for each Sleep action. Boot is called for a Restart action if no
	// function was registered with OnAction.
	Sleep, Boot func()
}

// Power holds the battery of a phone and carries out power actions. All methods may be
// called concurrently.
type Power struct {
	o Options

	mu       sync.RWMutex
	battery  Battery
	recovery bool
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

// InRecovery reports whether the phone is in recovery mode.
func (p *Power) InRecovery() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.recovery
}

// OnAction registers a function that Do calls. The virtual device registers one that
// detaches the phone and, for a restart, boots it and attaches it again. Functions are
// called in the order of registration, on the goroutine of Do.
func (p *Power) OnAction(fn func(Action)) {
	if fn == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onAction = append(p.onAction, fn)
}

// Do carries out an action. Sleep locks the phone. Restart boots it at once if no
// function was registered with OnAction.
func (p *Power) Do(a Action) {
	p.mu.Lock()
	fns := p.onAction[:len(p.onAction):len(p.onAction)]
	if a != Sleep {
		p.recovery = a == Recovery
	}
	p.mu.Unlock()
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
