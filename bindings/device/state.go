package device

import (
	"context"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
)

// Battery is the record of dev:battery().
type Battery struct {
	Percent           int     `lua:"percent" doc:"charge, 0 to 100"`
	Charging          bool    `lua:"charging" doc:"whether it is being charged"`
	ExternalConnected bool    `lua:"external_connected" doc:"whether a power source is connected"`
	FullyCharged      bool    `lua:"fully_charged" doc:"whether it is full"`
	Temperature       float64 `lua:"temperature" doc:"degrees Celsius"`
	Millivolts        int     `lua:"millivolts" doc:"voltage"`
	Milliamperes      int     `lua:"milliamperes" doc:"current, negative while discharging"`
	CycleCount        int     `lua:"cycle_count" doc:"charge cycles so far"`
	DesignCapacity    int     `lua:"design_capacity" doc:"mAh when it was new"`
	RawMaxCapacity    int     `lua:"raw_max_capacity" doc:"mAh that it can hold now"`
}

// Storage is the record of dev:storage().
type Storage struct {
	Total          int64 `lua:"total" doc:"size of the disk"`
	DataCapacity   int64 `lua:"data_capacity" doc:"size of the data volume"`
	DataAvailable  int64 `lua:"data_available" doc:"free on the data volume"`
	SystemCapacity int64 `lua:"system_capacity" doc:"size of the system volume"`
}

type relay = diagnosticsrelay.Client

// diagnose runs f with a new connection to the diagnostics relay. The connection is
// not kept, because requests are rare and a restart waits until the connections of
// the relay have ended.
func (d *Device) diagnose(
	c *api.Call, t Timeout, f func(ctx context.Context, client *relay) error,
) error {
	return With(c, d, t, diagnosticsrelay.Connect, f)
}

func battery(c *api.Call, d *Device, t Timeout) (r *Battery, err error) {
	err = d.diagnose(c, t, func(ctx context.Context, client *relay) error {
		b, err := client.Battery(ctx)
		if err != nil {
			return err
		}
		r = &Battery{
			Percent: b.Percent, Charging: b.Charging, ExternalConnected: b.ExternalConnected,
			FullyCharged: b.FullyCharged, Temperature: b.Temperature,
			Millivolts: b.Millivolts, Milliamperes: b.Milliamperes, CycleCount: b.CycleCount,
			DesignCapacity: b.DesignCapacity, RawMaxCapacity: b.RawMaxCapacity,
		}
		return nil
	})
	return r, err
}

func storage(c *api.Call, d *Device, t Timeout) (*Storage, error) {
	var v plist.Dict
	err := d.Do(c, t, func(ctx context.Context) (err error) {
		v, err = d.Domain(ctx, "com.apple.disk_usage")
		return err
	})
	if err != nil {
		return nil, err
	}
	n := func(key string) int64 { i, _ := v.Int(key); return i }
	return &Storage{
		Total: n("TotalDiskCapacity"), DataCapacity: n("TotalDataCapacity"),
		DataAvailable: n("TotalDataAvailable"), SystemCapacity: n("TotalSystemCapacity"),
	}, nil
}

type diagnosticsOptions struct {
	Timeout
	Plane string   `lua:"plane" doc:"IORegistry: IOService, IODeviceTree or IOPower"`
	Name  string   `lua:"name" doc:"IORegistry: entry of this name"`
	Class string   `lua:"class" doc:"IORegistry: entry of this class"`
	Keys  []string `lua:"keys" doc:"MobileGestalt: which keys"`
}

func diagnostics(
	c *api.Call, d *Device, kind *string, o diagnosticsOptions,
) (v plist.Dict, err error) {
	what := "All"
	if kind != nil {
		what = *kind
	}
	ask := map[string]func(*relay, context.Context) (plist.Dict, error){
		"All": (*relay).All, "WiFi": (*relay).WiFi, "GasGauge": (*relay).GasGauge,
		"NAND": (*relay).NAND, "HDMI": (*relay).HDMI,
		"IORegistry": func(client *relay, ctx context.Context) (plist.Dict, error) {
			q := diagnosticsrelay.Query{Plane: o.Plane, Name: o.Name, Class: o.Class}
			return client.IORegistry(ctx, q)
		},
		"MobileGestalt": func(client *relay, ctx context.Context) (plist.Dict, error) {
			return client.MobileGestalt(ctx, o.Keys...)
		},
	}[what]
	if ask == nil {
		return nil, c.ArgError(1, "unknown kind %q (known: %s)", what,
			"All, WiFi, GasGauge, NAND, HDMI, IORegistry, MobileGestalt")
	}
	err = d.diagnose(c, o.Timeout, func(ctx context.Context, client *relay) error {
		v, err = ask(client, ctx)
		return err
	})
	return v, err
}

