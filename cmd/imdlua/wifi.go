package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
)

func (c *cli) wifiCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "wifi [on|off]",
		Short: "Say whether a device can be reached over Wi-Fi, or switch that",
		Long: `Without an argument it prints on or off. Over Wi-Fi, only computers that are
paired with the device can use it; devices pair over USB.`,
		Example:   "  imdlua wifi\n  imdlua wifi on",
		ValidArgs: []string{"on", "off"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != "on" && args[0] != "off" {
				return usageError("wifi takes on or off, not %q", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.wifi(cmd.Context(), args) },
	}
}

func (c *cli) wifi(ctx context.Context, args []string) error {
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	d, err := c.oneDevice(ctx)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		err := d.SetWiFiConnections(ctx, args[0] == "on")
		if err != nil {
			return err
		}
	}
	return c.printWiFi(ctx, d)
}

func (c *cli) printWiFi(ctx context.Context, d *device.Device) error {
	on, err := d.WiFiConnections(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, map[bool]string{true: "on", false: "off"}[on])
	return err
}
