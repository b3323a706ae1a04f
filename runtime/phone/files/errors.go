package files

import (
	"errors"
	"io/fs"
)

// Causes of failure in file trees. Where io/fs has a suitable error, that is used:
// fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed.
var (
	// ErrInvalid is a bad argument: a negative offset, a closed handle, a
	// loop of symbolic links. It is fs.ErrInvalid.
	ErrInvalid = fs.ErrInvalid
	// ErrIsDir means that a file operation was tried on a directory.
	ErrIsDir = errors.New("is a directory")
	// ErrNotDir means that a directory operation was tried on a file.
	ErrNotDir = errors.New("not a directory")
	// ErrNotEmpty means that a directory cannot be removed because it is not empty.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrNoSpace means that the volume has no room.
	ErrNoSpace = errors.New("no space left on device")
	// ErrBusy means that a lock or another resource is in use.
	ErrBusy = errors.New("resource busy")
)
