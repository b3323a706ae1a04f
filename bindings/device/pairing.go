package device

import (
	"context"

	"github.com/imdlua/imdlua/runtime/host/api"
)

type pairOptions struct {
	Timeout
	Remote bool `lua:"remote" doc:"the pairing for tunnels, which iOS 17 introduced"`
}

func pairDevice(c *api.Call, d *Device, o pairOptions) error {
	if o.Remote {
		return d.Do(c, o.Timeout, d.PairRemote)
	}
	return d.Do(c, o.Timeout, d.Pair)
}

func unpairDevice(c *api.Call, d *Device, o pairOptions) error {
	if o.Remote {
		return d.Do(c, o.Timeout, d.UnpairRemote)
	}
	return d.Do(c, o.Timeout, d.Unpair)
}

func isPaired(c *api.Call, d *Device, t Timeout) (ok bool, err error) {
	err = d.Do(c, t, func(ctx context.Context) error {
		ok, err = d.Paired(ctx)
		return err
	})
	return ok, err
}

func wifiConnections(c *api.Call, d *Device, t Timeout) (on bool, err error) {
	err = d.Do(c, t, func(ctx context.Context) error {
		on, err = d.WiFiConnections(ctx)
		return err
	})
	return on, err
}

func setWiFiConnections(c *api.Call, d *Device, on bool, t Timeout) error {
	return d.Do(c, t, func(ctx context.Context) error { return d.SetWiFiConnections(ctx, on) })
}

func pairingMethods() []*api.Func {
	opts := api.ParamDoc("opts", "timeout")
	kind := api.ParamDoc("opts", "remote, timeout")
	return []*api.Func{
		api.Method("pair", "Makes the device trust this computer, and waits while its Trust "+
			"dialog is unanswered. With remote=true it makes the pairing for tunnels, by Bonjour "+
			"on Wi-Fi or on the network interface of the cable.",
			"opts?", pairDevice,
			kind,
			api.Raises("PairingDialogResponsePending", "UserDeniedPairing", "PasswordProtected",
				"PairingProhibitedOverThisConnection", "no_pair", "timeout"),
			api.Perm("modify"),
			api.SeeAlso("device.pair_remote"),
			api.Example(`local dev = device()
dev:pair{ timeout = 60 }`)),
		api.Method("unpair",
			"Makes the device forget this computer and deletes the pair record. The "+
				"code is record_kept when only the second of these failed. With remote=true it "+
				"deletes this program's keys for tunnels; the device cannot be told to forget "+
				"them.",
			"opts?", unpairDevice,
			kind,
			api.Raises("not_paired", "record_kept", "timeout"),
			api.Perm("modify"),
			api.Example(`local dev = device()
dev:pair()
dev:unpair()`)),
		api.Method("paired", "Says whether this computer can open a session with the device. It "+
			"does not pair.",
			"opts?", isPaired,
			opts,
			api.Returns("boolean paired"),
			api.Raises("timeout"),
			api.Perm("read"),
			api.Example(`local dev = device()
print(dev:paired())`)),
		api.Method("pair_records", "Lists the pair records that this computer has of the device, "+
			"without their keys.",
			"opts?", ownRecords,
			opts,
			api.Returns("PairRecord[] records"),
			api.Raises("timeout"),
			api.Perm("read"),
			api.SeeAlso("device.pair_records"),
			api.Example(`local dev = device()
dev:pair()
print(dev:pair_records()[1].host_id)`)),
		api.Method("wifi_connections", "Says whether the device can be reached over Wi-Fi by "+
			"computers that it trusts.",
			"opts?", wifiConnections,
			opts,
			api.Returns("boolean on"),
			api.Raises("timeout", "not_paired"),
			api.Perm("read"),
			api.Example(`local dev = device()
print(dev:wifi_connections())`)),
		api.Method("set_wifi_connections", "Lets the device be reached over Wi-Fi by computers "+
			"that it trusts, or ends that.",
			"on opts?", setWiFiConnections,
			api.ParamDoc("on", "whether it can be reached"),
			opts,
			api.Raises("timeout", "not_paired"),
			api.Perm("modify"),
			api.SeeAlso("Device:wifi_connections"),
			api.Example(`local dev = device()
dev:set_wifi_connections(true)`)),
	}
}
