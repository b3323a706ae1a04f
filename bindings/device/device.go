// Package device is the Device of scripts: finding one, its values, pairing,
// power and diagnostics. The other families (files, logs, apps, ...) add their
// methods to the same class; bindings.go puts them together.
package device

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/version"
	"github.com/imdlua/imdlua/runtime/link"
)

// Env is where scripts find their devices.
type Env struct {
	// Finder is asked for when a script first wants a device, so that scripts
	// without one start nothing.
	Finder func() (*device.Finder, error)
	// Selector is what --device asks for. device{...} narrows it further.
	Selector device.Selector
	// Choose decides which of several devices is meant where a script wants
	// one, for example by asking the user. Without it that is an error.
	Choose func(ctx context.Context, matches []device.Info) (device.Info, error)
}

// Device is the Device of scripts. There is one for each device of a host, so that
// two references to it compare equal.
type Device struct {
	*device.Device

	mu    sync.Mutex
	parts map[string]any // see Part
}

// Part returns the value of that name that belongs to the device. It is made by
// the first call: dev.files is the same object each time.
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
	// Explain knows the errors of the family's services. A service.Error with a code
	// needs no explanation: scripts see its code.
	Explain Explain
}

// Registry keeps the Device objects of one host.
type Registry struct {
	env  *Env
	mu   sync.Mutex
	seen map[string]*Device
}

// NewRegistry returns the Registry of a host.
func NewRegistry(env *Env) *Registry { return &Registry{env: env, seen: map[string]*Device{}} }

// allow asks whether the script may use a device. The identifier is empty while
// none is chosen. Everything that gives a Device to a script calls it.
func allow(c *api.Call, udid string) error { return c.Allow(host.AccessDevice, udid) }

// object returns the Device of scripts for d, which allow has let pass.
func (r *Registry) object(d *device.Device) *Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.seen[d.UDID()]
	if !ok {
		o = newObject(d)
		r.seen[d.UDID()] = o
	}
	return o
}

func newObject(d *device.Device) *Device {
	return &Device{Device: d, parts: map[string]any{}}
}

// ByUDID returns the device with that identifier, whatever --device says. The
// search ends with life as well.
func (r *Registry) ByUDID(c *api.Call, udid string, life *Life) (*Device, error) {
	if err := allow(c, udid); err != nil {
		return nil, err
	}
	var found *device.Device
	err := c.TryBlock(life.Bound(func(ctx context.Context) error {
		finder, err := r.env.Finder()
		if err != nil {
			return err
		}
		found, err = finder.Find(ctx, device.Selector{UDID: udid})
		if err == nil && life.Over() {
			err = net.ErrClosed // a device that leaves is found, but does not answer
		}
		return err
	}))
	if err != nil {
		return nil, err
	}
	return r.object(found), nil
}

// At returns the device whose list of services is at an address. Each call
// returns another object, which reaches the device at that address alone.
func (r *Registry) At(c *api.Call, at device.Direct, t Timeout) (*Device, error) {
	if err := allow(c, ""); err != nil {
		return nil, err
	}
	if err := c.Allow(host.AccessHost, at.Address); err != nil {
		return nil, err
	}
	var found *device.Device
	err := c.Timeout(t.Timeout).TryBlock(func(ctx context.Context) error {
		finder, err := r.env.Finder()
		if err != nil {
			return err
		}
		found, err = finder.At(ctx, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := allow(c, found.UDID()); err != nil {
		return nil, err
	}
	return newObject(found), nil
}

// Timeout is the option of every call that waits.
type Timeout struct {
	Timeout time.Duration `lua:"timeout" doc:"seconds to wait; default 30, math.huge for ever"`
}

// Do runs f without the interpreter lock under the option's deadline. Its error
// names the device.
func (d *Device) Do(c *api.Call, t Timeout, f func(ctx context.Context) error) error {
	var passed *link.Passed
	err := c.Timeout(t.Timeout).TryBlock(func(ctx context.Context) error {
		ctx, passed = link.WithPassed(ctx)
		return f(ctx)
	})
	d.warnPassed(c, passed)
	return named(d.UDID(), err)
}

// warnPassed writes to the log that entries of lists are missing from what a call
// returns.
func (d *Device) warnPassed(c *api.Call, passed *link.Passed) {
	if passed == nil {
		return // the call did not begin
	}
	if n, first := passed.Count(); n > 0 {
		c.Host().Options().Logger.Warn("malformed entries were left out", "layer", "device",
			"udid", d.UDID(), "count", n, "first", link.Clip(first.Error()))
	}
}

// Open is api.Open for an object of d, under the option's deadline. Its error
// names the device.
func Open[T any](
	c *api.Call, d *Device, t Timeout, open func(ctx context.Context) (T, error),
) (api.Opened[T], error) {
	var passed *link.Passed
	o, err := api.Open(c.Timeout(t.Timeout), func(ctx context.Context) (T, error) {
		ctx, passed = link.WithPassed(ctx)
		return open(ctx)
	})
	d.warnPassed(c, passed)
	return o, named(d.UDID(), err)
}

func class(families []Family) *api.Class {
	c := api.NewClass[*Device]("Device", "One iPhone or iPad, by whichever route it is reached. Fields "+
		"are a snapshot from when the device was found; `dev:refresh()` takes another. Every call "+
		"that waits takes `timeout` in seconds and ends in an error when it runs out.")
	c.Var = "dev"
	c.String = func(d *Device) string {
		i := d.Info()
		return fmt.Sprintf(`Device<%s "%s" %s iOS %s %s>`,
			i.UDID, i.Name, i.ProductType, i.Version, i.Transport())
	}
	c.Fields = []*api.Field{
		api.Property("udid", "unique device identifier",
			func(d *Device) string { return d.Info().UDID }),
		api.Property("name", "name given by the owner",
			func(d *Device) string { return d.Info().Name }),
		api.Property("version", "iOS version, such as 17.5.1: `dev.version:at_least(\"17.4\")`. "+
			"tostring(dev.version) is the text, to compare by == or to use as a key",
			func(d *Device) *version.Version { return version.Of(d.Info().Version) }),
		api.Property("build", "build of iOS, such as 21F90",
			func(d *Device) string { return d.Info().Build }),
		api.Property("product_type", "model identifier, such as iPhone15,2",
			func(d *Device) string { return d.Info().ProductType }),
		api.Property("class", "iPhone, iPad, ...",
			func(d *Device) string { return d.Info().Class }),
		api.Property("transport", "usb, wifi, or tunnel when it is reached through somebody "+
			"else's: the best route",
			func(d *Device) string { return d.Info().Transport() }),
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
