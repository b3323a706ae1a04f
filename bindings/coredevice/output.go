package coredevice

import (
	"context"
	"errors"
	"io"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/bindings/stream"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
)

type runOptions struct {
	launchOptions
	Input string `lua:"input" doc:"what the app reads on its standard input"`
}

// run launches an app on a terminal and returns the stream of its output. The stream ends
// when the app ends.
func run(
	c *api.Call, x *Core, bundleID string, o runOptions,
) (api.Opened[*stream.Stream], error) {
	return device.Open(c, x.dev, o.Timeout, func(ctx context.Context) (*stream.Stream, error) {
		t, err := coredevice.OpenTerminal(ctx, x.dev)
		if err != nil {
			return nil, err
		}
		if err := start(ctx, x, t, bundleID, o); err != nil {
			t.Close()
			return nil, err
		}
		source := func(ctx context.Context, push func(...any)) error {
			return lines(ctx, x.dev, t, push)
		}
		return stream.New(source, t.Close, stream.Options{
			Kind: "output", Text: func(v any) string { return v.(string) },
			Size: func(v any) int { return len(v.(string)) },
		}), nil
	})
}

// start launches the app on the terminal and writes its input to the terminal.
func start(
	ctx context.Context, x *Core, t *coredevice.Terminal, bundleID string, o runOptions,
) error {
	apps, err := coredevice.ConnectApps(ctx, x.dev)
	if err != nil {
		return err
	}
	defer apps.Close()
	options := o.options()
	options.Terminal = t
	if _, err := apps.Launch(ctx, bundleID, options); err != nil {
		return err
	}
	if o.Input == "" {
		return nil
	}
	_, err = t.Write(ctx, []byte(o.Input))
	return err
}

// lines pushes the output of an app line by line. It returns nil when the app ends.
func lines(
	ctx context.Context, d *device.Device, t *coredevice.Terminal, push func(...any),
) error {
	var cut stream.Lines
	buf := make([]byte, 32<<10)
	for {
		n, err := t.Read(ctx, buf)
		cut.Add(string(buf[:n]), push)
		if err == nil {
			continue
		}
		cut.End(push)
		if errors.Is(err, io.EOF) {
			return nil
		}
		return d.Ended(err)
	}
}
