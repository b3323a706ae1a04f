package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

const (
	// trustPoll is how often a pending Trust dialog is asked about.
	trustPoll = time.Second
	// recordTime is how long one muxer may take with a pair record. There are
	// muxers that never answer a request that they do not know (netmuxd), and
	// the record may be elsewhere.
	recordTime = 5 * time.Second
)

// Pair makes the device trust this host. While the Trust dialog is on the
// device's screen it asks again each second until ctx ends (DefaultTimeout
// when ctx has no deadline); the error then matches
// lockdown.ErrPairingDialogResponsePending.
func (d *Device) Pair(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	if _, ok := d.Info().lockdown(); !ok {
		return d.fail("pair", "lockdown", fmt.Errorf(
			"%w with lockdown at its end: the device is reached through a tunnel alone",
			ErrNoRoute,
		))
	}
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return d.fail("pair", "lockdown", context.Cause(ctx))
	}
	d.dropSession()
	if _, err := d.pair(ctx); err != nil {
		return d.fail("pair", "lockdown", err)
	}
	return nil
}

// Unpair makes the device forget this host and deletes the pair record. The error
// is ErrRecordKept when only the second of these failed.
func (d *Device) Unpair(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	record, err := d.finder.loadRecord(ctx, d.Info())
	if err != nil {
		return d.fail("unpair", "lockdown", err)
	}
	select {
	case <-d.turn:
		defer func() { d.turn <- struct{}{} }()
	case <-ctx.Done():
		return d.fail("unpair", "lockdown", context.Cause(ctx))
	}
	d.dropSession()
	c, err := d.plain(ctx)
	if err != nil {
		return d.fail("unpair", "lockdown", err)
	}
	defer c.Close()
	// A device that has forgotten the host already is as good as unpaired.
	if err := c.Unpair(ctx, record.Public()); err != nil &&
		!errors.Is(err, lockdown.ErrInvalidHostID) {
		return d.fail("unpair", "lockdown", err)
	}
	if err := d.finder.deleteRecord(ctx, d.Info()); err != nil {
		return d.fail("unpair", "lockdown", fmt.Errorf("%w: %w", ErrRecordKept, err))
	}
	return nil
}

func (d *Device) dropSession() {
	if d.session != nil {
		d.session.Close()
		d.session = nil
	}
}

