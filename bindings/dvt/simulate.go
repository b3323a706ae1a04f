package dvt

import (
	"context"
	"io"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/picture"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

type screenshotOptions struct {
	device.Timeout
	Path string `lua:"path" kind:"path" access:"write" doc:"local file to write the picture to"`
}

// screenshot returns a picture. Its pixels are decoded on first use.
func screenshot(
	c *api.Call, d *device.Device, o screenshotOptions,
) (p *picture.Picture, err error) {
	err = with(c, d, o.Timeout, func(ctx context.Context, s *dvt.Session) error {
		png, err := s.Screenshot(ctx)
		if err != nil {
			return err
		}
		p, err = picture.FromBytes(png)
		if err != nil || o.Path == "" {
			return err
		}
		_, err = device.Store(ctx, o.Path, func(w io.Writer) (int64, error) {
			n, err := w.Write(png)
			return int64(n), err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func setLocation(
	c *api.Call, d *device.Device, latitude, longitude float64, t device.Timeout,
) error {
	// The conditions are written so that they also refuse NaN.
	if !(latitude >= -90 && latitude <= 90) {
		return c.ArgError(1, "a latitude is between -90 and 90")
	}
	if !(longitude >= -180 && longitude <= 180) {
		return c.ArgError(2, "a longitude is between -180 and 180")
	}
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error {
		return s.SetLocation(ctx, latitude, longitude)
	})
}

func clearLocation(c *api.Call, d *device.Device, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error {
		return s.ClearLocation(ctx)
	})
}

// Condition is the record of a bad condition that a device can simulate.
type Condition struct {
	ID          string   `lua:"id" doc:"identifier, such as SlowNetworkCondition"`
	Name        string   `lua:"name" doc:"name for people"`
	Active      bool     `lua:"active" doc:"whether it is simulated now"`
	Level       string   `lua:"level" doc:"level that is active; empty when none is"`
	Destructive bool     `lua:"destructive" doc:"whether it may take a restart to recover"`
	Levels      []*Level `lua:"levels" doc:"strengths to choose from"`
}

// Level is the record of a strength of a condition. The protocol calls it a profile.
type Level struct {
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
		levels := make([]*Level, len(f.Profiles))
		for k, p := range f.Profiles {
			levels[k] = &Level{ID: p.ID, Name: p.Name, Description: p.Description}
		}
		out[i] = &Condition{
			ID: f.ID, Name: f.Name, Active: f.Active, Level: f.ActiveProfile,
			Destructive: f.Destructive, Levels: levels,
		}
	}
	return out, nil
}

func condition(c *api.Call, d *device.Device, id, level string, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error {
		return s.EnableCondition(ctx, id, level)
	})
}

func clearCondition(c *api.Call, d *device.Device, t device.Timeout) error {
	return with(c, d, t, func(ctx context.Context, s *dvt.Session) error {
		return s.DisableCondition(ctx)
	})
}
