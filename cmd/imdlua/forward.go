package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/link"
)

type forwardFlags struct {
	background, stop bool
	pidFile          string
	child            bool // whether this is the process that -d has started
}

func (c *cli) forwardCommand() *cobra.Command {
	f := &forwardFlags{}
	cmd := &cobra.Command{
		Use:   "forward [-d] [ADDRESS:]LOCAL:REMOTE...",
		Short: "Make ports of a device reachable on this computer",
		Long: `Listens on local ports and passes each connection on to a port of the device.
Only this computer can connect unless an address is given: 0.0.0.0 is all of
IPv4, [::] all of IPv6, * both. Port 0 is a free port. A device that is unplugged
is found again when it is plugged in.

With -d it continues in the background when it listens, and writes a pid file and
a log file; --stop ends forwards in the background.`,
		Example: `  imdlua forward 8100:8100 9100:9100
  imdlua forward 0.0.0.0:2222:22
  imdlua forward -d 8100:8100 && imdlua forward --stop 8100`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.forward(cmd.Context(), f, args)
		},
	}
	cmd.Flags().BoolVarP(&f.background, "detach", "d", false,
		"continue in the background when it listens")
	cmd.Flags().BoolVar(&f.stop, "stop", false,
		"end the forwards of these local ports in the background, or all")
	cmd.Flags().StringVar(&f.pidFile, "pid-file", "",
		"pid `file` of -d and --stop; the log is in the same folder")
	cmd.Flags().BoolVar(&f.child, "in-background", false, "")
	_ = cmd.Flags().MarkHidden("in-background")
	return cmd
}

func (c *cli) forward(ctx context.Context, f *forwardFlags, args []string) error {
	if f.stop {
		if f.background {
			return usageError("-d and --stop exclude each other")
		}
		return c.stopForwards(ctx, f, args)
	}
	specs, err := parseForwards(args)
	if err != nil {
		return err
	}
	switch {
	case f.background:
		return c.detachForward(ctx, f, specs)
	case f.child:
		return c.serveInBackground(ctx, f, specs)
	}
	return c.serveForwards(ctx, specs, func([]net.Listener) error { return nil })
}

// forwardSpec is one LOCAL:REMOTE.
type forwardSpec struct {
	host          string
	local, remote uint16
}

func parseForwards(args []string) ([]forwardSpec, error) {
	if len(args) == 0 {
		return nil, usageError("forward needs at least one LOCAL:REMOTE").
			WithHint("for example imdlua forward 8100:8100")
	}
	var out []forwardSpec
	for _, a := range args {
		s, ok := parseForward(a)
		if !ok {
			return nil, usageError("%q is not [ADDRESS:]LOCAL:REMOTE", a).
				WithHint("for example 8100:8100, 0:8100 or [::1]:8100:8100")
		}
		out = append(out, s)
	}
	return out, nil
}

func parseForward(text string) (s forwardSpec, ok bool) {
	cut := strings.LastIndexByte(text, ':')
	if cut < 0 {
		return s, false
	}
	remote, err := strconv.ParseUint(text[cut+1:], 10, 16)
	if err != nil || remote == 0 {
		return s, false
	}
	s.host = "127.0.0.1"
	port := text[:cut]
	if strings.Contains(port, ":") {
		s.host, port, err = net.SplitHostPort(port)
		if err != nil {
			return s, false
		}
	}
	local, err := strconv.ParseUint(port, 10, 16)
	s.local, s.remote = uint16(local), uint16(remote)
	return s, err == nil
}

func (s forwardSpec) address() string {
	return net.JoinHostPort(s.host, strconv.Itoa(int(s.local)))
}

// serveForwards listens, prints the addresses, calls ready, and passes connections on until ctx
// ends. The end of ctx is not an error.
func (c *cli) serveForwards(
	ctx context.Context, specs []forwardSpec, ready func([]net.Listener) error,
) error {
	c.guardMemory()
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, s := range specs {
		l, err := link.Listen(ctx, "tcp", s.address())
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
	}
	finding, cancel := c.timed(ctx, 0)
	defer cancel()
	d, err := c.oneDevice(finding)
	if err != nil {
		return err
	}
	failed := func(err error) {
		c.notice("%s forward: %v", time.Now().Format(time.DateTime), err)
	}
	var b strings.Builder
	for i, s := range specs {
		forward := d.Forward(listeners[i], s.remote, failed)
		defer forward.Close()
		fmt.Fprintf(&b, "%s -> %d of %s\n", listeners[i].Addr(), s.remote, d.UDID())
	}
	if _, err := fmt.Fprint(c.stdout, b.String()); err != nil {
		return err
	}
	if err := ready(listeners); err != nil {
		return err
	}
	<-ctx.Done()
	cause := context.Cause(ctx)
	if bySignal(cause) || errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}