// pair runs the exchange with one record until the device has decided, and
// stores the record. The keys are made once: making them takes longer than a
// poll.
func (d *Device) pair(ctx context.Context) (*pair.Record, error) {
	c, err := d.plain(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	record, err := d.newRecord(ctx, c)
	if err != nil {
		return nil, err
	}
	for {
		result, err := c.Pair(ctx, record.Public(),
			lockdown.PairOptions{HostName: d.finder.opts.HostName})
		if err == nil {
			record.EscrowBag = result.EscrowBag
			return record, d.finder.saveRecord(ctx, d.Info(), record)
		}
		if !errors.Is(err, lockdown.ErrPairingDialogResponsePending) {
			return nil, err
		}
		d.log.Info("waiting for Trust to be tapped on the device", "layer", "device")
		if d.finder.opts.OnTrustDialog != nil {
			d.finder.opts.OnTrustDialog(d.Info())
		}
		t := time.NewTimer(trustPoll)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
	}
}

func (d *Device) newRecord(ctx context.Context, c *lockdown.Client) (*pair.Record, error) {
	key, err := c.Get(ctx, "", "DevicePublicKey")
	if err != nil {
		return nil, err
	}
	mac, err := c.Get(ctx, "", "WiFiAddress")
	if err != nil {
		return nil, err
	}
	buid, err := d.finder.buid(ctx, d.Info())
	if err != nil {
		return nil, err
	}
	pem, _ := key.([]byte)
	address, _ := mac.(string)
	keys, err := d.finder.hostKeys(ctx)
	if err != nil {
		return nil, err
	}
	return pair.WithKeys(keys, pair.Params{
		DevicePublicKey: pem, WiFiAddress: address, HostID: pair.NewUUID(), SystemBUID: buid,
	})
}

// hostKeys returns the keys that pairings of this Finder use. Making them takes
// a tenth of a second and more, so a shelf of new phones shares one pair; the
// HostID and the certificates are each phone's own.
func (f *Finder) hostKeys(ctx context.Context) (*pair.Keys, error) {
	select {
	case f.keysTurn <- struct{}{}:
		defer func() { <-f.keysTurn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if f.keys == nil {
		keys, err := pair.NewKeys(ctx)
		if err != nil {
			return nil, err
		}
		f.keys = keys
	}
	return f.keys, nil
}

// loadRecord looks where records may be: the muxer first, since every other
// tool of the host keeps them there, then the stores of Options.
func (f *Finder) loadRecord(ctx context.Context, info Info) (*pair.Record, error) {
	var errs []error
	late := false
	for _, m := range f.recordMuxers(info) {
		var b []byte
		err := brief(ctx, func(ctx context.Context) (err error) {
			b, err = m.ReadPairRecord(ctx, info.UDID)
			return err
		})
		late = late || errors.Is(err, context.DeadlineExceeded)
		if err == nil {
			record, err := pair.Parse(b)
			if err == nil {
				return record, nil
			}
			errs = append(errs, err)
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, s := range f.opts.Stores {
		record, err := s.Load(ctx, info.UDID)
		if err == nil {
			return record, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if late { // there may be one, and pairing anew would replace it
		return nil, &Error{UDID: info.UDID, Op: "read pair record", Err: errors.Join(errs...)}
	}
	return nil, &Error{
		UDID: info.UDID, Op: "read pair record",
		Err: errors.Join(append([]error{ErrNotPaired}, errs...)...),
	}
}

// brief calls one muxer for a pair record.
func brief(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	return ask(ctx)
}

// recordMuxers are the muxers that may have the device's record: those that it
// is behind first. They keep records of devices that are not plugged in, too.
func (f *Finder) recordMuxers(info Info) []*usbmux.Client {
	var list []*usbmux.Client
	for _, r := range info.muxed() {
		list = append(list, r.mux)
	}
	for _, m := range f.allMuxers() {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// saveRecord stores a record at the muxer, so that other tools find it, and in
// the first store that takes it when the muxer refuses.
func (f *Finder) saveRecord(ctx context.Context, info Info, record *pair.Record) error {
	b, err := record.Encode()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range info.muxed() {
		err := brief(ctx, func(ctx context.Context) error {
			return r.mux.SavePairRecord(ctx, info.UDID, r.DeviceID, b)
		})
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	for _, s := range f.opts.Stores {
		if err := s.Save(ctx, info.UDID, record); err == nil {
			return nil
		} else {
			errs = append(errs, err)
		}
	}
	return &Error{UDID: info.UDID, Op: "store pair record", Err: errors.Join(errs...)}
}

// deleteRecord begins with the stores, which are files: a muxer may use up the time.
func (f *Finder) deleteRecord(ctx context.Context, info Info) error {
	var errs []error
	done := false
	for _, s := range f.opts.Stores {
		err := s.Delete(ctx, info.UDID)
		done = done || err == nil
		errs = append(errs, err)
	}
	for _, m := range f.recordMuxers(info) {
		err := brief(ctx, func(ctx context.Context) error {
			return m.DeletePairRecord(ctx, info.UDID)
		})
		done = done || err == nil
		errs = append(errs, err)
	}
	if done {
		return nil
	}
	return &Error{UDID: info.UDID, Op: "delete pair record", Err: errors.Join(errs...)}
}

// buid returns the identity of this host: the muxer's, so that the device sees
// all tools of the host as one.
func (f *Finder) buid(ctx context.Context, info Info) (string, error) {
	var errs []error
	for _, m := range f.recordMuxers(info) {
		var id string
		err := brief(ctx, func(ctx context.Context) (err error) {
			id, err = m.BUID(ctx)
			return err
		})
		if err == nil {
			return id, nil
		}
		errs = append(errs, err)
	}
	for _, s := range f.opts.Stores {
		id, err := s.BUID(ctx)
		if err == nil {
			return id, nil
		}
		errs = append(errs, err)
	}
	return "", &Error{UDID: info.UDID, Op: "read host identity", Err: errors.Join(errs...)}
}
