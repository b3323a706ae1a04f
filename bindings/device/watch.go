package device

import (
	"cmp"
	"context"

	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Event is the record of a device that is attached, described, detached or paired.
type Event struct {
	Event  string        `lua:"event" doc:"attached, detached, paired, or described with at_once"`
	Info   *Info         `lua:"info" doc:"the device"`
	Route  *EventRoute   `lua:"route" doc:"DeviceRoute that came, went or was paired on"`
	Routes []*EventRoute `lua:"routes" doc:"each DeviceRoute that is there now, best first"`
}

// EventRoute is the record of a route to a device, as it was found.
type EventRoute struct {
	Kind    string `lua:"kind" doc:"usb, wifi, or tunnel for one that others made"`
	Via     string `lua:"via" doc:"usbmux, lockdown, remoted, remotepairing or rsd"`
	Address string `lua:"address" doc:"of the muxer, or host:port"`
	ID      int    `lua:"id" doc:"the muxer's number for the device; 0 without a muxer"`
}

func eventRoute(r device.Route) *EventRoute {
	return &EventRoute{
		Kind: r.Kind, Via: string(r.Via), Address: cmp.Or(r.Address, r.Muxer), ID: int(r.DeviceID),
	}
}

func event(e device.Event) *Event {
	out := &Event{
		Event: string(e.Kind), Info: info(e.Info), Route: eventRoute(e.Route),
		Routes: []*EventRoute{},
	}
	for _, r := range e.Info.Routes {
		out.Routes = append(out.Routes, eventRoute(r))
	}
	if len(out.Routes) == 0 {
		out.Info.Transport = e.Route.Kind // the device was reached on this one
	}
	return out
}

type watchOptions struct {
	AtOnce  bool `lua:"at_once" doc:"attached before a device has answered, then described"`
	Network bool `lua:"network" doc:"devices on the network as well; looks every ten seconds"`
}

// watch opens a stream of Events.
func (r *Registry) watch(c *api.Call, o watchOptions) (api.Opened[*stream.Stream], error) {
	if err := allow(c, ""); err != nil {
		return api.Opened[*stream.Stream]{}, err
	}
	return api.Open(c, func(context.Context) (*stream.Stream, error) {
		finder, err := r.env.Finder()
		if err != nil {
			return nil, err
		}
		w := finder.Watch(device.WatchOptions{AtOnce: o.AtOnce, Network: o.Network})
		source := func(ctx context.Context, push func(...any)) error {
			for {
				e, err := w.Next(ctx)
				if err != nil {
					return err
				}
				push(event(e))
			}
		}
		text := func(v any) string { return v.(*Event).Info.UDID }
		return stream.New(source, w.Close, stream.Options{Kind: "devices", Text: text}), nil
	})
}
