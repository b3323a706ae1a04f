package remotexpc

import (
	"context"
	"net"
)

// Connect opens a connection as the host. It takes ownership of nc, and closes it on
// error. It returns when the device has sent its SETTINGS, or an error after 30
// seconds. It does not wait for the messages that the device mirrors, as no host does.
func Connect(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c := newConn(nc, o, false)
	c.up, c.alone = true, o.Alone
	c.turn <- struct{}{} // nothing may be written before the preface
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
		err = e // it has more details than the error of writing
	}
	_ = c.Close()
	return nil, opError(opConnect, 0, err)
}

// openStreams writes the messages that open the two message streams. remoted of iOS 26
// and later expects stream 3 before the second message on stream 1. All of them fit
// into the initial windows of every connection.
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
