package device

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// What iOS versions have, from sheet 44.
const (
	tunnelsSince = "17.0" // services of developers are inside tunnels
	proxySince   = "17.4" // CoreDeviceProxy over lockdown
	tcpSince     = "18.2" // no QUIC any more
)

// ErrNoTunnel is the cause when no tunnel to the device can be made.
var ErrNoTunnel = errors.New("no tunnel can be made")

// coreDeviceProxy is the tunnel that lockdown starts.
var coreDeviceProxy = service.Name{Lockdown: tunnel.LockdownService, Escrow: true}

// Attempt is a way to make a tunnel, and what became of it.
type Attempt struct {
	Route Route
	How   string
	Err   error // nil for the one that worked
}

// raise makes a tunnel on the first route that allows one: a list that others
// made reachable; lockdown from iOS 17.4 on, which needs nothing but its
// pairing; remote pairing otherwise. The order is that of the routes.
func (d *Device) raise(ctx context.Context, o TunnelOptions) (*Tunnel, []Attempt, error) {
	info := d.Info()
	if !info.since(tunnelsSince) {
		return nil, nil, fmt.Errorf("%w: iOS %s has none, they came with %s", ErrNoTunnel,
			info.Version, tunnelsSince)
	}
	var attempts []Attempt
	try := func(routes []Route) (*Tunnel, error) {
		for _, r := range routes {
			for _, w := range d.ways(info, r, o) {
				t, err := w.open(ctx)
				attempts = append(attempts, Attempt{Route: r, How: w.how, Err: err})
				if err == nil {
					t.How, t.Route = w.how, r
					return t, nil
				}
				d.log.Debug("no tunnel", "layer", "device", "route", r, "how", w.how, "err", err)
				if ctx.Err() != nil || declined(err) {
					return nil, err
				}
			}
		}
		return nil, nil
	}
	t, err := try(info.Routes)
	if t == nil && err == nil && d.remotePairingHelps(attempts) {
		t, err = try(d.discover(ctx, pairingTypes(o)...))
	}
	if t != nil {
		return t, attempts, nil
	}
	if err == nil {
		err = d.noTunnel(d.Info(), o, attempts)
	}
	return nil, attempts, err
}

// remotePairingHelps says whether routes on the network are worth a search: when
// none of them answered, and lockdown did not refuse for a reason that would
// hold there as well. Routes that lead nowhere any more, as after a restart, are
// forgotten.
func (d *Device) remotePairingHelps(attempts []Attempt) bool {
	var lost []Route
	for _, a := range attempts {
		network := a.Route.Via == ViaRemoted || a.Route.Via == ViaPairing
		switch {
		case a.Route.Via == ViaRSD || errors.Is(a.Err, ErrNotPaired):
			return false
		case network && unreachable(a.Err):
			lost = append(lost, a.Route)
		case network && !errors.Is(a.Err, ErrSkipped):
			return false
		}
	}
	d.forgetRoutes(lost)
	return len(d.finder.allBrowsers()) > 0
}

// declined says whether the device's user has said no, or cannot be asked: other
// ways would only ask again.
func declined(err error) bool {
	return errors.Is(err, remotepair.ErrDenied) || errors.Is(err, lockdown.ErrUserDeniedPairing)
}

// unreachable says whether nobody was there at all.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// pairingTypes is what has remote pairing on the routes that are wanted.
func pairingTypes(o TunnelOptions) []bonjour.Type {
	switch o.Route {
	case "usb":
		return []bonjour.Type{bonjour.Remoted}
	case "wifi":
		return []bonjour.Type{bonjour.RemotePairing}
	}
	return []bonjour.Type{bonjour.Remoted, bonjour.RemotePairing}
}

