package device

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/remotexpc"
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
	Road Road
	How  string
	Err  error // nil for the one that worked
}

// raise makes a tunnel on the first road that allows one: a list that others
// made reachable; lockdown from iOS 17.4 on, which needs nothing but its
// pairing; remote pairing otherwise. The order is that of the roads.
func (d *Device) raise(ctx context.Context, o TunnelOptions) (*Tunnel, []Attempt, error) {
	info := d.Info()
	if !info.since(tunnelsSince) {
		return nil, nil, fmt.Errorf("%w: iOS %s has none, they came with %s", ErrNoTunnel, info.Version, tunnelsSince)
	}
	var attempts []Attempt
	try := func(roads []Road) (*Tunnel, error) {
		for _, r := range roads {
			for _, w := range d.ways(info, r, o) {
				t, err := w.open(ctx)
				attempts = append(attempts, Attempt{Road: r, How: w.how, Err: err})
				if err == nil {
					t.How, t.Road = w.how, r
					return t, nil
				}
				d.log.Debug("no tunnel", "layer", "device", "road", r, "how", w.how, "err", err)
				if ctx.Err() != nil {
					return nil, err
				}
			}
		}
		return nil, nil
	}
	t, err := try(info.Roads)
	if t == nil && err == nil && d.remotePairingHelps(info, attempts) {
		t, err = try(d.discover(ctx, bonjour.Remoted, bonjour.RemotePairing))
	}
	if t != nil {
		return t, attempts, nil
	}
	if err == nil {
		err = d.noTunnel(info, attempts)
	}
	return nil, attempts, err
}

// remotePairingHelps says whether roads on the network are worth a search: when
// none of them was known, and lockdown did not refuse for a reason that would
// hold there as well.
func (d *Device) remotePairingHelps(info Info, attempts []Attempt) bool {
	for _, a := range attempts {
		if a.Road.Via == ViaRemoted || a.Road.Via == ViaPairing || a.Road.Via == ViaRSD {
			return false
		}
		if errors.Is(a.Err, ErrNotPaired) {
			return false
		}
	}
	return len(d.finder.allBrowsers()) > 0
}

