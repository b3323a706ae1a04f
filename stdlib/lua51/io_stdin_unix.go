//go:build unix

package lua51

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// inputPeriod is how often the wait for input checks its context.
const inputPeriod = 50 * time.Millisecond

// awaitInput waits until a file has something to read or has ended. If ctx ends before, nothing is
// read, so that later input is left for the next reader, such as the prompt of the REPL.
func awaitInput(ctx context.Context, r io.Reader) error {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil // the read will return the error
	}
	for ctx.Err() == nil {
		var n int
		var failed error
		err := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, failed = unix.Poll(fds, int(inputPeriod.Milliseconds()))
		})
		if errors.Is(failed, unix.EINTR) {
			continue
		}
		if n != 0 || failed != nil || err != nil {
			return nil
		}
	}
	return ctx.Err()
}
