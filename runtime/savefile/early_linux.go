package savefile

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBack makes the system begin to write a part of a file to the disk. If the system
// cannot, Sync does it later.
func writeBack(f *os.File, off, n int64) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), off, n, unix.SYNC_FILE_RANGE_WRITE)
	})
}
