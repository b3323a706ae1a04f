package remotexpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/link"
)

// goAwayTimeout bounds writing the GOAWAY frame to a peer that has violated the
// protocol.
const goAwayTimeout = time.Second

// Conn is either side of a RemoteXPC connection. Its methods may be called
// concurrently. One goroutine reads and never waits for a receiver. What has not been
// received is kept, up to the windows that the peer was granted.
type Conn struct {
	opts   Options
	log    *slog.Logger
	device bool // whether this is the device's side
	conn   net.Conn
	br     *bufio.Reader // used by the reader only
	fr     *http2.Framer // the reader reads from it; the holder of turn writes to out with it

	turn    chan struct{} // taken while frames are written
	msgTurn chan struct{} // taken while the frames of one message are written
	calling chan struct{} // taken during a call, unless calls may overlap
	out     outBuffer
	mute    error // why nothing can be written any more; guarded by turn

	settled chan struct{} // closed when the peer's SETTINGS have arrived
	opening chan opening  // how the peer opens the connection; used on the device's side
	wake    chan struct{} // signals the control goroutine
	arrived chan struct{} // signals that the queue is not empty
	done    chan struct{} // closed when the connection has failed or was closed
	parted  chan struct{} // closed when the peer has been told of the end
	wg      sync.WaitGroup
	closing sync.Once

	mu       sync.Mutex
	cause    *Error // why done was closed
	streams  map[uint32]*stream
	lastPeer uint32 // highest stream that the peer has opened
	nextOwn  uint32 // the next file stream of this side
	nextID   uint64
	up       bool // whether the opening messages have been exchanged
	acked    bool // whether the peer has acknowledged our SETTINGS

	sendWindow int64 // of the connection
	sendStart  int64 // of a new stream
	grown      chan struct{}
	recv       receipt // of the connection
	pending    control

	queue       []queued
	queuedBytes int  // in queue
	buffered    int  // in queue and file streams
	alone       bool // whether no messages are received
	dropped     link.Skipped
	calls       []*call
	given       []uint64      // ids of cancelled calls
	opened      chan struct{} // closed and replaced when the peer opens a file stream
}

// stream is one HTTP/2 stream. Conn.mu guards its fields, except part, which only the
// reader uses.
type stream struct {
	id     uint32
	opened bool  // whether the peer has sent HEADERS
	send   int64 // window
	recv   receipt
	err    *Error // set when the peer has reset it
	part   assembler
	file   *incoming // a file that the peer sends
	goes   chan struct{}
	gone   bool // whether it was answered and goes is closed
}

// receipt is the receiving side of a window. Some of the received bytes are held until
// they are read by the program. The others are credited to the peer.
type receipt struct {
	window   int64
	received int64
	credited int64
	held     int64
}

// due returns how much to credit now. It is 0 below half of a window, so that few
// frames are sent.
func (r *receipt) due() int64 {
	n := r.received - r.credited - r.held
	if n <= 0 || 2*n < r.window {
		return 0
	}
	r.credited += n
	return n
}

// opening is one step of a host in opening the connection.
type opening struct {
	stream uint32
	raw    []byte // nil for HEADERS
}

// outBuffer collects the frames of one write.
type outBuffer struct{ b []byte }

func (o *outBuffer) Write(p []byte) (int, error) {
	o.b = append(o.b, p...)
	return len(p), nil
}

func newConn(c net.Conn, o Options, device bool) *Conn {
	o = o.withDefaults()
	x := &Conn{
		opts: o, log: o.Logger, device: device, conn: c, br: bufio.NewReaderSize(c, 2*frameSize),
		turn: make(chan struct{}, 1), msgTurn: make(chan struct{}, 1),
		calling: make(chan struct{}, 1),
		settled: make(chan struct{}), opening: make(chan opening, 8), wake: make(chan struct{}, 1),
		arrived: make(chan struct{}, 1), done: make(chan struct{}), parted: make(chan struct{}),
		streams: map[uint32]*stream{}, nextOwn: firstUpload, nextID: 1,
		sendWindow: startWindow, sendStart: startWindow, opened: make(chan struct{}),
	}
	if device {
		x.nextOwn, x.nextID = 2, 2
	}
	x.recv.window = max(int64(o.Window), startWindow)
	x.fr = http2.NewFramer(&x.out, x.br)
	x.fr.SetReuseFrames()
	// The framer does not read DATA frames, so that a large limit needs no memory.
	// go-ios writes frames of any length.
	x.fr.SetMaxReadFrameSize(1<<24 - 1)
	for _, id := range []uint32{rootStream, replyStream} {
		x.streams[id] = x.newStream(id)
	}
	return x
}

