//go:build unix

package link

import "syscall"

// ownerOnly sets the mode that the file of a unix socket gets when it is bound.
// Linux takes it from the socket; elsewhere this fails and changes nothing.
func ownerOnly(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }
