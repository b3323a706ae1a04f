package dvt

import (
	"context"
	"math"
	"os"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/dvt"
)

const (
	moveTimeout = 30 * time.Second // bounds one SetLocation
	undoTimeout = 5 * time.Second  // bounds ClearLocation at the end
)

type playOptions struct {
	Speed   *float64      `lua:"speed" doc:"times as fast as recorded; 1 when left out"`
	Pace    *float64      `lua:"pace" doc:"metres a second without times in the file; default 1.4"`
	Loop    bool          `lua:"loop" doc:"begin again at the end, until cancelled or out of time"`
	Timeout time.Duration `lua:"timeout" doc:"seconds that all of it may take; default no limit"`
}

// positive returns the value of an option that must be greater than zero. initial is its
// default.
func positive(c *api.Call, name string, v *float64, initial float64) (float64, error) {
	if v == nil {
		return initial, nil
	}
	if !(*v > 0) || math.IsInf(*v, 0) {
		return 0, c.ArgError(2, "%s is a number above 0", name)
	}
	return *v, nil
}

func playGPX(c *api.Call, d *device.Device, path string, o playOptions) error {
	speed, err := positive(c, "speed", o.Speed, 1)
	if err != nil {
		return err
	}
	pace, err := positive(c, "pace", o.Pace, walkingPace)
	if err != nil {
		return err
	}
	limit := o.Timeout
	if limit == 0 {
		limit = api.NoTimeout
	}
	travelled := func(ctx context.Context, s *dvt.Session) error {
		points, err := readGPX(ctx, path)
		if err != nil {
			return err
		}
		return travel(ctx, s, newJourney(points, speed, pace), o.Loop)
	}
	return with(c, d, device.Timeout{Timeout: limit}, travelled)
}

func readGPX(ctx context.Context, path string) (points []gpxPoint, err error) {
	f, err := localfile.Open(ctx, path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = localfile.Do(ctx, f, func() error {
		points, err = parseGPX(localfile.Reader(ctx, f), maxGPX)
		return err
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		e := host.Errorf("decode", "%s: %v", path, err)
		e.Cause = err
		return nil, e
	}
	return points, nil
}

// locator is the part of dvt.Session that simulates a location.
type locator interface {
	SetLocation(ctx context.Context, latitude, longitude float64) error
	ClearLocation(ctx context.Context) error
}

// travel plays r, repeatedly if loop is set. In every case it ends the simulated location
// before it returns.
func travel(ctx context.Context, s locator, r journey, loop bool) (err error) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		// After another error this one is not reported: if the session was lost, the
		// device has ended the simulation itself.
		clearErr := s.ClearLocation(ctx)
		if err == nil {
			err = clearErr
		}
	}()
	move := func(lat, lon float64) error {
		ctx, cancel := context.WithTimeout(ctx, moveTimeout)
		defer cancel()
		return s.SetLocation(ctx, lat, lon)
	}
	for {
		begin := time.Now()
		if err := r.play(ctx, move); err != nil || !loop {
			return err
		}
		// Without this pause, a journey that takes no time would be repeated as fast as
		// possible.
		if err := link.Sleep(ctx, max(0, stepTime-time.Since(begin))); err != nil {
			return err
		}
	}
}
