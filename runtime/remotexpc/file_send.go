package remotexpc

import (
	"context"
	"errors"
	"io"
	"net"

	"golang.org/x/net/http2"
)

// FileWriter sends a file to the peer.
type FileWriter struct {
	c  *Conn
	st *stream
	// Stream is the number of the HTTP/2 stream.
	Stream uint32

	over bool
}

// OpenFile opens a stream for a file. id is the id of the transfer, which is not 0 and
// unique on the connection. A device calls OpenFile before it announces the file, and
// must announce files in the order of opening. A host calls it after it has announced
// the file in a request (xpc.FileTransfer).
func (c *Conn) OpenFile(ctx context.Context, id uint64) (*FileWriter, error) {
	if id == 0 {
		return nil, &Error{Op: opSendFile, Err: errors.New("transfer id is 0")}
	}
	st, err := c.openOutgoing(ctx)
	if err != nil {
		return nil, opError(opSendFile, 0, err)
	}
	w := &FileWriter{c: c, st: st, Stream: st.id}
	if err := w.write(ctx, bare(flagsFileRequest, id)); err != nil {
		_ = w.Close()
		return nil, opError(opSendFile, st.id, err)
	}
	return w, nil
}

// openOutgoing opens the next stream of this side. Streams must be opened in the order
// of their ids, so that the id is assigned while this stream has the turn to write.
func (c *Conn) openOutgoing(ctx context.Context) (*stream, error) {
	var st *stream
	err := c.writeFrames(ctx, func() {
		c.mu.Lock()
		st = c.newStream(c.nextOwn)
		c.nextOwn += 2
		c.streams[st.id] = st
		c.mu.Unlock()
		c.appendHeaders(st.id)
	})
	if err != nil && st != nil {
		c.mu.Lock()
		c.forget(st)
		c.mu.Unlock()
	}
	return st, err
}

// write sends p completely. Frames of other streams may be sent in between.
func (w *FileWriter) write(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		n, err := w.c.reserve(ctx, w.st, min(len(p), batch))
		if err != nil {
			return err
		}
		if err := w.c.writeData(ctx, w.st.id, p[:n], false); err != nil {
			w.c.giveBack(w.st, n)
			return err
		}
		p = p[n:]
	}
	return nil
}

// Send sends size bytes of r and ends the file. A device first waits until the host
// asks for it. After an error the file cannot be continued; only Close may be called.
func (w *FileWriter) Send(ctx context.Context, r io.Reader, size int64) error {
	w.c.mu.Lock()
	over := w.over
	w.c.mu.Unlock()
	if over {
		return &Error{Op: opSendFile, Stream: w.Stream, Err: net.ErrClosed}
	}
	err := w.send(ctx, r, size)
	if err != nil {
		_ = w.Close()
		return opError(opSendFile, w.Stream, err)
	}
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	w.over = true
	c.forget(w.st)
	return nil
}

func (w *FileWriter) send(ctx context.Context, r io.Reader, size int64) error {
	if w.c.device {
		if err := w.awaitGo(ctx); err != nil {
			return err
		}
	}
	buf := make([]byte, min(size, batch))
	for size > 0 {
		n, err := io.ReadFull(r, buf[:min(size, int64(len(buf)))])
		if err != nil {
			return unexpected(err)
		}
		if err := w.write(ctx, buf[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	// The end is a frame of its own, because pymobiledevice3 ignores the bytes of a
	// frame that ends a stream.
	return w.c.writeData(ctx, w.st.id, nil, true)
}

// awaitGo waits until the receiver asks for the file.
func (w *FileWriter) awaitGo(ctx context.Context) error {
	for {
		c := w.c
		c.mu.Lock()
		gone, err := w.st.gone, w.st.err
		if c.grown == nil {
			c.grown = make(chan struct{})
		}
		grown := c.grown // closed by a reset
		c.mu.Unlock()
		switch {
		case gone:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-w.st.goes:
		case <-grown:
		case <-c.done:
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.cause
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close cancels the file if it has not been sent completely.
func (w *FileWriter) Close() error {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.over && c.streams[w.st.id] == w.st {
		c.dropStream(w.st, http2.ErrCodeCancel)
	}
	w.over = true
	return nil
}
