package virtual_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/housearrest"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
)

// call is one method of a client.
type call struct {
	name string
	do   func(ctx context.Context, d *device.Device) error
}

// with returns a call that connects a client and calls a method of it.
func with[C io.Closer](
	name string, connect func(context.Context, service.Opener) (C, error),
	do func(context.Context, C) error,
) call {
	return call{name, func(ctx context.Context, d *device.Device) error {
		c, err := connect(ctx, d)
		if err != nil {
			return err
		}
		defer c.Close()
		return do(ctx, c)
	}}
}

// second drops the first of two results.
func second[T any](_ T, err error) error { return err }

// third drops the first two of three results.
func third[T, U any](_ T, _ U, err error) error { return err }

// moreCalls returns the calls that TestFaults and TestFaultsInside make besides the uses
// of a service.
func moreCalls() map[string][]call {
	return map[string][]call{
		afc.Service.String():               filesCalls(),
		housearrest.Service.String():       vendCalls(),
		ostracerelay.Service.String():      traceCalls(),
		diagnosticsrelay.Service.String():  diagnosticsCalls(),
		notificationproxy.Service.String(): notificationCalls(),
		installationproxy.Service.String(): appCalls(),
		dvt.Service.String():               dvtCalls(),
		coredevice.AppService.String():     xpcAppCalls(),
		coredevice.DeviceInfo.String():     xpcInfoCalls(),
		syslogrelay.Service.String():       logCalls(),
		"lockdown":                         lockdownCalls(),
		"trusted lockdown":                 lockdownCalls()[:3],
		"rsd":                              listCalls(),
	}
}

func filesCalls() []call {
	type client = *afc.Client
	files := func(name string, do func(context.Context, client) error) call {
		return with(name,
			afc.Connect, do)
	}
	const photo, new = "/DCIM/100APPLE/IMG_0001.JPG", "/Downloads/fault.bin"
	return []call{
		files("ReadDir",
			func(ctx context.Context, c client) error { return second(c.ReadDir(ctx, "/DCIM")) }),
		files("Stat",
			func(ctx context.Context, c client) error { return second(c.Stat(ctx, photo)) }),
		files("ReadFile",
			func(ctx context.Context, c client) error { return second(c.ReadFile(ctx, photo)) }),
		files("WriteFile", func(ctx context.Context, c client) error {
			return c.WriteFile(ctx, new,
				make([]byte, 5000))
		}),
		files("Mkdir",
			func(ctx context.Context, c client) error { return c.Mkdir(ctx, "/Downloads/dir") }),
		files("Symlink", func(ctx context.Context, c client) error {
			if err := c.Symlink(ctx, "x", "/Downloads/link"); err != nil &&
				!errors.Is(err, fs.ErrExist) {
				return err
			}
			return c.Remove(ctx, "/Downloads/link")
		}),
		files("RemoveAll", func(ctx context.Context, c client) error {
			if err := c.Mkdir(ctx, "/Downloads/gone"); err != nil {
				return err
			}
			return c.RemoveAll(ctx, "/Downloads/gone")
		}),
		files("Rename", func(ctx context.Context, c client) error {
			if err := c.WriteFile(ctx, new, nil); err != nil {
				return err
			}
			return c.Rename(ctx, new, new)
		}),
		files("Truncate",
			func(ctx context.Context, c client) error { return c.Truncate(ctx, photo, 1000) }),
		files("SetModTime", func(ctx context.Context, c client) error {
			return c.SetModTime(ctx,
				photo, time.Now())
		}),
		files("Hash",
			func(ctx context.Context, c client) error { return second(c.Hash(ctx, photo)) }),
		files("DeviceInfo",
			func(ctx context.Context, c client) error { return second(c.DeviceInfo(ctx)) }),
		files("ConnectionInfo",
			func(ctx context.Context, c client) error { return second(c.ConnectionInfo(ctx)) }),
		files("Walk", func(ctx context.Context, c client) error {
			return c.Walk(ctx, "/DCIM", func(_ string, _ afc.Info, err error) error { return err })
		}),
		files("Glob", func(ctx context.Context, c client) error {
			return third(c.Glob(ctx, "/DCIM/*/*.JPG"))
		}),
		files("Pull", func(ctx context.Context, c client) error {
			return second(c.Pull(ctx, photo, io.Discard, afc.Transfer{}))
		}),
		files("Push", func(ctx context.Context, c client) error {
			return second(c.Push(ctx, bytes.NewReader(make([]byte, 3000)), new, afc.Transfer{}))
		}),
		files("File", func(ctx context.Context, c client) error {
			f, err := c.Open(ctx, photo, afc.ModeRead)
			if err != nil {
				return err
			}
			if _, err := f.Read(ctx, make([]byte, 100)); err != nil {
				return err
			}
			if _, err := f.Seek(ctx, 10, io.SeekStart); err != nil {
				return err
			}
			if _, err := f.Tell(ctx); err != nil {
				return err
			}
			return f.Close(ctx)
		}),
	}
}

