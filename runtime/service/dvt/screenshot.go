package dvt

import "context"

const selScreenshot = "takeScreenshot"

// Screenshot returns an image of the screen in PNG format.
func (s *Session) Screenshot(ctx context.Context) ([]byte, error) {
	return ask[[]byte](ctx, s, "screenshot", "", ChannelScreenshot, selScreenshot)
}
