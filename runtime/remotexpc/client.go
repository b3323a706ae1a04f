package remotexpc

import (
	"context"
	"net"
)

// Connect brings a connection up from the host's side. It owns nc from now on
// and closes it when that fails. It returns when the device has answered with
// its SETTINGS, or after 30 seconds: no host waits for the messages that the device
// mirrors.
func Connect(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := newConn(nc, o, false)
	c.up, c.alone = true, o.Alone
	c.turn <- struct{}{} // nothing may be written ahead of the preface
	c.start()
	c.out.b = append(c.out.b, preface...)
	c.appendSettings()
	c.openStreams()
	err := c.flush(ctx)
	<-c.turn
	if err == nil {
		select {
		case <-c.settled:
			return c, nil
		case <-c.done:
		case <-ctx.Done():
			err = &Error{Op: opConnect, Err: context.Cause(ctx)}
		}
	}
	if e := c.Err(); e != nil {
		err = e // says more than an error of writing
	}
	_ = c.Close()
	return nil, opError(opConnect, 0, err)
}

// openStreams writes what opens the two message streams. Since iOS 26 remoted
// looks for stream 3 before the second message on stream 1. All of it fits the
// windows that every connection begins with.
func (c *Conn) openStreams() {
	c.appendHeaders(rootStream)
	c.appendOpening(rootStream, emptyMessage())
	c.appendHeaders(replyStream)
	c.appendOpening(rootStream, bare(flagsOpening, 0))
	c.appendOpening(replyStream, bare(flagsInit, 0))
}

func (c *Conn) appendOpening(id uint32, raw []byte) {
	_ = c.fr.WriteData(id, false, raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendWindow -= int64(len(raw))
	c.streams[id].send -= int64(len(raw))
}
