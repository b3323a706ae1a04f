package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/service"
)

func (c *cli) serviceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "service NAME",
		Short: "Talk to a service in a REPL in which svc is the open connection",
		Long: `Opens the service on the device and starts a REPL in which svc is the raw
connection and dev the device: svc:send, svc:recv, svc:call, svc:hexdump(true).
If standard input is not a terminal, it is run as a script instead.`,
		Example: `  imdlua service com.apple.mobile.diagnostics_relay
  echo 'p(svc:call{ Request = "All" })' | imdlua service com.apple.mobile.diagnostics_relay`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("service needs the name of one service").
					WithHint("for example com.apple.mobile.diagnostics_relay")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.service(cmd.Context(), args[0])
		},
	}
}

func (c *cli) service(ctx context.Context, name string) error {
	open := func(declare string) string {
		return fmt.Sprintf("%sdev = device(); %ssvc = dev:service(%s); ",
			declare, declare, luaString(name))
	}
	if c.stdinTTY {
		return c.repl(ctx, replSetup{name: shortService(name), init: open("")})
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
