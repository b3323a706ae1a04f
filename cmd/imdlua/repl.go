package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/repl"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/virtual"
	"github.com/imdlua/imdlua/stdlib/base"
)

func (c *cli) replCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "repl",
		Short: "Run Lua interactively and print the results",
		Long: `Reads Lua and runs it as it is typed. With --device, IMD_DEVICE, --virtual, --rsd
or --tunnel the device is in the global dev. :help lists further commands.`,
		Example: "  imdlua repl --virtual",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.repl(cmd.Context(), replSetup{})
		},
	}
}

// replSetup holds the differences between the REPLs of the commands.
type replSetup struct {
	name string // beginning of the prompt
	init string // Lua to run first
	note string // line of the banner; "" for none
}

// repl runs a REPL on the terminal, or reads its inputs from a standard input that is no terminal.
func (c *cli) repl(ctx context.Context, setup replSetup) error {
	if c.stdinTTY && c.flags.tunnel.given {
		// This asks for the device now, while nothing else reads the terminal. Other errors
		// are reported when the device is used.
		if _, err := c.oneDevice(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	c.guardMemory()
	out := repl.NewOutput(c.out.out)
	errs := io.Writer(out)
	if !c.stderrTTY || !c.stdoutTTY {
		errs = c.err.out
	}
	c.startTracing()
	h, err := c.newHost(host.Options{Stdin: c.stdin, Stdout: out, Stderr: errs, Timeout: -1})
	if err != nil {
		return err
	}
	editor, err := c.editor(out)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	// The log and notices of the Trust dialog are written above the prompt, too.
	direct := c.through(h)
	defer direct()
	o := repl.Options{
		Host: h, Editor: editor, Output: out, Errors: errs,
		Name: setup.name, Init: setup.init, Batch: !c.stdinTTY,
		Values: c.values, Commands: []repl.Command{c.traceCommand()},
		Width: c.width, Color: c.color(c.stderrTTY) && c.stdoutTTY,
	}
	if o.Init == "" && c.flags.oneDevice(c.stdinTTY) {
		o.Init = "dev = device()"
	}
	if c.stdinTTY {
		o.Interrupts = c.takeInterrupts()
		o.Banner = fmt.Sprintf("imdlua %s; :help shows what can be typed, Ctrl-D leaves",
			base.Version)
		if setup.note != "" {
			o.Banner += "\n" + setup.note
		}
	}
	err = repl.Run(ctx, o)
	if errors.Is(err, repl.ErrKilled) {
		c.kill(130)
		return reported{errInterrupted}
	}
	closing := h.Close()
	if err == nil {
		return closing
	}
	return reported{err}
}

func (c *cli) editor(out io.Writer) (repl.LineEditor, error) {
	if !c.stdinTTY {
		return repl.NewPlainEditor(c.stdin, out), nil
	}
	return repl.NewReadlineEditor(repl.ReadlineOptions{
		Stdin: c.stdin, Stdout: c.out.out, HistoryFile: c.stateFile("history"),
		Warn: func(err error) { c.notice("history: %v", err) },
	})
}

// values lists the possible values of a string argument of a kind, for completion.
func (c *cli) values(ctx context.Context, kind string) []string {
	switch kind {
	case "service":
		return append(virtual.Services(), c.remoteServices(ctx)...)
	case "remote_service":
		return c.remoteServices(ctx)
	case "udid":
		f, err := c.finder()
		if err != nil {
			return nil
		}
		infos, _ := f.List(ctx, device.Selector{})
		var out []string
		for _, i := range infos {
			out = append(out, i.UDID)
		}
		return out
	case "bundle_id":
		return c.bundleIDs(ctx)
	}
	return nil
}

// remoteServices lists the services of the tunnel that is up. Completion does not make a tunnel.
func (c *cli) remoteServices(ctx context.Context) []string {
	d, err := c.oneDevice(ctx)
	if err != nil {
		return nil
	}
	t := d.Tunneled()
	if t == nil {
		return nil
	}
	return slices.Collect(maps.Keys(t.List().Peer().Services))
}

func (c *cli) bundleIDs(ctx context.Context) []string {
	d, err := c.knownDevice(ctx)
	if err != nil {
		return nil
	}
	apps, err := installationproxy.Connect(ctx, d)
	if err != nil {
		return nil
	}
	defer apps.Close()
	list, err := apps.Lookup(ctx, installationproxy.Options{
		Type: installationproxy.Any, Attributes: []string{"CFBundleIdentifier"},
	})
	if err != nil {
		return nil
	}
	var out []string
	for id := range list {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}
