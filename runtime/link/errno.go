package link

import (
	"errors"
	"syscall"
)

// Is reports whether err matches target, as errors.Is does. It also knows the error
// numbers of sockets on Windows, where no socket ever returns the constants of package
// syscall, such as ECONNREFUSED.
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

// Disconnected reports whether err means that a connection is gone: the peer has reset
// or closed it, or does not answer any more.
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

// Unreachable reports whether err means that no network reaches an address.
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
