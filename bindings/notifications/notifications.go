// Package notifications gives scripts the Darwin notifications of a device,
// service com.apple.mobile.notification_proxy.
package notifications

import (
	"context"
	"crypto/rand"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
)

func observe(c *api.Call, d *device.Device, names ...string) (*stream.Stream, error) {
	if len(names) == 0 {
		return nil, c.ArgError(1, "name at least one notification")
	}
	var client *notificationproxy.Client
	var early []any
	err := d.Do(c, device.Timeout{}, func(ctx context.Context) (err error) {
		if client, err = notificationproxy.Connect(ctx, d); err != nil {
			return err
		}
		if early, err = subscribe(ctx, client, names); err != nil {
			client.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return stream.New(func(ctx context.Context, push func(...any)) error {
		push(early...)
		for {
			name, err := client.Next(ctx)
			if err != nil {
				return d.Ended(err)
			}
			push(name)
		}
	}, client.Close, stream.Options{Kind: "notifications", Text: func(v any) string { return v.(string) }}), nil
}

// subscribe returns when the device hears the names: what is posted from then
// on is not missed. The protocol never acknowledges, so a name of our own is
// observed last and posted. What came before it is returned.
func subscribe(ctx context.Context, client *notificationproxy.Client, names []string) (early []any, err error) {
	ready := "org.imdlua.ready." + rand.Text()
	if err := client.Observe(ctx, append(names, ready)...); err != nil {
		return nil, err
	}
	if err := client.Post(ctx, ready); err != nil {
		return nil, err
	}
	for {
		name, err := client.Next(ctx)
		if err != nil {
			return nil, err
		}
		if name == ready {
			return early, nil
		}
		early = append(early, name)
	}
}

func post(c *api.Call, d *device.Device, name string, t device.Timeout) error {
	return d.Do(c, t, func(ctx context.Context) error {
		client, err := notificationproxy.Connect(ctx, d)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := client.Post(ctx, name); err != nil {
			return err
		}
		return client.Shutdown(ctx) // the answer shows that the post has been read
	})
}

// Family adds notifications and post to Device.
func Family() device.Family {
	raises := api.Raises("timeout", "not_paired", "disconnected")
	return device.Family{Methods: []*api.Func{
		api.Method("notifications", "Returns a stream of the names of Darwin notifications, as they are posted on the device.", "names...", observe,
			api.ParamDoc("names", "which notifications to hear, such as com.apple.springboard.lockstate"), raises, api.Returns("Stream stream"), api.Perm("read"),
			api.Example("local dev = device()\nlocal heard = dev:notifications(\"com.example.done\")\ndev:post(\"com.example.done\")\nprint(heard:next(5))")),
		api.Method("post", "Posts a Darwin notification on the device.", "name opts?", post,
			api.ParamDoc("name", "of the notification"), api.ParamDoc("opts", "timeout"), raises, api.Perm("control"),
			api.Example("local dev = device()\ndev:post(\"com.example.hello\")")),
	}}
}
