package coredevice

import (
	"context"
	"io"
	"net"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Terminal is the host side of the standard input and output of an app. It is opened
// before the launch, passed as LaunchOptions.Terminal, and serves one app.
type Terminal struct {
	// ID identifies the terminal in a launch request.
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

// NewTerminal opens a terminal on a connection to the service. The terminal takes over
// c and closes it if NewTerminal fails.
func NewTerminal(ctx context.Context, c net.Conn) (*Terminal, error) {
	ctx, cancel := bounded(ctx, connectTimeout)
	defer cancel()
	t := &Terminal{conn: c}
	release := link.GuardRead(ctx, c)
	_, err := io.ReadFull(c, t.ID[:])
	err = release(err)
	if err != nil {
		_ = c.Close()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, &Error{Op: "open terminal", Err: err}
	}
	return t, nil
}

// Read waits for output of the app. When the app has ended, it returns io.EOF itself.
func (t *Terminal) Read(ctx context.Context, p []byte) (int, error) {
	release := link.GuardRead(ctx, t.conn)
	n, err := t.conn.Read(p)
	err = release(err)
	switch {
	case n > 0 || err == nil:
		return n, nil // the next call returns the error
	case err == io.EOF:
		return 0, io.EOF
	}
	return 0, &Error{Op: "read", Subject: t.ID.String(), Err: err}
}

// Write sends p to the standard input of the app.
func (t *Terminal) Write(ctx context.Context, p []byte) (int, error) {
	release := link.GuardWrite(ctx, t.conn)
	n, err := t.conn.Write(p)
	err = release(err)
	if err != nil {
		return n, &Error{Op: "write", Subject: t.ID.String(), Err: err}
	}
	return n, nil
}

// Close closes the terminal. The app continues to run.
func (t *Terminal) Close() error { return t.conn.Close() }
