// Package device is the Device of scripts: finding one, its values, pairing,
// power and diagnostics. The other families (files, logs, apps, ...) add their
// methods to the same class; bindings.go puts them together.
package device

import (
	"context"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Env is where scripts find their devices.
type Env struct {
	// Finder is asked for when a script first wants a device, so that scripts
	// without one start nothing.
	Finder func() (*device.Finder, error)
	// Selector is what --device asked for; device{...} narrows it further.
	Selector device.Selector
	// Choose settles which of several devices is meant where a script wants
	// one, for example by asking the user; nil = that is an error.
	Choose func(ctx context.Context, matches []device.Info) (device.Info, error)
}

// Apart returns an object for a device that was not found by looking: two of
// them are never the same one.
func (r *Registry) Apart(d *device.Device) *Device {
	return &Device{Device: d, env: r.env, parts: map[string]any{}}
}

// Finder returns what devices are found with.
func (r *Registry) Finder() (*device.Finder, error) { return r.env.Finder() }

// Device is what scripts call a device. It is made once for each device of a
// run, so that two scripts' tables of it compare equal.
type Device struct {
	*device.Device
	env *Env

	mu    sync.Mutex
	parts map[string]any // the files, crashes, ... of this device, made when first asked for
}

// Part returns the one value of that name that belongs to the device, making
// it when first asked for: dev.files is the same object each time.
func Part[T any](d *Device, name string, create func() T) T {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.parts[name].(T); ok {
		return v
	}
	v := create()
	d.parts[name] = v
	return v
}

// Family is what another package adds to the Device class.
type Family struct {
	Fields  []*api.Field
	Methods []*api.Func
	Finding []*api.Func // of the global device: other ways to find one
	Classes []*api.Class
	Records []*api.Record
	// Code returns the short stable code of a refusal by one of the family's
	// services, "" for any other error.
	Code func(error) string
}

// Registry keeps the Device objects of one host.
type Registry struct {
	env  *Env
	mu   sync.Mutex
	seen map[string]*Device
}

// NewRegistry returns the Registry of a host.
func NewRegistry(env *Env) *Registry { return &Registry{env: env, seen: map[string]*Device{}} }

// ByUDID returns the device with that identifier, whatever --device says.
func (r *Registry) ByUDID(ctx context.Context, udid string) (*Device, error) {
	finder, err := r.env.Finder()
	if err != nil {
		return nil, err
	}
	d, err := finder.Find(ctx, device.Selector{UDID: udid})
	if err != nil {
		return nil, err
	}
	return r.wrap(d), nil
}

func (r *Registry) wrap(d *device.Device) *Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.seen[d.UDID()]
	if !ok {
		w = &Device{Device: d, env: r.env, parts: map[string]any{}}
		r.seen[d.UDID()] = w
	}
	return w
}

// Timeout is the option that every waiting call has.
type Timeout struct {
	Timeout time.Duration `lua:"timeout" doc:"seconds until the call gives up; 30 when left out, math.huge for never"`
}

// Do runs f without the interpreter lock under the option's deadline and
// returns its error with the device named.
func (d *Device) Do(c *api.Call, t Timeout, f func(ctx context.Context) error) error {
	return named(d.UDID(), c.Timeout(t.Timeout).TryBlock(f))
}

func class(families []Family) *api.Class {
	c := api.NewClass[*Device]("Device", "One iPhone or iPad, whatever road leads to it. Fields are a snapshot from when the device was found; `dev:refresh()` takes another. Every call that waits takes `timeout` in seconds and ends in an error when it runs out.")
	c.Var = "dev"
	c.String = func(d *Device) string {
		i := d.Info()
		return "Device<" + i.UDID + ` "` + i.Name + `" ` + i.ProductType + " iOS " + i.Version + " " + i.Transport() + ">"
	}
	c.Fields = []*api.Field{
		api.Property("udid", "unique device identifier", func(d *Device) string { return d.Info().UDID }),
		api.Property("name", "name given by the owner", func(d *Device) string { return d.Info().Name }),
		api.Property("version", "iOS version, such as 17.5.1", func(d *Device) string { return d.Info().Version }),
		api.Property("build", "build of iOS, such as 21F90", func(d *Device) string { return d.Info().Build }),
		api.Property("product_type", "model identifier, such as iPhone15,2", func(d *Device) string { return d.Info().ProductType }),
		api.Property("class", "iPhone, iPad, ...", func(d *Device) string { return d.Info().Class }),
		api.Property("transport", "usb, wifi, or tunnel when it is reached through somebody else's: the best road", func(d *Device) string { return d.Info().Transport() }),
	}
	c.Methods = append(c.Methods, valueMethods()...)
	c.Methods = append(c.Methods, pairingMethods()...)
	c.Methods = append(c.Methods, stateMethods()...)
	for _, f := range families {
		c.Fields = append(c.Fields, f.Fields...)
		c.Methods = append(c.Methods, f.Methods...)
	}
	return c
}
