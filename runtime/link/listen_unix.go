//go:build unix

package link

import "syscall"

// ownerOnly sets the mode of the file that is made when the unix socket is bound. On
// Linux the file gets the mode of the socket. On other systems the call fails and
// changes nothing.
func ownerOnly(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }
