package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// channel opens a remote pairing channel and reads which device is at its end. Without
// a record the host presents its own identity. consent is OnConsent of
// remotepair.Options.
func (f *Finder) channel(
	ctx context.Context, r Route, record *remotepair.Record, consent func() func(),
) (*remotepair.Client, error) {
	identity, err := f.opts.RemoteStores[0].Identity(ctx, f.opts.HostName)
	if err != nil {
		return nil, err
	}
	if record != nil {
		identity = record.Identity(f.opts.HostName)
	}
	o := remotepair.Options{
		Identity: identity, Record: record, HostName: f.opts.HostName, PIN: f.opts.PIN,
		OnConsent: consent, Rand: f.opts.Rand, Logger: f.opts.Logger,
	}
	t, err := f.transport(ctx, r)
	if err != nil {
		return nil, err
	}
	return remotepair.Connect(ctx, t, o)
}

// transport returns the transport that a channel on a route runs on.
func (f *Finder) transport(ctx context.Context, r Route) (remotepair.Transport, error) {
	if r.Via == ViaPairing {
		c, err := r.dial(ctx, r.port)
		if err != nil {
			return nil, err
		}
		return remotepair.NewStream(c), nil
	}
	list, err := f.dialList(ctx, r.dial, r.port, rsd.Options{Patience: rsd.UsualPatience})
	if err != nil {
		return nil, err
	}
	defer list.Close()
	x, err := list.OpenXPC(ctx, remotepair.Service, remotexpc.Options{
		MaxMessage: remotepair.MaxMessage, Buffer: 4 * remotepair.MaxMessage,
	})
	if err != nil {
		return nil, err
	}
	return remotepair.NewXPC(x), nil
}

// trustedChannel opens a channel over which the device accepts requests. If the device
// does not know this host, trustedChannel pairs with it, if that is allowed. It tries
// all records in turn: programs on one host share one name, so that pairing by one
// program makes the device forget the keys of another. A device whose keys differ from
// its record is not trusted unless anew is true, that is, unless the user asked to pair
// again. It may have been reset, or it may be another device.
func (d *Device) trustedChannel(
	ctx context.Context, r Route, anew bool,
) (*remotepair.Client, error) {
	records, err := d.finder.remoteRecords(ctx, d.UDID())
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		records = []*remotepair.Record{nil}
	}
	for n, record := range records {
		last := n == len(records)-1
		c, err := d.trustedBy(ctx, r, record, last)
		if last && anew && errors.Is(err, remotepair.ErrAuthentication) {
			return d.pairedAnew(ctx, r)
		}
		unknown := errors.Is(err, remotepair.ErrNotPaired) ||
			errors.Is(err, remotepair.ErrAuthentication)
		if last || !unknown {
			return c, err
		}
	}
	return nil, ErrNotPaired // not reached, since there is at least one record
}

// trustedBy opens a channel with one record, or with none if record is nil. It pairs
// only if may is true.
func (d *Device) trustedBy(
	ctx context.Context, r Route, record *remotepair.Record, may bool,
) (*remotepair.Client, error) {
	c, err := d.finder.channel(ctx, r, record, d.consent)
	if err != nil {
		return nil, err
	}
	err = c.Verify(ctx)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, remotepair.ErrNotPaired) {
		c.Close()
		return nil, err
	}
	if d.finder.opts.NoAutoPair || !may {
		c.Close()
		return nil, fmt.Errorf("%w (%w)", ErrNotPaired, err)
	}
	if err := d.pairChannel(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// pairedAnew pairs with the device, whatever records there are, and stores the new
// record.
func (d *Device) pairedAnew(ctx context.Context, r Route) (*remotepair.Client, error) {
	c, err := d.finder.channel(ctx, r, nil, d.consent)
	if err != nil {
		return nil, err
	}
	if err := d.pairChannel(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// consent calls OnTrustDialog once a second until the dialog of the device is closed.
// Devices that answer at once also report a dialog, so that the first call is made
// after a second.
func (d *Device) consent() (closed func()) {
	if d.finder.opts.OnTrustDialog == nil {
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		second := time.NewTicker(trustPoll)
		defer second.Stop()
		for {
			select {
			case <-ended:
				return
			case <-second.C:
				d.finder.opts.OnTrustDialog(d.Info())
			}
		}
	}()
	return func() { close(ended) }
}

// pairChannel makes the device trust this host for tunnels and stores the record.
func (d *Device) pairChannel(ctx context.Context, c *remotepair.Client) error {
	record, err := c.Pair(ctx)
	if err != nil {
		return err
	}
	return d.finder.opts.RemoteStores[0].Save(ctx, d.UDID(), record)
}

// PairRemote makes the device trust this host for tunnels, without lockdown, on the
// first route that has remote pairing. It asks nothing of a device that already does.
func (d *Device) PairRemote(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	if d.finder.opts.NoPair {
		return d.fail("pair", "remote pairing", ErrPairingOff)
	}
	routes := d.Info().Routes
	if !hasPairing(routes) {
		routes = slices.Concat(routes, d.discover(ctx, bonjour.Remoted, bonjour.RemotePairing))
	}
	err := fmt.Errorf("%w: it shows no remote pairing on any network", ErrNoRoute)
	for _, r := range routes {
		if r.Via != ViaRemoted && r.Via != ViaPairing {
			continue
		}
		var c *remotepair.Client
		c, err = d.trustedChannel(ctx, r, true)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil || declined(err) {
			break
		}
	}
	return d.fail("pair", "remote pairing", err)
}

// PairRemoteAt pairs for tunnels with the device at an address, whichever it is, and
// returns its description. The port is that of remote pairing (RPPairing) in Bonjour,
// or rsd.Port.
func (f *Finder) PairRemoteAt(ctx context.Context, at netip.AddrPort) (Info, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if f.opts.NoPair {
		return Info{}, &Error{Op: "pair with " + at.String(), Err: ErrPairingOff}
	}
	t, via := bonjour.RemotePairing, ViaPairing
	if at.Port() == rsd.Port {
		t, via = bonjour.Remoted, ViaRemoted
	}
	info, err := f.ask(ctx, t, at)
	if err != nil {
		return Info{}, &Error{Op: "pair with " + at.String(), Err: err}
	}
	d := newDevice(f, info)
	c, err := d.trustedChannel(ctx, networkRoute("wifi", via, at), true)
	if err != nil {
		return Info{}, d.fail("pair", "remote pairing", err)
	}
	return info, c.Close()
}

func hasPairing(routes []Route) bool {
	for _, r := range routes {
		if r.Via.HasPairing() {
			return true
		}
	}
	return false
}

// remoteRecords returns the records of remote pairing with a device from all stores.
func (f *Finder) remoteRecords(ctx context.Context, udid string) ([]*remotepair.Record, error) {
	var records []*remotepair.Record
	for _, s := range f.opts.RemoteStores {
		r, err := s.Load(ctx, udid)
		switch {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return records, nil
}

// memoryStore is the RemoteStore of a program that does not store files.
type memoryStore struct {
	rand io.Reader // of the Finder

	mu       sync.Mutex
	identity *remotepair.Identity
	records  map[string]*remotepair.Record
}

func (m *memoryStore) Identity(_ context.Context, hostName string) (*remotepair.Identity, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identity == nil {
		m.identity = remotepair.NewIdentity(hostName, m.rand)
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

func (m *memoryStore) List(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.records)), nil
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
