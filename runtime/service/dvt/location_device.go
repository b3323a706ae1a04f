package dvt

import (
	"context"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/phone/location"
)

func locationSimulation(s *session, _ *dtx.Channel) dtx.Handler {
	return dtx.Methods{
		selSimulate: func(_ context.Context, args dtx.Args) (any, error) {
			latitude, ok1 := args.Real(0)
			longitude, ok2 := args.Real(1)
			if !ok1 || !ok2 {
				return nil, badArguments(selSimulate)
			}
			release, err := s.phone.Location.Simulate(
				location.Place{Latitude: latitude, Longitude: longitude},
			)
			if err != nil {
				return nil, refused(err, codeENOENT)
			}
			s.hold("location", release)
			return nil, nil
		},
		selStopSimulate: func(context.Context, dtx.Args) (any, error) {
			s.phone.Location.Clear()
			return nil, nil
		},
	}
}
