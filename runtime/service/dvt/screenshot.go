package dvt

import "context"

const selScreenshot = "takeScreenshot"

// Screenshot returns what the screen shows, as PNG.
func (s *Session) Screenshot(ctx context.Context) ([]byte, error) {
	return ask[[]byte](ctx, s, "screenshot", "", ChannelScreenshot, selScreenshot)
}
