package dvt

import (
	"context"
	"os"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

type screenshotOptions struct {
	device.Timeout
	Path string `lua:"path" doc:"local file to write the picture to as well"`
}

func screenshot(c *api.Call, d *device.Device, o screenshotOptions) (png []byte, err error) {
	err = with(c, d, o.Timeout, func(ctx context.Context, s *dvt.Session) error {
		if png, err = s.Screenshot(ctx); err != nil || o.Path == "" {
			return err
		}
		return os.WriteFile(o.Path, png, 0o666)
	})
	if err != nil {
		return nil, err
	}
	return png, nil
}

func setLocation(c *api.Call, d *device.Device, latitude, longitude float64, t device.Timeout) error {
	// Written so that what is not a number is refused, too.
	if !(latitude >= -90 && latitude <= 90) {
		return c.ArgError(1, "a latitude is between -90 and 90")
	}
	if !(longitude >= -180 && longitude <= 180) {
		return c.ArgError(2, "a longitude is between -180 and 180")
	}
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error { return s.SetLocation(ctx, latitude, longitude) })
}

func clearLocation(c *api.Call, d *device.Device, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error { return s.ClearLocation(ctx) })
}

// Condition is the record of something bad that a device can pretend.
type Condition struct {
	ID          string     `lua:"id" doc:"identifier, such as SlowNetworkCondition"`
	Name        string     `lua:"name" doc:"name for people"`
	Active      bool       `lua:"active" doc:"whether the device pretends it now"`
	Profile     string     `lua:"profile" doc:"profile that is active; empty when none is"`
	Destructive bool       `lua:"destructive" doc:"whether it may take a restart to recover"`
	Profiles    []*Profile `lua:"profiles" doc:"strengths to choose from"`
}

// Profile is the record of a strength of a condition.
type Profile struct {
	ID          string `lua:"id" doc:"identifier, such as SlowNetwork3GGood"`
	Name        string `lua:"name" doc:"name for people"`
	Description string `lua:"description" doc:"what it does"`
}

func conditions(c *api.Call, d *device.Device, t device.Timeout) ([]*Condition, error) {
	var found []dvt.Condition
	err := with(c, d, t, func(ctx context.Context, s *dvt.Session) (err error) {
		found, err = s.Conditions(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*Condition, len(found))
	for i, f := range found {
		out[i] = &Condition{f.ID, f.Name, f.Active, f.ActiveProfile, f.Destructive, make([]*Profile, len(f.Profiles))}
		for k, p := range f.Profiles {
			out[i].Profiles[k] = &Profile{p.ID, p.Name, p.Description}
		}
	}
	return out, nil
}

func condition(c *api.Call, d *device.Device, id, profile string, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error { return s.EnableCondition(ctx, id, profile) })
}

func clearCondition(c *api.Call, d *device.Device, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error { return s.DisableCondition(ctx) })
}
