package dtx

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxPending is how much may wait to be written before senders wait. It is
	// what a small message may have to queue behind, so it is short.
	maxPending = 256 << 10
	// maxStalled bounds the answers that the reader itself gives, which cannot
	// wait: a peer that lets so many pile up does not read.
	maxStalled = 16 << 20
	// maxSpare is how large a buffer is kept for the next messages.
	maxSpare = 1 << 20
	// closeGrace is how long Close waits for a peer to take the last messages.
	closeGrace = 500 * time.Millisecond
)

// outbox gathers messages for the writer: whatever is waiting when the network
// takes more goes out in one write.
type outbox struct {
	mu      sync.Mutex
	pending []byte
	counted int // bytes of pending that the account has
	lastID  uint32
	closed  bool
	space   chan struct{} // closed when pending was taken; nil if nobody waits
	wake    chan struct{} // holds a token while there is work for the writer
}

func (o *outbox) init() { o.wake = make(chan struct{}, 1) }

// poke wakes the writer up.
func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// full reports whether senders have to wait, and for what.
func (o *outbox) full() <-chan struct{} {
	if len(o.pending) < maxPending {
		return nil
	}
	if o.space == nil {
		o.space = make(chan struct{})
	}
	return o.space
}

// enqueue puts a message in line. Messages that begin a conversation get their
// id here, so that ids go up on the wire; with reply not nil the call is
// registered under it. Only the reader forces: it must not wait for room.
func (c *Conn) enqueue(ctx context.Context, m *Message, reply chan *Message, force bool) error {
	size := payloadHeaderSize + m.Size()
	if size > MaxMessage {
		return ErrTooLarge
	}
	o := &c.out
	o.mu.Lock()
	if !force {
		if err := c.waitForRoom(ctx, m, size); err != nil {
			o.mu.Unlock()
			return err
		}
	}
	if o.closed {
		o.mu.Unlock()
		return c.Err()
	}
	if force && !o.count(c.memory, size) {
		o.mu.Unlock()
		c.fail(&Error{Op: "reply", Err: ErrStalled}, false)
		return ErrStalled
	}
	if m.Conversation == 0 {
		if o.lastID++; o.lastID == 0 {
			o.lastID++ // nobody sends id 0
		}
		m.ID = o.lastID
	}
	if reply != nil && !c.expect(callKey{m.code(), m.ID}, reply) {
		o.mu.Unlock()
		return c.Err()
	}
	o.pending = Append(slices.Grow(o.pending, size+fragments(size)*HeaderSize), m)
	o.mu.Unlock()
	o.poke()
	return nil
}

// room waits until there is room to send, the outbox is closed, or ctx or done ends.
func (o *outbox) room(ctx context.Context, done <-chan struct{}) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roomLocked(ctx, done)
}

// roomLocked is room for a caller that holds the lock. It holds it again afterwards.
func (o *outbox) roomLocked(ctx context.Context, done <-chan struct{}) error {
	for !o.closed {
		space := o.full()
		if space == nil {
			return nil
		}
		o.mu.Unlock()
		var err error
		select {
		case <-space:
		case <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		o.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// waitForRoom waits until m may go out; the outbox is locked. Replies that wait are
// counted: a peer can ask for many on many channels and read none.
func (c *Conn) waitForRoom(ctx context.Context, m *Message, size int) error {
	o := &c.out
	if o.closed || o.full() == nil {
		return nil
	}
	if m.Conversation%2 == 1 {
		if c.memory.take(size) != nil {
			o.mu.Unlock()
			c.fail(&Error{Op: "reply", Err: ErrStalled}, false)
			o.mu.Lock()
			return ErrStalled
		}
		defer c.memory.give(size)
	}
	return o.roomLocked(ctx, c.done)
}

// count takes size bytes for an answer of the reader, once the peer is behind with
// reading. It reports false if the peer is too far behind.
func (o *outbox) count(memory *account, size int) bool {
	switch {
	case len(o.pending) < maxPending:
		return true
	case len(o.pending) > maxStalled, memory.take(size) != nil:
		return false
	}
	o.counted += size
	return true
}

// code is the channel of a message that this side sends.
func (m *Message) code() int32 {
	if m.Conversation%2 == 0 {
		return m.Channel
	}
	return -m.Channel
}

// expect registers a call, unless the connection is over.
func (c *Conn) expect(key callKey, reply chan *Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.calls[key] = reply
	return true
}

func (c *Conn) forget(key callKey) {
	c.mu.Lock()
	delete(c.calls, key)
	c.mu.Unlock()
}

// take gives the writer what is waiting, with how many bytes of it are counted, and puts
// spare in its place.
func (o *outbox) take(spare []byte) (b []byte, counted int, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, o.pending = o.pending, spare[:0]
	counted, o.counted = o.counted, 0
	if o.space != nil {
		close(o.space)
		o.space = nil
	}
	return b, counted, o.closed
}

// close ends the outbox: with flush, the writer sends what is there first.
func (o *outbox) close(nc net.Conn, flush bool) {
	o.mu.Lock()
	o.closed = true
	if !flush {
		o.pending = nil
	}
	o.mu.Unlock()
	if flush {
		_ = nc.SetWriteDeadline(time.Now().Add(closeGrace))
	} else {
		_ = nc.Close()
	}
	o.poke()
}

// write is the one writer. It closes the network connection when it ends, which
// ends the reader.
func (c *Conn) write() {
	defer c.wg.Done()
	defer c.nc.Close()
	var spare []byte
	for range c.out.wake {
		b, counted, closed := c.out.take(spare)
		if len(b) > 0 {
			if _, err := c.nc.Write(b); err != nil {
				c.fail(&Error{Op: "write", Err: &peerClosed{err}}, false)
				return
			}
			c.memory.give(counted)
		}
		if closed {
			return
		}
		if spare = b; cap(spare) > maxSpare {
			spare = nil
		}
	}
}
