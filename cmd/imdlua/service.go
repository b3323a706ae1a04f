package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/virtual"
)

func (c *cli) serviceCommand() *cobra.Command {
	kind := kindAuto
	cmd := &cobra.Command{
		Use:   "service NAME",
		Short: "Talk to a service in a REPL in which svc is the open connection",
		Long: `Opens the service on the device and starts a REPL in which svc is the open
connection and dev the device. What svc can do depends on the kind of the service:
  plist  property lists: svc:call, svc:send_plist, svc:recv_plist
  xpc    RemoteXPC, in tunnels: svc:call, svc:send, svc:recv, svc:invoke
  raw    bytes: svc:send, svc:recv, svc:recv_until
Connections of plist and raw have svc:hexdump(true) as well. Without --kind, the
device's list of services decides, and plist is used for what is not in it.
If standard input is not a terminal, it is run as a script instead.`,
		Example: `  imdlua service com.apple.mobile.diagnostics_relay
  imdlua service com.apple.coredevice.deviceinfo
  echo 'p(svc:call{ Request = "All" })' | imdlua service com.apple.mobile.diagnostics_relay`,
		Args: func(_ *cobra.Command, args []string) error {
			if _, known := serviceNotes[kind]; !known && kind != kindAuto {
				return usageError("--kind is auto, plist, xpc or raw, not %q", kind)
			}
			if len(args) != 1 {
				return usageError("service needs the name of one service").
					WithHint("for example com.apple.mobile.diagnostics_relay")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.service(cmd.Context(), args[0], kind)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", kindAuto,
		"auto, plist, xpc or raw: what the service speaks")
	return cmd
}

// The kinds of services.
const (
	kindAuto  = "auto"
	kindPlist = "plist"
	kindXPC   = "xpc"
	kindRaw   = "raw"
)

// serviceNotes has what the REPL says of svc for each kind of service.
var serviceNotes = map[string]string{
	kindPlist: "svc speaks property lists: svc:call{ Request = ... }, svc:hexdump(true)",
	kindXPC:   "svc speaks RemoteXPC: svc:call{ ... }, svc:recv(), svc:invoke(feature, input)",
	kindRaw:   "svc speaks bytes: svc:send(bytes), svc:recv(), svc:hexdump(true)",
}

// serviceKind returns what a service speaks according to the device's list of services. It is
// kindPlist if the list is not needed, or cannot be read.
func (c *cli) serviceKind(ctx context.Context, name string) string {
	if slices.Contains(virtual.LockdownServices(), name) {
		return kindPlist
	}
	d, err := c.oneDevice(ctx)
	if err != nil {
		return kindPlist // the script reports the error
	}
	t, err := d.Tunnel(ctx, device.TunnelOptions{})
	if err != nil {
		return kindPlist
	}
	s, ok := t.List().Find(name)
	switch {
	case ok && s.Transport() == rsd.RemoteXPC:
		return kindXPC
	case ok && s.Transport() == rsd.Raw:
		return kindRaw
	}
	return kindPlist
}

func (c *cli) service(ctx context.Context, name, kind string) error {
	if kind == kindAuto {
		kind = c.serviceKind(ctx, name)
	}
	method := "service"
	if kind == kindXPC {
		method = "xpc"
	}
	open := func(declare string) string {
		return fmt.Sprintf("%sdev = device(); %ssvc = dev:%s(%s); ",
			declare, declare, method, luaString(name))
	}
	if c.stdinTTY {
		return c.repl(ctx, replSetup{
			name: shortService(name), init: open(""), note: serviceNotes[kind],
		})
	}
	source, err := c.readStdin(ctx)
	if err != nil {
		return err
	}
	if strings.HasPrefix(source, "#") {
		source = "--" + source // the "#!" is not at the beginning of the line any more
	}
	return c.runScript(ctx, "stdin", open("local ")+source, nil)
}

// shortService returns the last part of the name of a service.
func shortService(name string) string {
	n := service.Name{Lockdown: name}.String()
	return n[strings.LastIndexByte(n, '.')+1:]
}

// luaString writes any text as a Lua string.
func luaString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if c < 0x20 || c == '"' || c == '\\' || c >= 0x7F {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}
