// Package values has the lockdown values of the phone, by domain and key, including those
// that hosts have changed.
package values

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // TimeZone must work where the machine has no zone files

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/phone/clock"
	"github.com/imdlua/imdlua/runtime/phone/failure"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/power"
)

// Causes of failure with lockdown values.
var (
	// ErrImmutable means that hosts can never change the value.
	ErrImmutable = errors.New("value is immutable")
	// ErrProhibited means that hosts can change the value on other versions of iOS,
	// but not on this one.
	ErrProhibited = errors.New("setting is prohibited")
	// ErrType means that a value has the wrong plist type.
	ErrType = errors.New("wrong type of value")
	// ErrMissing means that the phone does not have the key.
	ErrMissing = errors.New("no such value")
)

// Options of Values. The functions return values of other subjects.
type Options struct {
	Identity      *identity.Identity
	Clock         *clock.Clock
	Notifications *notifications.Center
	// Name is the device name that the user gave; "" means the profile's.
	Name string

	Locked       func() bool
	Battery      func() power.Battery
	TrustsHost   func() bool
	PublicKeyPEM func() []byte
	Free         func() uint64 // free bytes of the data volume
	// RestartHome restarts the home screen.
	RestartHome func()
}

// Values holds the lockdown values of a phone. All methods may be called concurrently.
type Values struct {
	o  Options
	id *identity.Identity

	mu   sync.RWMutex
	name string
	over map[valueKey]any // values that were written with Set or Store

	onWireless []func() // from OnWireless
}

// New returns the values of a new phone.
func New(o Options) *Values {
	if o.Name == "" {
		o.Name = o.Identity.DeviceName
	}
	return &Values{o: o, id: o.Identity, name: o.Name}
}

// Name returns the device name.
func (vs *Values) Name() string {
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	return vs.name
}

// Access says who may read and change a lockdown value.
type Access struct {
	// Public values are readable by a host that is not paired.
	Public bool
	// Writable values may be set with a session.
	Writable bool
	// WritableUnpaired values may be set without one.
	WritableUnpaired bool
}

// valueKey names a lockdown value; domain "" is the default domain.
type valueKey struct{ domain, key string }

// flags of a field.
type flags uint8

const (
	public   flags = 1 << iota // readable unpaired
	byKey                      // not in the dictionary of the whole domain
	writable                   // with a session
	unpaired                   // writable without one
	ownClock                   // writable only where the profile lets hosts set the clock
)

// field describes a lockdown value: where it comes from and who may read and change
// it.
type field struct {
	key   string
	flags flags
	get   func(*Values) any // nil means that the phone has no such value
	// since and until are major versions of iOS; 0 means no limit.
	since, until int
	// set checks a value that is written, applies the side effects of the change, and
	// returns the value to keep. It returns nil if no value needs to be kept.
	set func(*Values, any) (any, error)
	// after runs when the value has changed.
	after func(*Values)
}

func (f *field) in(id *identity.Identity) bool {
	return id.Major >= f.since && (f.until == 0 || id.Major <= f.until)
}

// fieldIndex returns the fields of all domains. It is made once for all phones.
var fieldIndex = sync.OnceValue(func() map[valueKey]*field {
	index := map[valueKey]*field{}
	for domain, fields := range lockdownDomains {
		for i := range fields {
			index[valueKey{domain, fields[i].key}] = &fields[i]
		}
	}
	return index
})

func (vs *Values) field(domain, key string) *field {
	f := fieldIndex()[valueKey{domain, key}]
	if f == nil || !f.in(vs.id) {
		return nil
	}
	return f
}

// read returns the value of a field, or nil if there is none.
func (vs *Values) read(domain string, f *field) any {
	vs.mu.RLock()
	v, ok := vs.over[valueKey{domain, f.key}]
	vs.mu.RUnlock()
	if ok {
		return plist.Clone(v)
	}
	return f.get(vs)
}

// Get returns one lockdown value. Domain "" is the default domain. Values such as the
// time, the battery and the disk usage are read at the time of the call.
func (vs *Values) Get(domain, key string) (any, bool) {
	if f := vs.field(domain, key); f != nil {
		v := vs.read(domain, f)
		return v, v != nil
	}
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	v, ok := vs.over[valueKey{domain, key}]
	return plist.Clone(v), ok
}

// Domain returns all values of a domain, except those that can only be read by
// key, such as DevicePublicKey. An unknown domain is empty. The caller owns the
// dictionary.
func (vs *Values) Domain(domain string) plist.Dict { return vs.collect(domain, 0) }

// PublicDomain returns the values of the default domain that unpaired hosts may read.
func (vs *Values) PublicDomain() plist.Dict { return vs.collect("", public) }