// noTunnel says why there is none: the last attempt's reason, or what is
// missing.
func (d *Device) noTunnel(info Info, attempts []Attempt) error {
	if n := len(attempts); n > 0 {
		if errors.Is(attempts[n-1].Err, ErrSkipped) {
			return fmt.Errorf("%w: %w", ErrNoTunnel, attempts[n-1].Err)
		}
		return attempts[n-1].Err
	}
	if !info.since(proxySince) {
		return fmt.Errorf("%w: iOS %s has them on the cable's network interface and on Wi-Fi alone, and it was not found there", ErrNoTunnel, info.Version)
	}
	return fmt.Errorf("%w: no road leads there", ErrNoTunnel)
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

// ways lists what a road allows, best first.
func (d *Device) ways(info Info, r Road, o TunnelOptions) []way {
	const proxy, quic, tcp = "CoreDeviceProxy", "remote pairing, QUIC", "remote pairing, TLS-PSK"
	if o.Road != "" && o.Road != r.Kind {
		return []way{skipped("any", "%s was asked for", o.Road)}
	}
	switch {
	case r.Via == ViaRSD:
		return []way{{"list of services", nil, func(ctx context.Context) (*Tunnel, error) { return d.listed(ctx, r) }}}
	case r.hasLockdown() && !info.since(proxySince):
		return []way{skipped(proxy, "iOS %s has it from %s on", info.Version, proxySince)}
	case r.hasLockdown() && o.Protocol == "quic":
		return []way{skipped(proxy, "QUIC was asked for")}
	case r.hasLockdown():
		return []way{{proxy, nil, func(ctx context.Context) (*Tunnel, error) { return d.proxied(ctx, r, o) }}}
	}
	paired := func(how string, p remotepair.Protocol) way {
		return way{how, nil, func(ctx context.Context) (*Tunnel, error) { return d.paired(ctx, r, p, o) }}
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
func (d *Device) listed(ctx context.Context, r Road) (*Tunnel, error) {
	t := &Tunnel{Protocol: "rsd", RSDPort: r.port, dial: r.dial, done: make(chan struct{})}
	return d.withList(ctx, t)
}

// proxied makes a tunnel of lockdown's CoreDeviceProxy.
func (d *Device) proxied(ctx context.Context, r Road, o TunnelOptions) (*Tunnel, error) {
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
	return tunnel.Options{Logger: d.finder.opts.Logger}
}

// over reads the list of services in a tunnel.
func (d *Device) over(ctx context.Context, under *tunnel.Tunnel, protocol string, ends ...func()) (*Tunnel, error) {
	return d.withList(ctx, &Tunnel{
		Protocol: protocol, Address: under.PeerAddress(), RSDPort: under.RSDPort(), MTU: under.MTU(),
		dial: under.Dial, under: under, ends: ends, done: make(chan struct{}),
	})
}

// withList finishes a tunnel that has all but its list, or closes it.
func (d *Device) withList(ctx context.Context, t *Tunnel) (*Tunnel, error) {
	var escrow []byte
	if record, err := d.finder.loadRecord(ctx, d.Info()); err == nil {
		escrow = record.EscrowBag
	}
	list, err := rsd.Dial(ctx, t.dial, t.RSDPort, rsd.Options{
		Label: d.finder.opts.Label, EscrowBag: escrow, Heartbeat: askAlive, Logger: d.finder.opts.Logger,
	})
	if err != nil {
		t.lose(err)
		return nil, err
	}
	t.list = list
	return t, nil
}

// paired has remote pairing open the listener of a tunnel, and takes it.
func (d *Device) paired(ctx context.Context, r Road, p remotepair.Protocol, o TunnelOptions) (*Tunnel, error) {
	c, err := d.trustedChannel(ctx, r)
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

func (d *Device) accepted(ctx context.Context, c *remotepair.Client, r Road, p remotepair.Protocol, o TunnelOptions) (*tunnel.Tunnel, error) {
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
	return tunnel.DialQUIC(ctx, netip.AddrPortFrom(r.host, l.Port), tunnel.Keys{Own: key, Peer: l.DevicePublicKey}, d.tunnelOptions(o))
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

// channel opens a remote pairing channel and learns who is there. Without a
// record the host shows its own identity. asked is called when the device shows
// its dialog.
func (f *Finder) channel(ctx context.Context, r Road, record *remotepair.Record, asked func()) (*remotepair.Client, error) {
	identity, err := f.opts.RemoteStores[0].Identity(ctx, f.opts.HostName)
	if err != nil {
		return nil, err
	}
	if record != nil {
		identity = record.Identity(f.opts.HostName)
	}
	o := remotepair.Options{Identity: identity, Record: record, HostName: f.opts.HostName, PIN: f.opts.PIN, OnConsent: asked, Logger: f.opts.Logger}
	t, err := f.transport(ctx, r)
	if err != nil {
		return nil, err
	}
	return remotepair.Connect(ctx, t, o)
}

// transport is what a channel runs on.
func (f *Finder) transport(ctx context.Context, r Road) (remotepair.Transport, error) {
	if r.Via == ViaPairing {
		c, err := r.dial(ctx, r.port)
		if err != nil {
			return nil, err
		}
		return remotepair.NewStream(c), nil
	}
	list, err := rsd.Dial(ctx, r.dial, r.port, rsd.Options{Label: f.opts.Label, Logger: f.opts.Logger})
	if err != nil {
		return nil, err
	}
	defer list.Close()
	x, err := list.OpenXPC(ctx, remotepair.Service, remotexpc.Options{})
	if err != nil {
		return nil, err
	}
	return remotepair.NewXPC(x), nil
}

// trustedChannel opens a channel over which the device takes requests; a
// device that does not know this host is asked to, if that is allowed.
func (d *Device) trustedChannel(ctx context.Context, r Road) (*remotepair.Client, error) {
	record, err := d.finder.remoteRecord(ctx, d.UDID())
	if err != nil {
		return nil, err
	}
	// Every device says that it asks, also one whose answer follows at once.
	notice := time.AfterFunc(time.Hour, func() {
		if d.finder.opts.OnTrustDialog != nil {
			d.finder.opts.OnTrustDialog(d.Info())
		}
	})
	defer notice.Stop()
	c, err := d.finder.channel(ctx, r, record, func() { notice.Reset(trustPoll) })
	if err != nil {
		return nil, err
	}
	if err = c.Verify(ctx); err == nil {
		return c, nil
	}
	if !errors.Is(err, remotepair.ErrNotPaired) {
		c.Close()
		return nil, err
	}
	if d.finder.opts.NoAutoPair {
		c.Close()
		return nil, fmt.Errorf("%w (%w)", ErrNotPaired, err)
	}
	if err := d.pairChannel(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// pairChannel makes the device trust this host for tunnels and keeps the
// record.
func (d *Device) pairChannel(ctx context.Context, c *remotepair.Client) error {
	record, err := c.Pair(ctx)
	if err != nil {
		return err
	}
	if key, err := c.CreateRemoteUnlockKey(ctx); err == nil {
		record.RemoteUnlockHostKey = key // not all devices have one to give
	}
	return d.finder.opts.RemoteStores[0].Save(ctx, d.UDID(), record)
}

// PairRemote makes the device trust this host for tunnels without lockdown, on
// the first road that has remote pairing. One that does so already is asked
// nothing.
func (d *Device) PairRemote(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	roads := d.Info().Roads
	if !hasPairing(roads) {
		roads = append(roads, d.discover(ctx, bonjour.Remoted, bonjour.RemotePairing)...)
	}
	err := fmt.Errorf("%w: it shows no remote pairing on any network", ErrNoRoad)
	for _, r := range roads {
		if r.Via != ViaRemoted && r.Via != ViaPairing {
			continue
		}
		var c *remotepair.Client
		if c, err = d.trustedChannel(ctx, r); err == nil {
			return c.Close()
		}
	}
	return d.fail("pair", "remote pairing", err)
}

// PairRemoteAt pairs for tunnels with whatever device answers at an address: the
// RPPairing port that Bonjour tells, or rsd.Port. It returns what that is.
func (f *Finder) PairRemoteAt(ctx context.Context, at netip.AddrPort) (Info, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	t, via := bonjour.RemotePairing, ViaPairing
	if at.Port() == rsd.Port {
		t, via = bonjour.Remoted, ViaRemoted
	}
	info, err := f.ask(ctx, t, at)
	if err != nil {
		return Info{}, &Error{Op: "pair with " + at.String(), Err: err}
	}
	d := newDevice(f, info)
	c, err := d.trustedChannel(ctx, networkRoad("wifi", via, at))
	if err != nil {
		return Info{}, d.fail("pair", "remote pairing", err)
	}
	return info, c.Close()
}

func hasPairing(roads []Road) bool {
	for _, r := range roads {
		if r.Via == ViaRemoted || r.Via == ViaPairing {
			return true
		}
	}
	return false
}

// remoteRecord looks for the record of a remote pairing; nil when there is
// none.
func (f *Finder) remoteRecord(ctx context.Context, udid string) (*remotepair.Record, error) {
	for _, s := range f.opts.RemoteStores {
		r, err := s.Load(ctx, udid)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, nil
}

// memoryStore is the RemoteStore of a program that keeps no files.
type memoryStore struct {
	mu       sync.Mutex
	identity *remotepair.Identity
	records  map[string]*remotepair.Record
}

func (m *memoryStore) Identity(_ context.Context, hostName string) (*remotepair.Identity, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identity == nil {
		m.identity = remotepair.NewIdentity(hostName)
	}
	return m.identity, nil
}

func (m *memoryStore) Load(_ context.Context, udid string) (*remotepair.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.records[udid]; ok {
		return r, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memoryStore) Save(_ context.Context, udid string, r *remotepair.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records == nil {
		m.records = map[string]*remotepair.Record{}
	}
	m.records[udid] = r
	return nil
}

func (m *memoryStore) Delete(_ context.Context, udid string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[udid]; !ok {
		return fs.ErrNotExist
	}
	delete(m.records, udid)
	return nil
}
