package bindings_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	binddevice "github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// TestPassedOverIsTold checks that a call logs a single warning with the number of
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
	var log bytes.Buffer
	h := host.New(host.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	defer h.Close()
	env := &binddevice.Env{Finder: func() (*device.Finder, error) { return finder, nil }}
	modules := binddevice.Modules(binddevice.NewRegistry(env), []binddevice.Family{family})
	if err := api.Install(h, modules...); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		code string
		want int
	}{{"device():list(0)", 0}, {"device():list(3)", 1}} {
		log.Reset()
		if err := h.Run(t.Context(), "test.lua", test.code); err != nil {
			t.Fatal(err)
		}
		text := log.String()
		if n := strings.Count(text, "level=WARN"); n != test.want {
			t.Errorf("%s logged %d warnings, want %d:\n%s", test.code, n, test.want, text)
		}
		for _, want := range []string{"count=3", `first="odd entry"`} {
			if test.want > 0 && !strings.Contains(text, want) {
				t.Errorf("%s logged no %s:\n%s", test.code, want, text)
			}
		}
	}
}
