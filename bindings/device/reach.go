package device

import (
	"context"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// Reach holds the options that say how a device is reached.
type Reach struct {
	Transport string `lua:"transport" doc:"use only this kind of route" enum:"usb|wifi|tunnel"`
	Address   string `lua:"address" doc:"host of the device, such as 192.168.2.7, without a muxer"`
	Muxer     string `lua:"usbmux" doc:"use only the muxer at unix:PATH or HOST:PORT"`
	Pair      bool   `lua:"pair" doc:"pair when needed; false: read values unpaired" default:"true"`
}

// allow checks the options of a call, and whether the script may use what they name.
func (o Reach) allow(c *api.Call, s device.Selector) error {
	if err := allow(c, ""); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return c.ArgError(1, "%v", err)
	}
	if o.Muxer != "" {
		if _, _, err := usbmux.ParseAddress(o.Muxer); err != nil {
			return c.ArgError(1, "usbmux: %v", err)
		}
		if err := c.Allow(host.AccessHost, o.Muxer); err != nil {
			return err
		}
	}
	if o.Address == "" {
		return nil
	}
	switch _, _, err := device.ParseAddress(o.Address); {
	case err != nil:
		return c.ArgError(1, "address: %v", err)
	case o.Muxer != "":
		return c.ArgError(1, "address and usbmux exclude each other")
	case o.Transport != "" && o.Transport != "wifi":
		return c.ArgError(1, "a device at an address is not reached by %s", o.Transport)
	}
	return c.Allow(host.AccessHost, o.Address)
}

// finder returns the finder that reaches devices as the options say.
func (r *Registry) finder(o Reach) (*device.Finder, error) {
	f, err := r.env.Finder()
	if err != nil {
		return nil, err
	}
	return f.Restricted(device.Restriction{Kind: o.Transport, Muxer: o.Muxer, NoPair: !o.Pair})
}

// atAddress returns the device at the address of a selector. It returns nil if that
// device does not fulfil the other conditions.
func (r *Registry) atAddress(c *api.Call, s Selector) (*Device, error) {
	selector := s.apply(r.env.Selector)
	if err := s.allow(c, selector); err != nil {
		return nil, err
	}
	var found *device.Device
	err := c.Timeout(s.Timeout).TryBlock(func(ctx context.Context) error {
		finder, err := r.finder(s.Reach)
		if err != nil {
			return err
		}
		found, err = finder.AtAddress(ctx, s.Address)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := allow(c, found.UDID()); err != nil {
		return nil, err
	}
	if !selector.Matches(found.Info()) || !s.matches(c, found.Info()) {
		return nil, nil
	}
	return r.object(found), nil
}

// Through returns the devices whose lists of services direct returns. Calls with the same
// key return the same objects.
func (r *Registry) Through(
	c *api.Call, key string, direct func(context.Context) ([]device.Direct, error), t Timeout,
) ([]*Device, error) {
	if err := allow(c, ""); err != nil {
		return nil, err
	}
	var infos []device.Info
	var through *device.Finder
	err := c.Timeout(t.Timeout).TryBlock(func(ctx context.Context) error {
		finder, err := r.env.Finder()
		if err != nil {
			return err
		}
		through = finder.Through(key, direct)
		infos, err = through.List(ctx, device.Selector{})
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*Device, len(infos))
	for n, i := range infos {
		out[n], err = r.listed(c, through, i)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