// collect returns the values of the fields that have all the flags in need.
func (vs *Values) collect(domain string, need flags) plist.Dict {
	fields := lockdownDomains[domain]
	out := make(plist.Dict, len(fields))
	for i := range fields {
		f := &fields[i]
		if f.flags&byKey != 0 || f.flags&need != need || !f.in(vs.id) {
			continue
		}
		if v := vs.read(domain, f); v != nil {
			out[f.key] = v
		}
	}
	if need != 0 {
		return out
	}
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	for k, v := range vs.over {
		if k.domain == domain && fieldIndex()[k] == nil {
			out[k.key] = plist.Clone(v)
		}
	}
	return out
}

// DomainNames returns the names of the domains that have values, sorted. The first
// is "".
func (vs *Values) DomainNames() []string {
	return slices.Sorted(maps.Keys(lockdownDomains))
}

// Access returns who may read and change a value. It returns the zero Access if the
// phone does not have the key.
func (vs *Values) Access(domain, key string) Access {
	f := vs.field(domain, key)
	if f == nil {
		return Access{}
	}
	w := f.flags&writable != 0 && (f.flags&ownClock == 0 || !vs.id.ClockLocked)
	return Access{
		Public: f.flags&public != 0, Writable: w, WritableUnpaired: w && f.flags&unpaired != 0,
	}
}

// Set writes a value as a host with a session does, and posts the notifications
// that real devices post. The causes of failure are ErrImmutable, ErrProhibited,
// ErrType and fs.ErrInvalid.
func (vs *Values) Set(domain, key string, v any) error {
	f, err := vs.settable(domain, key)
	if err != nil {
		return failure.Wrap("set value", key, err)
	}
	kept, err := f.set(vs, v)
	if err != nil {
		return failure.Wrap("set value", key, err)
	}
	if kept != nil {
		vs.keep(domain, key, kept)
	}
	if f.after != nil {
		f.after(vs)
	}
	return nil
}

func (vs *Values) settable(domain, key string) (*field, error) {
	f := vs.field(domain, key)
	switch {
	case f == nil || f.flags&writable == 0:
		return nil, ErrImmutable
	case !vs.Access(domain, key).Writable:
		return nil, ErrProhibited
	}
	return f, nil
}

func (vs *Values) keep(domain, key string, v any) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if vs.over == nil {
		vs.over = map[valueKey]any{}
	}
	vs.over[valueKey{domain, key}] = v
}

// Remove removes a value that was written with Set, so that the original value
// applies again, if there is one.
func (vs *Values) Remove(domain, key string) error {
	f, err := vs.settable(domain, key)
	if err != nil {
		return failure.Wrap("remove value", key, err)
	}
	vs.mu.Lock()
	delete(vs.over, valueKey{domain, key})
	vs.mu.Unlock()
	if f.after != nil {
		f.after(vs)
	}
	return nil
}

// Store writes a value that hosts may not change. Services store the values here
// that they own, such as ActivationState, or WillEncrypt of
// com.apple.mobile.backup. A nil value removes the stored one. Unknown keys are
// added.
func (vs *Values) Store(domain, key string, v any) {
	if v != nil {
		vs.keep(domain, key, plist.Clone(v))
	} else {
		vs.mu.Lock()
		delete(vs.over, valueKey{domain, key})
		vs.mu.Unlock()
	}
	if f := vs.field(domain, key); f != nil && f.after != nil {
		f.after(vs)
	}
}

// WiFiConnections reports whether lockdown may be reached over Wi-Fi.
func (vs *Values) WiFiConnections() bool {
	v, _ := vs.Get(domainWireless, "EnableWifiConnections")
	on, _ := v.(bool)
	return on
}

// OnWireless registers a function that is called, on the goroutine of Set, when a host has
// switched Wi-Fi connections.
func (vs *Values) OnWireless(fn func()) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.onWireless = append(vs.onWireless, fn)
}

// DeveloperMode reports whether Developer Mode is on.
func (vs *Values) DeveloperMode() bool {
	v, _ := vs.Get(domainAMFI, "DeveloperModeStatus")
	on, _ := v.(bool)
	return on
}

// HasDeveloperMode reports whether the phone has a Developer Mode, which exists since
// iOS 16.
func (vs *Values) HasDeveloperMode() bool {
	return vs.field(domainAMFI, "DeveloperModeStatus") != nil
}

// SetDeveloperMode turns Developer Mode on or off. It is on on a new phone.
func (vs *Values) SetDeveloperMode(on bool) { vs.Store(domainAMFI, "DeveloperModeStatus", on) }

// defaultZone is the time zone of a new phone.
const defaultZone = "Europe/Berlin"

// Zone returns the time zone of the phone.
func (vs *Values) Zone() *time.Location {
	name, _ := vs.written("", "TimeZone", defaultZone).(string)
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC // Store has written a name that is not a time zone
	}
	return loc
}

// written returns a value that was written with Set or Store, or def if there is
// none. Getters use it to read another value, because they cannot use the table of
// getters.
func (vs *Values) written(domain, key string, def any) any {
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	if v, ok := vs.over[valueKey{domain, key}]; ok {
		return v
	}
	return def
}
