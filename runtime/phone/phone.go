package phone

import (
	"fmt"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/conditions"
	"github.com/imdlua/imdlua/runtime/phone/crashes"
	"github.com/imdlua/imdlua/runtime/phone/diagnostics"
	"github.com/imdlua/imdlua/runtime/phone/diskimage"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/location"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/media"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/phone/processes"
	"github.com/imdlua/imdlua/runtime/phone/screen"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/phone/usage"
	"github.com/imdlua/imdlua/runtime/phone/values"
)

// Options of a phone. The zero value is the first phone of profile ios17.
type Options struct {
	// Profile is one of identity.Profiles; "" means ios17.
	Profile string
	// Name is the device name; "" means the profile's.
	Name string
	// Serial distinguishes the phones of a host: all identifiers of a phone are
	// computed from it. It must not be negative.
	Serial int
	// LogRate is the number of lines a second that the phone logs by itself while
	// somebody reads the log. 0 means 20, a negative number means none.
	LogRate float64
	// Trust is how the user answers the trust dialog.
	Trust trust.Policy
	// NoImage leaves the developer image unmounted, and each Boot unmounts it as on
	// a real phone. Without NoImage it is mounted, and Boot does not unmount it.
	NoImage bool
	// Activation is the activation state, values.Activated or another value of
	// ActivationState; "" means values.Activated.
	Activation string
	// NoDeveloperMode switches Developer Mode off.
	NoDeveloperMode bool
	// Clock is the clock that the phone's time is based on; nil means time.Now.
	Clock func() time.Time
}

// Phone is one simulated phone: its subjects, and the rules that concern several of them.
// All methods, including those of the subjects, may be called concurrently.
type Phone struct {
	Identity      *identity.Identity
	Clock         *clock.Clock
	Notifications *notifications.Center
	Log           *log.Log

	// Media is the tree that AFC serves, /var/mobile/Media on the phone.
	Media   *files.FS
	Apps    *apps.Apps
	Crashes *crashes.Crashes

	Processes *processes.Processes
	Usage     *usage.Meter

	Power  *power.Power
	Screen *screen.Screen
	Trust  *trust.Trust

	Values      *values.Values
	Diagnostics *diagnostics.Diagnostics
	Image       *diskimage.Mount
	Location    *location.Location
	Conditions  *conditions.Conditions

	home home
}

// New makes a phone that is booted and unlocked and has no passcode. It is
// cheap: file trees, apps, processes and keys are made at their first use.
func New(o Options) (*Phone, error) {
	id, err := identity.New(o.Profile, o.Serial)
	if err != nil {
		return nil, err
	}
	p := &Phone{
		Identity: id, Clock: clock.New(id.UDID, o.Clock),
		Notifications: &notifications.Center{}, Conditions: &conditions.Conditions{},
	}
	volume := files.NewVolume(id.Capacity, id.Used)
	p.Log = log.New(log.Options{
		Identity: id, Clock: p.Clock, Rate: o.LogRate, ByPID: p.senderByPID,
		ByName: p.senderByName,
	})
	p.Location = location.New(p.Log)
	p.Image = diskimage.New(diskimage.Options{
		Identity: id, Notifications: p.Notifications, Absent: o.NoImage,
	})
	p.Power = power.New(power.Options{Log: p.Log, Sleep: func() { p.Screen.Lock() }, Boot: p.Boot})
	p.Screen = screen.New(screen.Options{
		Identity: id, Contents: p.contents, Changed: p.lockChanged,
	})
	p.Trust = trust.New(trust.Options{
		Identity: id, Log: p.Log, Notifications: p.Notifications,
		CheckUnlocked: p.Screen.CheckUnlocked, Policy: o.Trust,
	})
	p.addFiles(volume)
	p.addProcesses()
	p.addValues(volume, o)
	if o.NoDeveloperMode && p.Values.HasDeveloperMode() {
		p.Values.SetDeveloperMode(false)
	}
	return p, nil
}

