package phone

import (
	"maps"
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // TimeZone must work where the machine has no zone files

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

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
	get   func(*Phone) any // nil means that the phone has no such value
	// since and until are iOS majors; 0 does not limit.
	since, until int
	// set checks a written value and returns what is kept, with the side
	// effects of the change. A nil result without error keeps nothing.
	set func(*Phone, any) (any, error)
	// after runs when the value has changed.
	after func(*Phone)
}

func (f *field) in(prof *profile) bool {
	return prof.major >= f.since && (f.until == 0 || prof.major <= f.until)
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

func (p *Phone) field(domain, key string) *field {
	f := fieldIndex()[valueKey{domain, key}]
	if f == nil || !f.in(p.prof) {
		return nil
	}
	return f
}

// read returns the value of a field, nil if there is none.
func (p *Phone) read(domain string, f *field) any {
	p.mu.RLock()
	v, ok := p.over[valueKey{domain, f.key}]
	p.mu.RUnlock()
	if ok {
		return plist.Clone(v)
	}
	return f.get(p)
}

// Value returns one lockdown value; domain "" is the default domain. Times,
// battery, disk usage and names are those of the moment.
func (p *Phone) Value(domain, key string) (any, bool) {
	if f := p.field(domain, key); f != nil {
		v := p.read(domain, f)
		return v, v != nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	v, ok := p.over[valueKey{domain, key}]
	return plist.Clone(v), ok
}

// Domain returns all values of a domain, without those that are given out
// by key only, as DevicePublicKey. An unknown domain is empty. The caller
// owns the dictionary.
func (p *Phone) Domain(domain string) plist.Dict { return p.collect(domain, 0) }

// PublicDomain returns what of the default domain an unpaired host gets.
func (p *Phone) PublicDomain() plist.Dict { return p.collect("", public) }

// collect gathers the fields that have all the flags in need.
func (p *Phone) collect(domain string, need flags) plist.Dict {
	fields := lockdownDomains[domain]
	out := make(plist.Dict, len(fields))
	for i := range fields {
		f := &fields[i]
		if f.flags&byKey != 0 || f.flags&need != need || !f.in(p.prof) {
			continue
		}
		if v := p.read(domain, f); v != nil {
			out[f.key] = v
		}
	}
	if need != 0 {
		return out
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for k, v := range p.over {
		if k.domain == domain && fieldIndex()[k] == nil {
			out[k.key] = plist.Clone(v)
		}
	}
	return out
}

// DomainNames lists the domains that have values, sorted, "" first.
func (p *Phone) DomainNames() []string {
	return slices.Sorted(maps.Keys(lockdownDomains))
}

// Access says who may do what with a value. Of a key that the phone does not
// have, nobody may do anything.
func (p *Phone) Access(domain, key string) Access {
	f := p.field(domain, key)
	if f == nil {
		return Access{}
	}
	w := f.flags&writable != 0 && (f.flags&ownClock == 0 || !p.prof.clockLocked)
	return Access{
		Public: f.flags&public != 0, Writable: w, WritableUnpaired: w && f.flags&unpaired != 0,
	}
}

// SetValue writes a value as a host with a session does. The causes of
// failure are ErrImmutable, ErrProhibited, ErrType and ErrInvalid. Changes
// post the notifications that the device posts.
func (p *Phone) SetValue(domain, key string, v any) error {
	f, err := p.settable(domain, key)
	if err != nil {
		return fail("set value", key, err)
	}
	kept, err := f.set(p, v)
	if err != nil {
		return fail("set value", key, err)
	}
	if kept != nil {
		p.keep(domain, key, kept)
	}
	if f.after != nil {
		f.after(p)
	}
	return nil
}

func (p *Phone) settable(domain, key string) (*field, error) {
	f := p.field(domain, key)
	switch {
	case f == nil || f.flags&writable == 0:
		return nil, ErrImmutable
	case !p.Access(domain, key).Writable:
		return nil, ErrProhibited
	}
	return f, nil
}

func (p *Phone) keep(domain, key string, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over == nil {
		p.over = map[valueKey]any{}
	}
	p.over[valueKey{domain, key}] = v
}

// RemoveValue takes back what SetValue wrote; the phone's own value, if it
// has one, is seen again.
func (p *Phone) RemoveValue(domain, key string) error {
	f, err := p.settable(domain, key)
	if err != nil {
		return fail("remove value", key, err)
	}
	p.mu.Lock()
	delete(p.over, valueKey{domain, key})
	p.mu.Unlock()
	if f.after != nil {
		f.after(p)
	}
	return nil
}

// Store writes a value whatever hosts may do: the services that own a value
// keep it here (WillEncrypt of com.apple.mobile.backup, ActivationState).
// A nil value removes it. Keys that the phone did not have are added.
func (p *Phone) Store(domain, key string, v any) {
	if v != nil {
		p.keep(domain, key, plist.Clone(v))
	} else {
		p.mu.Lock()
		delete(p.over, valueKey{domain, key})
		p.mu.Unlock()
	}
	if f := p.field(domain, key); f != nil && f.after != nil {
		f.after(p)
	}
}

// DeveloperMode reports whether Developer Mode is on.
func (p *Phone) DeveloperMode() bool {
	v, _ := p.Value(domainAMFI, "DeveloperModeStatus")
	on, _ := v.(bool)
	return on
}

// SetDeveloperMode switches Developer Mode. A new phone has it on.
func (p *Phone) SetDeveloperMode(on bool) { p.Store(domainAMFI, "DeveloperModeStatus", on) }

// defaultZone is the time zone of a new phone.
const defaultZone = "Europe/Berlin"

// Location is the time zone that the phone is set to.
func (p *Phone) Location() *time.Location {
	name, _ := p.written("", "TimeZone", defaultZone).(string)
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC // somebody used Store
	}
	return loc
}

// written is what was written over a value, or else def. It serves where a
// getter needs another value, without the table of getters.
func (p *Phone) written(domain, key string, def any) any {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if v, ok := p.over[valueKey{domain, key}]; ok {
		return v
	}
	return def
}

// Setters of the kinds of values.

func setString(_ *Phone, v any) (any, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return nil, ErrType
}

func setBool(_ *Phone, v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return nil, ErrType
}

// setSwitch takes a boolean or 0 and 1 and keeps an integer: hosts write
// both and read back integers.
func setSwitch(_ *Phone, v any) (any, error) {
	if b, ok := v.(bool); ok {
		if b {
			return int64(1), nil
		}
		return int64(0), nil
	}
	n, ok := plist.Int(v)
	switch {
	case !ok:
		return nil, ErrType
	case n != 0 && n != 1:
		return nil, ErrInvalid
	}
	return n, nil
}

func setName(p *Phone, v any) (any, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return nil, ErrType
	case s == "":
		return nil, ErrInvalid
	}
	p.mu.Lock()
	p.name = s
	p.mu.Unlock()
	return nil, nil
}

func setTimeZone(_ *Phone, v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		return nil, ErrType
	}
	// Go takes these two for something else than a zone.
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return nil, ErrInvalid
	}
	return s, nil
}

// setClock moves the phone's clock; integers and reals are seconds.
func setClock(p *Phone, v any) (any, error) {
	sec, ok := v.(float64)
	if !ok {
		n, isInt := plist.Int(v)
		if !isInt {
			return nil, ErrType
		}
		sec = float64(n)
	}
	// Outside of what time.Duration spans there is nothing to set.
	if !(sec >= 0 && sec < 1<<33) {
		return nil, ErrInvalid
	}
	want := time.Unix(0, 0).Add(time.Duration(sec * float64(time.Second)))
	skew := want.Sub(p.clock())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.booted = p.booted.Add(skew - p.skew)
	p.skew = skew
	return nil, nil
}
