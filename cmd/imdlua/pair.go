package main

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
)

// pairTime is how long the user gets to tap Trust.
const pairTime = 60 * time.Second

func (c *cli) pairCommand() *cobra.Command {
	var remote optional
	cmd := &cobra.Command{
		Use:   "pair",
		Short: "Make a device trust this computer",
		Long: `Asks the device to trust this computer and waits until the dialog on its
screen is answered, a minute unless --timeout says otherwise. Scripts pair by
themselves when they need to.

With --remote it is the pairing for tunnels that iOS 17 brought: over the network
interface of the cable or Wi-Fi, where the device is found by Bonjour, or at an
ADDRESS, HOST:PORT, that it shows (an Apple TV shows a PIN as well). Devices with
iOS 17.4 and later that are paired as usual do not need it.`,
		Example: `  imdlua pair
  imdlua pair --remote
  imdlua pair --remote=192.168.1.20:49152`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !remote.given:
				return c.withDevice(cmd.Context(), pairTime, "paired", (*device.Device).Pair)
			case remote.value == "":
				return c.withDevice(cmd.Context(), pairTime, "paired", (*device.Device).PairRemote)
			}
			return c.pairAt(cmd.Context(), remote.value)
		},
	}
	cmd.Flags().Var(&remote, "remote", "pair for tunnels; with `address` the device there")
	cmd.Flags().Lookup("remote").NoOptDefVal = anyTunnel
	return cmd
}

// pairAt pairs with the device at an address that the user knows.
func (c *cli) pairAt(ctx context.Context, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return usageError("--remote takes an IP address with a port, not %q", address)
	}
	ctx, cancel := c.timed(ctx, pairTime)
	defer cancel()
	f, err := c.finder()
	if err != nil {
		return err
	}
	i, err := f.PairRemoteAt(ctx, at)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "paired %s\n", i.UDID)
	return err
}

// askPIN asks for the digits that a device shows.
func (c *cli) askPIN(ctx context.Context) (string, error) {
	return c.ask(ctx, "PIN that the device shows: ")
}

// ask asks a question on the terminal and returns the line that is typed.
func (c *cli) ask(ctx context.Context, question string) (string, error) {
	if !c.stdinTTY {
		return "", host.Errorf("no_terminal", "%s(there is no terminal to ask on)", question)
	}
	fmt.Fprint(c.stderr, question)
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(c.stdin).ReadString('\n')
		typed <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case a := <-typed:
		return a.line, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (c *cli) unpairCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unpair",
		Short: "Make a device forget this computer",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withDevice(cmd.Context(), 0, "unpaired", (*device.Device).Unpair)
		},
	}
}

func (c *cli) withDevice(ctx context.Context, limit time.Duration, done string, f func(*device.Device, context.Context) error) error {
	ctx, cancel := c.timed(ctx, limit)
	defer cancel()
	d, err := c.oneDevice(ctx)
	if err != nil {
		return err
	}
	if err := f(d, ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s %s\n", done, d.UDID())
	return err
}
