package afc

import (
	"errors"
	"io/fs"
	"net"
	"strconv"

	"github.com/imdlua/imdlua/runtime/link"
)

// Status is a status code of a device. As an error it matches general errors such as
// those of io/fs. errors.Is(err, afc.NotEmpty) works for every error of a Client.
type Status uint64

// Status codes of devices. Codes that only hosts use are not listed.
const (
	Success            Status = 0
	UnknownError       Status = 1
	HeaderInvalid      Status = 2
	NoResources        Status = 3
	ReadError          Status = 4
	WriteError         Status = 5
	UnknownPacketType  Status = 6
	InvalidArgument    Status = 7
	NotFound           Status = 8
	IsDirectory        Status = 9
	PermissionDenied   Status = 10
	NotConnected       Status = 11
	TimedOut           Status = 12
	TooMuchData        Status = 13
	EndOfData          Status = 14
	NotSupported       Status = 15
	Exists             Status = 16
	Busy               Status = 17
	NoSpace            Status = 18
	WouldBlock         Status = 19
	IOError            Status = 20
	OperationInterrupt Status = 21
	InProgress         Status = 22
	InternalError      Status = 23
	NotEmpty           Status = 33
)

var statusTexts = map[Status]string{
	Success:            "success",
	UnknownError:       "unknown error",
	HeaderInvalid:      "invalid packet header",
	NoResources:        "no resources",
	ReadError:          "read error",
	WriteError:         "write error",
	UnknownPacketType:  "unknown packet type",
	InvalidArgument:    "invalid argument",
	NotFound:           "object not found",
	IsDirectory:        "object is a directory",
	PermissionDenied:   "permission denied",
	NotConnected:       "service not connected",
	TimedOut:           "operation timed out",
	TooMuchData:        "too much data",
	EndOfData:          "end of data",
	NotSupported:       "operation not supported",
	Exists:             "object exists",
	Busy:               "object is busy",
	NoSpace:            "no space left on device",
	WouldBlock:         "operation would block",
	IOError:            "input/output error",
	OperationInterrupt: "operation interrupted",
	InProgress:         "operation in progress",
	InternalError:      "internal error",
	NotEmpty:           "directory not empty",
}

// Error returns the description and the number, such as "object not found (8)".
func (s Status) Error() string {
	text, ok := statusTexts[s]
	if !ok {
		text = "status"
	}
	return text + " (" + strconv.FormatUint(uint64(s), 10) + ")"
}

// Is reports whether the code stands for target, which may be fs.ErrNotExist,
// fs.ErrExist, fs.ErrPermission, fs.ErrInvalid or errors.ErrUnsupported.
func (s Status) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return s == NotFound
	case fs.ErrExist:
		return s == Exists || s == NotEmpty
	case fs.ErrPermission:
		return s == PermissionDenied
	case fs.ErrInvalid:
		return s == InvalidArgument
	case errors.ErrUnsupported:
		return s == NotSupported
	}
	return false
}

// Error is the error of every operation of the package. If the device refused the
// operation, Status is set. Otherwise Err holds the cause.
type Error struct {
	// Op is the operation that failed, such as "open" or "read directory".
	Op string
	// Path is the path as the caller passed it; it may be empty.
	Path string
	// Status is the code sent by the device, or 0 if it did not answer.
	Status Status
	// Err is the cause if Status is 0.
	Err error
}

// Error returns a text such as `afc: open "/x": object not found (8)`.
func (e *Error) Error() string {
	return link.Attempt("afc", e.Op, e.Path) + ": " + e.Unwrap().Error()
}

// Unwrap returns the cause: Err, or Status if Err is nil.
func (e *Error) Unwrap() error {
	if e.Err != nil {
		return e.Err
	}
	return e.Status
}

// Is adds the meanings that a code has for one operation only. Devices answer a stat of
// some missing paths with ReadError. Older systems answer the removal of a directory
// that is not empty with UnknownError.
func (e *Error) Is(target error) bool {
	switch {
	case e.Op == "stat" && e.Status == ReadError:
		return target == fs.ErrNotExist
	case e.Op == "remove" && e.Status == UnknownError:
		return target == NotEmpty || target == fs.ErrExist
	}
	return false
}

// EndedError is the cause of every failure on a connection that has ended: the caller
// closed it, the device closed it, or the client gave it up because the device does not
// speak AFC or does not read a whole request. It matches net.ErrClosed.
type EndedError struct {
	// Cause is the reason why the connection ended.
	Cause error
}

// Error returns the reason why the connection ended.
func (e *EndedError) Error() string {
	if e.Cause == net.ErrClosed {
		return "connection closed"
	}
	return "connection ended: " + e.Cause.Error()
}

// Is reports whether target is net.ErrClosed.
func (e *EndedError) Is(target error) bool { return target == net.ErrClosed }

// Unwrap returns the cause.
func (e *EndedError) Unwrap() error { return e.Cause }
