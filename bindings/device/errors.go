package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"

	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// named makes sure that an error of a call names the device it was made on.
func named(udid string, err error) error {
	var e *device.Error
	var h *host.Error
	if err == nil || errors.As(err, &e) || errors.As(err, &h) {
		return err
	}
	return &onDevice{udid: udid, error: err}
}

// errEnded is the end of a stream that only the script should have ended.
var errEnded = fmt.Errorf("the device ended the stream (unplugged, restarted or locked): %w", io.ErrUnexpectedEOF)

// Ended returns the error of a live stream with the device named. Its end is an
// error as well: a script that watches a log must learn that the device left.
func (d *Device) Ended(err error) error {
	if errors.Is(err, io.EOF) {
		err = errEnded
	}
	return named(d.UDID(), err)
}

// onDevice adds the device to an error without changing its text.
type onDevice struct {
	error
	udid string
}

func (e *onDevice) Unwrap() error { return e.error }

// hints say what to do about a refusal of the device. InvalidService is told
// apart by the service's name, since it has several reasons.
var hints = map[lockdown.Code]string{
	lockdown.ErrInvalidService:               "the device has no service of that name, in lockdown or in a tunnel; dev:tunnel():services() lists those of a tunnel",
	lockdown.ErrPasswordProtected:            "unlock the device",
	lockdown.ErrPairingDialogResponsePending: "tap Trust on the device, then run again",
	lockdown.ErrUserDeniedPairing:            "the dialog was answered with Don't Trust; plug the device in again and tap Trust",
	lockdown.ErrInvalidHostID:                "the device does not know this computer any more: run `imdlua pair`",
	lockdown.ErrEscrowLocked:                 "unlock the device once after its restart",
	lockdown.ErrServiceProhibited:            "a profile or restriction forbids the service",
	lockdown.ErrGetProhibited:                "the value needs a paired session: run `imdlua pair`",
	lockdown.ErrSetProhibited:                "the device does not let this value be set now",
	lockdown.ErrSessionInactive:              "the request needs a paired session: run `imdlua pair`",
}

const tunnelHint = "dev:roads() says what was tried"

// MapError returns the mapping from errors of the protocol packages to what
// scripts see. codes are asked for the refusals of services.
func MapError(families []Family) func(error) *host.Error {
	var codes []func(error) string
	for _, f := range families {
		if f.Code != nil {
			codes = append(codes, f.Code)
		}
	}
	return func(err error) *host.Error { return mapError(err, codes) }
}

func mapError(err error, codes []func(error) string) *host.Error {
	out := &host.Error{Message: err.Error(), Cause: err}
	var d *device.Error
	var o *onDevice
	if errors.As(err, &d) {
		out.Device, out.Service, out.Op = d.UDID, d.Service, d.Op
		if d.Service != "" && err == error(d) {
			out.Message = d.Op + ": " + d.Err.Error() // the report names service and device itself
		}
	} else if errors.As(err, &o) {
		out.Device = o.udid
	}
	out.Code, out.Hint = classify(err, codes)
	switch {
	case out.Code != "":
	case out.Device == "":
		return nil
	case out.Op == "open tunnel":
		out.Code, out.Hint = "no_tunnel", tunnelHint
	default:
		out.Code = "failed"
	}
	var refused *lockdown.Error
	if errors.As(err, &refused) {
		if out.Op = refused.Op; out.Service == "" {
			out.Service = "lockdown"
		}
	}
	return out
}

// classify finds code and hint, most telling cause first.
func classify(err error, codes []func(error) string) (code, hint string) {
	var ambiguous *device.AmbiguousError
	var refused *lockdown.Error
	var listed *rsd.Error
	var dial *net.OpError
	var muxer *usbmux.Error
	switch {
	case errors.As(err, &ambiguous):
		return "ambiguous", "name one with --device UDID or device{ udid = \"...\" }"
	case errors.Is(err, device.ErrNotFound):
		return "no_device", "plug one in and unlock it, or try `--virtual`; `imdlua devices` lists what is there"
	case errors.Is(err, device.ErrNotPaired):
		return "not_paired", "run `imdlua pair`, or call dev:pair()"
	case errors.Is(err, device.ErrDeveloperMode):
		return "developer_mode_off", "turn on Settings > Privacy & Security > Developer Mode on the device"
	case errors.Is(err, device.ErrNoImage):
		return "no_developer_image", "mount the developer disk image, for example by opening the device in Xcode once"
	case errors.Is(err, remotepair.ErrAuthentication):
		return "wrong_keys", "the device is not the one that was paired, or was reset since: `imdlua pair --remote` pairs anew"
	case errors.Is(err, device.ErrNoTunnel):
		return "no_tunnel", tunnelHint
	case errors.Is(err, device.ErrNoRoad):
		return "no_road", "dev:roads() lists the roads to the device"
	case errors.As(err, &refused) && refused.Code != "":
		return string(refused.Code), hints[refused.Code]
	case errors.As(err, &listed) && listed.Code != "":
		return string(listed.Code), hints[lockdown.Code(listed.Code)]
	case errors.Is(err, rsd.ErrNotListed):
		return "InvalidService", hints[lockdown.ErrInvalidService]
	case errors.Is(err, remotepair.ErrLocked):
		return string(lockdown.ErrPasswordProtected), hints[lockdown.ErrPasswordProtected]
	case errors.Is(err, remotepair.ErrDenied):
		return string(lockdown.ErrUserDeniedPairing), hints[lockdown.ErrUserDeniedPairing]
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout", "raise it with the option timeout, or with --timeout for the whole script"
	case (errors.As(err, &dial) && dial.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED)) && !errors.As(err, &muxer):
		return unreached(err)
	case errors.As(err, &dial) && dial.Op == "dial":
		return "no_muxer", "start usbmuxd (Linux) or install Apple's device support (Windows), name another with --usbmux, or try `--virtual`"
	case errors.Is(err, usbmux.BadDevice):
		return "device_lost", "the device was unplugged; device.wait finds it again"
	case errors.Is(err, usbmux.ConnectionRefused):
		return "refused", "nothing listens on that port of the device"
	}
	var diagnostics *diagnosticsrelay.Error
	if errors.As(err, &diagnostics) && diagnostics.Code != "" {
		return string(diagnostics.Code), ""
	}
	for _, f := range codes {
		if code := f(err); code != "" {
			return code, ""
		}
	}
	if errors.Is(err, tunnel.ErrDown) {
		return "disconnected", "the tunnel went down with the call in it; the next call gets a new one"
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "disconnected", ""
	case errors.Is(err, fs.ErrNotExist):
		return "not_found", ""
	}
	return "", ""
}

// unreached is about a network address where nobody answers.
func unreached(err error) (code, hint string) {
	var d *device.Error
	var list *rsd.Error
	switch {
	case errors.As(err, &list) && list.Op == "dial" && errors.As(err, &d) && d.UDID != "":
		return "disconnected", "the tunnel that led to the device is not there any more"
	case errors.As(err, &d) && d.UDID == "":
		return "no_device", "are address and port right, and is the other end still there? A tunnel that is made again has another port"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused", "nothing listens on that port of the device"
	}
	return "disconnected", "the device is not at that address any more, or another network is between"
}
