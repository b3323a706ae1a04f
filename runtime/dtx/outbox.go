package dtx

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxPending is the number of bytes that may wait to be written before senders
	// have to wait. It is small, because a small message waits behind these bytes.
	maxPending = 256 << 10
	// maxStalled bounds the bytes that wait if the reader itself adds answers, since
	// the reader never waits. A peer for which so many bytes wait does not read.
	maxStalled = 16 << 20
	// maxSpare is the size of the largest buffer that is kept for later messages.
	maxSpare = 1 << 20
	// closeGrace is how long Close waits until the peer has read the last messages.
	closeGrace = 500 * time.Millisecond
)

// outbox collects messages for the writer. The writer sends all messages that
// are waiting in one write.
type outbox struct {
	mu      sync.Mutex
	pending []byte
	counted int // bytes of pending that are counted on the account
	lastID  uint32
	closed  bool
	space   chan struct{} // closed when the writer takes pending; nil without a waiting sender
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

// full returns nil if there is room, or else a channel that is closed when there
// is room again.
func (o *outbox) full() <-chan struct{} {
	if len(o.pending) < maxPending {
		return nil
	}
	if o.space == nil {
		o.space = make(chan struct{})
	}
	return o.space
}

// enqueue adds a message to the outbox. A message that begins a conversation gets
// its id here, so that ids increase on the wire. If reply is not nil, enqueue
// registers it under that id. force adds the message even if there is no room;
// the reader sets it, because it must not wait.
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
		o.lastID++
		if o.lastID == 0 {
			o.lastID++ // 0 is not a valid id
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

// room waits until there is room, the outbox is closed, done is closed or ctx ends. It
// returns an error only if ctx ends.
func (o *outbox) room(ctx context.Context, done <-chan struct{}) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roomLocked(ctx, done)
}

// roomLocked is room for a caller that holds o.mu. It releases o.mu while it waits.
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

// waitForRoom waits until there is room for m. The caller holds the lock of the outbox. A
// reply that waits is counted on the account, because a peer may send many calls on many
// channels and read none of the replies.
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

// count counts an answer of size bytes that the reader adds. Answers are counted on the
// account only if the outbox is full. count returns false if too many bytes wait.
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

// code returns the code of the channel that m is sent on.
func (m *Message) code() int32 {
	if m.Conversation%2 == 0 {
		return m.Channel
	}
	return -m.Channel
}

// expect registers a call. It returns false if the connection is over.
func (c *Conn) expect(key callKey, reply chan *Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.calls[key] = reply
	return true
}

// forget removes a call whose reply is not awaited any more.
func (c *Conn) forget(key callKey) {
	c.mu.Lock()
	delete(c.calls, key)
	c.mu.Unlock()
}

// take returns the bytes that wait and how many of them are counted on the account. spare
// becomes the buffer for the next messages.
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

// close closes the outbox. With flush the writer first sends the messages in it.
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

// write is the only writer of the network connection. It closes the connection
// when it ends, so that the reader ends as well.
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
		spare = b
		if cap(spare) > maxSpare {
			spare = nil
		}
	}
}
