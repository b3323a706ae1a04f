// Package notifications gives scripts the Darwin notifications of a device,
// service com.apple.mobile.notification_proxy.
package notifications

import (
	"context"
	"crypto/rand"
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
)

type options struct {
	device.Timeout
	stream.ResumeOption
}

// arguments separates the arguments of dev:notifications: names, and a table of options
// that may follow them.
func arguments(c *api.Call, args []lua.LValue) (names []string, o options, err error) {
	for i, a := range args {
		switch v := a.(type) {
		case lua.LString:
			names = append(names, string(v))
			continue
		case *lua.LTable:
			if i < len(args)-1 {
				break
			}
			if err := c.Index().Options(c.L, v, &o); err != nil {
				return nil, o, c.ArgError(i+1, "%v", err)
			}
			continue
		}
		return nil, o, c.ArgError(i+1, "string expected, got %s", a.Type())
	}
	if len(names) == 0 {
		return nil, o, c.ArgError(1, "name at least one notification")
	}
	return names, o, nil
}

func observe(
	c *api.Call, d *device.Device, args ...lua.LValue,
) (api.Opened[*stream.Stream], error) {
	var none api.Opened[*stream.Stream]
	names, o, err := arguments(c, args)
	if err != nil {
		return none, err
	}
	limit, err := o.Limit(c, len(args))
	if err != nil {
		return none, err
	}
	return device.OpenStream(c, d, o.Timeout, device.Live{
		Limit: limit,
		Open: func(ctx context.Context) (*stream.Opening, error) {
			return open(ctx, d, names)
		},
		Options: stream.Options{
			Kind: "notifications", Text: func(v any) string { return v.(string) },
			Size: func(v any) int { return len(v.(string)) },
		},
	})
}

// open opens a connection and observes the names on it.
func open(ctx context.Context, d *device.Device, names []string) (*stream.Opening, error) {
	client, err := notificationproxy.Connect(ctx, d)
	if err != nil {
		return nil, err
	}
	early, err := subscribe(ctx, client, names)
	if err != nil {
		client.Close()
		return nil, err
	}
	later := device.Each(d, client.Next, func(name string) any { return name })
	return &stream.Opening{Source: func(ctx context.Context, push func(...any)) error {
		push(early...)
		return later(ctx, push)
	}, Stop: client.Close, Malformed: client.Malformed}, nil
}

// subscribe observes the names and returns when the device has begun to observe them, so
// that no later notification is missed. The protocol has no acknowledgement. Therefore
// subscribe observes a unique name after the others, posts it, and waits for it. early
// holds the notifications that arrived before.
func subscribe(
	ctx context.Context, client *notificationproxy.Client, names []string,
) (early []any, err error) {
	ready := "org.imdlua.ready." + rand.Text()
	if err := client.Observe(ctx, append(slices.Clone(names), ready)...); err != nil {
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
		if len(early) >= stream.DefaultQueue {
			early = early[1:]
		}
		early = append(early, name)
	}
}

func post(c *api.Call, d *device.Device, name string, t device.Timeout) error {
	send := func(ctx context.Context, client *notificationproxy.Client) error {
		if err := client.Post(ctx, name); err != nil {
			return err
		}
		return client.Shutdown(ctx) // its answer shows that the device has read the post
	}
	return device.With(c, d, t, notificationproxy.Connect, send)
}

// Family returns the methods notifications and post of Device.
func Family() device.Family {
	raises := api.Raises("timeout", "not_paired", "disconnected")
	return device.Family{Methods: []*api.Func{
		api.Method("notifications", "Returns a stream of the names of Darwin notifications, as "+
			"they are posted on the device. A table of options may follow the names: `timeout` "+
			"for the opening, and `resume`, seconds to wait for a device that was unplugged or "+
			"restarts (60 when left out, 0 or false to fail at once). What is posted while it is "+
			"away is not heard; `stream.gaps` counts.",
			"names...:string|table", observe,
			api.ParamDoc("names", "which notifications to hear, such as "+
				"com.apple.springboard.lockstate, and options"),
			raises,
			api.Returns("Stream stream"),
			api.Perm("read"),
			api.Example(`local dev = device()
local heard = dev:notifications("com.example.done")
dev:post("com.example.done")
print(heard:next(5))`)),
		api.Method("post", "Posts a Darwin notification on the device.",
			"name opts?", post,
			api.ParamDoc("name", "of the notification"),
			api.ParamDoc("opts", "timeout"),
			raises,
			api.Perm("control"),
			api.Example(`local dev = device()
dev:post("com.example.hello")`)),
	}}
}
