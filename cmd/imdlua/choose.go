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

// askTimes is how often a question is asked until the answer is valid.
const askTimes = 3

// choice is the device that the user has chosen for --tunnel without a UDID. The user is asked once
// in a run.
type choice struct {
	turn chan struct{} // holds one token, taken while the user is asked
	made bool
	udid string // "" if there was no valid answer
}

// oneDevice finds the device that the flags name. With --tunnel and no UDID, it may ask the user.
func (c *cli) oneDevice(ctx context.Context) (*device.Device, error) {
	return c.findOne(ctx, c.choose)
}

// knownDevice does what oneDevice does without asking the user. It is for completion.
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

// choose chooses one of several devices. With --tunnel without a UDID, it asks the user if there is
// a terminal. Otherwise it returns an error.
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

// among returns the chosen device if it is in the list, and an error otherwise.
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

// askDevice lists devices and asks for the number, UDID or name of one. It returns "" if no answer
// was valid.
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
		c.notice("%q is not one of them", line)
	}
	return "", nil
}
