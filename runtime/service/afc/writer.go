package afc

import (
	"bytes"
	"errors"
	"sync"
	"time"
)

// frame is a request that the writer goroutine sends. Only the writer touches
// the connection: a write that a deadline cuts leaves half a packet on it, and
// a TLS session is of no use after one.
type frame struct {
	c      *Client
	packet uint64
	sent   chan struct{} // closed when all of it was written, or err is set
	err    error

	mu       sync.Mutex
	rest     []byte // of the payload; the caller's until it leaves
	over     bool
	patience *time.Timer // runs when the caller has left
}

const (
	// writeChunk is what is given to the connection at once. It is the
	// payload of four full TLS records.
	writeChunk = 64 << 10
	// patience is how long the rest of a request whose caller has left may
	// stand still before the connection is given up.
	patience = 10 * time.Second
)

// errUnfinished ends a connection on which a request cannot be completed.
var errUnfinished = errors.New("the device stopped taking a request that was cancelled")

// leave gives the caller its data back before the request is written.
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

// finish is the end of the frame.
func (f *frame) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over, f.rest, f.err = true, nil, err
	if f.patience != nil {
		f.patience.Stop()
	}
	close(f.sent)
}

// write is the writer goroutine. It takes the turn over from the caller that
// hands it a frame.
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

// send writes a frame, whose header and arguments are in c.out.
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
