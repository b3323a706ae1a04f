// Package device implements the Device class of scripts: how a device is found,
// its values, pairing, power and diagnostics. The other families (files, logs,
// apps, ...) add their methods to the same class. Package bindings combines them.
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

// Env says where scripts find their devices.
type Env struct {
	// Finder returns the finder of the host. It is called when a script first
	// asks for a device, so that a script without devices starts nothing.
	Finder func() (*device.Finder, error)
	// Selector holds the conditions of --device. device{...} adds to them.
	Selector device.Selector
	// Choose selects one of several matches when a script asks for a single
	// device, for example by asking the user. If it is nil, several matches are
	// an AmbiguousError.
	Choose func(ctx context.Context, matches []device.Info) (device.Info, error)
}

// Device is the Device of scripts. A Registry has one Device for each device.Device, so
// that two references to a device that is reached in the same way compare equal.
type Device struct {
	*device.Device

	mu    sync.Mutex
	parts map[string]any // see Part
}

// Part returns the value that the device keeps under a name. The first call creates
// it. Later calls return the same value, so that dev.files is always one object.
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

// Family holds what another package adds to the Device class.
type Family struct {
	Fields  []*api.Field
	Methods []*api.Func
	Finding []*api.Func // functions of the global device that find a device another way
	Classes []*api.Class
	Records []*api.Record
	// Explain explains the errors of the family's services. It may be nil. A
	// service.Error with a code needs no explanation: scripts see that code.
	Explain Explain
}

// Registry keeps the Device objects of one host.
type Registry struct {
	env  *Env
	mu   sync.Mutex
	seen map[*device.Device]*Device
}

// NewRegistry returns the Registry of a host.
func NewRegistry(env *Env) *Registry {
	return &Registry{env: env, seen: map[*device.Device]*Device{}}
}

// allow returns an error unless the script may use a device. The identifier is empty
// before a device is chosen. Every function that gives a Device to a script calls
// allow first.
func allow(c *api.Call, udid string) error { return c.Allow(host.AccessDevice, udid) }

// object returns the Device of scripts for d. The caller has called allow for it.
func (r *Registry) object(d *device.Device) *Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.seen[d]
	if !ok {
		o = newObject(d)
		r.seen[d] = o
	}
	return o
}

func newObject(d *device.Device) *Device {
	return &Device{Device: d, parts: map[string]any{}}
}

// ByUDID returns the device with an identifier. It ignores the conditions of
// --device. The search also ends when life ends.
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
			// Find can return a device that is leaving and does not answer.
			err = net.ErrClosed
		}
		return err
	}))
	if err != nil {
		return nil, err
	}
	return r.object(found), nil
}

// At returns the device whose RSD list of services is at an address. Each call
// returns a new object, which reaches the device only at that address.
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

// Timeout is the option timeout of every call that waits.
type Timeout struct {
	Timeout time.Duration `lua:"timeout" doc:"seconds to wait; default 30, math.huge for ever"`
}

// Do runs f without the interpreter lock and with the deadline of t. An error of f
// gets the device's identifier.
func (d *Device) Do(c *api.Call, t Timeout, f func(ctx context.Context) error) error {
	var passed *link.Passed
	err := c.Timeout(t.Timeout).TryBlock(func(ctx context.Context) error {
		ctx, passed = link.WithPassed(ctx)
		return f(ctx)
	})
	d.warnPassed(c, passed)
	return named(d.UDID(), err)
}

// warnPassed warns if the result of a call lacks entries of lists because they were
// malformed.
func (d *Device) warnPassed(c *api.Call, passed *link.Passed) {
	if passed == nil {
		return // the call did not begin
	}
	n, first := passed.Count()
	if n == 0 {
		return
	}
	c.Host().Warn(fmt.Sprintf("malformed entries of a list of %s that were left out: %d; the first: %s",
		d.UDID(), n, link.Clip(first.Error())))
}

// Open calls api.Open for an object of d, with the deadline of t. An error gets the
// device's identifier.
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

// class declares Device with the fields and methods of the families.
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
