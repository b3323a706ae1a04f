package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

func (c *cli) devicesCommand() *cobra.Command {
	var asJSON, watch, network bool
	cmd := &cobra.Command{
		Use:     "devices",
		Aliases: []string{"list"},
		Short:   "List the devices that can be reached",
		Long: `Lists the devices of the muxers. A device that can be reached in several ways has
one line with all its routes. With --network, or if no muxer has a device, it also
looks on the network for two seconds: for devices on Wi-Fi, and on the network
interfaces of cables.

With --watch, a device is reported when it appears, and as described when it has said
what it is, so that a device that does not answer delays no other one.`,
		Example: "  imdlua devices --json\n  imdlua devices --network\n  imdlua devices --watch",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return c.watchDevices(cmd.Context(), asJSON, network)
			}
			return c.listDevices(cmd.Context(), asJSON, network)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --watch one object a line")
	cmd.Flags().BoolVar(&network, "network", false, "look on the network, too")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false,
		"print devices as they are connected and disconnected, until interrupted")
	return cmd
}

type deviceJSON struct {
	Event       string      `json:"event,omitempty"`
	UDID        string      `json:"udid"`
	Name        string      `json:"name,omitempty"`
	ProductType string      `json:"product_type,omitempty"`
	Version     string      `json:"version,omitempty"`
	Build       string      `json:"build,omitempty"`
	Class       string      `json:"class,omitempty"`
	WiFiAddress string      `json:"wifi_address,omitempty"`
	Transport   string      `json:"transport"`
	Route       *routeJSON  `json:"route,omitempty"`
	Routes      []routeJSON `json:"routes"`
	Error       string      `json:"error,omitempty"`
}

type routeJSON struct {
	Kind    string `json:"kind"`
	Via     string `json:"via"`
	Muxer   string `json:"usbmux,omitempty"`
	ID      uint32 `json:"id,omitempty"`
	Address string `json:"address,omitempty"`
}

func describe(i device.Info) deviceJSON {
	d := deviceJSON{
		UDID: i.UDID, Name: i.Name, ProductType: i.ProductType, Version: i.Version,
		Build: i.Build, Class: i.Class, WiFiAddress: i.WiFiAddress, Transport: i.Transport(),
		Routes: []routeJSON{},
	}
	for _, r := range i.Routes {
		d.Routes = append(d.Routes, describeRoute(r))
	}
	if i.Err != nil {
		d.Error = i.Err.Error()
	}
	return d
}

func describeRoute(r device.Route) routeJSON {
	return routeJSON{r.Kind, string(r.Via), r.Muxer, r.DeviceID, r.Address}
}

func (c *cli) listDevices(ctx context.Context, asJSON, network bool) error {
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	f, err := c.finder()
	if err != nil {
		return err
	}
	s := c.flags.selector()
	s.Network = network
	infos, err := f.List(ctx, s)
	if err != nil {
		return err
	}
	if asJSON {
		list := make([]deviceJSON, len(infos))
		for i, info := range infos {
			list[i] = describe(info)
		}
		return printJSON(c.stdout, list)
	}
	if len(infos) == 0 {
		c.notice("no device is connected; plug one in and unlock it, " +
			"or try --virtual")
		return nil
	}
	t := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "UDID\tNAME\tMODEL\tIOS\tROUTE")
	for _, i := range infos {
		if i.Err != nil {
			fmt.Fprintf(t, "%s\t(does not answer)\t\t\t%s\n", c.cell(i.UDID), routeKinds(i))
			c.notice("%s: %v", i.UDID, i.Err)
			continue
		}
		columns := []string{i.UDID, i.Name, i.ProductType, i.Version, routeKinds(i)}
		for k, text := range columns {
			columns[k] = c.cell(text)
		}
		fmt.Fprintln(t, strings.Join(columns, "\t"))
	}
	return t.Flush()
}

// routeKinds lists the kinds of a device's routes, the best first.
func routeKinds(i device.Info) string {
	var kinds []string
	for _, r := range i.Routes {
		if !slices.Contains(kinds, r.Kind) {
			kinds = append(kinds, r.Kind)
		}
	}
	return strings.Join(kinds, ",")
}

// watchDevices prints events until it is interrupted, which is not an error.
func (c *cli) watchDevices(ctx context.Context, asJSON, network bool) error {
	if err := c.flags.noTunnel("devices --watch"); err != nil {
		return err
	}
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	f, err := c.finder()
	if err != nil {
		return err
	}
	c.guardMemory()
	c.noticeMuxers(ctx)
	s := c.flags.selector()
	// Only the description says whether a device has the name.
	w := f.Watch(device.WatchOptions{AtOnce: s.Name == "", Network: network})
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return nil
		}
		if !sameDevice(s, e.Info) {
			continue
		}
		line := c.eventLine(e)
		if asJSON {
			line, err = eventJSON(e)
		}
		if err != nil {
			return err
		}
		if _, err := c.stdout.Write(append(line, '\n')); err != nil {
			return err
		}
	}
}

// eventJSON returns an event as a line of JSON.
func eventJSON(e device.Event) ([]byte, error) {
	d, route := describe(e.Info), describeRoute(e.Route)
	d.Event, d.Route = string(e.Kind), &route
	if len(d.Routes) == 0 {
		d.Transport = route.Kind
	}
	if e.Kind == device.Detached {
		d.Error = "" // it tells why the device could not be described
	}
	return json.Marshal(d)
}

// eventLine returns an event as text, such as
//
//	detached  00008110-... "iPhone" (iPhone15,2, iOS 17.5) usb; left: wifi
func (c *cli) eventLine(e device.Event) []byte {
	line := fmt.Appendf(nil, "%-8s  %s", e.Kind, c.cell(e.Info.String()))
	if e.Kind == device.Attached || e.Kind == device.Detached {
		line = append(line, " "+e.Route.Kind...)
	}
	if e.Kind != device.Detached && e.Info.Err != nil {
		line = append(line, ", does not answer"...)
	}
	if e.Kind == device.Detached && len(e.Info.Routes) > 0 {
		line = append(line, "; left: "+routeKinds(e.Info)...)
	}
	return line
}

// muxerTime is how long a muxer may take to answer.
const muxerTime = 3 * time.Second

// noticeMuxers writes a notice if no muxer answers, or if one that the user has named does not. The
// caller watches, so it uses a muxer that is started later.
func (c *cli) noticeMuxers(ctx context.Context) {
	bound, cancel := context.WithTimeout(ctx, muxerTime)
	defer cancel()
	var errs []error
	for _, a := range c.addresses() {
		m, err := usbmux.New(usbmux.Options{Address: a, Logger: c.logger()})
		if err == nil {
			_, err = m.List(bound)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 || ctx.Err() != nil {
		return
	}
	c.notice("%v; waiting for it", errors.Join(errs...))
}

// sameDevice reports whether a selector matches a device. It uses only what is known of a device
// that was disconnected.
func sameDevice(s device.Selector, i device.Info) bool {
	return s.Names(i) && (s.Name == "" || s.Name == i.Name)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
