package files

import (
	"errors"
	"io/fs"
	"strconv"
)

// Error is every failure of the model of the phone: what was tried, on what, and why.
// The cause is one of the Err values of the package or of io/fs and is
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
