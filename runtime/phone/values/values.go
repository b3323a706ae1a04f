// Package values is the lockdown values: by their domains and keys what the phone says
// about itself, what hosts may change of it, and the settings that they did change.
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

// Causes of the lockdown values.
var (
	// ErrImmutable is a write to a value that no host may ever change.
	ErrImmutable = errors.New("value is immutable")
	// ErrProhibited is a write that this iOS version does not allow (any
	// more), though the key is not immutable as such.
	ErrProhibited = errors.New("setting is prohibited")
	// ErrType is a value of the wrong plist type.
	ErrType = errors.New("wrong type of value")
	// ErrMissing is a key that the phone does not have.
	ErrMissing = errors.New("no such value")
)

// Options of Values. The functions tell what other subjects know.
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
	Free         func() uint64 // bytes of the data volume
	// RestartHome ends the home screen, which starts again.
	RestartHome func()
}

// Values is the lockdown values of a phone. All methods may be called concurrently.
type Values struct {
	o  Options
	id *identity.Identity

	mu   sync.RWMutex
	name string
	over map[valueKey]any // what was written over the phone's own
}

// New returns the values of a new phone.
func New(o Options) *Values {
	if o.Name == "" {
		o.Name = o.Identity.DeviceName
	}
	return &Values{o: o, id: o.Identity, name: o.Name}
}

// Name is the device name that the user gave.
func (vs *Values) Name() string {
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	return vs.name
}

// Access says who may do what with a lockdown value.
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

// field is a lockdown value: where it comes from and what may be done to it.
type field struct {
	key   string
	flags flags
	get   func(*Values) any // nil means that the phone has no such value
	// since and until are iOS majors; 0 does not limit.
	since, until int
	// set checks a written value and returns what is kept, with the side
	// effects of the change. A nil result without error keeps nothing.
	set func(*Values, any) (any, error)
	// after runs when the value has changed.
	after func(*Values)
}

func (f *field) in(id *identity.Identity) bool {
	return id.Major >= f.since && (f.until == 0 || id.Major <= f.until)
}

// fieldIndex finds fields; it is made once and shared by all phones.
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

// read returns the value of a field, nil if there is none.
func (vs *Values) read(domain string, f *field) any {
	vs.mu.RLock()
	v, ok := vs.over[valueKey{domain, f.key}]
	vs.mu.RUnlock()
	if ok {
		return plist.Clone(v)
	}
	return f.get(vs)
}

// Get returns one lockdown value; domain "" is the default domain. Times,
// battery, disk usage and names are those of the moment.
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

// Domain returns all values of a domain, without those that are given out
// by key only, as DevicePublicKey. An unknown domain is empty. The caller
// owns the dictionary.
func (vs *Values) Domain(domain string) plist.Dict { return vs.collect(domain, 0) }

// PublicDomain returns what of the default domain an unpaired host gets.
func (vs *Values) PublicDomain() plist.Dict { return vs.collect("", public) }

// collect gathers the fields that have all the flags in need.
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

// DomainNames lists the domains that have values, sorted, "" first.
func (vs *Values) DomainNames() []string {
	return slices.Sorted(maps.Keys(lockdownDomains))
}

// Access says who may do what with a value. Of a key that the phone does not
// have, nobody may do anything.
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

// Set writes a value as a host with a session does. The causes of
// failure are ErrImmutable, ErrProhibited, ErrType and fs.ErrInvalid. Changes
// post the notifications that the device posts.
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

// Remove takes back what Set wrote; the phone's own value, if it
// has one, is seen again.
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

// Store writes a value whatever hosts may do: the services that own a value
// keep it here (WillEncrypt of com.apple.mobile.backup, ActivationState).
// A nil value removes it. Keys that the phone did not have are added.
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

// DeveloperMode reports whether Developer Mode is on.
func (vs *Values) DeveloperMode() bool {
	v, _ := vs.Get(domainAMFI, "DeveloperModeStatus")
	on, _ := v.(bool)
	return on
}

// HasDeveloperMode reports whether there is a Developer Mode at all, as since
// iOS 16.
func (vs *Values) HasDeveloperMode() bool {
	return vs.field(domainAMFI, "DeveloperModeStatus") != nil
}

// SetDeveloperMode switches Developer Mode. A new phone has it on.
func (vs *Values) SetDeveloperMode(on bool) { vs.Store(domainAMFI, "DeveloperModeStatus", on) }

// defaultZone is the time zone of a new phone.
const defaultZone = "Europe/Berlin"

// Zone is the time zone that the phone is set to.
func (vs *Values) Zone() *time.Location {
	name, _ := vs.written("", "TimeZone", defaultZone).(string)
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC // somebody used Store
	}
	return loc
}

// written is what was written over a value, or else def. It serves where a
// getter needs another value, without the table of getters.
func (vs *Values) written(domain, key string, def any) any {
	vs.mu.RLock()
	defer vs.mu.RUnlock()
	if v, ok := vs.over[valueKey{domain, key}]; ok {
		return v
	}
	return def
}
