// Package crashes gives scripts the crash reports of a device, from the service
// com.apple.crashreportcopymobile. The folder itself is dev.crash_files.
package crashes

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/crashreportcopymobile"
	"github.com/imdlua/imdlua/runtime/service/crashreportmover"
)

// Crashes is the class of dev.crashes. Each call opens a new connection.
type Crashes struct{ dev *device.Device }

func crashes(d *device.Device) *Crashes {
	return device.Part(d, "crashes", func() *Crashes { return &Crashes{d} })
}

// Report is the record of a crash report.
type Report struct {
	Path    string    `lua:"path" doc:"path in dev.crash_files"`
	Process string    `lua:"process" doc:"process; empty if the name of the file does not tell"`
	Time    time.Time `lua:"time" doc:"when it was written"`
	Size    int64     `lua:"size" doc:"bytes"`
}

// Open makes the device move pending reports to the folder of reports, and connects to the
// folder. A device without the service that moves them has none that are pending.
func Open(ctx context.Context, o service.Opener) (*afc.Client, error) {
	m, err := crashreportmover.Connect(ctx, o)
	switch {
	case errors.Is(err, lockdown.ErrInvalidService):
	case err != nil:
		return nil, err
	default:
		defer m.Close()
		if err := m.Flush(ctx); err != nil {
			return nil, err
		}
	}
	return crashreportcopymobile.Connect(ctx, o)
}

type listOptions struct {
	device.Timeout
	Process string `lua:"process" doc:"only reports of this process"`
}

func list(
	c *api.Call, x *Crashes, o listOptions,
) (out api.PartialTable[*Report], err error) {
	var found []crashreportcopymobile.Report
	var skipped []afc.Skip
	err = device.With(c, x.dev, o.Timeout, Open,
		func(ctx context.Context, client *afc.Client) (err error) {
			found, skipped, err = crashreportcopymobile.Reports(ctx, client)
			return err
		})
	if err != nil {
		return out, err
	}
	for _, r := range found {
		if o.Process == "" || r.Process == o.Process {
			out.Items = append(out.Items, &Report{r.Path, r.Process, r.Time, r.Size})
		}
	}
	slices.SortStableFunc(out.Items, func(a, b *Report) int {
		if n := a.Time.Compare(b.Time); n != 0 {
			return n
		}
		return strings.Compare(a.Path, b.Path)
	})
	for _, s := range skipped {
		out.Skipped = append(out.Skipped, c.Skipped(s.Path, s.Err))
	}
	c.WarnSkipped(out.Skipped)
	return out, nil
}

func clear(c *api.Call, x *Crashes, t device.Timeout) error {
	return device.With(c, x.dev, t, Open, crashreportcopymobile.Clear)
}

// Family returns the member crashes of Device.
func Family() device.Family {
	class := api.NewClass[*Crashes]("Crashes", "The crash reports of a device.")
	raises := api.Raises("timeout", "not_paired", "disconnected")
	const f = "local crashes = device().crashes\n"
	class.Methods = []*api.Func{
		api.Method("list", "Lists the crash reports, the newest last. Reports that are pending "+
			"on the device are included. The field skipped of the result has what the device "+
			"did not describe (Skipped records).",
			"opts?", list,
			api.ParamDoc("opts", "process, timeout"),
			raises,
			api.Returns("CrashReport[] reports"),
			api.Perm("read"),
			api.SeeAlso("Crashes:clear"),
			api.Example(f+`for _, r in ipairs(crashes:list{ process = "SpringBoard" }) do
  print(r.time, r.path)
end`)),
		api.Method("clear", "Removes all crash reports from the device. Files that iOS keeps "+
			"there stay.",
			"opts?", clear,
			api.ParamDoc("opts", "timeout"),
			raises,
			api.Perm("modify"),
			api.SeeAlso("Crashes:list"),
			api.Example(f+`crashes:clear()
print(#crashes:list())`)),
	}
	return device.Family{
		Fields: []*api.Field{
			api.Property("crashes", "the crash reports: list and clear them", crashes),
		},
		Classes: []*api.Class{class},
		Records: []*api.Record{
			api.NewRecord[Report]("CrashReport", "A crash report on the device."),
		},
	}
}
