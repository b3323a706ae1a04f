package afc

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Client speaks AFC over one connection. Any number of goroutines may call it
// at once; requests go out in the order of the calls and the device answers
// them in that order, so a caller never waits for another one's round trip.
//
// A context bounds the call it is given to, and no other. When it ends while the
// device works, the call returns and the answer is dropped when it comes; when
// it ends while the request is half written, the call returns and the rest of
// the request goes out behind its back, so that the connection stays usable. A transfer
// that ends because nothing moved ends the connection, see Transfer.Idle.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
	gone chan struct{} // closed when the reader goroutine has ended

	turn   chan struct{} // holds one token: the right to write
	out    []byte        // belongs to the holder of the turn
	frames chan *frame   // from the holder of the turn to the writer
	over   chan struct{} // closed when the connection has ended
	idle   chan struct{} // closed when the writer goroutine has ended

	reading uint64 // packet whose answer is read, 0 in a header; belongs to the reader

	mu      sync.Mutex
	watches map[*watch]struct{}
	calls   map[uint64]*call
	packet  uint64
	filling *call           // the call whose buffer the reader is writing to
	tidied  map[string]bool // folders without remains of lost pushes
	ended   *EndedError
}

// readAhead is enough for all answers but file data, and listings at worst
// cost a few reads more.
const readAhead = 4 << 10

// Connect opens the media folder of a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return ConnectTo(ctx, o, Service)
}

// ConnectTo opens another service that speaks AFC.
func ConnectTo(ctx context.Context, o service.Opener, n service.Name) (*Client, error) {
	c, err := o.Open(ctx, n)
	if err != nil {
		return nil, &Error{Op: "connect", Err: err}
	}
	return New(c), nil
}

// New returns a client on a connection to a service that speaks AFC. The
// client owns the connection from now on.
func New(c net.Conn) *Client {
	k := &Client{
		conn:    c,
		gone:    make(chan struct{}),
		turn:    make(chan struct{}, 1),
		frames:  make(chan *frame, 1),
		over:    make(chan struct{}),
		idle:    make(chan struct{}),
		calls:   map[uint64]*call{},
		watches: map[*watch]struct{}{},
		tidied:  map[string]bool{},
	}
	k.in = bufio.NewReaderSize(meter{k}, readAhead)
	go k.read()
	go k.write()
	return k
}

// Close ends the connection and every call under way, and waits for the
// client's goroutines.
func (c *Client) Close() error {
	c.end(net.ErrClosed)
	<-c.gone
	<-c.idle
	return nil
}

// Done is closed when the connection is over, whoever ended it.
func (c *Client) Done() <-chan struct{} { return c.gone }

// call is one request under way.
type call struct {
	want Opcode // of the answer
	most uint64 // bytes of the answer's data
	dst  []byte // takes the answer's data; nil: a buffer is made for it

	done chan struct{} // holds a token when the fields below are set
	data []byte        // of Data: dst's part, or the buffer
	num  uint64        // of the other answers
	code Status
	err  error // the connection ended, or the answer made no sense

	abandoned bool // under Client.mu: nobody waits, dst must not be touched
	kicked    bool // under Client.mu: the read deadline is set, to be cleared
}

// finish puts the token into done; an abandoned call may get it twice.
func (k *call) finish() {
	select {
	case k.done <- struct{}{}:
	default:
	}
}

// request is what a call sends.
type request struct {
	op   Opcode
	args []byte // header payload
	data []byte // payload

	want Opcode
	most uint64 // bytes of data that answer, without dst; 0 is maxInfo
	dst  []byte
}

