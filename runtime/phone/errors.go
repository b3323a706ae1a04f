package phone

import (
	"errors"
	"io/fs"
	"strconv"
)

// Error is every failure of the package: what was tried, on what, and why.
// The cause is one of the Err values of this package or of io/fs and is
// found by errors.Is.
type Error struct {
	// Op is what was tried, in lower case: "open", "set value", "pair".
	Op string
	// Subject is what it was tried on: a path, a key, a bundle identifier.
	Subject string
	// Err is the cause.
	Err error
}

// Error says `phone: open "/x": file does not exist`.
func (e *Error) Error() string {
	s := "phone: " + e.Op
	if e.Subject != "" {
		s += " " + strconv.Quote(e.Subject)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Causes of the file trees. Those that io/fs names already are used as they
// are: fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed.
var (
	// ErrInvalid is a bad argument: a negative offset, a closed handle, a
	// loop of symbolic links. It is fs.ErrInvalid.
	ErrInvalid = fs.ErrInvalid
	// ErrIsDir is a file operation on a directory.
	ErrIsDir = errors.New("is a directory")
	// ErrNotDir is a directory operation on a file.
	ErrNotDir = errors.New("not a directory")
	// ErrNotEmpty is the removal of a directory that holds something.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrNoSpace is a write that the volume has no room for.
	ErrNoSpace = errors.New("no space left on device")
	// ErrBusy is a lock that somebody else holds.
	ErrBusy = errors.New("resource busy")
)

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