func appCalls() []call {
	type proxy = *installationproxy.Client
	apps := func(name string, do func(context.Context, proxy) error) call {
		return with(name, installationproxy.Connect, do)
	}
	return []call{
		apps("Browse", func(ctx context.Context, c proxy) error {
			return second(c.Browse(ctx, installationproxy.Options{}))
		}),
		apps("Lookup", func(ctx context.Context, c proxy) error {
			return second(c.Lookup(ctx, installationproxy.Options{}))
		}),
		apps("App", func(ctx context.Context, c proxy) error {
			return second(c.App(ctx, "com.example.notes"))
		}),
		apps("CheckCapabilities", func(ctx context.Context, c proxy) error {
			return second(c.CheckCapabilities(ctx, "armv7"))
		}),
	}
}

func vendCalls() []call {
	vend := func(name, id string, open func(context.Context, service.Opener, string) (*afc.Client,
		error)) call {
		return call{name, func(ctx context.Context, d *device.Device) error {
			c, err := open(ctx, d, id)
			if err != nil {
				return err
			}
			defer c.Close()
			return second(c.ReadDir(ctx, "/Documents"))
		}}
	}
	return []call{
		vend("VendDocuments", "com.example.notes", housearrest.VendDocuments),
		vend("VendContainer", "com.example.shop", housearrest.VendContainer),
	}
}

func logCalls() []call {
	return []call{
		with("Next", syslogrelay.Connect, func(ctx context.Context, c *syslogrelay.Client) error {
			for range 20 {
				if _, err := c.Next(ctx); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func traceCalls() []call {
	type client = *ostracerelay.Client
	trace := func(name string, do func(context.Context, client) error) call {
		return with(name, ostracerelay.Connect, do)
	}
	return []call{
		trace("PidList",
			func(ctx context.Context, c client) error { return second(c.PidList(ctx)) }),
		trace("StartActivity", func(ctx context.Context, c client) error {
			s, err := c.StartActivity(ctx, ostracerelay.Activity{PID: -1})
			if err != nil {
				return err
			}
			defer s.Close()
			for range 20 {
				if _, err := s.Next(ctx); err != nil {
					return err
				}
			}
			return nil
		}),
		trace("CreateArchive", func(ctx context.Context, c client) error {
			return second(c.CreateArchive(ctx, io.Discard, ostracerelay.ArchiveOptions{}))
		}),
	}
}

func diagnosticsCalls() []call {
	type client = *diagnosticsrelay.Client
	relay := func(name string, do func(context.Context, client) error) call {
		return with(name, diagnosticsrelay.Connect, do)
	}
	return []call{
		relay("All", func(ctx context.Context, c client) error { return second(c.All(ctx)) }),
		relay("WiFi", func(ctx context.Context, c client) error { return second(c.WiFi(ctx)) }),
		relay("GasGauge",
			func(ctx context.Context, c client) error { return second(c.GasGauge(ctx)) }),
		relay("NAND", func(ctx context.Context, c client) error { return second(c.NAND(ctx)) }),
		relay("Battery",
			func(ctx context.Context, c client) error { return second(c.Battery(ctx)) }),
		relay("MobileGestalt", func(ctx context.Context, c client) error {
			_, err := c.MobileGestalt(ctx, "ProductType")
			if errors.Is(err, diagnosticsrelay.ErrGestaltDeprecated) {
				return nil // the answer since iOS 17.4
			}
			return err
		}),
		relay("IORegistry", func(ctx context.Context, c client) error {
			return second(c.IORegistry(ctx, diagnosticsrelay.Query{Plane: "IOPower"}))
		}),
		relay("Sleep", func(ctx context.Context, c client) error { return c.Sleep(ctx) }),
		relay("Goodbye", func(ctx context.Context, c client) error { return c.Goodbye(ctx) }),
	}
}

func notificationCalls() []call {
	return []call{with("Next", notificationproxy.Connect, func(
		ctx context.Context, c *notificationproxy.Client,
	) error {
		if err := c.Observe(ctx, "a.b"); err != nil {
			return err
		}
		if err := c.Post(ctx, "a.b"); err != nil {
			return err
		}
		return second(c.Next(ctx))
	}), with("Shutdown", notificationproxy.Connect,
		func(ctx context.Context, c *notificationproxy.Client) error {
			return c.Shutdown(ctx)
		})}
}

func lockdownCalls() []call {
	return []call{
		{"Get", func(ctx context.Context, d *device.Device) error {
			return second(d.Get(ctx, "", "DeviceName"))
		}},
		{
			"Domain",
			func(ctx context.Context, d *device.Device) error { return second(d.Domain(ctx, "")) },
		},
		{
			"Public",
			func(ctx context.Context, d *device.Device) error { return second(d.Public(ctx)) },
		},
		{"Set", func(ctx context.Context, d *device.Device) error {
			return d.Set(ctx, "",
				"DeviceName", "Fault")
		}},
		{"Remove", func(ctx context.Context, d *device.Device) error {
			if err := d.Remove(ctx, "", "NoSuchKey"); !errors.Is(err,
				lockdown.ErrRemoveProhibited) {
				return err
			}
			return nil
		}},
		{"Open", func(ctx context.Context, d *device.Device) error {
			c, err := d.Open(ctx, afc.Service)
			if err == nil {
				c.Close()
			}
			return err
		}},
		{
			"Paired",
			func(ctx context.Context, d *device.Device) error { return second(d.Paired(ctx)) },
		},
		{"Pair", func(ctx context.Context, d *device.Device) error { return d.Pair(ctx) }},
		{"Refresh", func(ctx context.Context, d *device.Device) error { return d.Refresh(ctx) }},
	}
}
