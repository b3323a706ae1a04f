package remotexpc

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

// handshakeTimeout bounds opening a connection on either side, in addition to the
// context.
const handshakeTimeout = 30 * time.Second

// lingerTimeout is how long a device waits for a host to close the connection after the
// last message.
const lingerTimeout = 5 * time.Second

// Accept opens a connection as the device. It mirrors the host's opening messages in
// any order, and returns when messages may be sent to the host, or an error after 30
// seconds. It takes ownership of nc, and closes it on error.
func Accept(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := newConn(nc, o, true)
	if err := c.readPreface(ctx); err != nil {
		_ = nc.Close()
		return nil, opError(opAccept, 0, err)
	}
	c.turn <- struct{}{} // SETTINGS must be the first frame
	c.start()
	c.appendSettings()
	err := c.flush(ctx)
	<-c.turn
	if err == nil {
		err = c.mirror(ctx)
	}
	if err != nil {
		if e := c.Err(); e != nil {
			err = e
		}
		_ = c.Close()
		return nil, opError(opAccept, 0, err)
	}
	return c, nil
}

func (c *Conn) readPreface(ctx context.Context) error {
	release := link.GuardRead(ctx, c.conn)
	got := make([]byte, len(preface))
	_, err := io.ReadFull(c.br, got)
	err = release(err)
	if err != nil {
		return err
	}
	if string(got) != preface {
		return violation(http2.ErrCodeProtocol, "connection begins with %q", got)
	}
	return nil
}

// mirror answers each opening message with the same message, on the stream that the
// host has opened for it. Apple's host closes the connection if it is answered on a
// stream that it has not opened.
func (c *Conn) mirror(ctx context.Context) error {
	var init, opened bool
	for !init || !opened {
		var o opening
		select {
		case o = <-c.opening:
		case <-c.done:
			return c.failed(opAccept)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var err error
		switch {
		case o.raw == nil && o.stream == rootStream:
			err = c.writeFrames(ctx, func() { c.appendHeaders(rootStream) })
		case o.raw == nil:
			// Stream 3 is opened together with its only message.
		case o.stream == replyStream && wrapperFlags(o.raw)&xpc.FlagInitHandshake != 0:
			init = true
			err = c.writeFrames(ctx, func() { c.appendHeaders(replyStream) })
			if err == nil {
				err = c.writeMessage(ctx, c.messageStream(replyStream), bare(flagsInit, 0))
			}
		case wrapperFlags(o.raw)&xpc.FlagOpening != 0:
			opened = true
			err = c.greet(ctx)
		case o.stream == rootStream:
			err = c.writeMessage(ctx, c.messageStream(rootStream), emptyMessage())
		}
		if err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.up = true
	c.mu.Unlock()
	return nil
}

// greet sends the last message on stream 1. go-ios reads exactly two messages there
// before its first request, so that a greeting must replace the last one.
func (c *Conn) greet(ctx context.Context) error {
	if c.opts.Greeting != nil {
		return c.Send(ctx, c.opts.Greeting)
	}
	return c.writeMessage(ctx, c.messageStream(rootStream), bare(flagsOpening, 0))
}

func (c *Conn) messageStream(id uint32) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

// Device is the device side of a service that speaks RemoteXPC.
type Device struct {
	// Handle serves one connection; it must be set. When it returns nil, the device
	// waits for the host to close the connection first.
	Handle func(ctx context.Context, c *Conn) error
	// Options are those of every connection.
	Options Options
}

// Serve opens a connection and serves it until the host leaves, Handle returns or ctx
// ends. It is not an error if the host leaves.
func (d *Device) Serve(ctx context.Context, nc net.Conn) error {
	c, err := Accept(ctx, nc, d.Options)
	if err == nil {
		defer c.Close()
		err = d.Handle(ctx, c)
	}
	switch {
	case err == nil:
		ctx, cancel := context.WithTimeout(ctx, lingerTimeout)
		defer cancel()
		_ = c.Shutdown(ctx)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case left(err):
		return nil
	}
	return err
}

// left reports whether an error means that the host has left.
func left(err error) bool {
	if errors.Is(err, ErrProtocol) || errors.Is(err, ErrOverflow) {
		return false
	}
	return errors.Is(err, net.ErrClosed)
}
