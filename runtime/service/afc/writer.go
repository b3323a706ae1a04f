package afc

import (
	"bytes"
	"errors"
	"sync"
	"time"
)

// frame is a request for the writer goroutine. Only this goroutine writes to the
// connection. A deadline must not interrupt a write: it would leave a part of a packet
// on the connection, and a TLS connection cannot be used after that.
type frame struct {
	c      *Client
	packet uint64
	sent   chan struct{} // closed when the request is written or err is set
	err    error

	mu       sync.Mutex
	rest     []byte // remaining payload; belongs to the caller until it leaves
	over     bool
	patience *time.Timer // runs after the caller has left
}

const (
	// writeChunk is the number of bytes passed to one write of the connection. It is
	// the payload of four full TLS records.
	writeChunk = 64 << 10
	// patience is how long the rest of a request whose caller has left may make no
	// progress before the client closes the connection.
	patience = 10 * time.Second
)

// errUnfinished is the cause if the connection ends because a request cannot be
// completed.
var errUnfinished = errors.New("the device stopped taking a request that was cancelled")

// leave returns the data to the caller before the request is written.
func (f *frame) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return
	}
	f.rest = bytes.Clone(f.rest)
	f.patience = time.AfterFunc(patience, func() { f.c.end(errUnfinished) })
}

// next appends the next bytes of the request to b.
func (f *frame) next(b []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(len(f.rest), max(writeChunk-len(b), 0))
	b = append(b, f.rest[:n]...)
	f.rest = f.rest[n:]
	if f.patience != nil {
		f.patience.Reset(patience)
	}
	return b
}

// finish ends the frame.
func (f *frame) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over, f.rest, f.err = true, nil, err
	if f.patience != nil {
		f.patience.Stop()
	}
	close(f.sent)
}

// write runs on the writer goroutine. It takes over the token from the caller that
// sends it a frame.
func (c *Client) write() {
	defer close(c.idle)
	for {
		select {
		case f := <-c.frames:
			err := c.send(f)
			if err != nil {
				c.end(err)
			}
			f.finish(err)
			<-c.turn
		case <-c.over:
			return
		}
	}
}

// send writes a frame. Its header and arguments are in c.out.
func (c *Client) send(f *frame) error {
	for b := f.next(c.out); len(b) > 0; b = f.next(b[:0]) {
		c.out = b
		if _, err := c.conn.Write(b); err != nil {
			return err
		}
		c.moved(f.packet)
	}
	return nil
}