type powerOptions struct {
	Timeout
	Wait bool `lua:"wait" doc:"return only when the device answers again"`
}

func restart(c *api.Call, d *Device, o powerOptions) error {
	err := d.power(c, o.Timeout, func(ctx context.Context, client *relay) error {
		return client.Restart(ctx, diagnosticsrelay.PowerOptions{WaitForDisconnect: true})
	})
	if err != nil || !o.Wait {
		return err
	}
	return d.Do(c, o.Timeout, d.Back)
}

func shutdown(c *api.Call, d *Device, t Timeout) error {
	return d.power(c, t, func(ctx context.Context, client *relay) error {
		return client.Shutdown(ctx, diagnosticsrelay.PowerOptions{WaitForDisconnect: true})
	})
}

func sleep(c *api.Call, d *Device, t Timeout) error {
	return d.power(c, t, func(ctx context.Context, client *relay) error {
		return client.Sleep(ctx)
	})
}

// power sends a request that the device carries out when the connection ends. Errors
// of the goodbye are ignored, because the device may leave before it answers.
func (d *Device) power(c *api.Call, t Timeout, f func(context.Context, *relay) error) error {
	return d.diagnose(c, t, func(ctx context.Context, client *relay) error {
		if err := f(ctx, client); err != nil {
			return err
		}
		_ = client.Goodbye(ctx)
		return nil
	})
}

func stateMethods() []*api.Func {
	opts := api.ParamDoc("opts", "timeout")
	raises := api.Raises("timeout", "not_paired", "disconnected")
	return []*api.Func{
		api.Method("battery", "Reads the state of the battery.",
			"opts?", battery,
			opts,
			raises,
			api.Perm("read"),
			api.Example(`local dev = device()
print(dev:battery().percent)`)),
		api.Method("storage", "Reads how full the disk is.",
			"opts?", storage,
			opts,
			raises,
			api.Perm("read"),
			api.Example(`local dev = device()
local s = dev:storage()
print(s.data_available, s.data_capacity)`)),
		api.Method("diagnostics", "Asks the diagnostics relay: All, WiFi, GasGauge, NAND, HDMI, "+
			"IORegistry (with plane, name or class) or MobileGestalt (with keys; refused since "+
			"iOS 17.4).",
			"kind? opts?", diagnostics,
			api.ParamDoc("kind", "All when left out"),
			api.ParamDoc("opts", "what to look for, timeout"),
			raises,
			api.Perm("read"),
			api.Returns("table<string, any> values"),
			api.Example(`local dev = device()
print(dev:diagnostics("IORegistry", { class = "IOPMPowerSource" }).CycleCount)`)),
		api.Method("restart", "Turns the device off and on. With wait=true it returns when the "+
			"device answers again.",
			"opts?", restart,
			api.ParamDoc("opts", "wait, timeout"),
			raises,
			api.Perm("control"),
			api.Example(`local dev = device()
dev:restart{ wait = true, timeout = 120 }`)),
		api.Method("shutdown", "Turns the device off.",
			"opts?", shutdown,
			opts,
			raises,
			api.Perm("control"),
			api.Example(`local dev = device()
dev:shutdown()`)),
		api.Method("heartbeat", "Shows the device that this computer is there, as services over "+
			"Wi-Fi need it, until the stream is closed. Each beat that was answered is in the "+
			"stream.",
			"opts?", beats,
			api.ParamDoc("opts", "timeout for the opening"),
			raises,
			api.Returns("Stream stream"),
			api.Perm("read"),
			api.Example(`local dev = device()
local beats = dev:heartbeat()
print(beats:next(30).interval)`)),
		api.Method("sleep", "Turns the screen off.",
			"opts?", sleep,
			opts,
			raises,
			api.Perm("control"),
			api.Example(`local dev = device()
dev:sleep()`)),
	}
}
