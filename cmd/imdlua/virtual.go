package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/identity"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/usbmux"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// maxDevices limits --count, because each device takes the memory of a phone model.
const maxDevices = 10000

type virtualFlags struct {
	count         int
	profile, name string
	trust, lists  string
	logRate       float64
	echo          uint16
	noImage       bool
	noMode        bool
	networkFlags
}

func (c *cli) virtualCommand() *cobra.Command {
	f := &virtualFlags{}
	cmd := &cobra.Command{
		Use:   "virtual --usbmux ADDRESS",
		Short: "Serve virtual devices to every program on this computer",
		Long: `Serves virtual devices on a usbmuxd of their own, so that any program for iPhones
can be run against them. When they are ready, it prints "ready ADDRESS
USBMUXD_SOCKET_ADDRESS=..." for each address, then the UDIDs, one a line, and then
the other addresses of the devices. It runs until it is interrupted. Port 0 is a
free port. Programs of libimobiledevice find it with USBMUXD_SOCKET_ADDRESS, in the
form that is printed. A unix socket is for programs of the same user.`,
		Example: `  imdlua virtual --usbmux unix:/tmp/mux --count 3 --profile ios18
  USBMUXD_SOCKET_ADDRESS=UNIX:/tmp/mux idevice_id -l`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.serveVirtual(cmd.Context(), f)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *virtualFlags) register(flags *pflag.FlagSet) {
	flags.IntVarP(&f.count, "count", "n", 1, "how many devices")
	flags.StringVar(&f.profile, "profile", defaultProfile,
		"`profile` of the devices: "+strings.Join(identity.Profiles(), ", "))
	flags.StringVar(&f.name, "name", "",
		"device name; if there are several devices, a number is added to the others")
	flags.StringVar(&f.trust, "trust", "accept", "how the Trust dialog is answered: "+
		"accept, deny, never, or accept after this number of `seconds`")
	flags.StringVar(&f.lists, "lists", "version", "several hosts at one list of services: "+
		"many, single (one connection, and one identity), or as the version of iOS has it")
	flags.Float64Var(&f.logRate, "log-rate", 20,
		"log lines per second and device while a client reads them; 0 for none")
	flags.StringVar(&f.network, "network", "",
		"also serve the devices on the network at this `address`, as over Wi-Fi and over "+
			"the interface of a cable; each further device gets the next address")
	flags.BoolVar(&f.bonjour, "bonjour", false, "announce the addresses of --network by Bonjour")
	flags.StringVar(&f.trusted, "trusted", "",
		"also serve the services of tunnels without a tunnel, at this `address` "+
			"(or address:port, for the first device); prints \"rsd UDID ADDRESS PORT\" "+
			"for --rsd of other programs")
	flags.Uint16Var(&f.echo, "echo", 0,
		"`port` of the devices that sends back all bytes that it gets")
	flags.BoolVar(&f.noImage, "no-image", false, "no developer disk image is mounted")
	flags.BoolVar(&f.noMode, "no-developer-mode", false, "Developer Mode is off")
}

func (f *virtualFlags) options() (virtual.Options, error) {
	o := virtual.Options{Phone: phone.Options{Profile: f.profile, Name: f.name, LogRate: f.logRate,
		NoImage: f.noImage, NoDeveloperMode: f.noMode}, Echo: f.echo}
	if f.logRate <= 0 {
		o.Phone.LogRate = -1 // 0 would mean the default of the model
	}
	switch f.trust {
	case "accept":
	case "deny":
		o.Phone.Trust.Mode = trust.Deny
	case "never":
		o.Phone.Trust.Mode = trust.Ignore
	default:
		n, err := strconv.ParseFloat(f.trust, 64)
		if err != nil || n < 0 || n > 1e6 {
			return o, usageError("--trust is accept, deny, never or a number of seconds, not %q",
				f.trust)
		}
		after := time.Duration(n * float64(time.Second))
		o.Phone.Trust = trust.Policy{Mode: trust.After, After: after}
	}
	lists, ok := virtual.ParseListRule(f.lists)
	if !ok {
		return o, usageError("--lists is version, single or many, not %q", f.lists)
	}
	o.Lists = lists
	known := false
	for _, p := range identity.Profiles() {
		known = known || p == f.profile
	}
	if !known {
		return o, usageError("there is no profile %q; there are %s", f.profile,
			strings.Join(identity.Profiles(), ", "))
	}
	if f.count < 1 || f.count > maxDevices {
		return o, usageError("--count is between 1 and %d, not %d", maxDevices, f.count)
	}
	return o, nil
}

// serveVirtual serves until ctx ends, which is not an error.
func (c *cli) serveVirtual(ctx context.Context, f *virtualFlags) (err error) {
	o, err := f.options()
	if err != nil {
		return err
	}
	if len(c.flags.usbmux) == 0 {
		return usageError("virtual needs an address to serve on").
			WithHint("for example --usbmux unix:/tmp/mux or --usbmux 127.0.0.1:0")
	}
	c.guardMemory()
	listeners, err := link.ListenAll(c.flags.usbmux, func(a string) (net.Listener, error) {
		return listenMuxer(ctx, a)
	})
	if err != nil {
		return err
	}
	defer link.CloseAll(listeners)
	h, err := virtual.NewHost(virtual.HostOptions{Count: f.count, Device: o, Logger: c.logger()})
	if err != nil {
		return err
	}
	c.noticeRecovery(h)
	shown, err := f.show(h)
	if err != nil {
		return errors.Join(err, h.Close())
	}
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- h.Serve(ctx, l) }()
	}
	var b strings.Builder
	for i, l := range listeners {
		fmt.Fprintf(&b, "ready %s USBMUXD_SOCKET_ADDRESS=%s\n",
			shownAddress(c.flags.usbmux[i], l), muxVariable(l))
	}
	for _, d := range h.Devices() {
		fmt.Fprintln(&b, d.UDID())
	}
	b.WriteString(shown)
	_, err = c.stdout.Write([]byte(b.String()))
	waiting := len(listeners)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
			waiting--
		}
	}
	cancel()
	err = errors.Join(err, h.Close())
	for range waiting {
		<-served
	}
	over := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if errors.Is(err, net.ErrClosed) || over || bySignal(err) {
		return nil
	}
	return err
}

// listenMuxer listens at an address of --usbmux.
func listenMuxer(ctx context.Context, text string) (net.Listener, error) {
	network, address, err := usbmux.ParseAddress(text)
	if err != nil {
		return nil, usageError("%v", err)
	}
	return link.Listen(ctx, network, address)
}

// noticeRecovery says when a device has gone because a program has put it into recovery mode.
func (c *cli) noticeRecovery(h *virtual.Host) {
	for _, d := range h.Devices() {
		d.Phone().Power.OnAction(func(a power.Action) {
			if a == power.Recovery {
				c.notice("device %s is in recovery mode and gone until it is started again",
					d.UDID())
			}
		})
	}
}

// muxVariable returns the address of a listener in the form that libusbmuxd takes from the
// environment variable USBMUXD_SOCKET_ADDRESS.
func muxVariable(l net.Listener) string {
	address := l.Addr().String()
	if l.Addr().Network() != "unix" {
		return address
	}
	if absolute, err := filepath.Abs(address); err == nil {
		address = absolute // other programs run in other directories
	}
	return "UNIX:" + address
}

// shownAddress returns the address in the form of --usbmux. For port 0 it has the port that was
// chosen.
func shownAddress(text string, l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return text
	}
	return l.Addr().String()
}
