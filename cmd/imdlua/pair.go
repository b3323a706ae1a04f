package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
)

// pairTime is how long the user gets to tap Trust.
const pairTime = 60 * time.Second

func (c *cli) pairCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pair",
		Short: "Make a device trust this computer",
		Long: `Asks the device to trust this computer and waits until the dialog on its
screen is answered, a minute unless --timeout says otherwise. Scripts pair by
themselves when they need to.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withDevice(cmd.Context(), pairTime, "paired", (*device.Device).Pair)
		},
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
