//go:build unix

package localfile

import (
	"os"
	"syscall"
)

// release opens the other end of a FIFO for a moment, so that a call of open that
// waits for it returns.
func release(path string, flag int) {
	other := syscall.O_WRONLY
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		other = syscall.O_RDONLY
	}
	if fd, err := syscall.Open(path, other|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0); err == nil {
		syscall.Close(fd)
	}
}
