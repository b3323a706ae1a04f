package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/visible"
)

// askTimes is how often a question is put before an answer must be one.
const askTimes = 3

// choice is what the user has said to --tunnel without a UDID. It is asked for
// once a run.
type choice struct {
	turn chan struct{} // holds one token, taken while the user is asked
	made bool
	udid string // "" when there was no answer
}

// oneDevice finds the device that --device means. With --tunnel and no
// UDID the user may be asked.
func (c *cli) oneDevice(ctx context.Context) (*device.Device, error) {
	return c.findOne(ctx, c.choose)
}

// knownDevice is oneDevice for what must not ask, such as completion.
func (c *cli) knownDevice(ctx context.Context) (*device.Device, error) {
	return c.findOne(ctx, func(_ context.Context, list []device.Info) (device.Info, error) {
		c.world.mu.Lock()
		defer c.world.mu.Unlock()
		return c.world.choice.among(list)
	})
}

func (c *cli) findOne(
	ctx context.Context, choose func(context.Context, []device.Info) (device.Info, error),
) (*device.Device, error) {
	f, err := c.finder()
	if err != nil {
		return nil, err
	}
	d, err := f.Find(ctx, c.flags.selector())
	var several *device.AmbiguousError
	if !errors.As(err, &several) {
		return d, err
	}
	info, err := choose(ctx, several.Matches)
	if err != nil {
		return nil, err
	}
	return f.Device(info), nil
}

// choose settles which of several devices is meant. That is an error, unless
// --tunnel without a UDID leaves it to the user and there is a terminal to ask on.
func (c *cli) choose(ctx context.Context, list []device.Info) (device.Info, error) {
	if !c.flags.tunnel.given {
		return device.Info{}, &device.AmbiguousError{Matches: list}
	}
	w := &c.world
	select {
	case <-w.choice.turn:
		defer func() { w.choice.turn <- struct{}{} }()
	case <-ctx.Done():
		return device.Info{}, context.Cause(ctx)
	}
	if !w.choice.made && c.stdinTTY {
		udid, err := c.askDevice(ctx, list)
		if err != nil && ctx.Err() != nil {
			return device.Info{}, err
		}
		w.mu.Lock()
		w.choice.made, w.choice.udid = true, udid
		w.mu.Unlock()
	}
	return w.choice.among(list)
}

// among returns the chosen one if it is in the list.
func (c *choice) among(list []device.Info) (device.Info, error) {
	at := slices.IndexFunc(list,
		func(i device.Info) bool { return c.udid != "" && i.UDID == c.udid })
	if at >= 0 {
		return list[at], nil
	}
	err := &device.AmbiguousError{Matches: list}
	return device.Info{}, (&host.Error{
		Code: "ambiguous", Message: err.Error(), Cause: err,
	}).WithHint("name one with --tunnel UDID")
}

// askDevice lists devices and reads which one is meant: its number, UDID or
// name. It returns "" when what was typed is none of these.
func (c *cli) askDevice(ctx context.Context, list []device.Info) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "imdlua: tunnels to %d devices are up\n", len(list))
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for n, i := range list {
		fmt.Fprintf(t, "  %d\t%s\t%s\tiOS %s\t%s\n", n+1, visible.Line(i.Name),
			visible.Line(i.ProductType), visible.Line(i.Version), visible.Line(i.UDID))
	}
	if err := t.Flush(); err != nil {
		return "", err
	}
	fmt.Fprint(c.stderr, b.String())
	for range askTimes {
		line, err := c.ask(ctx, "Which one? Its number or UDID: ")
		if err != nil {
			return "", err
		}
		for n, i := range list {
			if line == strconv.Itoa(n+1) ||
				line != "" && sameDevice(device.Selector{UDID: line}, i) || line == i.Name {
				return i.UDID, nil
			}
		}
		c.notice("%q is none of them", line)
	}
	return "", nil
}
