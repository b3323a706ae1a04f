package dvt

import (
	"context"
	"fmt"
)

const (
	selSimulate     = "simulateLocationWithLatitude:longitude:"
	selStopSimulate = "stopLocationSimulation"
)

// SetLocation overrides the location that the device reports, in degrees, until
// ClearLocation or the end of the session.
func (s *Session) SetLocation(ctx context.Context, latitude, longitude float64) error {
	subject := fmt.Sprintf("%v, %v", latitude, longitude)
	_, err := s.call(ctx, "set location", subject, ChannelLocation, selSimulate, latitude,
		longitude)
	return err
}

// ClearLocation ends the simulation of the location.
func (s *Session) ClearLocation(ctx context.Context) error {
	_, err := s.call(ctx, "clear location", "", ChannelLocation, selStopSimulate)
	return err
}
