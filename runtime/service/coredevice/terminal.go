package coredevice

import (
	"context"
	"io"
	"net"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Terminal is the host's end of an app's standard input and output. It is opened
// before the app is launched, with LaunchOptions.Terminal, and serves one app.
type Terminal struct {
	// ID names it in a launch.
	ID   xpc.UUID
	conn net.Conn
}

// OpenTerminal opens a terminal on a device.
func OpenTerminal(ctx context.Context, o service.Opener) (*Terminal, error) {
	ctx, cancel := bounded(ctx, connectTimeout)
	defer cancel()
	c, err := o.Open(ctx, OpenStdIOSocket)
	if err != nil {
		return nil, &Error{Op: "open terminal", Err: err}
	}
	return NewTerminal(ctx, c)
}

// NewTerminal takes a terminal from a connection to the service. It owns c from
// now on and closes it when that fails.
func NewTerminal(ctx context.Context, c net.Conn) (*Terminal, error) {
	ctx, cancel := bounded(ctx, connectTimeout)
	defer cancel()
	t := &Terminal{conn: c}
	release := link.GuardRead(ctx, c)
	_, err := io.ReadFull(c, t.ID[:])
	if err = release(err); err != nil {
		_ = c.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, &Error{Op: "open terminal", Err: err}
	}
	return t, nil
}

// Read waits for what the app prints. When the app has ended, the error is
// io.EOF itself.
func (t *Terminal) Read(ctx context.Context, p []byte) (int, error) {
	release := link.GuardRead(ctx, t.conn)
	n, err := t.conn.Read(p)
	err = release(err)
	switch {
	case n > 0 || err == nil:
		return n, nil // what goes wrong comes again
	case err == io.EOF:
		return 0, io.EOF
	}
	return 0, &Error{Op: "read", Subject: t.ID.String(), Err: err}
}

// Write types p on the terminal; the app reads it on its standard input.
func (t *Terminal) Write(ctx context.Context, p []byte) (int, error) {
	release := link.GuardWrite(ctx, t.conn)
	n, err := t.conn.Write(p)
	if err = release(err); err != nil {
		return n, &Error{Op: "write", Subject: t.ID.String(), Err: err}
	}
	return n, nil
}

// Close hangs up. The app goes on.
func (t *Terminal) Close() error { return t.conn.Close() }
