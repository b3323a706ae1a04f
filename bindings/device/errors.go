package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"syscall"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/tunnel"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

// named adds a device's identifier to the error of a call. An error that names a
// device already and an error of the host stay as they are.
func named(udid string, err error) error {
	var e *device.Error
	var h *host.Error
	if err == nil || errors.As(err, &e) || errors.As(err, &h) {
		return err
	}
	return &onDevice{udid: udid, error: err}
}

// errEnded is the error of a stream that the device ended before the script did.
var errEnded = fmt.Errorf("the device ended the stream (unplugged, restarted or locked): %w",
	io.ErrUnexpectedEOF)

// Ended returns the error of a live stream with the device's identifier. The end of
// the stream, io.EOF, becomes an error as well, because a script that watches a log
// must learn that the device left.
func (d *Device) Ended(err error) error {
	if errors.Is(err, io.EOF) {
		err = errEnded
	}
	return named(d.UDID(), err)
}

// onDevice adds the device's identifier to an error without changing its text.
type onDevice struct {
	error
	udid string
}

func (e *onDevice) Unwrap() error { return e.error }

const (
	hintTunnel = "dev:routes() says what was tried"
	hintPair   = "run `imdlua pair`"
	hintUSB    = "pair over USB first: connect the device by a cable and run `imdlua pair`"
	hintUnlock = "unlock the device"
	hintTrust  = "the dialog was answered with Don't Trust; plug the device in again and tap Trust"
	hintNone   = "the device has no service of that name, in lockdown or in a tunnel; " +
		"dev:tunnel():services() lists those of a tunnel"
)

const hintProtocol = "the other end does not speak this protocol: is the address right? " +
	"--trace shows the messages"

const hintWrongKeys = "the device is not the one that was paired, or was erased since: " +
	"if it is yours, `imdlua pair` pairs anew"

// hints holds what the user can do about each error code of lockdown.
var hints = map[lockdown.Code]string{
	lockdown.ErrInvalidService:               hintNone,
	lockdown.ErrPasswordProtected:            hintUnlock,
	lockdown.ErrPairingDialogResponsePending: "tap Trust on the device, then run again",
	lockdown.ErrUserDeniedPairing:            hintTrust,
	lockdown.ErrInvalidHostID:                "the device has forgotten this computer: " + hintPair,
	lockdown.ErrEscrowLocked:                 "unlock the device once after its restart",
	lockdown.ErrServiceProhibited:            "a profile or restriction forbids the service",
	lockdown.ErrGetProhibited:                "the value needs a paired session: " + hintPair,
	lockdown.ErrSetProhibited:                "the device does not let this value be set now",
	lockdown.ErrSessionInactive:              "the request needs a paired session: " + hintPair,

	lockdown.ErrPairingProhibitedOverThisConnection: hintUSB,
}

// conclusions lists the errors with which runtime packages state why a device cannot
// be used. They explain more than the errors that they wrap.
var conclusions = []Reason{
	{device.ErrNotFound, "no_device",
		"plug one in and unlock it, or try `--virtual`; `imdlua devices` lists what is there"},
	{device.ErrNotPaired, "not_paired", "run `imdlua pair`, or call dev:pair()"},
	{bonjour.ErrNoInterface, "no_interface",
		"is the name of the interface right, and is it up?"},
	{device.ErrPairingOff, "no_pair",
		"leave out --no-pair, or the option pair = false of device"},
	{device.ErrRecordKept, "record_kept",
		"the record is of no use any more; the muxer that has it " +
			"did not delete it"},
	{device.ErrDeveloperMode, "developer_mode_off",
		"turn on Settings > Privacy & Security > Developer Mode on the device"},
	{device.ErrNoImage, "no_developer_image",
		"mount the developer disk image, for example by opening the device in Xcode once"},
	{lockdown.ErrWrongKey, "wrong_keys", hintWrongKeys},
	{lockdown.ErrPlainSession, "wrong_keys", hintWrongKeys},
	{remotepair.ErrAuthentication, "wrong_keys",
		"the device is not the one that was paired, or was reset since: " +
			"`imdlua pair --remote` pairs anew"},
	{device.ErrNoTunnel, "no_tunnel", hintTunnel},
	{device.ErrNoRoute, "no_route", "dev:routes() lists the routes to the device"},
}

// peers lists other refusals of devices, with the codes that lockdown has for the same
// reasons, and timeouts.
var peers = []Reason{
	{rsd.ErrNotListed, "InvalidService", hintNone},
	{remotepair.ErrLocked, string(lockdown.ErrPasswordProtected), hintUnlock},
	{remotepair.ErrDenied, string(lockdown.ErrUserDeniedPairing), hintTrust},
	{link.ErrSilent, "timeout",
		"the device sends and takes nothing; the option idle_timeout is how long that may last"},
	{context.DeadlineExceeded, "timeout",
		"raise it with the option timeout, or with --timeout for the whole script"},
}

// muxers lists the answers of a muxer to a request for a connection.
var muxers = []Reason{
	{usbmux.BadDevice, "device_lost", "the device was unplugged; device.wait finds it again"},
	{usbmux.ConnectionRefused, "refused", "nothing listens on that port of the device"},
}

// ends lists errors that say how a connection ended, for which no family has a code.
var ends = []Reason{
	{lockdown.ErrTLS, "tls", "the device may have forgotten this computer: " + hintPair},
	{link.ErrTooLarge, "too_large", ""},
	{link.ErrUnread, "protocol", ""},
	{link.ErrUnanswered, "protocol", ""},
	{tunnel.ErrDown, "disconnected",
		"the tunnel went down during the call; the next call gets a new one"},
	{io.EOF, "disconnected", ""},
	{io.ErrUnexpectedEOF, "disconnected", ""},
	{net.ErrClosed, "disconnected", ""},
	{io.ErrClosedPipe, "disconnected", ""},
	{syscall.ECONNRESET, "disconnected", ""},
	{syscall.ECONNABORTED, "disconnected", ""},
	{syscall.EPIPE, "disconnected", ""},
	{syscall.ETIMEDOUT, "disconnected", "the other end has not answered for minutes"},
	{fs.ErrNotExist, "not_found", ""},
}