// newStream returns a stream. The caller holds mu, or the connection is new.
func (c *Conn) newStream(id uint32) *stream {
	return &stream{
		id: id, send: c.sendStart, recv: receipt{window: int64(c.opts.Window)},
		goes: make(chan struct{}),
	}
}

func (c *Conn) start() {
	c.wg.Add(2)
	go c.read()
	go c.answer()
}

// appendSettings writes the first frames of either side.
func (c *Conn) appendSettings() {
	// Only ids 3 and 4 are sent, because idevice refuses all others.
	_ = c.fr.WriteSettings(
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: maxStreams},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: c.opts.Window})
	if n := c.recv.window - startWindow; n > 0 {
		_ = c.fr.WriteWindowUpdate(0, uint32(n))
	}
}

func (c *Conn) appendHeaders(id uint32) {
	_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true})
}

// fail ends the connection. Only the first reason is kept.
func (c *Conn) fail(e *Error) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	e.ended = true
	c.cause = e
	c.mu.Unlock()
	c.log.Debug("connection ended", "why", e.Err, "text", e.Text)
	close(c.done)
	if e.tell {
		c.goAway(e)
	} else {
		_ = c.conn.Close()
	}
	close(c.parted)
}

// goAway tells the peer why the connection ends, and closes it. Only the reader calls
// it. A writer that waits for the peer has goAwayTimeout to finish.
func (c *Conn) goAway(e *Error) {
	late := time.AfterFunc(goAwayTimeout, func() { _ = c.conn.Close() })
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if !late.Stop() || c.mute != nil {
		_ = c.conn.Close()
		return
	}
	c.mu.Lock()
	last := c.lastPeer
	c.mu.Unlock()
	c.out.b = c.out.b[:0]
	_ = c.fr.WriteGoAway(last, http2.ErrCode(e.Code), []byte(e.Text))
	_ = c.conn.SetWriteDeadline(time.Now().Add(goAwayTimeout))
	_, err := c.conn.Write(c.out.b)
	c.mute = net.ErrClosed
	if err != nil {
		_ = c.conn.Close()
		return
	}
	link.Linger(c.conn, goAwayTimeout)
}

// failed returns the reason for the end of the connection as the error of op.
func (c *Conn) failed(op string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause.of(op)
}

// of returns a copy of e for an operation.
func (e *Error) of(op string) *Error {
	d := *e
	d.Op = op
	if d.Err == io.EOF && op != opReceive {
		// io.EOF is for a receiver only.
		d.Err = io.ErrUnexpectedEOF
	}
	return &d
}

// Done returns a channel that is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, or nil while it is open.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		return nil
	}
	return c.cause.of(opReceive)
}

// Close ends the connection at once. If the peer has violated the protocol, Close first
// waits until it has been told, for at most two seconds. Calls in progress fail with an
// error that matches net.ErrClosed. Bytes that were sent just before may be lost; see
// Shutdown.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.fail(&Error{Err: net.ErrClosed})
		<-c.parted // the reader may still be telling the peer
		c.wg.Wait()
	})
	return nil
}

