package phone

import (
	"errors"

	"github.com/imdlua/imdlua/runtime/phone/files"
)

// Error is every failure of the package: what was tried, on what, and why.
// The cause is one of the Err values of this package or of io/fs and is
// found by errors.Is.
type Error = files.Error

// Causes of the file trees, from package files.
var (
	ErrInvalid  = files.ErrInvalid
	ErrIsDir    = files.ErrIsDir
	ErrNotDir   = files.ErrNotDir
	ErrNotEmpty = files.ErrNotEmpty
	ErrNoSpace  = files.ErrNoSpace
	ErrBusy     = files.ErrBusy
)

// fail wraps a cause; nil stays nil.
func fail(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Subject: subject, Err: err}
}

// Causes of the lockdown values.
var (
	// ErrImmutable is a write to a value that no host may ever change.
	ErrImmutable = errors.New("value is immutable")
	// ErrProhibited is a write that this iOS version does not allow (any
	// more), though the key is not immutable as such.
	ErrProhibited = errors.New("setting is prohibited")
	// ErrType is a value of the wrong plist type.
	ErrType = errors.New("wrong type of value")
	// ErrMissing is a key that the phone does not have.
	ErrMissing = errors.New("no such value")
)

// Causes of pairing.
var (
	// ErrDialogPending means that the trust dialog shows and nobody answered.
	ErrDialogPending = errors.New("trust dialog is showing")
	// ErrDialogClosed means that the dialog went away unanswered: the phone was
	// locked or restarted, or trusts by another policy now.
	ErrDialogClosed = errors.New("trust dialog was closed")
	// ErrUserDenied means that the user chose not to trust.
	ErrUserDenied = errors.New("user denied pairing")
	// ErrPasswordProtected means that the phone is locked with a passcode.
	ErrPasswordProtected = errors.New("device is locked with a passcode")
	// ErrTooManyHosts means that the phone trusts as many hosts as it can.
	ErrTooManyHosts = errors.New("too many trusted hosts")
	// ErrInvalidPairRecord is a pair record whose identifiers or
	// certificates are absent, unreadable or for another device.
	ErrInvalidPairRecord = errors.New("invalid pair record")
)
