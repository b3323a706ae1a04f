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
	"github.com/imdlua/imdlua/runtime/device/route"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// ErrNoTunnel is the cause of an error if no tunnel to the device can be made.
var ErrNoTunnel = errors.New("no tunnel can be made")

// coreDeviceProxy is the tunnel that lockdown starts.
var coreDeviceProxy = service.Name{Lockdown: tunnel.LockdownService, Escrow: true}

// Attempt is an attempt to make a tunnel, and its result.
type Attempt struct {
	Route Route
	How   route.Method
	Err   error // nil for the one that worked
}

// raise makes a tunnel by the plan of route.Tunnel. If no step of the plan succeeds, it
// searches the network for remote pairing and tries the plan for the routes that it
// found.
func (d *Device) raise(ctx context.Context, o TunnelOptions) (*Tunnel, []Attempt, error) {
	info := d.Info()
	t, attempts, err := d.try(ctx, info, o)
	if t == nil && err == nil && d.remotePairingHelps(info, attempts) {
		var more []Attempt
		info.Routes = d.discover(ctx, pairingTypes(o)...)
		t, more, err = d.try(ctx, info, o)
		attempts = append(attempts, more...)
	}
	if t == nil && err == nil {
		err = d.noTunnel(d.Info(), o, attempts)
	}
	return t, attempts, err
}

// try takes the steps of the plan one after the other until one makes a tunnel. It
// returns an error only if no other step should be tried.
func (d *Device) try(ctx context.Context, info Info, o TunnelOptions) (*Tunnel, []Attempt, error) {
	var attempts []Attempt
	for _, s := range route.Tunnel(info.facts(o)) {
		r := info.Routes[s.Route]
		t, err := d.step(ctx, r, s, o)
		attempts = append(attempts, Attempt{Route: r, How: s.Method, Err: err})
		if err == nil {
			t.How, t.Route = s.Method, r
			return t, attempts, nil
		}
		d.log.Debug("no tunnel", "layer", "device", "route", r, "how", s.Method, "err", err)
		if ctx.Err() != nil || declined(err) {
			return nil, attempts, err
		}
	}
	return nil, attempts, nil
}

// step takes one step of a plan for a tunnel.
func (d *Device) step(
	ctx context.Context, r Route, s route.Step, o TunnelOptions,
) (*Tunnel, error) {
	if s.Skip != "" {
		return nil, fmt.Errorf("%w: %s", ErrSkipped, s.Skip)
	}
	switch s.Method {
	case route.Listed:
		return d.listed(ctx, r)
	case route.Proxy:
		return d.proxied(ctx, r, o)
	case route.QUIC:
		return d.paired(ctx, r, remotepair.QUIC, o)
	default:
		return d.paired(ctx, r, remotepair.TCP, o)
	}
}

// remotePairingHelps reports whether a search for remote pairing on the network may
// help. It does not if the device has no tunnels, if a route on the network answered,
// or if lockdown refused for a reason that holds for remote pairing, too. Routes that
// no longer reach the device, for example after a restart, are forgotten.
func (d *Device) remotePairingHelps(info Info, attempts []Attempt) bool {
	if !info.since(route.TunnelsSince) {
		return false
	}
	var lost []Route
	for _, a := range attempts {
		network := a.Route.Via.HasPairing()
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

// declined reports whether the user of the device has refused, or cannot be asked.
// Other routes would only ask again.
func declined(err error) bool {
	return errors.Is(err, remotepair.ErrDenied) || errors.Is(err, lockdown.ErrUserDeniedPairing)
}

// unreachable reports whether nothing answered at all.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// pairingTypes returns the Bonjour types of remote pairing on the requested routes.
func pairingTypes(o TunnelOptions) []bonjour.Type {
	switch o.Route {
	case "usb":
		return []bonjour.Type{bonjour.Remoted}
	case "wifi":
		return []bonjour.Type{bonjour.RemotePairing}
	}
	return []bonjour.Type{bonjour.Remoted, bonjour.RemotePairing}
}

// noTunnel returns the error of the last attempt that was made, or says what is missing
// if there was none.
func (d *Device) noTunnel(info Info, o TunnelOptions, attempts []Attempt) error {
	for _, a := range slices.Backward(attempts) {
		if !errors.Is(a.Err, ErrSkipped) {
			return a.Err
		}
	}
	return fmt.Errorf("%w: %s", ErrNoTunnel, route.NoTunnel(info.facts(o)))
}

// ErrSkipped is the cause of an Attempt that was not made because the plan leaves it
// out.
var ErrSkipped = errors.New("not tried")

// listed returns a Tunnel for a list of services that can be reached directly.
func (d *Device) listed(ctx context.Context, r Route) (*Tunnel, error) {
	t := &Tunnel{Protocol: "rsd", RSDPort: r.port, dial: r.dial, done: make(chan struct{})}
	return d.withList(ctx, t, nil)
}

// proxied makes a tunnel through lockdown's CoreDeviceProxy.
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
	return tunnel.Options{Kernel: o.Kernel, Rand: d.Rand(), Logger: d.finder.opts.Logger}
}

// over returns a Tunnel for an established tunnel, after it has read the list of
// services.
func (d *Device) over(
	ctx context.Context, under *tunnel.Tunnel, protocol string, ends ...func(),
) (*Tunnel, error) {
	return d.withList(ctx, &Tunnel{
		Protocol: protocol, Address: under.PeerAddress(), RSDPort: under.RSDPort(),
		MTU: under.MTU(), Interface: under.Interface(),
		dial: under.Dial, under: under, ends: ends, done: make(chan struct{}),
	}, d.escrowBag(ctx))
}

// withList reads the list of services of a tunnel, or closes the tunnel. escrow is nil
// if the list may belong to anybody.
func (d *Device) withList(ctx context.Context, t *Tunnel, escrow []byte) (*Tunnel, error) {
	host, err := d.finder.host(ctx)
	var list *rsd.Client
	if err == nil {
		list, err = d.finder.dialList(ctx, t.dial, t.RSDPort,
			rsd.Options{EscrowBag: escrow, Heartbeat: askAlive, Patience: rsd.UsualPatience})
	}
	if err != nil {
		t.lose(err)
		return nil, err
	}
	t.list, t.Host = list, host
	return t, nil
}

// escrowBag returns the key that opens services of a locked device in a tunnel: the
// escrow bag of lockdown's pairing, or the key of remote pairing if there is none.
func (d *Device) escrowBag(ctx context.Context) []byte {
	if r, err := d.finder.loadRecord(ctx, d.Info()); err == nil {
		return r.EscrowBag
	}
	records, err := d.finder.remoteRecords(ctx, d.UDID())
	if err != nil {
		return nil
	}
	for _, r := range records {
		key, err := base64.StdEncoding.DecodeString(r.RemoteUnlockHostKey)
		if err == nil && len(key) > 0 {
			return key
		}
	}
	return nil
}

// paired opens the listener of a tunnel by remote pairing and connects to it.
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

// tunnelKey returns this program's key for QUIC. It is generated once, because that
// takes a while.
func (f *Finder) tunnelKey(ctx context.Context) (*rsa.PrivateKey, error) {
	if f.parent != nil {
		return f.parent.tunnelKey(ctx)
	}
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
