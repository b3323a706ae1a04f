package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
)

// Error describes an operation on a device and why it failed.
type Error struct {
	UDID    string
	Service string // "" when no service was involved
	Op      string
	Err     error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("device: ")
	b.WriteString(e.Op)
	if e.Service != "" {
		fmt.Fprintf(&b, " %s", e.Service)
	}
	if e.UDID != "" {
		fmt.Fprintf(&b, " on %s", e.UDID)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Place names the service and the device. The layers above include it in their errors.
func (e *Error) Place() string {
	if e.Service == "" {
		return e.UDID
	}
	return e.Service + " on " + e.UDID
}

// Timeout reports whether the cause was a deadline. It implements net.Error.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary implements net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

var (
	// ErrNotFound means that no connected device matches.
	ErrNotFound = errors.New("no such device is connected")
	// ErrNoRoute means that no known route reaches the device or service.
	ErrNoRoute = errors.New("no route reaches it")
	// ErrNotPaired means that this host has no pair record for the device.
	ErrNotPaired = errors.New("not paired with this host")
	// ErrPairOverUSB means that the host is not paired, and that the device can be reached
	// only over a network, where devices do not pair.
	ErrPairOverUSB = errors.New("devices pair over USB only")
	// ErrPairingOff means that Options.NoPair forbids to pair.
	ErrPairingOff = errors.New("pairing is switched off")
	// ErrRecordKept means that the device has forgotten this host, but the pair
	// record is still there.
	ErrRecordKept = errors.New("the device is unpaired, but its pair record could not be deleted")
	// ErrDeveloperMode means that the service requires developer mode, which is off. It
	// matches fs.ErrNotExist.
	ErrDeveloperMode = link.Cause("developer mode is off", fs.ErrNotExist)
	// ErrNoImage means that the service belongs to the developer disk image, and none
	// is mounted. It matches fs.ErrNotExist.
	ErrNoImage = link.Cause("no developer disk image is mounted", fs.ErrNotExist)
)

// imageError adds the reason to the error of a service of the developer image that does
// not exist.
func (d *Device) imageError(ctx context.Context, n service.Name, err error) error {
	if err == nil || !n.NeedsDDI {
		return err
	}
	if !errors.Is(err, rsd.ErrNotListed) && !errors.Is(err, lockdown.ErrInvalidService) {
		return err
	}
	cause := ErrNoImage
	// Devices before iOS 16 do not have this value.
	mode, getErr := d.Get(ctx, "com.apple.security.mac.amfi", "DeveloperModeStatus")
	if getErr == nil && mode == false {
		cause = ErrDeveloperMode
	}
	return d.fail("open", n.String(), fmt.Errorf("%w (%w)", cause, err))
}

// AmbiguousError reports that several devices match where one is required.
type AmbiguousError struct{ Matches []Info }

func (e *AmbiguousError) Error() string {
	names := make([]string, len(e.Matches))
	for i, m := range e.Matches {
		names[i] = m.String()
	}
	return fmt.Sprintf("device: %d devices match, name one: %s", len(names),
		strings.Join(names, "; "))
}

// fail wraps err in an Error, unless it is one. It returns nil if err is nil. After
// Close the error matches net.ErrClosed, because not every waiting call is told why it
// ends.
func (d *Device) fail(op, what string, err error) error {
	if err == nil {
		return nil
	}
	ended := d.life.Err() != nil && !errors.Is(err, net.ErrClosed)
	if e, ok := err.(*Error); ok {
		if !ended {
			return err
		}
		op, what, err = e.Op, e.Service, e.Err
	}
	if ended {
		err = fmt.Errorf("%w (%w)", net.ErrClosed, err)
	}
	return &Error{UDID: d.UDID(), Service: what, Op: op, Err: err}
}
