package afc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// Mode says how a file is opened. The modes are those of fopen.
type Mode uint64

// The modes.
const (
	ModeRead       Mode = 1 // "r"
	ModeReadWrite  Mode = 2 // "r+", but creates the file
	ModeWrite      Mode = 3 // "w": creates or empties the file
	ModeWriteRead  Mode = 4 // "w+"
	ModeAppend     Mode = 5 // "a": creates the file; writes go to the end
	ModeAppendRead Mode = 6 // "a+"
)

var modeNames = [...]string{
	ModeRead: "r", ModeReadWrite: "r+", ModeWrite: "w", ModeWriteRead: "w+", ModeAppend: "a",
	ModeAppendRead: "a+",
}

// String returns the name that fopen has for the mode.
func (m Mode) String() string {
	if m < 1 || int(m) >= len(modeNames) {
		return fmt.Sprintf("Mode(%d)", uint64(m))
	}
	return modeNames[m]
}

// ParseMode returns the mode for a name of fopen: "r", "r+", "w", "w+", "a" or "a+".
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s != "" && name == s {
			return Mode(m), nil
		}
	}
	return 0, &Error{Op: "open", Err: fmt.Errorf("%w: mode %q", fs.ErrInvalid, s)}
}

// File is an open file on the device. The device keeps one position for reads and
// writes. If several goroutines use one File at the same time, each call continues at
// the position where the previous one ended.
type File struct {
	c    *Client
	path string
	ref  uint64

	// closed prevents a late call from reaching another file, to which the device has
	// given the same number in the meantime.
	closed atomic.Bool
}

// Open opens a file.
func (c *Client) Open(ctx context.Context, file string, m Mode) (*File, error) {
	args, err := pathArgs("open", []uint64{uint64(m)}, file)
	if err != nil {
		return nil, err
	}
	k, err := c.start(ctx, request{op: opOpen, args: args, want: opOpenResult})
	if err != nil {
		return nil, fail("open", file, err)
	}
	if err := c.result(ctx, "open", file, k); err != nil {
		return nil, err
	}
	if k.num == 0 {
		return nil, fail("open", file, fmt.Errorf("%w: handle 0", errAnswer))
	}
	return &File{c: c, path: file, ref: k.num}, nil
}

// Path returns the path that was passed to Open.
func (f *File) Path() string { return f.path }

// Read reads up to len(p) bytes, at most 4 MiB. At the end of the file it returns
// io.EOF. The data is received directly into p.
func (f *File) Read(ctx context.Context, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), maxRead)]
	k, err := f.startRead(ctx, p)
	if err != nil {
		return 0, fail("read", f.path, err)
	}
	if err := f.c.result(ctx, "read", f.path, k); err != nil {
		return 0, err
	}
	if len(k.data) == 0 {
		return 0, io.EOF
	}
	return len(k.data), nil
}

func (f *File) startRead(ctx context.Context, p []byte) (*call, error) {
	return f.start(ctx, request{op: opRead, want: opData, dst: p}, uint64(len(p)))
}

// writePiece is the number of bytes that Write sends in one packet.
const writePiece = 1 << 20

// Write writes all of p. If it fails, it returns the number of bytes that the device is
// known to have written.
func (f *File) Write(ctx context.Context, p []byte) (int, error) {
	done := 0
	for {
		part := p[done:min(len(p), done+writePiece)]
		if len(part) == 0 && done > 0 {
			return done, nil
		}
		if _, err := f.do(ctx, "write",
			request{op: opWrite, data: part, want: opStatus}); err != nil {
			return done, err
		}
		done += len(part)
		if done == len(p) {
			return done, nil
		}
	}
}

// Seek sets the position and returns the new one. Whence is one of the constants of
// package io. The answer to a Seek request does not contain the position, so Seek also
// sends a Tell.
func (f *File) Seek(ctx context.Context, offset int64, whence int) (int64, error) {
	if whence < io.SeekStart || whence > io.SeekEnd {
		return 0, fail("seek", f.path, fs.ErrInvalid)
	}
	k, err := f.start(ctx, request{op: opSeek, want: opStatus}, uint64(whence), uint64(offset))
	if err != nil {
		return 0, fail("seek", f.path, err)
	}
	pos, tellErr := f.Tell(ctx)
	if err := f.c.result(ctx, "seek", f.path, k); err != nil {
		return 0, err
	}
	return pos, tellErr
}

