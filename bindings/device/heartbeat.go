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

// beats answers the device's heartbeat in the background, whether the script
// looks at the stream or not.
func beats(c *api.Call, d *Device, t Timeout) (api.Opened[*stream.Stream], error) {
	return Open(c, d, t, func(ctx context.Context) (*stream.Stream, error) {
		client, err := heartbeat.Connect(ctx, d)
		if err != nil {
			return nil, err
		}
		source := func(ctx context.Context, push func(...any)) error {
			for {
				b, err := client.Beat(ctx)
				if err != nil {
					return d.Ended(err)
				}
				push(&Beat{time.Now(), b.Interval})
			}
		}
		return stream.New(source, client.Close, stream.Options{Kind: "heartbeat"}), nil
	})
}