// noTunnel says why there is none: the reason of the last attempt that was made,
// or what is missing.
func (d *Device) noTunnel(info Info, o TunnelOptions, attempts []Attempt) error {
	network := false
	for _, a := range slices.Backward(attempts) {
		if !errors.Is(a.Err, ErrSkipped) {
			return a.Err
		}
		network = network || a.Route.Via == ViaRemoted || a.Route.Via == ViaPairing
	}
	last := len(attempts) - 1
	switch {
	case o.Route != "" &&
		!slices.ContainsFunc(info.Routes, func(r Route) bool { return r.Kind == o.Route }):
		return fmt.Errorf("%w: no route by %s leads there", ErrNoTunnel, o.Route)
	case !info.since(proxySince) && !network:
		return fmt.Errorf(
			"%w: iOS %s has them on the cable's network interface and on Wi-Fi alone, and it was not found there",
			ErrNoTunnel, info.Version,
		)
	case last < 0:
		return fmt.Errorf("%w: no route leads there", ErrNoTunnel)
	case attempts[last].How == "":
		return fmt.Errorf("%w: %w", ErrNoTunnel, attempts[last].Err)
	}
	return fmt.Errorf("%w: %s %w", ErrNoTunnel, attempts[last].How, attempts[last].Err)
}

// way is one attempt.
type way struct {
	how  string
	skip error // why it is not to be tried; then open gives it
	open func(context.Context) (*Tunnel, error)
}

// ErrSkipped is the cause of an Attempt that was not made.
var ErrSkipped = errors.New("not tried")

func skipped(how, format string, args ...any) way {
	err := fmt.Errorf("%w: "+format, append([]any{ErrSkipped}, args...)...)
	return way{how, err, func(context.Context) (*Tunnel, error) { return nil, err }}
}

// ways lists what a route allows, best first.
func (d *Device) ways(info Info, r Route, o TunnelOptions) []way {
	const proxy, quic, tcp = "CoreDeviceProxy", "remote pairing, QUIC", "remote pairing, TLS-PSK"
	if o.Route != "" && o.Route != r.Kind {
		return []way{skipped("", "%s was asked for", o.Route)}
	}
	switch {
	case r.Via == ViaRSD:
		return []way{{
			"list of services", nil,
			func(ctx context.Context) (*Tunnel, error) { return d.listed(ctx, r) },
		}}
	case r.hasLockdown() && !info.since(proxySince):
		return []way{skipped(proxy, "iOS %s has it from %s on", info.Version, proxySince)}
	case r.hasLockdown() && o.Protocol == "quic":
		return []way{skipped(proxy, "QUIC was asked for")}
	case r.hasLockdown():
		return []way{{
			proxy, nil, func(ctx context.Context) (*Tunnel, error) { return d.proxied(ctx, r, o) },
		}}
	}
	paired := func(how string, p remotepair.Protocol) way {
		return way{
			how, nil, func(ctx context.Context) (*Tunnel, error) { return d.paired(ctx, r, p, o) },
		}
	}
	switch {
	case o.Protocol == "tcp":
		return []way{paired(tcp, remotepair.TCP)}
	case o.Protocol == "quic":
		return []way{paired(quic, remotepair.QUIC)}
	case info.Version != "" && info.since(tcpSince):
		return []way{paired(tcp, remotepair.TCP)}
	case info.Version == "":
		return []way{paired(tcp, remotepair.TCP), paired(quic, remotepair.QUIC)}
	}
	return []way{paired(quic, remotepair.QUIC), paired(tcp, remotepair.TCP)}
}

// listed takes a list of services as it is.
func (d *Device) listed(ctx context.Context, r Route) (*Tunnel, error) {
	t := &Tunnel{Protocol: "rsd", RSDPort: r.port, dial: r.dial, done: make(chan struct{})}
	return d.withList(ctx, t, nil)
}

// proxied makes a tunnel of lockdown's CoreDeviceProxy.
func (d *Device) proxied(ctx context.Context, r Route, o TunnelOptions) (*Tunnel, error) {
	c, err := d.openLockdown(ctx, coreDeviceProxy, r)
	if err != nil {
		return nil, err
	}
	under, err := tunnel.Open(ctx, c, d.tunnelOptions(o))
	if err != nil {
		return nil, err
	}
	return d.over(ctx, under, "tcp")
}

