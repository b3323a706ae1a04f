package device

import (
	"context"

	"github.com/imdlua/imdlua/runtime/host/api"
)

func pairDevice(c *api.Call, d *Device, t Timeout) error {
	return d.Do(c, t, d.Pair)
}

func unpairDevice(c *api.Call, d *Device, t Timeout) error {
	return d.Do(c, t, d.Unpair)
}

func isPaired(c *api.Call, d *Device, t Timeout) (ok bool, err error) {
	err = d.Do(c, t, func(ctx context.Context) error {
		ok, err = d.Paired(ctx)
		return err
	})
	return ok, err
}

func pairingMethods() []*api.Func {
	opts := api.ParamDoc("opts", "timeout")
	return []*api.Func{
		api.Method("pair", "Makes the device trust this computer, and waits while its Trust "+
			"dialog is unanswered.",
			"opts?", pairDevice,
			opts,
			api.Raises("PairingDialogResponsePending", "UserDeniedPairing", "PasswordProtected",
				"timeout"),
			api.Perm("modify"),
			api.Example(`local dev = device()
dev:pair{ timeout = 60 }`)),
		api.Method("unpair",
			"Makes the device forget this computer and deletes the pair record. The "+
				"code is record_kept when only the second of these failed.",
			"opts?", unpairDevice,
			opts,
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
	}
}
