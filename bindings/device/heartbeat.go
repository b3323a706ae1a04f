package device

import (
	"context"
	"time"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
)

// Beat is the record of one heartbeat.
type Beat struct {
	Time     time.Time     `lua:"time" doc:"when it was answered"`
	Interval time.Duration `lua:"interval" doc:"seconds until the next one"`
}

// beats opens a stream that answers the device's heartbeat in the background. It
// answers even if the script takes no values from the stream.
func beats(c *api.Call, d *Device, t Timeout) (api.Opened[*stream.Stream], error) {
	open := func(ctx context.Context) (*stream.Opening, error) {
		client, err := heartbeat.Connect(ctx, d)
		if err != nil {
			return nil, err
		}
		beat := func(b heartbeat.Beat) any { return &Beat{time.Now(), b.Interval} }
		return &stream.Opening{Source: Each(d, client.Beat, beat), Stop: client.Close}, nil
	}
	return OpenStream(c, d, t, Live{Open: open, Options: stream.Options{Kind: "heartbeat"}})
}
