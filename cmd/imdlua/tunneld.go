package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/tunneld"
)

type tunneldFlags struct {
	listen, goios string
	proxy         string
	muxers        []string
	noNetwork     bool
	upstream      []string
}

func (c *cli) tunneldCommand() *cobra.Command {
	f := &tunneldFlags{}
	cmd := &cobra.Command{
		Use:   "tunneld",
		Short: "Keep tunnels to all devices, and share them with other programs",
		Long: `Keeps a tunnel to every device of iOS 17 and later and lists them for other
programs: with the HTTP API of pymobiledevice3's tunneld, and with that of the
agent of go-ios. It does not need root: connections of those programs are passed
on into the tunnels.

The API has no passwords, so only this computer can connect. To listen on another
address, set IMD_TUNNELD_TOKEN: every request must then carry that token, which
imdlua --tunnel sends and other programs do not.

With --proxy every port of the devices can be reached, by SOCKS5 and HTTP CONNECT.
The host name is the UDID of the device, or UDID` + tunneld.HostSuffix + `, and the password is
IMD_TUNNELD_TOKEN, or the content of the file that is printed.

With --muxer the devices are at a usbmuxd of its own for iproxy, the programs of
libimobiledevice and others, also those that only the network or a tunnel reaches.`,
		Example: `  imdlua tunneld
  imdlua tunneld --listen 127.0.0.1:49151 --go-ios 127.0.0.1:60105
  imdlua tunneld --proxy 127.0.0.1:1080 --muxer unix:/tmp/all
  USBMUXD_SOCKET_ADDRESS=UNIX:/tmp/all iproxy 8100:8100
  imdlua --tunnel '' -e 'print(device().name)'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.serveTunneld(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&f.listen, "listen", tunneld.PythonAddress,
		"`address` of pymobiledevice3's API; empty for none")
	cmd.Flags().StringVar(&f.goios, "go-ios", tunneld.GoIOSAddress,
		"`address` of the API of go-ios; empty for none")
	registerProxy(cmd.Flags(), &f.proxy)
	cmd.Flags().StringArrayVar(&f.muxers, "muxer", nil,
		"`address` of a usbmuxd with all devices: unix:PATH or HOST:PORT, repeatable")
	cmd.Flags().BoolVar(&f.noNetwork, "no-network", false,
		"only devices of a usbmuxd: do not look for others on the network")
	cmd.Flags().StringArrayVar(&f.upstream, "upstream", nil,
		"`URL` of another tunneld whose tunnels are listed as well, repeatable")
	return cmd
}

// check checks the flags before anything listens.
func (f *tunneldFlags) check() error {
	if f.listen == "" && f.goios == "" && f.proxy == "" && len(f.muxers) == 0 {
		return usageError("tunneld needs an address: --listen, --go-ios or both")
	}
	for name, address := range map[string]string{
		"--listen": f.listen, "--go-ios": f.goios, "--proxy": f.proxy,
	} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			return usageError("%s takes HOST:PORT, not %q", name, address)
		}
	}
	for _, u := range f.upstream {
		if p, err := url.Parse(u); err != nil || p.Scheme != "http" || p.Host == "" {
			return usageError("--upstream takes http://HOST:PORT, not %q", u)
		}
	}
	return nil
}

// checkUpstreams returns an error if an upstream is this server.
func (f *tunneldFlags) checkUpstreams(listeners ...net.Listener) error {
	for _, u := range f.upstream {
		for _, l := range listeners {
			if tunneld.IsItself(u, l.Addr()) {
				return usageError("--upstream %s is this tunneld itself", u).
					WithHint("name another one, or leave it out")
			}
		}
	}
	return nil
}

// serveTunneld serves until ctx ends or a client asks for the end. Neither is an error.
func (c *cli) serveTunneld(ctx context.Context, f *tunneldFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	for _, a := range f.muxers {
		if err := c.checkMuxer(a); err != nil {
			return err
		}
	}
	c.guardMemory()
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	finder, err := c.finder()
	if err != nil {
		return err
	}
	l, err := c.openTunneld(ctx, f)
	if err != nil {
		return err
	}
	defer l.close()
	server := &tunneld.Server{Token: c.tunneldToken(), Upstreams: f.upstream, Logger: c.logger()}
	keeper := finder.Keep(device.KeeperOptions{
		Match: c.flags.selector(), Network: !f.noNetwork,
		Tell: func(udid string, e device.TunnelEvent) {
			c.tellKept(udid, e)
			server.Changed()
		},
	})
	defer keeper.Close()
	server.Manager = manager{keeper}
	if c.direct() == nil {
		c.noticeMuxers(ctx) // not an error: tunnels over the network need no muxer
	}
	var sharing *device.Sharing
	if len(f.muxers) > 0 {
		bound, cancel := context.WithTimeout(ctx, muxerTime)
		sharing = finder.Share(bound,
			device.ShareOptions{Match: c.flags.selector(), Network: !f.noNetwork})
		cancel()
		defer sharing.Close()
	}
	l.tell(c.stdout)
	serving, end := context.WithCancel(ctx)
	defer end()
	l.others.serve(serving, end, c, c.dialKept(finder, keeper, !f.noNetwork), sharing)
	if l.python != nil || l.goios != nil {
		err = server.Serve(serving, l.python, l.goios)
	} else {
		<-serving.Done()
	}
	end()
	err = errors.Join(err, l.others.wait())
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tunneldListeners are where tunneld listens. python and goios may be nil.
type tunneldListeners struct {
	python, goios net.Listener
	others        *outlets
}

func (l *tunneldListeners) apis() []net.Listener {
	return slices.DeleteFunc([]net.Listener{l.python, l.goios},
		func(l net.Listener) bool { return l == nil })
}

func (l *tunneldListeners) close() {
	link.CloseAll(l.apis())
	if l.others != nil {
		l.others.close()
	}
}

// tell prints the addresses, one a line.
func (l *tunneldListeners) tell(w io.Writer) {
	for _, a := range l.apis() {
		fmt.Fprintf(w, "ready %s\n", a.Addr())
	}
	l.others.tell(w)
}

// openTunneld listens at all addresses, or at none if it returns an error.
func (c *cli) openTunneld(ctx context.Context, f *tunneldFlags) (*tunneldListeners, error) {
	l := &tunneldListeners{}
	var err error
	l.python, err = c.listenTunneld(ctx, f.listen)
	if err == nil {
		l.goios, err = c.listenTunneld(ctx, f.goios)
	}
	if err == nil {
		err = f.checkUpstreams(l.apis()...)
	}
	if err == nil {
		l.others, err = c.openOutlets(ctx, f.proxy, f.muxers)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// listenTunneld listens at an address. If another tunneld listens there, the error names it.
func (c *cli) listenTunneld(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := link.Listen(ctx, "tcp", address)
	if err == nil && c.tunneldToken() == "" && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		l.Close()
		e := usageError("%s can be reached from other computers, and the API has no passwords", address)
		return nil, e.WithHint("set IMD_TUNNELD_TOKEN, or listen on 127.0.0.1")
	}
	if err == nil {
		return l, nil
	}
	if who, e := tunneld.Identify(ctx, address); e == nil {
		return nil, fmt.Errorf("%w: %s answers there already", err, who)
	}
	return nil, err
}

func (c *cli) tellKept(udid string, e device.TunnelEvent) {
	switch {
	case e.Up:
		c.notice("tunnel %d to %s is up: %s on %s",
			e.Tunnel.Generation, udid, e.Tunnel.How, e.Tunnel.Route)
	case errors.Is(e.Err, net.ErrClosed):
		c.notice("tunnel to %s is closed", udid)
	case e.Tunnel != nil:
		c.notice("tunnel to %s is down: %v", udid, e.Err)
	default:
		c.notice("no tunnel to %s: %v", udid, e.Err)
	}
}

// manager implements the tunnels of a tunneld.Server with a keeper.
type manager struct{ keeper *device.Keeper }

func (m manager) Tunnels() []tunneld.Tunnel {
	var list []tunneld.Tunnel
	for _, k := range m.keeper.Tunnels() {
		list = append(list, sharedTunnel(k.UDID, k.Tunnel))
	}
	return list
}

func (m manager) Start(ctx context.Context, udid, _, _ string) (tunneld.Tunnel, error) {
	k, err := m.keeper.Start(ctx, udid)
	if errors.Is(err, device.ErrNotFound) {
		return tunneld.Tunnel{}, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return tunneld.Tunnel{}, err
	}
	return sharedTunnel(k.UDID, k.Tunnel), nil
}

func (m manager) Cancel(udid string) bool  { return m.keeper.Cancel(udid) }
func (m manager) Restart(udid string) bool { return m.keeper.Restart(udid) }
func (m manager) Clear()                   { m.keeper.Clear() }
func (m manager) Ready() bool              { return m.keeper.Ready() }
