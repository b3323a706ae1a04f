package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/remotepair"
)

// The kinds of pair records.
const (
	LockdownRecord = "lockdown"
	RemoteRecord   = "remote"
)

// PairRecord describes a pair record. It has none of the keys.
type PairRecord struct {
	UDID string
	Kind string // LockdownRecord or RemoteRecord
	// Place is where the record is kept: the address of a muxer, or a folder.
	Place       string
	HostID      string // the name of this host towards the device
	SystemBUID  string // the identity of this computer
	WiFiAddress string
	Escrow      bool // whether services on a locked device can be started with it
	// Device reports whether the record has the key of the device, without which another
	// device could answer in its place.
	Device bool
	Err    error // why the record cannot be used; nil if it can be
}

// lister is a Store or RemoteStore that can list its records.
type lister interface {
	List(ctx context.Context) ([]string, error)
}

// placed is a Store or RemoteStore in a folder.
type placed interface{ Path() string }

// PairRecords describes the records that this host has of the device.
func (d *Device) PairRecords(ctx context.Context) ([]PairRecord, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	records := d.finder.recordsOf(ctx, d.Info())
	if err := context.Cause(ctx); err != nil {
		return nil, d.fail("read pair records", "", err)
	}
	return records, nil
}

// PairRecords describes the records of all devices, sorted by UDID. A muxer cannot list
// its records, so that it is asked for those of the devices that are connected or have a
// record elsewhere.
func (f *Finder) PairRecords(ctx context.Context) ([]PairRecord, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	known := map[string]Info{}
	connected, _, err := f.entries(ctx)
	if err != nil {
		f.log.Debug("no muxer to ask for pair records", "layer", "device", "err", err)
	}
	for _, i := range connected {
		known[i.UDID] = i
	}
	var errs []error
	for _, s := range f.stores() {
		l, ok := s.(lister)
		if !ok {
			continue
		}
		udids, err := l.List(ctx)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			errs = append(errs, err)
		}
		for _, udid := range udids {
			if _, ok := known[udid]; !ok {
				known[udid] = Info{UDID: udid}
			}
		}
	}
	records := []PairRecord{}
	for _, udid := range slices.Sorted(maps.Keys(known)) {
		records = append(records, f.recordsOf(ctx, known[udid])...)
	}
	if err := context.Cause(ctx); err != nil {
		errs = append(errs, err)
	} else if len(records) > 0 {
		return records, nil
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &Error{Op: "list pair records", Err: err}
	}
	return records, nil
}

// stores returns all stores of both kinds of records.
func (f *Finder) stores() []any {
	var all []any
	for _, s := range f.opts.Stores {
		all = append(all, s)
	}
	for _, s := range f.opts.RemoteStores {
		all = append(all, s)
	}
	return all
}

// recordsOf describes the records of one device. A record that two places have is
// described once. Folders that this user may not read are left out.
func (f *Finder) recordsOf(ctx context.Context, info Info) []PairRecord {
	var records []PairRecord
	add := func(r PairRecord, err error) {
		unread := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
		if unread || ctx.Err() != nil {
			return
		}
		r.UDID, r.Err = info.UDID, err
		same := func(o PairRecord) bool {
			return o.Kind == r.Kind && o.HostID == r.HostID && o.Err == nil && err == nil
		}
		if !slices.ContainsFunc(records, same) {
			records = append(records, r)
		}
	}
	for _, m := range f.recordMuxers(info) {
		var b []byte
		err := askMuxer(ctx, func(ctx context.Context) (err error) {
			b, err = m.ReadPairRecord(ctx, info.UDID)
			return err
		})
		if err != nil {
			f.log.Debug("no pair record", "layer", "device", "muxer", m.Address(), "err", err)
			continue
		}
		record, err := pair.Parse(b)
		add(describeRecord(record, cmp.Or(m.Address(), "usbmux")), err)
	}
	for _, s := range f.opts.Stores {
		record, err := s.Load(ctx, info.UDID)
		add(describeRecord(record, placeOf(s)), err)
	}
	for _, s := range f.opts.RemoteStores {
		record, err := s.Load(ctx, info.UDID)
		add(describeRemote(record, placeOf(s)), err)
	}
	return records
}

func placeOf(store any) string {
	if p, ok := store.(placed); ok {
		return p.Path()
	}
	return "memory"
}

// describeRecord describes a record of lockdown, which may be nil.
func describeRecord(r *pair.Record, place string) PairRecord {
	d := PairRecord{Kind: LockdownRecord, Place: place}
	if r == nil {
		return d
	}
	d.HostID, d.SystemBUID = r.HostID, r.SystemBUID
	d.WiFiAddress = strings.ToLower(r.WiFiMACAddress)
	d.Escrow, d.Device = len(r.EscrowBag) > 0, len(r.DeviceCertificate) > 0
	return d
}

// describeRemote describes a record of remote pairing, which may be nil.
func describeRemote(r *remotepair.Record, place string) PairRecord {
	d := PairRecord{Kind: RemoteRecord, Place: place}
	if r == nil {
		return d
	}
	d.HostID = r.HostIdentifier
	d.Escrow, d.Device = r.RemoteUnlockHostKey != "", len(r.PeerPublicKey) > 0
	return d
}

// UnpairRemote deletes the keys of remote pairing that this program has of the device.
// The protocol has no request by which the device would forget this host. Records of
// other programs stay.
func (d *Device) UnpairRemote(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	err := d.finder.opts.RemoteStores[0].Delete(ctx, d.UDID())
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w (%w)", ErrNotPaired, err)
	}
	return d.fail("unpair", "remote pairing", err)
}
