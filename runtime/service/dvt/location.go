package dvt

import (
	"context"
	"fmt"
)

const (
	selSimulate     = "simulateLocationWithLatitude:longitude:"
	selStopSimulate = "stopLocationSimulation"
)

// SetLocation makes the device believe that it is elsewhere, in degrees. The
// belief ends with ClearLocation, or with the session.
func (s *Session) SetLocation(ctx context.Context, latitude, longitude float64) error {
	subject := fmt.Sprintf("%v, %v", latitude, longitude)
	_, err := s.call(ctx, "set location", subject, ChannelLocation, selSimulate, latitude,
		longitude)
	return err
}

// ClearLocation ends the simulation.
func (s *Session) ClearLocation(ctx context.Context) error {
	_, err := s.call(ctx, "clear location", "", ChannelLocation, selStopSimulate)
	return err
}
