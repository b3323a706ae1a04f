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

// Error says what was tried with which device and why it failed.
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

// Place names the service and the device; errors of the layers above take it
// into their text.
func (e *Error) Place() string {
	if e.Service == "" {
		return e.UDID
	}
	return e.Service + " on " + e.UDID
}

// Timeout reports whether the cause was a deadline, as net.Error asks.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// Temporary exists for net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

var (
	// ErrNotFound means that no connected device matches.
	ErrNotFound = errors.New("no such device is connected")
	// ErrNoRoute means that no known route reaches the device or service.
	ErrNoRoute = errors.New("no route reaches it")
	// ErrNotPaired means that this host has no pair record for the device.
	ErrNotPaired = errors.New("not paired with this host")
	// ErrRecordKept means that the device has forgotten this host, but the pair
	// record is still there.
	ErrRecordKept = errors.New("the device is unpaired, but its pair record could not be deleted")
	// ErrDeveloperMode means that the service is there for developers alone,
	// and developer mode is off. It is fs.ErrNotExist.
	ErrDeveloperMode = link.Cause("developer mode is off", fs.ErrNotExist)
	// ErrNoImage means that the service belongs to the developer disk image,
	// and none is mounted. It is fs.ErrNotExist.
	ErrNoImage = link.Cause("no developer disk image is mounted", fs.ErrNotExist)
)

// imageError explains why a service of the developer image is not there.
func (d *Device) imageError(ctx context.Context, n service.Name, err error) error {
	if err == nil || !n.NeedsDDI ||
		!errors.Is(err, rsd.ErrNotListed) && !errors.Is(err, lockdown.ErrInvalidService) {
		return err
	}
	cause := ErrNoImage
	// Before iOS 16 there is no such value.
	if on, e := d.Get(ctx, "com.apple.security.mac.amfi", "DeveloperModeStatus"); e == nil &&
		on == false {
		cause = ErrDeveloperMode
	}
	return d.fail("open", n.String(), fmt.Errorf("%w (%w)", cause, err))
}

// AmbiguousError reports that several devices match where one is needed.
type AmbiguousError struct{ Matches []Info }

func (e *AmbiguousError) Error() string {
	names := make([]string, len(e.Matches))
	for i, m := range e.Matches {
		names[i] = m.String()
	}
	return fmt.Sprintf("device: %d devices match, name one: %s", len(names),
		strings.Join(names, "; "))
}

// fail wraps err unless its text already begins with the device. No error stays
// none. What Close ended says so: not all that waits knows the reason.
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