// addFiles makes the subjects whose files are on the data volume.
func (p *Phone) addFiles(volume *files.Volume) {
	p.Media = files.New(p.Clock.Now, volume, media.Build)
	p.Apps = apps.New(apps.Options{
		Identity: p.Identity, Clock: p.Clock, Volume: volume, Log: p.Log,
		Notifications: p.Notifications,
		Gone:          func(bundleID string) { p.Processes.EndApp(bundleID) },
	})
	p.Crashes = crashes.New(crashes.Options{
		Identity: p.Identity, Clock: p.Clock, Volume: volume, Log: p.Log,
		Notifications: p.Notifications, Old: p.oldReports, State: p.crashState,
		Zone: func() *time.Location { return p.Values.Zone() },
	})
}

func (p *Phone) addProcesses() {
	p.Processes = processes.New(processes.Options{
		Identity: p.Identity, Clock: p.Clock, Log: p.Log, App: p.executableOf,
		CheckExecutable: p.checkExecutable, CheckLaunch: p.Screen.CheckUnlocked,
	})
	p.Usage = usage.New(p.Identity, p.Clock, p.Processes)
}

func (p *Phone) addValues(volume *files.Volume, o Options) {
	p.Values = values.New(values.Options{
		Identity: p.Identity, Clock: p.Clock, Notifications: p.Notifications, Name: o.Name,
		Activation: o.Activation, Locked: p.Screen.Locked, Battery: p.Power.Battery,
		PublicKeyPEM: p.Trust.PublicKeyPEM,
		TrustsHost:   func() bool { return len(p.Trust.Hosts()) > 0 },
		Free:         volume.Free,
		RestartHome:  p.restartHome,
		Prohibited:   p.Apps.Prohibited,
	})
	p.Diagnostics = diagnostics.New(diagnostics.Options{
		Identity: p.Identity, Clock: p.Clock, Name: p.Values.Name, Locked: p.Screen.Locked,
		HasPasscode: p.Screen.HasPasscode, Battery: p.Power.Battery, Free: volume.Free,
	})
}

// Boot restarts the phone. It ends all apps; the boot ID and the process
// identifiers change. A phone with a passcode is locked afterwards. The developer
// image stays mounted unless Options.NoImage was set. Two seconds later the home screen is up,
// and notifications.Startup is posted.
func (p *Phone) Boot() { p.BootFor(0) }

// BootFor is like Boot for a phone that hosts can reach only after d. The home screen is up two
// seconds after that, so that a host that comes back to the phone can wait for it.
func (p *Phone) BootFor(d time.Duration) {
	p.Clock.Boot()
	p.Screen.Boot()
	p.Processes.Boot()
	p.Usage.Boot()
	p.Location.Clear()
	p.Conditions.Disable("")
	p.Trust.Dismiss()
	p.Image.Boot()
	p.bootHome(d)
}

// lockChanged is called when the screen was locked or unlocked. Locking closes
// the trust dialog.
func (p *Phone) lockChanged(locked bool) {
	if locked {
		p.Trust.Dismiss()
	}
	p.Notifications.Post(notifications.LockState)
}

// DeveloperServices reports whether the services of the developer image can be
// used: the image is mounted and, since iOS 16, Developer Mode is on.
func (p *Phone) DeveloperServices() bool {
	return p.Image.IsMounted() && (!p.Values.HasDeveloperMode() || p.Values.DeveloperMode())
}

// contents returns what the unlocked screen shows.
func (p *Phone) contents() screen.Contents {
	c := screen.Contents{Clock: p.Clock.Now().In(p.Values.Zone()).Format("15:04")}
	b := p.Power.Battery()
	c.Battery = fmt.Sprintf("%d%%", b.Percent)
	if b.Charging {
		c.Battery = "+" + c.Battery
	}
	front, ok := p.Processes.Front()
	a, installed := p.Apps.Find(front.BundleID)
	if ok && installed {
		c.Title = a.DisplayName()
		c.Lines = []string{
			a.BundleID(), "VERSION " + a.ShortVersion(), fmt.Sprintf("PID %d", front.PID),
		}
	} else {
		for _, a := range p.Apps.List() {
			if a.Type() != apps.Hidden {
				c.Icons = append(c.Icons, a.DisplayName())
			}
		}
	}
	if at, simulated := p.Location.Place(); simulated {
		c.Lines = append(c.Lines, fmt.Sprintf("LOCATION %.5f,%.5f", at.Latitude, at.Longitude))
	}
	if _, profile := p.Conditions.Active(); profile != "" {
		c.Lines = append(c.Lines, "CONDITION "+profile)
	}
	return c
}
