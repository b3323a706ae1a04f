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

// diagnose runs f with a diagnostics connection of its own: they are opened
// rarely, and a shared one would be in the way of a restart.
func (d *Device) diagnose(c *api.Call, t Timeout, f func(ctx context.Context, client *diagnosticsrelay.Client) error) error {
	return d.Do(c, t, func(ctx context.Context) error {
		client, err := diagnosticsrelay.Connect(ctx, d)
		if err != nil {
			return err
		}
		defer client.Close()
		return f(ctx, client)
	})
}

func battery(c *api.Call, d *Device, t Timeout) (r *Battery, err error) {
	err = d.diagnose(c, t, func(ctx context.Context, client *diagnosticsrelay.Client) error {
		b, err := client.Battery(ctx)
		if err != nil {
			return err
		}
		r = &Battery{b.Percent, b.Charging, b.ExternalConnected, b.FullyCharged, b.Temperature, b.Millivolts, b.Milliamperes,
			b.CycleCount, b.DesignCapacity, b.RawMaxCapacity}
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
	return &Storage{n("TotalDiskCapacity"), n("TotalDataCapacity"), n("TotalDataAvailable"), n("TotalSystemCapacity")}, nil
}

type diagnosticsOptions struct {
	Timeout
	Plane string   `lua:"plane" doc:"IORegistry: IOService, IODeviceTree or IOPower"`
	Name  string   `lua:"name" doc:"IORegistry: entry of this name"`
	Class string   `lua:"class" doc:"IORegistry: entry of this class"`
	Keys  []string `lua:"keys" doc:"MobileGestalt: which keys"`
}

func diagnostics(c *api.Call, d *Device, kind *string, o diagnosticsOptions) (v plist.Dict, err error) {
	what := "All"
	if kind != nil {
		what = *kind
	}
	ask := map[string]func(context.Context, *diagnosticsrelay.Client) (plist.Dict, error){
		"All":      func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) { return cl.All(ctx) },
		"WiFi":     func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) { return cl.WiFi(ctx) },
		"GasGauge": func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) { return cl.GasGauge(ctx) },
		"NAND":     func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) { return cl.NAND(ctx) },
		"HDMI":     func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) { return cl.HDMI(ctx) },
		"IORegistry": func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) {
			return cl.IORegistry(ctx, diagnosticsrelay.Query{Plane: o.Plane, Name: o.Name, Class: o.Class})
		},
		"MobileGestalt": func(ctx context.Context, cl *diagnosticsrelay.Client) (plist.Dict, error) {
			return cl.MobileGestalt(ctx, o.Keys...)
		},
	}[what]
	if ask == nil {
		return nil, c.ArgError(1, "unknown kind %q (known: All, WiFi, GasGauge, NAND, HDMI, IORegistry, MobileGestalt)", what)
	}
	err = d.diagnose(c, o.Timeout, func(ctx context.Context, client *diagnosticsrelay.Client) error {
		v, err = ask(ctx, client)
		return err
	})
	return v, err
}

type powerOptions struct {
	Timeout
	Wait bool `lua:"wait" doc:"return only when the device answers again"`
}

func restart(c *api.Call, d *Device, o powerOptions) error {
	err := d.power(c, o.Timeout, func(ctx context.Context, client *diagnosticsrelay.Client) error {
		return client.Restart(ctx, diagnosticsrelay.PowerOptions{WaitForDisconnect: true})
	})
	if err != nil || !o.Wait {
		return err
	}
	return d.Do(c, o.Timeout, d.Back)
}

func shutdown(c *api.Call, d *Device, t Timeout) error {
	return d.power(c, t, func(ctx context.Context, client *diagnosticsrelay.Client) error {
		return client.Shutdown(ctx, diagnosticsrelay.PowerOptions{WaitForDisconnect: true})
	})
}

func sleep(c *api.Call, d *Device, t Timeout) error {
	return d.power(c, t, func(ctx context.Context, client *diagnosticsrelay.Client) error { return client.Sleep(ctx) })
}

// power sends a request that the device carries out when the connection ends,
// and so does not fail when the goodbye is not answered any more.
func (d *Device) power(c *api.Call, t Timeout, f func(context.Context, *diagnosticsrelay.Client) error) error {
	return d.diagnose(c, t, func(ctx context.Context, client *diagnosticsrelay.Client) error {
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
		api.Method("battery", "Reads the state of the battery.", "opts?", battery, opts, raises, api.Perm("read"),
			api.Example("local dev = device()\nprint(dev:battery().percent)")),
		api.Method("storage", "Reads how full the disk is.", "opts?", storage, opts, raises, api.Perm("read"),
			api.Example("local dev = device()\nlocal s = dev:storage()\nprint(s.data_available, s.data_capacity)")),
		api.Method("diagnostics", "Asks the diagnostics relay: All, WiFi, GasGauge, NAND, HDMI, IORegistry (with plane, name or class) or MobileGestalt (with keys; refused since iOS 17.4).", "kind? opts?", diagnostics,
			api.ParamDoc("kind", "All when left out"), api.ParamDoc("opts", "what to look for, timeout"), raises, api.Perm("read"),
			api.Returns("table<string, any> values"),
			api.Example("local dev = device()\nprint(dev:diagnostics(\"IORegistry\", { class = \"IOPMPowerSource\" }).CycleCount)")),
		api.Method("restart", "Turns the device off and on. With wait=true it returns when the device answers again.", "opts?", restart,
			api.ParamDoc("opts", "wait, timeout"), raises, api.Perm("control"),
			api.Example("local dev = device()\ndev:restart{ wait = true, timeout = 120 }")),
		api.Method("shutdown", "Turns the device off.", "opts?", shutdown, opts, raises, api.Perm("control"),
			api.Example("local dev = device()\ndev:shutdown()")),
		api.Method("heartbeat", "Shows the device that this computer is there, as services over Wi-Fi need it, until the stream is closed. Each beat that was answered is in the stream.", "opts?", beats,
			api.ParamDoc("opts", "timeout for the opening"), raises, api.Returns("Stream stream"), api.Perm("read"),
			api.Example("local dev = device()\nlocal beats = dev:heartbeat()\nprint(beats:next(30).interval)")),
		api.Method("sleep", "Turns the screen off.", "opts?", sleep, opts, raises, api.Perm("control"),
			api.Example("local dev = device()\ndev:sleep()")),
	}
}
