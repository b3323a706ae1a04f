package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
)

// pairTime is how long to wait for the user to tap Trust.
const pairTime = 60 * time.Second

// maxAnswer is the length of the longest line that the user may type.
const maxAnswer = 1 << 10

func (c *cli) pairCommand() *cobra.Command {
	var remote optional
	cmd := &cobra.Command{
		Use:   "pair",
		Short: "Make a device trust this computer",
		Long: `Asks the device to trust this computer and waits until the dialog on its
screen is answered, a minute unless --timeout says otherwise. Scripts pair
automatically when they need to.

With --remote it makes the pairing for tunnels, which iOS 17 introduced. The device
is found by Bonjour on the network interface of the cable or on Wi-Fi, or at the
ADDRESS (HOST:PORT) that it shows; an Apple TV shows a PIN as well. Devices with
iOS 17.4 and later that are paired without --remote do not need it.`,
		Example: `  imdlua pair
  imdlua pair --remote
  imdlua pair --remote 192.168.1.20:49152`,
		Args: func(cmd *cobra.Command, args []string) error {
			// The address may follow --remote without a "=".
			if remote.given && remote.value == "" && len(args) == 1 {
				return remote.Set(args[0])
			}
			return noArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.flags.noTunnel(cmd.Name()); err != nil {
				return err
			}
			switch {
			case !remote.given:
				return c.withDevice(cmd.Context(), pairTime, "paired", (*device.Device).Pair)
			case remote.value == "":
				return c.withDevice(cmd.Context(), pairTime, "paired", (*device.Device).PairRemote)
			}
			return c.pairAt(cmd.Context(), remote.value)
		},
	}
	cmd.Flags().Var(&remote, "remote", "pair for tunnels, with the device at `address` if it is given")
	cmd.Flags().Lookup("remote").NoOptDefVal = anyTunnel
	return cmd
}

// pairAt pairs with the device at an address that the user has given.
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
		line, err := readLine(c.stdin)
		typed <- answer{strings.TrimSpace(line), err}
	}()
	var a answer
	select {
	case a = <-typed:
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	}
	if a.err != nil {
		fmt.Fprintln(c.stderr) // ends the line, because Enter was not pressed
	}
	return a.line, a.err
}

// readLine reads a line and no byte after it, because the next bytes are for a script or the next
// question. The last line may end without a newline.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxAnswer; {
		n, err := r.Read(b)
		switch {
		case n > 0 && b[0] == '\n':
			return string(line), nil
		case n > 0:
			line = append(line, b[0])
		case err != nil && len(line) > 0:
			return string(line), nil
		case err != nil:
			return "", err
		}
	}
	return "", host.Errorf("argument", "an answer has at most %d bytes", maxAnswer)
}

func (c *cli) unpairCommand() *cobra.Command {
	var remote bool
	cmd := &cobra.Command{
		Use:   "unpair",
		Short: "Make a device forget this computer",
		Long: `Makes the device forget this computer and deletes the pair record. With --remote
it deletes the keys of imdlua for tunnels; the device cannot be told to forget them.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.flags.noTunnel(cmd.Name()); err != nil {
				return err
			}
			unpair := (*device.Device).Unpair
			if remote {
				unpair = (*device.Device).UnpairRemote
			}
			return c.withDevice(cmd.Context(), 0, "unpaired", unpair)
		},
	}
	cmd.Flags().BoolVar(&remote, "remote", false, "delete the keys for tunnels")
	return cmd
}

func (c *cli) withDevice(
	ctx context.Context, limit time.Duration, done string,
	f func(*device.Device, context.Context) error,
) error {
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
