package link

import (
	"errors"
	"syscall"
)

// Is reports whether err is target, as errors.Is does, and knows the numbers that
// sockets fail with on Windows: there the constants of package syscall, such as
// ECONNREFUSED, are inventions of Go that no socket ever returns.
func Is(err, target error) bool {
	if errors.Is(err, target) {
		return true
	}
	no, ok := target.(syscall.Errno)
	if !ok {
		return false
	}
	native, ok := socketErrors[no]
	return ok && errors.Is(err, native)
}

// Disconnected reports whether err says that a connection is gone: the other side
// reset it, has closed it, or does not answer any more.
func Disconnected(err error) bool {
	for _, no := range []syscall.Errno{
		syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
		syscall.ENOTCONN,
	} {
		if Is(err, no) {
			return true
		}
	}
	return false
}

// Unreachable reports whether err says that an address cannot be reached by any network.
func Unreachable(err error) bool {
	for _, no := range []syscall.Errno{
		syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
	} {
		if Is(err, no) {
			return true
		}
	}
	return false
}
