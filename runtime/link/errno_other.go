//go:build !windows

package link

import "syscall"

// socketErrors is empty: sockets fail with the numbers of package syscall.
var socketErrors map[syscall.Errno]syscall.Errno
