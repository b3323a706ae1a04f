package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
)

func (c *cli) recordsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "records",
		Short: "List the pair records of this computer, without their keys",
		Long: `Lists the records in the folders of imdlua and of usbmuxd, and those that a muxer
has of connected devices. With --device it lists those of one device.`,
		Example: "  imdlua records\n  imdlua records --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.records(cmd.Context(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

type recordJSON struct {
	UDID        string `json:"udid"`
	Kind        string `json:"kind"`
	Place       string `json:"place"`
	HostID      string `json:"host_id,omitempty"`
	SystemBUID  string `json:"system_buid,omitempty"`
	WiFiAddress string `json:"wifi_address,omitempty"`
	Escrow      bool   `json:"escrow"`
	DeviceKey   bool   `json:"device_key"`
	Error       string `json:"error,omitempty"`
}

func (c *cli) records(ctx context.Context, asJSON bool) error {
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	list, err := c.listRecords(ctx)
	if err != nil {
		return err
	}
	out := []recordJSON{}
	for _, r := range list {
		j := recordJSON{
			r.UDID, r.Kind, r.Place, r.HostID, r.SystemBUID, r.WiFiAddress, r.Escrow, r.Device, "",
		}
		if r.Err != nil {
			j.Error = r.Err.Error()
		}
		out = append(out, j)
	}
	switch {
	case asJSON:
		return printJSON(c.stdout, out)
	case len(out) == 0:
		c.notice("this computer has no pair records that can be read")
		return nil
	}
	t := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "UDID\tKIND\tHOST\tPLACE")
	for _, r := range out {
		columns := []string{r.UDID, r.Kind, r.HostID, r.Place}
		for n, text := range columns {
			columns[n] = c.cell(text)
		}
		fmt.Fprintln(t, strings.Join(columns, "\t"))
		if r.Error != "" {
			c.notice("%s: %s", r.UDID, r.Error)
		}
	}
	return t.Flush()
}

// listRecords returns all records, or those of the device that --device names.
func (c *cli) listRecords(ctx context.Context) ([]device.PairRecord, error) {
	if c.flags.device != "" {
		d, err := c.oneDevice(ctx)
		if err != nil {
			return nil, err
		}
		return d.PairRecords(ctx)
	}
	f, err := c.finder()
	if err != nil {
		return nil, err
	}
	return f.PairRecords(ctx)
}
