package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/tunneld"
)

type tunnelFlags struct {
	protocol, route string
	proxy           string
	kernel, json    bool
}

func (c *cli) tunnelCommand() *cobra.Command {
	f := &tunnelFlags{}
	cmd := &cobra.Command{
		Use:   "tunnel",
		Short: "Keep a tunnel to a device, and print where other programs find its services",
		Long: `Opens a tunnel to the services of iOS 17 and later, prints the address and port of
this computer at which their list (RSD) is, and keeps the tunnel until it is
interrupted. It does not need root: the tunnel ends in this process, which passes
connections on. When the device was unplugged or restarted, the tunnel is made
again and the new address is printed.

Scripts and the other commands do not need this command, because they open tunnels
themselves. With --kernel the tunnel is a network interface of this computer
(Linux, needs CAP_NET_ADMIN), and the address is that of the device.

The address has the ports of the list. With --proxy every port of the device can be
reached, by SOCKS5 and HTTP CONNECT. The host name is the UDID of the device, or
UDID` + tunneld.HostSuffix + `, and the password is IMD_TUNNELD_TOKEN, or the content of the file
that is printed.`,
		Example: `  imdlua tunnel
  imdlua tunnel --proxy 127.0.0.1:1080
  imdlua tunnel --json --protocol tcp --route usb`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.keepTunnel(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.protocol, "protocol", "auto", "auto, tcp or quic")
	cmd.Flags().StringVar(&f.route, "route", "", "usb or wifi; the best one by default")
	registerProxy(cmd.Flags(), &f.proxy)
	cmd.Flags().BoolVar(&f.kernel, "kernel", false, "make it a network interface of this computer")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
	return cmd
}

func (f *tunnelFlags) options() (device.TunnelOptions, error) {
	if !slices.Contains([]string{"auto", "tcp", "quic"}, f.protocol) {
		return device.TunnelOptions{}, usageError("--protocol is auto, tcp or quic, not %q",
			f.protocol)
	}
	if !slices.Contains([]string{"", "usb", "wifi"}, f.route) {
		return device.TunnelOptions{}, usageError("--route is usb or wifi, not %q", f.route)
	}
	o := device.TunnelOptions{Protocol: f.protocol, Route: f.route, Kernel: f.kernel}
	if o.Protocol == "auto" {
		o.Protocol = ""
	}
	return o, nil
}

// tunnelJSON is what --json prints.
type tunnelJSON struct {
	Event      string `json:"event"` // up or down
	UDID       string `json:"udid"`
	Protocol   string `json:"protocol,omitempty"`
	How        string `json:"how,omitempty"`
	Route      string `json:"route,omitempty"`
	Address    string `json:"address,omitempty"` // where the list of services is
	Port       uint16 `json:"port,omitempty"`
	RSD        string `json:"rsd_option,omitempty"`
	Inside     string `json:"tunnel_address,omitempty"`
	InsidePort uint16 `json:"tunnel_port,omitempty"`
	Interface  string `json:"interface,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Proxy      string `json:"proxy,omitempty"`
	TokenFile  string `json:"proxy_token_file,omitempty"`
	Error      string `json:"error,omitempty"`
}

// keepTunnel keeps a tunnel until ctx ends, which is not an error.
func (c *cli) keepTunnel(ctx context.Context, f *tunnelFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	c.guardMemory()
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	d, err := c.oneDevice(ctx)
	if err != nil {
		return err
	}
	others, err := c.openOutlets(ctx, f.proxy, nil)
	if err != nil {
		return err
	}
	defer others.close()
	others.serve(ctx, cancel, c, dialTunnel(d), nil)
	err = c.keepTunnelOf(ctx, d, o, f, others)
	cancel()
	return errors.Join(err, others.wait())
}

// keepTunnelOf keeps the tunnel of a device.
func (c *cli) keepTunnelOf(
	ctx context.Context, d *device.Device, o device.TunnelOptions, f *tunnelFlags, others *outlets,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var reached *tunneld.Reached
	close := func() {
		if reached != nil {
			reached.Close()
			reached = nil
		}
	}
	defer close()
	up := false
	var failed error
	err := d.KeepTunnel(ctx, o, func(e device.TunnelEvent) {
		j := tunnelJSON{Event: "down", UDID: d.UDID()}
		close()
		up = up || e.Up
		if e.Up {
			if f.kernel && e.Tunnel.Interface == "" {
				failed = noInterface()
				cancel()
				return
			}
			j = describeTunnel(d, e.Tunnel)
			j.TokenFile = others.tokenFile
			if others.proxy != nil {
				j.Proxy = others.proxy.Addr().String()
			}
			if e.Tunnel.Interface == "" {
				var err error
				reached, err = tunneld.Reach(ctx, sharedTunnel(d.UDID(), e.Tunnel), c.logger())
				if err != nil {
					e.Err = err
				} else {
					j.place(reached.Address.String(), reached.Port)
				}
			}
		}
		if e.Err != nil {
			j.Error = e.Err.Error()
		}
		c.tellTunnel(j, f.json)
	})
	if err == nil && !up {
		return fmt.Errorf("no tunnel to %s yet: %w", d.UDID(), context.Cause(ctx))
	}
	return errors.Join(err, failed)
}

func noInterface() error {
	return host.Errorf("unsupported", "the tunnel cannot be made a network interface").
		WithHint("without --kernel the tunnel ends in this process, which needs no permission")
}

func describeTunnel(d *device.Device, t *device.Tunnel) tunnelJSON {
	j := tunnelJSON{
		Event: "up", UDID: d.UDID(), Protocol: t.Protocol, How: t.How, Route: t.Route.String(),
		InsidePort: t.RSDPort, Interface: t.Interface, MTU: t.MTU, Generation: t.Generation,
	}
	if t.Address.IsValid() {
		j.Inside = t.Address.String()
		j.place(j.Inside, t.RSDPort)
	}
	return j
}

func (j *tunnelJSON) place(address string, port uint16) {
	j.Address, j.Port = address, port
	j.RSD = fmt.Sprintf("--rsd %s %d", address, port)
}

// tellTunnel prints an event. It writes JSON and tunnels that are up to standard output, and
// tunnels that are down to standard error.
func (c *cli) tellTunnel(j tunnelJSON, asJSON bool) {
	if asJSON {
		line, err := json.Marshal(j)
		if err == nil {
			_, _ = c.stdout.Write(append(line, '\n'))
		}
		return
	}
	if j.Event == "down" || j.Error != "" {
		why := j.Error
		if why == "" {
			why = "closed"
		}
		c.notice("the tunnel to %s is down: %s; trying again", j.UDID, why)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "device    %s\n", c.cell(j.UDID))
	fmt.Fprintf(&b, "protocol  %s (%s, %s)\n", j.Protocol, j.How, c.cell(j.Route))
	fmt.Fprintf(&b, "address   %s\n", j.Address)
	fmt.Fprintf(&b, "port      %d\n", j.Port)
	if j.Interface != "" {
		fmt.Fprintf(&b, "interface %s\n", j.Interface)
	}
	if j.Proxy != "" {
		fmt.Fprintf(&b, "proxy     %s\n", strings.TrimSpace(j.Proxy+" "+c.cell(j.TokenFile)))
	}
	fmt.Fprintf(&b, "use       %s\n", j.RSD)
	_, _ = fmt.Fprint(c.stdout, b.String())
}

// sharedTunnel describes a tunnel for the API of tunneld.
func sharedTunnel(udid string, t *device.Tunnel) tunneld.Tunnel {
	label := "usbmux-" + udid + "-USB"
	switch {
	case t.Route.Via == device.ViaMuxer && t.Route.Kind == "wifi":
		label = "usbmux-" + udid + "-Network"
	case t.Route.Via == device.ViaLockdown:
		label = "mobdev2-" + udid + "-" + t.Route.Address
	case t.Route.Via != device.ViaMuxer:
		label = t.Route.Address
	}
	return tunneld.Tunnel{
		UDID: udid, Address: t.Address, RSDPort: t.RSDPort, Interface: label,
		Dial: t.Dial, Done: t.Done(),
	}
}
