package device

import (
	"context"
	"net/netip"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// PairRecord is the record PairRecord of scripts.
type PairRecord struct {
	UDID   string `lua:"udid" doc:"unique device identifier"`
	Kind   string `lua:"kind" doc:"lockdown, or remote for the pairing for tunnels"`
	Place  string `lua:"place" doc:"where it is kept: address of the muxer, or folder"`
	Host   string `lua:"host_id" doc:"name of this computer towards the device"`
	BUID   string `lua:"system_buid" doc:"identity of this computer; empty for remote"`
	WiFi   string `lua:"wifi_address" doc:"MAC address of the device, if it is in the record"`
	Escrow bool   `lua:"escrow" doc:"whether services on a locked device can be started"`
	Device bool   `lua:"device_key" doc:"whether it has the device's key, which proves who answers"`
	Error  string `lua:"error" doc:"why the record cannot be used; empty if it can be"`
}

func pairRecords(records []device.PairRecord) []*PairRecord {
	out := []*PairRecord{}
	for _, r := range records {
		p := &PairRecord{
			UDID: r.UDID, Kind: r.Kind, Place: r.Place, Host: r.HostID, BUID: r.SystemBUID,
			WiFi: r.WiFiAddress, Escrow: r.Escrow, Device: r.Device,
		}
		if r.Err != nil {
			p.Error = r.Err.Error()
		}
		out = append(out, p)
	}
	return out
}

// allRecords is device.pair_records.
func (r *Registry) allRecords(c *api.Call, t Timeout) ([]*PairRecord, error) {
	if err := allow(c, ""); err != nil {
		return nil, err
	}
	var records []device.PairRecord
	err := c.Timeout(t.Timeout).TryBlock(func(ctx context.Context) error {
		finder, err := r.env.Finder()
		if err != nil {
			return err
		}
		records, err = finder.PairRecords(ctx)
		return err
	})
	return pairRecords(records), err
}

// ownRecords is dev:pair_records.
func ownRecords(c *api.Call, d *Device, t Timeout) ([]*PairRecord, error) {
	var records []device.PairRecord
	err := d.Do(c, t, func(ctx context.Context) (err error) {
		records, err = d.PairRecords(ctx)
		return err
	})
	return pairRecords(records), err
}

// pairRemote is device.pair_remote.
func (r *Registry) pairRemote(c *api.Call, address string, t Timeout) (*Info, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, c.ArgError(1, "an IP address with a port is expected, not %q", address)
	}
	if err := allow(c, ""); err != nil {
		return nil, err
	}
	if err := c.Allow(host.AccessHost, address); err != nil {
		return nil, err
	}
	var paired device.Info
	err = c.Timeout(t.Timeout).TryBlock(func(ctx context.Context) error {
		finder, err := r.env.Finder()
		if err != nil {
			return err
		}
		paired, err = finder.PairRemoteAt(ctx, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	return info(paired), nil
}

func pairRecordsFunc(r *Registry) *api.Func {
	return api.Function("pair_records", "Lists the pair records of this computer, without their "+
		"keys: those in folders, and those that a muxer has of these and of connected devices.",
		"opts?", r.allRecords,
		api.ParamDoc("opts", "timeout"),
		api.Checks(host.AccessDevice),
		api.Returns("PairRecord[] records"),
		api.Raises("timeout"),
		api.Perm("read"),
		api.SeeAlso("Device:pair_records"),
		api.Example(`device():pair()
for _, r in ipairs(device.pair_records()) do print(r.udid, r.kind, r.place) end`))
}

func pairRemoteFunc(r *Registry) *api.Func {
	return api.Function("pair_remote", "Pairs for tunnels with the device at an address, "+
		"whichever it is, and waits while its dialog is unanswered. An Apple TV shows the "+
		"address and a PIN.",
		"address opts?", r.pairRemote,
		api.ParamDoc("address", "IP address and port of remote pairing, such as 192.168.2.7:49152"),
		api.ParamDoc("opts", "timeout"),
		api.Checks(host.AccessHost, host.AccessDevice),
		api.Returns("DeviceInfo info"),
		api.Raises("UserDeniedPairing", "no_device", "no_pair", "timeout"),
		api.Perm("modify"),
		api.SeeAlso("Device:pair"),
		api.Example(`local virtual = require "imd.virtual"
local at = virtual.start():show{ wifi = true }
print(device.pair_remote(at.address .. ":" .. at.pairing_port).udid)`))
}
