package bindings_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	binddevice "github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestPassedOverIsTold checks that a call prints a single warning with the number of
// entries of lists that it left out.
func TestPassedOverIsTold(t *testing.T) {
	t.Parallel()
	vh := virtualtest.Host(t, virtual.HostOptions{Device: virtual.Options{Boot: 1}})
	finder := virtualtest.Finder(t, vh, device.Options{})
	family := binddevice.Family{Methods: []*api.Func{
		api.Method("list", "Lists.", "count", func(c *api.Call, d *binddevice.Device, n int) error {
			return d.Do(c, binddevice.Timeout{}, func(ctx context.Context) error {
				for range n {
					link.PassOver(ctx, errors.New("odd entry"))
				}
				return nil
			})
		}),
	}}
	var warnings bytes.Buffer
	h := host.New(host.Options{Stderr: &warnings})
	defer h.Close()
	env := &binddevice.Env{Finder: func() (*device.Finder, error) { return finder, nil }}
	modules := binddevice.Modules(binddevice.NewRegistry(env), []binddevice.Family{family})
	if err := api.Install(h, modules...); err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context(), "test.lua", "device():list(0) device():list(3)"); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	want := "warning: malformed entries of a list of " + vh.Devices()[0].UDID() +
		" that were left out: 3; the first: odd entry\n"
	if got := warnings.String(); got != want {
		t.Errorf("it printed %q, want %q", got, want)
	}
}
