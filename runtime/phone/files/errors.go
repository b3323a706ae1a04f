package files

import (
	"errors"
	"io/fs"
)

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