// start sends a request. The answer is collected with wait. When start returns,
// nobody reads from the request's data any more.
func (c *Client) start(ctx context.Context, r request) (*call, error) {
	if ctx.Err() != nil {
		return nil, link.Expired(ctx, c.conn)
	}
	w := watchOf(ctx)
	defer c.waitFor(w, true)()
	select {
	case c.turn <- struct{}{}:
	case <-c.over:
		return nil, c.ownSilence(ctx, c.endedErr())
	case <-ctx.Done():
		return nil, link.Expired(ctx, c.conn)
	}
	k := &call{
		want: r.want, most: cmp.Or(r.most, maxInfo), dst: r.dst, done: make(chan struct{}, 1),
	}
	packet, err := c.register(k, w)
	if err != nil {
		<-c.turn
		return nil, c.ownSilence(ctx, err)
	}
	args := uint64(headerLen + len(r.args))
	h := header{entire: args + uint64(len(r.data)), this: args, packet: packet, op: r.op}
	c.out = append(appendHeader(c.out[:0], h), r.args...)
	f := &frame{c: c, packet: packet, rest: r.data, sent: make(chan struct{})}
	c.frames <- f // never full: its place belongs to the holder of the turn
	select {
	case <-f.sent:
		if f.err != nil {
			return nil, c.ownSilence(ctx, c.endedErr())
		}
		return k, nil
	case <-c.over:
		f.leave()
		return nil, c.ownSilence(ctx, c.endedErr())
	case <-ctx.Done():
		f.leave()
		c.forget(k)
		return nil, link.Expired(ctx, c.conn)
	}
}

func (c *Client) register(k *call, w *watch) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return 0, c.ended
	}
	c.packet++
	c.calls[c.packet] = k
	if w != nil {
		w.newest = c.packet
	}
	return c.packet, nil
}

// endedErr returns why the connection ended.
func (c *Client) endedErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// wait collects the answer of a call. It returns by the end of ctx, and then
// nobody writes to the call's buffer any more.
func (c *Client) wait(ctx context.Context, k *call) error {
	select {
	case <-k.done:
		return c.answered(ctx, k)
	default:
	}
	defer c.waitFor(watchOf(ctx), false)()
	select {
	case <-k.done:
		return c.answered(ctx, k)
	case <-ctx.Done():
		c.forget(k)
		return link.Expired(ctx, c.conn)
	}
}

// answered returns the error of a call that is over.
func (c *Client) answered(ctx context.Context, k *call) error {
	if k.err == nil {
		return nil
	}
	return c.ownSilence(ctx, k.err)
}

// forget gives a call up: its answer will be dropped, and when forget returns
// nobody writes to its buffer.
func (c *Client) forget(k *call) {
	c.mu.Lock()
	k.abandoned = true
	filling := c.filling == k
	if filling {
		// The reader is inside a read into the buffer: an expired deadline
		// gets it out, and it goes on with a buffer of its own.
		k.kicked = true
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	if filling {
		<-k.done
	}
}

// do is start and wait, with the failure of either as an *Error.
func (c *Client) do(ctx context.Context, op, path string, r request) (*call, error) {
	k, err := c.start(ctx, r)
	if err != nil {
		return nil, fail(op, path, err)
	}
	return k, c.result(ctx, op, path, k)
}

// result waits for a call and makes an *Error of whatever is not success.
func (c *Client) result(ctx context.Context, op, path string, k *call) error {
	if err := c.wait(ctx, k); err != nil {
		return fail(op, path, err)
	}
	if k.code != Success {
		return &Error{Op: op, Path: path, Status: k.code}
	}
	return nil
}

func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: path, Err: err}
}

// end makes the connection useless; the first cause counts. The reader notices
// and tells the calls under way.
func (c *Client) end(cause error) {
	c.mu.Lock()
	first := c.ended == nil
	if first {
		c.ended = &EndedError{Cause: cause}
		close(c.over)
	}
	c.mu.Unlock()
	if first {
		_ = c.conn.Close() // there is nobody to tell
	}
}

// read is the reader goroutine: it matches answers to calls by packet number
// and never waits for a caller.
func (c *Client) read() {
	defer close(c.gone)
	err := c.readAnswer()
	for err == nil {
		err = c.readAnswer()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // a Read at a file's end is what gives io.EOF
	}
	c.end(err)
	c.mu.Lock()
	left := c.calls
	c.calls = nil
	ended := c.ended
	c.mu.Unlock()
	for _, k := range left {
		k.err = ended
		k.finish()
	}
}

