package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

const (
	// trustPoll is the interval at which a device with a Trust dialog is asked again.
	trustPoll = time.Second
	// recordTime bounds a request for a pair record to one muxer. Some muxers, such as
	// netmuxd, never answer a request that they do not know, and another muxer may have
	// the record.
	recordTime = 5 * time.Second
)

// Pair makes the device trust this host. While the device shows its Trust dialog, Pair
// asks again each second until ctx ends (after DefaultTimeout if ctx has no deadline).
// The error then matches lockdown.ErrPairingDialogResponsePending.
func (d *Device) Pair(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	if d.finder.opts.NoPair {
		return d.fail("pair", "lockdown", ErrPairingOff)
	}
	if _, ok := d.Info().lockdown(); !ok {
		return d.fail("pair", "lockdown", fmt.Errorf(
			"%w with lockdown at its end: the device is reached through a tunnel alone",
			ErrNoRoute,
		))
	}
	done, err := d.sessions.pairs(ctx)
	if err != nil {
		return d.fail("pair", "lockdown", err)
	}
	defer done()
	d.sessions.renew()
	defer d.sessions.renew()
	if _, err := d.pair(ctx); err != nil {
		return d.fail("pair", "lockdown", err)
	}
	return nil
}

// Unpair makes the device forget this host and deletes the pair record. It returns
// ErrRecordKept if only deleting the record failed.
func (d *Device) Unpair(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	record, err := d.finder.loadRecord(ctx, d.Info())
	if err != nil {
		return d.fail("unpair", "lockdown", err)
	}
	done, err := d.sessions.pairs(ctx)
	if err != nil {
		return d.fail("unpair", "lockdown", err)
	}
	defer done()
	d.sessions.renew()
	defer d.sessions.renew()
	c, err := d.plain(ctx)
	if err != nil {
		return d.fail("unpair", "lockdown", err)
	}
	defer c.Close()
	// A device that has forgotten this host before is unpaired, too.
	err = c.Unpair(ctx, record.Public())
	if err != nil && !errors.Is(err, lockdown.ErrInvalidHostID) {
		return d.fail("unpair", "lockdown", err)
	}
	if err := d.finder.deleteRecord(ctx, d.Info()); err != nil {
		return d.fail("unpair", "lockdown", fmt.Errorf("%w: %w", ErrRecordKept, err))
	}
	return nil
}

// pair sends one record until the user of the device has decided, and stores it. The
// keys are generated once, because that takes longer than the interval between
// requests.
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
		if ended := link.Sleep(ctx, trustPoll); ended != nil {
			return nil, fmt.Errorf("%w (%w)", err, ended)
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
		DevicePublicKey: pem, WiFiAddress: address, HostID: link.UUIDText(d.Rand()),
		SystemBUID: buid,
	})
}

// hostKeys returns the keys for the pairings of this Finder. Generating them takes a
// tenth of a second or more, so that all devices share one pair. The HostID and the
// certificates differ for each device.
func (f *Finder) hostKeys(ctx context.Context) (*pair.Keys, error) {
	if f.parent != nil {
		return f.parent.hostKeys(ctx)
	}
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

// loadRecord returns the pair record of a device. It asks the muxer first, because the
// other tools of the host keep their records there, and then the stores of Options.
func (f *Finder) loadRecord(ctx context.Context, info Info) (*pair.Record, error) {
	var errs []error
	late := false
	for _, m := range f.recordMuxers(info) {
		var b []byte
		err := askMuxer(ctx, func(ctx context.Context) (err error) {
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
	// There may be a record that was not found in time, and pairing would replace it.
	if late {
		return nil, &Error{UDID: info.UDID, Op: "read pair record", Err: errors.Join(errs...)}
	}
	return nil, &Error{
		UDID: info.UDID, Op: "read pair record",
		Err: errors.Join(append([]error{ErrNotPaired}, errs...)...),
	}
}

// askMuxer calls ask with the time that one muxer has for a pair record.
func askMuxer(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	return ask(ctx)
}

// recordMuxers returns the muxers that may have the device's record. Those that have
// the device come first. Muxers also keep records of devices that are not connected.
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

// saveRecord stores a record at the muxer, where other tools find it. If the muxer
// refuses, the record goes to the first store that accepts it.
func (f *Finder) saveRecord(ctx context.Context, info Info, record *pair.Record) error {
	b, err := record.Encode()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range info.muxed() {
		err := askMuxer(ctx, func(ctx context.Context) error {
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

// deleteRecord deletes from the stores first, which are files. A muxer may use up the
// time.
func (f *Finder) deleteRecord(ctx context.Context, info Info) error {
	var errs []error
	done := false
	for _, s := range f.opts.Stores {
		err := s.Delete(ctx, info.UDID)
		done = done || err == nil
		errs = append(errs, err)
	}
	for _, m := range f.recordMuxers(info) {
		err := askMuxer(ctx, func(ctx context.Context) error {
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

// buid returns the muxer's SystemBUID, so that the device sees all tools of this host
// as one host.
func (f *Finder) buid(ctx context.Context, info Info) (string, error) {
	var errs []error
	for _, m := range f.recordMuxers(info) {
		var id string
		err := askMuxer(ctx, func(ctx context.Context) (err error) {
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
	if len(errs) == 0 {
		errs = append(errs, errors.New("there is no place for pair records"))
	}
	return "", &Error{UDID: info.UDID, Op: "read host identity", Err: errors.Join(errs...)}
}
