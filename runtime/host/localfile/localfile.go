// Package localfile opens, reads and writes files of this computer in a way that
// can be cancelled. Regular files do not need that. But a FIFO waits for its other
// end, a terminal waits for a key, and a file such as /dev/zero never ends.
package localfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// LimitError is the error for a file that is larger than the limit of a read.
type LimitError struct {
	Path  string
	Limit int64
}

// Error names the file and the limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("read %s: larger than the limit of %d bytes", e.Path, e.Limit)
}

// Open is like os.OpenFile but returns when ctx ends.
func Open(ctx context.Context, path string, flag int, perm os.FileMode) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err != nil || !mayWait(info) {
		return os.OpenFile(path, flag, perm)
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		f, err := os.OpenFile(path, flag, perm)
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		return r.f, r.err
	case <-ctx.Done():
	}
	close := func(r result) {
		if r.err == nil {
			r.f.Close()
		}
	}
	// One call of release is not enough if the goroutine has not reached the system
	// call yet.
	for range releases {
		release(path, flag)
		timer := time.NewTimer(releaseTime)
		select {
		case r := <-done:
			timer.Stop()
			close(r)
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
	go func() { close(<-done) }() // a device, for which release has no effect
	return nil, ctx.Err()
}

// releases is how often Open calls release, and releaseTime the time between two
// calls.
const (
	releases    = 20
	releaseTime = time.Millisecond
)

// mayWait reports whether opening such a file may wait.
func mayWait(info os.FileInfo) bool {
	return info.Mode()&(os.ModeNamedPipe|os.ModeDevice) != 0
}

// Do calls f, which reads from file or writes to it. When ctx ends, it makes f
// return if the system can do that for this kind of file.
func Do(ctx context.Context, file *os.File, f func() error) error {
	if ctx.Done() == nil || file.SetDeadline(time.Time{}) != nil {
		return f()
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		file.SetDeadline(time.Unix(1, 0))
	})
	err := f()
	if stop() {
		return err
	}
	<-done // otherwise the deadline could end a later call
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ctx.Err()
	}
	return err
}

// WriteFile creates or truncates a file and writes b to it.
func WriteFile(ctx context.Context, path string, b []byte, perm os.FileMode) error {
	f, err := Open(ctx, path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	err = Do(ctx, f, func() error {
		_, err := f.Write(b)
		return err
	})
	return errors.Join(err, f.Close())
}

// Reader returns a reader that reads from r until ctx ends. It checks ctx before
// each read.
func Reader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// ReadFile reads a file of at most limit bytes. It returns a *LimitError if the
// file is larger. It does not rely on the size that the system reports, because
// files in /proc report none and other files may grow.
func ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	f, err := Open(ctx, path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &LimitError{path, limit}
	}
	var b []byte
	err = Do(ctx, f, func() error {
		var err error
		b, err = ReadAll(ctx, f, path, info.Size(), limit)
		return err
	})
	return b, err
}

// ReadAll reads from r to its end. It returns a *LimitError that names path if
// there are more than limit bytes. size is the expected number of bytes.
func ReadAll(ctx context.Context, r io.Reader, path string, size, limit int64) ([]byte, error) {
	b := make([]byte, 0, min(max(size, 0), limit)+512)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return nil, &LimitError{path, limit}
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}