func (d *Device) tunnelOptions(o TunnelOptions) tunnel.Options {
	return tunnel.Options{Kernel: o.Kernel, Logger: d.finder.opts.Logger}
}

// over reads the list of services in a tunnel.
func (d *Device) over(
	ctx context.Context, under *tunnel.Tunnel, protocol string, ends ...func(),
) (*Tunnel, error) {
	return d.withList(ctx, &Tunnel{
		Protocol: protocol, Address: under.PeerAddress(), RSDPort: under.RSDPort(),
		MTU: under.MTU(), Interface: under.Interface(),
		dial: under.Dial, under: under, ends: ends, done: make(chan struct{}),
	}, d.escrowBag(ctx))
}

// withList finishes a tunnel that has all but its list, or closes it. escrow is nil
// for a list at whose other end anybody may be.
func (d *Device) withList(ctx context.Context, t *Tunnel, escrow []byte) (*Tunnel, error) {
	list, err := rsd.Dial(ctx, t.dial, t.RSDPort, rsd.Options{
		Label: d.finder.opts.Label, EscrowBag: escrow, Heartbeat: askAlive,
		Logger: d.finder.opts.Logger,
	})
	if err != nil {
		t.lose(err)
		return nil, err
	}
	t.list = list
	return t, nil
}

// escrowBag is what opens services of a locked device in a tunnel: that of
// lockdown's pairing, or else the key that remote pairing gave.
func (d *Device) escrowBag(ctx context.Context) []byte {
	if r, err := d.finder.loadRecord(ctx, d.Info()); err == nil {
		return r.EscrowBag
	}
	records, err := d.finder.remoteRecords(ctx, d.UDID())
	if err != nil {
		return nil
	}
	for _, r := range records {
		if key, err := base64.StdEncoding.DecodeString(r.RemoteUnlockHostKey); err == nil &&
			len(key) > 0 {
			return key
		}
	}
	return nil
}

// paired has remote pairing open the listener of a tunnel, and takes it.
func (d *Device) paired(
	ctx context.Context, r Route, p remotepair.Protocol, o TunnelOptions,
) (*Tunnel, error) {
	c, err := d.trustedChannel(ctx, r, false)
	if err != nil {
		return nil, err
	}
	// The device closes the listener with the channel.
	t, err := d.accepted(ctx, c, r, p, o)
	if err != nil {
		c.Close()
		return nil, err
	}
	return d.over(ctx, t, string(p), func() { c.Close() })
}

func (d *Device) accepted(
	ctx context.Context, c *remotepair.Client, r Route, p remotepair.Protocol, o TunnelOptions,
) (*tunnel.Tunnel, error) {
	if p == remotepair.TCP {
		l, err := c.CreateListener(ctx, remotepair.ListenerRequest{Protocol: p})
		if err != nil {
			return nil, err
		}
		conn, err := r.dial(ctx, l.Port)
		if err != nil {
			return nil, err
		}
		return tunnel.OpenPSK(ctx, conn, l.Key, d.tunnelOptions(o))
	}
	key, err := d.finder.tunnelKey(ctx)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	l, err := c.CreateListener(ctx, remotepair.ListenerRequest{Protocol: p, Key: public})
	if err != nil {
		return nil, err
	}
	return tunnel.DialQUIC(ctx, netip.AddrPortFrom(r.host, l.Port),
		tunnel.Keys{Own: key, Peer: l.DevicePublicKey}, d.tunnelOptions(o))
}

// tunnelKey returns this program's key for QUIC. Making one takes a while, so
// it is made once.
func (f *Finder) tunnelKey(ctx context.Context) (*rsa.PrivateKey, error) {
	select {
	case f.keysTurn <- struct{}{}:
		defer func() { <-f.keysTurn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if f.quicKey == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		f.quicKey = key
	}
	return f.quicKey, nil
}
