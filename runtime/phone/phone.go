package phone

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// Options of a phone. The zero value is the first phone of profile ios17.
type Options struct {
	// Profile is one of Profiles; "" means ios17.
	Profile string
	// Name is the device name; "" means the profile's.
	Name string
	// Serial tells the phones of a host apart: all identifiers are computed
	// from it, and different numbers have different ones. Not negative.
	Serial int
	// LogRate is how many lines a second the phone logs by itself while
	// somebody listens. 0 means 20, negative means silent.
	LogRate float64
	// Trust is how the user answers the trust dialog.
	Trust TrustPolicy
	// NoImage leaves the developer image unmounted, and has each Boot unmount
	// it as a real phone's does. Otherwise it is mounted and stays so.
	NoImage bool
	// NoDeveloperMode switches Developer Mode off.
	NoDeveloperMode bool
	// Clock is the phone's idea of now; nil means time.Now.
	Clock func() time.Time
}

// Phone is one simulated phone. All methods may be called concurrently.
type Phone struct {
	prof  *profile
	id    identity
	clock func() time.Time

	mu      sync.RWMutex
	name    string
	boots   int
	bootID  string
	booted  time.Time
	locked  bool
	pass    bool // a passcode is set
	opened  bool // unlocked since boot
	battery battery
	skew    time.Duration // what SetValue TimeIntervalSince1970 added
	over    map[valueKey]any
	onPower []func(PowerAction)

	vol   *files.Volume
	media *files.FS
	crash *files.FS
	apps  appTable
	procs procTable
	runs  runTable

	place      placeState
	conditions conditionState
	usage      usageMeter
	screen     screenState
	image      imageState

	log    logHub
	events eventHub
	trust  trustStore
}

// battery is what IOPMPowerSource, GasGauge and lockdown derive from.
type battery struct {
	percent  int
	charging bool
	cycles   int
}

// New makes a phone that is booted and unlocked and has no passcode. It is
// cheap: trees, apps, processes and keys are made when somebody looks.
func New(o Options) (*Phone, error) {
	if o.Profile == "" {
		o.Profile = "ios17"
	}
	prof := profileNamed(o.Profile)
	if prof == nil {
		return nil, &Error{
			Op: "new", Subject: o.Profile,
			Err: fmt.Errorf("unknown profile, there are %v", Profiles()),
		}
	}
	if o.Serial < 0 {
		return nil, &Error{
			Op: "new", Subject: o.Profile, Err: fmt.Errorf("serial %d: %w", o.Serial, ErrInvalid),
		}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Name == "" {
		o.Name = prof.deviceName
	}
	p := &Phone{prof: prof, id: newIdentity(prof, o.Serial), clock: o.Clock, name: o.Name,
		battery: battery{percent: 87, cycles: 143}, opened: true}
	p.vol = files.NewVolume(prof.capacity, prof.used)
	p.media = files.New(p.Now, p.vol, buildMedia)
	p.crash = files.New(p.Now, p.vol, p.buildCrashes)
	p.trust.policy, p.trust.turn = o.Trust, make(chan struct{}, 1)
	p.image.mounted, p.image.fleeting = !o.NoImage, o.NoImage
	if o.NoDeveloperMode && p.HasDeveloperMode() {
		p.SetDeveloperMode(false)
	}
	p.log.start(p, o.LogRate)
	p.boot()
	return p, nil
}

// UDID is the unique device identifier, ChipID and ECID in hexadecimal.
func (p *Phone) UDID() string { return p.id.udid }

// ProfileName is the name of the profile the phone was made from.
func (p *Phone) ProfileName() string { return p.prof.name }

// ProductVersion is the iOS version, as "17.5.1".
func (p *Phone) ProductVersion() string { return p.prof.version }

// ProductType is the model, as "iPhone15,2".
func (p *Phone) ProductType() string { return p.prof.productType }

// Name is the device name that the user gave.
func (p *Phone) Name() string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.name
}

// Now is the time on the phone's clock.
func (p *Phone) Now() time.Time {
	p.mu.RLock()
	skew := p.skew
	p.mu.RUnlock()
	return p.clock().Add(skew)
}

// BootID is the BootSessionID, another UUID after each Boot.
func (p *Phone) BootID() string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.bootID
}

// Boot starts the phone anew: another BootID, all apps ended, new process
// identifiers. A phone with a passcode is locked afterwards. The developer
// image stays mounted unless Options.NoImage was set.
func (p *Phone) Boot() {
	p.boot()
	p.logf("SpringBoard", "com.apple.SpringBoard", "Common", "SpringBoard finished startup")
	p.Post(NoteStartup)
}

func (p *Phone) boot() {
	p.mu.Lock()
	p.boots++
	p.bootID = uuidText(uuidOf("boot", p.id.udid, fmt.Sprint(p.boots)))
	p.booted = p.clock().Add(p.skew)
	if p.boots == 1 {
		// A phone that somebody just plugged in was not switched on just now.
		p.booted = p.booted.Add(-firstUptime)
	}
	p.locked = p.pass
	p.opened = !p.pass
	p.mu.Unlock()
	p.procs.reset()
	p.runs.reset()
	p.usage.reset()
	p.ClearPlace()
	p.DisableCondition("")
	p.trust.dismiss()
	p.image.boot()
}

// firstUptime is how long a new phone has been running.
const firstUptime = 31*time.Hour + 17*time.Minute

// Lock locks the screen. Hosts notice only if there is a passcode.
func (p *Phone) Lock() { p.setLocked(true) }

// Unlock unlocks the screen, with the passcode if there is one.
func (p *Phone) Unlock() { p.setLocked(false) }

func (p *Phone) setLocked(locked bool) {
	p.mu.Lock()
	changed := p.locked != locked
	p.locked = locked
	p.opened = p.opened || !locked
	p.mu.Unlock()
	if changed && locked {
		p.trust.dismiss()
	}
	if changed {
		p.Post(NoteLockState)
	}
}

// Locked reports whether the phone is locked by a passcode. A locked screen
// without a passcode keeps nobody out and is not meant.
func (p *Phone) Locked() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.locked && p.pass
}

// UnlockedSinceBoot reports whether the passcode was entered since Boot;
// before that no escrow bag helps.
func (p *Phone) UnlockedSinceBoot() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.opened
}

// SetPasscode sets or removes the passcode.
func (p *Phone) SetPasscode(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass = on
}

// HasPasscode reports whether a passcode is set.
func (p *Phone) HasPasscode() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.pass
}

// SetBattery sets the charge, 0 to 100 (clamped), and the charger.
func (p *Phone) SetBattery(percent int, charging bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.battery.percent = min(max(percent, 0), 100)
	p.battery.charging = charging
}

func (p *Phone) batteryState() battery {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.battery
}

// randomBytes returns n bytes for bags and nonces.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand never fails, it ends the process
	return b
}