// Shutdown ends the sending side, waits until the peer has closed its side, and closes
// the connection. A device that replies and then closes the connection needs this: the
// last bytes are lost if a connection is closed with unread bytes.
func (c *Conn) Shutdown(ctx context.Context) error {
	err := c.take(ctx, c.turn)
	if err == nil {
		c.mute = net.ErrClosed
		err = link.CloseWrite(c.conn)
		<-c.turn
	}
	if err == nil {
		select {
		case <-c.done:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	_ = c.Close()
	if err != nil {
		return opError(opShutdown, 0, err)
	}
	return nil
}

// control holds the control frames that have not been sent yet.
type control struct {
	acks   int // number of SETTINGS to acknowledge
	pings  [][8]byte
	credit []grant
	resets []reset
}

type grant struct {
	stream uint32
	n      int64
}

type reset struct {
	stream uint32
	code   http2.ErrCode
}

// owe adds n to the credit that is due to a stream. The caller holds mu.
func (c *Conn) owe(stream uint32, n int64) {
	if n == 0 {
		return
	}
	for i := range c.pending.credit {
		if c.pending.credit[i].stream == stream {
			c.pending.credit[i].n += n
			c.poke()
			return
		}
	}
	c.pending.credit = append(c.pending.credit, grant{stream, n})
	c.poke()
}

// credit increases the window of a stream by the credit that is due. The caller holds
// mu.
func (c *Conn) credit(st *stream) {
	if c.streams[st.id] == st {
		c.owe(st.id, st.recv.due())
	}
}

// poke wakes the control goroutine.
func (c *Conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// answer writes control frames in its own goroutine, so that the reader does not wait
// for a peer that does not read.
func (c *Conn) answer() {
	defer c.wg.Done()
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		select {
		case c.turn <- struct{}{}:
		case <-c.done:
			return
		}
		c.mu.Lock()
		c.appendControl()
		c.mu.Unlock()
		_ = c.flush(context.Background()) // a peer that does not read them does not need them
		<-c.turn
	}
}

// appendControl writes the pending control frames to the framer. The caller holds mu
// and turn.
func (c *Conn) appendControl() {
	p := &c.pending
	for ; p.acks > 0; p.acks-- {
		_ = c.fr.WriteSettingsAck()
	}
	for _, data := range p.pings {
		_ = c.fr.WritePing(true, data)
	}
	for _, g := range p.credit {
		_ = c.fr.WriteWindowUpdate(g.stream, uint32(min(g.n, maxWindow)))
	}
	for _, r := range p.resets {
		_ = c.fr.WriteRSTStream(r.stream, r.code)
	}
	p.pings, p.credit, p.resets = p.pings[:0], p.credit[:0], p.resets[:0]
}

// assembler collects the bytes of one message. Only the reader uses it.
type assembler struct {
	head [24]byte
	n    int // bytes in head
	size int // size of the message, once head is complete
	buf  []byte
}

// space returns the memory for the next bytes. It grows with the bytes that have
// arrived, and counts for the budget.
func (a *assembler) space(b *link.Budget) ([]byte, error) {
	if a.n < len(a.head) {
		return a.head[a.n:], nil
	}
	if len(a.buf) == cap(a.buf) {
		grown := min(a.size, 2*len(a.buf))
		if !b.Take(grown - cap(a.buf)) {
			return nil, overflow("all connections together hold too much")
		}
		a.buf = append(make([]byte, 0, grown), a.buf...)
	}
	return a.buf[len(a.buf):cap(a.buf)], nil
}

// advance adds n bytes that were written to space, and returns the message when it is
// complete.
func (a *assembler) advance(n, limit int, b *link.Budget) ([]byte, error) {
	if a.n == len(a.head) {
		a.buf = a.buf[:len(a.buf)+n]
	} else {
		a.n += n
		if a.n < len(a.head) {
			return nil, nil
		}
		size, err := messageSize(a.head[:], limit)
		if err != nil {
			return nil, err
		}
		first := min(size, growStep)
		if !b.Take(first) {
			return nil, overflow("all connections together hold too much")
		}
		a.size = size
		a.buf = append(make([]byte, 0, first), a.head[:]...)
	}
	if len(a.buf) < a.size {
		return nil, nil
	}
	raw := a.buf
	a.n, a.size, a.buf = 0, 0, nil
	return raw, nil
}

func messageSize(head []byte, limit int) (int, error) {
	if binary.LittleEndian.Uint32(head) != magic {
		return 0, violation(http2.ErrCodeProtocol, "message begins with % x", head[:4])
	}
	n := binary.LittleEndian.Uint64(head[8:])
	if n > uint64(limit-len(head)) {
		return 0, violation(http2.ErrCodeEnhanceYourCalm,
			"message of %d bytes is over the limit of %d", n, limit)
	}
	return len(head) + int(n), nil
}