// Tell returns the position.
func (f *File) Tell(ctx context.Context) (int64, error) {
	k, err := f.do(ctx, "tell", request{op: opTell, want: opTellResult})
	if err != nil {
		return 0, err
	}
	return int64(k.num), nil
}

// Truncate sets the size of the file. The position does not change.
func (f *File) Truncate(ctx context.Context, size int64) error {
	if size < 0 {
		return fail("truncate", f.path, fs.ErrInvalid)
	}
	return f.status(ctx, "truncate", opSetSize, uint64(size))
}

// Lock takes an exclusive or shared lock of the file. It does not wait: if another
// handle holds the lock, the device answers WouldBlock.
func (f *File) Lock(ctx context.Context, exclusive bool) error {
	bits := uint64(lockShared | lockNoWait)
	if exclusive {
		bits = lockExclusive | lockNoWait
	}
	return f.status(ctx, "lock", opLock, bits)
}

// Unlock releases the lock.
func (f *File) Unlock(ctx context.Context) error {
	return f.status(ctx, "unlock", opLock, lockRelease|lockNoWait)
}

// Close closes the file on the device. It returns nil if the file is already closed. It
// also returns nil if the connection has ended, because the device then closes its
// files.
func (f *File) Close(ctx context.Context) error {
	k, err := f.startClose(ctx)
	if err == nil && k != nil {
		err = f.c.wait(ctx, k)
	}
	var over *EndedError
	switch {
	case errors.As(err, &over):
		return nil
	case err != nil:
		return fail("close", f.path, err)
	case k != nil && k.code != Success:
		return &Error{Op: "close", Path: f.path, Status: k.code}
	}
	return nil
}

// startClose sends the request of Close. It returns nil if the file is already closed.
func (f *File) startClose(ctx context.Context) (*call, error) {
	if f.closed.Swap(true) {
		return nil, nil
	}
	k, err := f.c.start(ctx, request{op: opClose, args: numberArgs(f.ref), want: opStatus})
	if err != nil {
		f.closed.Store(false)
		return nil, err
	}
	return k, nil
}

// start sends a request for the handle.
func (f *File) start(ctx context.Context, r request, numbers ...uint64) (*call, error) {
	if f.closed.Load() {
		return nil, fs.ErrClosed
	}
	r.args = numberArgs(append([]uint64{f.ref}, numbers...)...)
	return f.c.start(ctx, r)
}

func (f *File) do(ctx context.Context, op string, r request, numbers ...uint64) (*call, error) {
	k, err := f.start(ctx, r, numbers...)
	if err != nil {
		return nil, fail(op, f.path, err)
	}
	return k, f.c.result(ctx, op, f.path, k)
}

func (f *File) status(ctx context.Context, op string, code Opcode, numbers ...uint64) error {
	_, err := f.do(ctx, op, request{op: code, want: opStatus}, numbers...)
	return err
}

// Stream returns the file as an io.ReadWriteSeeker and io.Closer. The context bounds
// all of its calls.
func (f *File) Stream(ctx context.Context) *Stream { return &Stream{f: f, ctx: ctx} }

// Stream is a File with a context, for use with functions of package io.
type Stream struct {
	f   *File
	ctx context.Context
}

// Read calls File.Read.
func (s *Stream) Read(p []byte) (int, error) { return s.f.Read(s.ctx, p) }

// Write calls File.Write.
func (s *Stream) Write(p []byte) (int, error) { return s.f.Write(s.ctx, p) }

// Seek calls File.Seek.
func (s *Stream) Seek(offset int64, whence int) (int64, error) {
	return s.f.Seek(s.ctx, offset, whence)
}

// Close calls File.Close.
func (s *Stream) Close() error { return s.f.Close(s.ctx) }
