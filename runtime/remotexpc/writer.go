package remotexpc

import (
	"context"
	"errors"

	"github.com/imdlua/imdlua/runtime/link"
)

// broadcastGrown wakes the goroutines that wait for a window. The caller holds mu.
func (c *Conn) broadcastGrown() {
	if c.grown != nil {
		close(c.grown)
		c.grown = nil
	}
}

// reserve waits until at least one byte may be sent on a stream, and subtracts up to
// want bytes from the windows.
func (c *Conn) reserve(ctx context.Context, st *stream, want int) (int, error) {
	for {
		c.mu.Lock()
		if c.cause != nil {
			defer c.mu.Unlock()
			return 0, c.cause
		}
		if st.err != nil {
			defer c.mu.Unlock()
			return 0, st.err
		}
		if n := min(int64(want), c.sendWindow, st.send); n > 0 {
			c.sendWindow -= n
			st.send -= n
			c.mu.Unlock()
			return int(n), nil
		}
		if c.grown == nil {
			c.grown = make(chan struct{})
		}
		grown := c.grown
		c.mu.Unlock()
		select {
		case <-grown:
		case <-c.done:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// giveBack returns reserved bytes that were not sent.
func (c *Conn) giveBack(st *stream, n int) {
	c.mu.Lock()
	c.sendWindow += int64(n)
	st.send += int64(n)
	c.broadcastGrown()
	c.mu.Unlock()
}

// take waits for a turn.
func (c *Conn) take(ctx context.Context, turn chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.cause
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flush writes the frames in out. The caller holds turn. If the context ends it before
// a byte was written, the connection stays usable. If it ends it later, the connection
// ends, because the peer would take the next bytes for the rest. With any other error
// the reader ends the connection, after it has read what the peer sent before.
func (c *Conn) flush(ctx context.Context) error {
	out := c.out.b
	c.out.b = c.out.b[:0]
	if len(out) == 0 || c.mute != nil {
		return c.mute
	}
	release := link.GuardWrite(ctx, c.conn)
	n, err := c.conn.Write(out)
	err = release(err)
	if err == nil {
		return nil
	}
	if stopped := (*link.Interrupted)(nil); !errors.As(err, &stopped) {
		c.mute = err
	} else if n > 0 {
		c.fail(&Error{Err: ErrCut})
	}
	return err
}

// writeFrames writes the frames that add puts into the framer.
func (c *Conn) writeFrames(ctx context.Context, add func()) error {
	if err := c.take(ctx, c.turn); err != nil {
		return err
	}
	defer func() { <-c.turn }()
	add()
	return c.flush(ctx)
}

// writeData writes p, for which window was reserved, as DATA frames.
func (c *Conn) writeData(ctx context.Context, id uint32, p []byte, end bool) error {
	return c.writeFrames(ctx, func() {
		for {
			n := min(len(p), frameSize)
			_ = c.fr.WriteData(id, end && n == len(p), p[:n])
			p = p[n:]
			if len(p) == 0 {
				return
			}
		}
	})
}

// writeMessage writes a complete message. pymobiledevice3 and appium have one buffer
// for all streams, so that no other message is sent between its frames. If the windows
// are exhausted, all messages wait.
func (c *Conn) writeMessage(ctx context.Context, st *stream, raw []byte) error {
	if err := c.take(ctx, c.msgTurn); err != nil {
		return err
	}
	defer func() { <-c.msgTurn }()
	for sent := 0; sent < len(raw); {
		n, err := c.reserve(ctx, st, min(len(raw)-sent, batch))
		if err == nil {
			err = c.writeData(ctx, st.id, raw[sent:sent+n], false)
			if err != nil {
				c.giveBack(st, n)
			}
		}
		if err != nil {
			if sent > 0 {
				// The peer would take the next bytes for the rest.
				c.fail(&Error{Stream: st.id, Err: ErrCut})
			}
			return err
		}
		sent += n
	}
	return nil
}
