package devicetest

import (
	"bytes"
	"cmp"
	"context"
	"testing"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// Options choose the virtual device and the Lua host of a test. The zero value is a device
// of the usual profile that boots at once.
type Options struct {
	Device virtual.Options
	Host   host.Options // Stdout and Stderr are replaced
}

// Lab is a Lua host whose scripts see one virtual device, by USB.
type Lab struct {
	Host    *host.Host
	Virtual *virtual.Host
	Output  *bytes.Buffer // of scripts, and of the log of the host

	t testing.TB
}

// New returns a Lab that ends with the test.
func New(t testing.TB, o Options) *Lab {
	t.Helper()
	o.Device.Boot = cmp.Or(o.Device.Boot, 1)
	vh := virtualtest.Host(t, virtual.HostOptions{Device: o.Device})
	l := &Lab{Virtual: vh, Output: &bytes.Buffer{}, t: t}
	o.Host.Stdout, o.Host.Stderr = l.Output, l.Output
	l.Host = host.New(o.Host)
	t.Cleanup(func() { l.Host.Close() })
	Install(t, l.Host, virtualtest.Finder(t, vh, device.Options{}), vh)
	return l
}

// Run runs Lua text and returns what has been printed since the last Run. The test fails
// if the script fails.
func (l *Lab) Run(source string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), virtualtest.Deadline)
	defer cancel()
	l.Output.Reset()
	if err := l.Host.Run(ctx, "test.lua", source); err != nil {
		var report bytes.Buffer
		l.Host.Report(&report, err)
		l.t.Fatalf("%s\n%s", l.Output, report.String())
	}
	return l.Output.String()
}

// Run runs Lua text in a new Lab and returns what it printed.
func Run(t testing.TB, source string, o Options) string {
	t.Helper()
	return New(t, o).Run(source)
}