// MapError returns the function that maps errors of the protocol packages to the
// errors that scripts see. This package explains what it can; the families are asked
// next, in order, and the ends of connections come last.
func MapError(families []Family) func(error) *host.Error {
	explain := slices.Clone(layers)
	for _, f := range families {
		if f.Explain != nil {
			explain = append(explain, f.Explain)
		}
	}
	explain = append(explain, Reasons(ends...))
	return func(err error) *host.Error { return mapError(err, explain) }
}

// mapError returns nil if err has no explanation and names no device.
func mapError(err error, explain []Explain) *host.Error {
	out := &host.Error{Message: err.Error(), Cause: err}
	var d *device.Error
	var o *onDevice
	if errors.As(err, &d) {
		out.Device, out.Service, out.Op = d.UDID, d.Service, d.Op
		if d.Service != "" && err == error(d) {
			out.Message = d.Op + ": " + d.Err.Error() // the report names service and device
		}
	} else if errors.As(err, &o) {
		out.Device = o.udid
	}
	out.Code, out.Hint = first(explain, err)
	switch {
	case out.Code != "":
	case out.Device == "":
		return nil
	case out.Op == "open tunnel":
		out.Code, out.Hint = "no_tunnel", hintTunnel
	default:
		out.Code = "failed"
	}
	var refused *lockdown.Error
	if errors.As(err, &refused) {
		out.Op = refused.Op
		out.Service = cmp.Or(out.Service, "lockdown")
	}
	return out
}

// layers explain the errors of the layers between a script and a service, and the
// errors that services send. The more specific explanations come first.
var layers = []Explain{
	ambiguous, overNetwork, Reasons(conclusions...), malformed, lockdownRefusal, rsdRefusal,
	Reasons(peers...), dialed, Reasons(muxers...), serviceRefusal,
}

// ambiguous explains that several devices match.
func ambiguous(err error) (code, hint string) {
	var several *device.AmbiguousError
	if errors.As(err, &several) {
		return "ambiguous", "name one with --device UDID or device{ udid = \"...\" }"
	}
	return "", ""
}

// overNetwork explains that a device refuses this computer on a route on which it cannot be
// paired.
func overNetwork(err error) (code, hint string) {
	if !errors.Is(err, device.ErrPairOverUSB) {
		return "", ""
	}
	code, _ = lockdownRefusal(err)
	return cmp.Or(code, "not_paired"), hintUSB
}

// lockdownRefusal returns the error code that lockdown sent.
func lockdownRefusal(err error) (code, hint string) {
	var refused *lockdown.Error
	if errors.As(err, &refused) {
		return string(refused.Code), hints[refused.Code]
	}
	return "", ""
}

// rsdRefusal returns the error code of an error of RSD.
func rsdRefusal(err error) (code, hint string) {
	var refused *rsd.Error
	if errors.As(err, &refused) {
		return string(refused.Code), hints[lockdown.Code(refused.Code)]
	}
	return "", ""
}

// serviceRefusal returns the error code that a service sent.
func serviceRefusal(err error) (code, hint string) {
	var refused *service.Error
	if errors.As(err, &refused) {
		return string(refused.Code), ""
	}
	return "", ""
}

// malformed explains errors of messages that break the protocol.
func malformed(err error) (code, hint string) {
	var decoding interface{ Malformed() bool } // the errors of the codecs
	if errors.Is(err, link.ErrProtocol) || errors.As(err, &decoding) && decoding.Malformed() {
		return "protocol", hintProtocol
	}
	return "", ""
}

// dialed explains errors of connections to a muxer or to a network address that
// could not be made.
func dialed(err error) (code, hint string) {
	var dial *net.OpError
	var muxer *usbmux.Error
	failed := errors.As(err, &dial) && dial.Op == "dial"
	toMuxer := errors.As(err, &muxer)
	switch {
	case failed && toMuxer && (link.Is(err, syscall.EMFILE) || link.Is(err, syscall.ENFILE)):
		return "too_many_files", "this program has too many files and connections open; " +
			"close some, or raise the limit (ulimit -n)"
	case failed && toMuxer && link.Is(err, syscall.EACCES):
		return "access_denied", "this user may not open the socket of the muxer; its " +
			"permissions and group are set where usbmuxd is started"
	case failed && toMuxer:
		return "no_muxer", "start usbmuxd (Linux) or install Apple's device support (Windows), " +
			"name another with --usbmux, or try `--virtual`"
	case !toMuxer && (failed || link.Is(err, syscall.ECONNREFUSED)):
		return unreached(err)
	}
	return "", ""
}

// unreached explains errors of connections to a network address that could not be
// made.
func unreached(err error) (code, hint string) {
	var d *device.Error
	var list *rsd.Error
	onDevice := errors.As(err, &d)
	switch {
	case onDevice && d.UDID != "" && errors.As(err, &list) && list.Op == "dial":
		return "disconnected", "the tunnel to the device is not there any more"
	case onDevice && d.UDID == "":
		return "no_device", "are address and port right, and is the other end still there? " +
			"A tunnel that is made again has another port"
	case link.Is(err, syscall.ECONNREFUSED):
		return "refused", "nothing listens on that port of the device"
	}
	return "disconnected", "the device is not at that address any more, " +
		"or another network is in between"
}
