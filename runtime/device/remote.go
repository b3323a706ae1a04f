package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// channel opens a remote pairing channel and learns who is there. Without a
// record the host shows its own identity. asked is called when the device shows
// its dialog.
func (f *Finder) channel(
	ctx context.Context, r Route, record *remotepair.Record, asked func(),
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
		OnConsent: asked, Rand: f.opts.Rand, Logger: f.opts.Logger,
	}
	t, err := f.transport(ctx, r)
	if err != nil {
		return nil, err
	}
	return remotepair.Connect(ctx, t, o)
}

// transport is what a channel runs on.
func (f *Finder) transport(ctx context.Context, r Route) (remotepair.Transport, error) {
	if r.Via == ViaPairing {
		c, err := r.dial(ctx, r.port)
		if err != nil {
			return nil, err
		}
		return remotepair.NewStream(c), nil
	}
	list, err := rsd.Dial(ctx, r.dial, r.port,
		rsd.Options{Label: f.opts.Label, Rand: f.opts.Rand, Logger: f.opts.Logger})
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

// trustedChannel opens a channel over which the device takes requests; a
// device that does not know this host is asked to, if that is allowed. Records
// are tried in turn: programs of one host have one name, so that pairing with
// one makes the device forget the keys of the other. A device that has other
// keys than its record says is not trusted, unless the user asked to pair anew:
// it may have been reset, or be somebody else.
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
		if last || err == nil || !errors.Is(err, remotepair.ErrNotPaired) &&
			!errors.Is(err, remotepair.ErrAuthentication) {
			return c, err
		}
	}
	return nil, ErrNotPaired // there is always a last one
}

// trustedBy opens a channel with one record, or without if that is nil. It pairs
// if it may.
func (d *Device) trustedBy(
	ctx context.Context, r Route, record *remotepair.Record, may bool,
) (*remotepair.Client, error) {
	asked, over := d.waiting()
	defer over()
	c, err := d.finder.channel(ctx, r, record, asked)
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

// pairedAnew pairs whatever is known of the device, and keeps the new record.
func (d *Device) pairedAnew(ctx context.Context, r Route) (*remotepair.Client, error) {
	asked, over := d.waiting()
	defer over()
	c, err := d.finder.channel(ctx, r, nil, asked)
	if err != nil {
		return nil, err
	}
	if err := d.pairChannel(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// waiting tells once a second of a dialog that has not been answered: asked
// begins it and over ends it. Every device says that it asks, also one whose
// answer follows at once, so that the first second passes in silence.
func (d *Device) waiting() (asked, over func()) {
	if d.finder.opts.OnTrustDialog == nil {
		return func() {}, func() {}
	}
	var ended atomic.Bool
	var notice *time.Timer
	notice = time.AfterFunc(time.Hour, func() {
		if !ended.Load() {
			d.finder.opts.OnTrustDialog(d.Info())
			notice.Reset(trustPoll)
		}
	})
	return func() { notice.Reset(trustPoll) }, func() {
		ended.Store(true)
		notice.Stop()
	}
}

// pairChannel makes the device trust this host for tunnels and keeps the
// record.
func (d *Device) pairChannel(ctx context.Context, c *remotepair.Client) error {
	record, err := c.Pair(ctx)
	if err != nil {
		return err
	}
	return d.finder.opts.RemoteStores[0].Save(ctx, d.UDID(), record)
}

// PairRemote makes the device trust this host for tunnels without lockdown, on
// the first route that has remote pairing. One that does so already is asked
// nothing.
func (d *Device) PairRemote(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
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
		if c, err = d.trustedChannel(ctx, r, true); err == nil {
			return c.Close()
		}
		if ctx.Err() != nil || declined(err) {
			break
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

// remoteRecords returns what the stores have of the remote pairing with a device.
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
		m.identity = remotepair.NewIdentity(hostName, nil)
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
