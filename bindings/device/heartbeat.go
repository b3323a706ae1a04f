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
func beats(c *api.Call, d *Device, t Timeout) (*stream.Stream, error) {
	var client *heartbeat.Client
	err := d.Do(c, t, func(ctx context.Context) (err error) {
		client, err = heartbeat.Connect(ctx, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return stream.New(func(ctx context.Context, push func(...any)) error {
		for {
			b, err := client.Beat(ctx)
			if err != nil {
				return d.Ended(err)
			}
			push(&Beat{time.Now(), b.Interval})
		}
	}, client.Close, stream.Options{Kind: "heartbeat"}), nil
}
