//go:build !windows

package link

import "syscall"

// socketErrors is empty, because sockets return the numbers of package syscall.
var socketErrors map[syscall.Errno]syscall.Errno