// errAnswer is a device that does not keep to the protocol.
const errAnswer = protocolError("unexpected answer")

func (c *Client) readAnswer() error {
	var b [headerLen]byte
	c.reading = 0
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return err
	}
	h, err := decodeHeader(&b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	k := c.calls[h.packet]
	delete(c.calls, h.packet)
	abandoned := k != nil && k.abandoned
	direct := k != nil && !abandoned && h.op == opData && k.want == opData && k.dst != nil
	if direct {
		c.filling = k
	}
	c.mu.Unlock()
	c.reading = h.packet
	c.moved(h.packet)
	if k == nil {
		return fmt.Errorf("%w: packet %d was not asked for", errAnswer, h.packet)
	}
	n := h.entire - headerLen
	switch {
	case direct:
		err = c.fill(k, n)
	case abandoned:
		err = c.drop(k, h, n)
	default:
		err = c.take(k, h, n)
	}
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		c.end(err)
		k.err = c.endedErr()
	}
	k.finish()
	return err
}

// take reads a short answer or one that brings its own buffer.
func (c *Client) take(k *call, h header, n uint64) error {
	if h.op == opData && k.want == opData {
		if n > k.most {
			return fmt.Errorf("%w: %d bytes", errAnswer, n)
		}
		b, err := link.ReadN(c.in, int(n), nil)
		k.data = b
		return err
	}
	var b [8]byte
	if n != uint64(len(b)) {
		return fmt.Errorf("%w: operation %#x with %d bytes", errAnswer, uint64(h.op), n)
	}
	if _, err := io.ReadFull(c.in, b[:]); err != nil {
		return err
	}
	k.num = binary.LittleEndian.Uint64(b[:])
	switch {
	case h.op == opStatus && (k.num != 0 || k.want == opStatus):
		k.code = Status(k.num)
	case h.op != k.want:
		// The packet was whole, so only this call is at a loss.
		k.err = fmt.Errorf("%w: operation %#x, want %#x", errAnswer, uint64(h.op), uint64(k.want))
	}
	return nil
}

// fill reads n bytes of data into the call's buffer, until the call is
// abandoned.
func (c *Client) fill(k *call, n uint64) error {
	if n > uint64(len(k.dst)) {
		c.unfill(k)
		return fmt.Errorf("%w: %d bytes of data, asked for %d", errAnswer, n, len(k.dst))
	}
	got := 0
	var err error
	for got < int(n) && err == nil {
		var m int
		m, err = c.in.Read(k.dst[got:n])
		got += m
	}
	if c.unfill(k) {
		// A failure now is the expired deadline that got us here; any other
		// is met again by the next read.
		return c.discard(n - uint64(got))
	}
	if err != nil && got == int(n) {
		err = nil // it belongs to the next packet
	}
	k.data = k.dst[:got]
	return err
}

// unfill says that the reader is done with the buffer, and reports whether the
// call was abandoned meanwhile.
func (c *Client) unfill(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filling = nil
	if k.kicked {
		_ = c.conn.SetReadDeadline(time.Time{})
	}
	if k.abandoned {
		k.finish()
	}
	return k.abandoned
}

// drop reads over the answer of an abandoned call. A file that it opened is
// closed: nobody knows its handle.
func (c *Client) drop(k *call, h header, n uint64) error {
	if k.want == opOpenResult && h.op == opOpenResult && n == 8 {
		var b [8]byte
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			return err
		}
		f := &File{c: c, ref: binary.LittleEndian.Uint64(b[:])}
		go f.abandon(context.Background()) // the reader does not wait for the writer
		return nil
	}
	limit := max(k.most, 8)
	if k.dst != nil {
		limit = max(uint64(len(k.dst)), 8)
	}
	if n > limit {
		return fmt.Errorf("%w: %d bytes", errAnswer, n)
	}
	return c.discard(n)
}

func (c *Client) discard(n uint64) error {
	_, err := io.CopyN(io.Discard, c.in, int64(n))
	return err
}
