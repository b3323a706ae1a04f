package dvt

import (
	"context"

	"github.com/imdlua/imdlua/runtime/dtx"
)

func screenshot(s *session, _ *dtx.Channel) dtx.Handler {
	return dtx.Methods{
		selScreenshot: func(context.Context, dtx.Args) (any, error) {
			return s.phone.Screen.Screenshot()
		},
	}
}
