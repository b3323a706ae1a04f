package device

import (
	"context"

	"github.com/imdlua/imdlua/runtime/usbmux"
)

// Restriction limits how devices are reached. The zero value limits nothing.
type Restriction struct {
	// Kind is the only kind of route that is used: "usb", "wifi" or "tunnel". "" means
	// any.
	Kind string
	// Muxer is the address of the only muxer that is asked; see usbmux.ParseAddress.
	// The network is not searched. "" means the muxers of the Finder.
	Muxer string
	// NoPair is as in Options.
	NoPair bool
}

// derived identifies a Finder that another one has made.
type derived struct {
	Restriction
	through string
}

// Restricted returns a Finder that reaches devices only as r allows. It has the same
// pair records as f, but its Devices are others. Calls with the same restriction return
// the same Finder, which is closed with f.
func (f *Finder) Restricted(r Restriction) (*Finder, error) {
	if r == (Restriction{}) {
		return f, nil
	}
	return f.derive(derived{Restriction: r}, func(o *Options) error {
		o.NoPair = o.NoPair || r.NoPair
		if r.Muxer == "" {
			return nil
		}
		m, err := usbmux.New(usbmux.Options{Address: r.Muxer, Logger: o.Logger})
		o.Muxers, o.Direct = []*usbmux.Client{m}, nil
		return err
	})
}

// Through returns a Finder whose devices are those of the lists of services that direct
// returns. Calls with the same key return the same Finder, which is closed with f.
func (f *Finder) Through(key string, direct func(context.Context) ([]Direct, error)) *Finder {
	t, _ := f.derive(derived{through: key}, func(o *Options) error { // it has no error
		o.Direct = direct
		return nil
	})
	return t
}

// derive returns the Finder of f for a key. If there is none, it makes one with the
// options of f, which change may change.
func (f *Finder) derive(key derived, change func(*Options) error) (*Finder, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.derived[key]; d != nil {
		return d, nil
	}
	o := f.opts
	o.Muxers = nil
	if err := change(&o); err != nil {
		return nil, err
	}
	d := NewFinder(o)
	d.parent, d.restriction = f, key.Restriction
	if f.derived == nil {
		f.derived = map[derived]*Finder{}
	}
	f.derived[key] = d
	return d, nil
}

// uses reports whether routes of a kind may be used.
func (f *Finder) uses(kind string) bool {
	if f.parent != nil && !f.parent.uses(kind) {
		return false
	}
	return f.restriction.Kind == "" || f.restriction.Kind == kind
}
