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

// Client speaks AFC over one connection. Any number of goroutines may use it at the
// same time. Requests are sent in the order of the calls, and the device answers in
// this order. A request is sent without waiting for the answers to earlier requests.
//
// A context bounds only the call to which it is passed. If it ends while the device
// works, the call returns, and the client drops the answer when it arrives. If it ends
// while the request is partly written, the call returns, and the client sends the rest
// of the request in the background. Both keep the connection usable. A transfer that
// ends because no data moved closes the connection, see Transfer.Idle.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
	gone chan struct{} // closed when the reader goroutine has ended

	turn   chan struct{} // holds one token: the right to write
	out    []byte        // belongs to the holder of the token
	frames chan *frame   // from the holder of the token to the writer
	over   chan struct{} // closed when the connection has ended
	idle   chan struct{} // closed when the writer goroutine has ended

	reading uint64 // packet whose answer is being read, 0 in a header; belongs to the reader

	mu      sync.Mutex
	watches map[*watch]struct{}
	calls   map[uint64]*call
	packet  uint64
	filling *call           // the call into whose buffer the reader writes
	tidied  map[string]bool // directories without temporary files of interrupted pushes
	ended   *EndedError
}

// readAhead is the size of the read buffer. It holds all answers except file data and
// long listings, which take a few more reads.
const readAhead = 4 << 10

// Connect opens the media directory of a device.
func Connect(ctx context.Context, o service.Opener) (*Client, error) {
	return ConnectTo(ctx, o, Service)
}

// ConnectTo opens the service n, which must speak AFC.
func ConnectTo(ctx context.Context, o service.Opener, n service.Name) (*Client, error) {
	c, err := o.Open(ctx, n)
	if err != nil {
		return nil, &Error{Op: "connect", Err: err}
	}
	return New(c), nil
}

// New returns a client on a connection to a service that speaks AFC. The client takes
// over the connection.
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

// Close closes the connection, ends all calls on it, and waits for the goroutines of
// the client.
func (c *Client) Close() error {
	c.end(net.ErrClosed)
	<-c.gone
	<-c.idle
	return nil
}

// Done returns a channel that is closed when the connection has ended for any reason.
func (c *Client) Done() <-chan struct{} { return c.gone }

// call is one request that has not been answered.
type call struct {
	want Opcode // expected operation of the answer
	most uint64 // limit on the data of the answer
	dst  []byte // receives the data of the answer; nil means that a buffer is allocated

	done chan struct{} // holds a token when the fields below are set
	data []byte        // data of opData: a part of dst, or the allocated buffer
	num  uint64        // number in other answers
	code Status
	err  error // the connection ended, or the answer is invalid

	abandoned bool // guarded by Client.mu: no caller waits, dst must not be written
	kicked    bool // guarded by Client.mu: the read deadline is set and has to be cleared
}

// finish puts the token into done. An abandoned call may be finished twice.
func (k *call) finish() {
	select {
	case k.done <- struct{}{}:
	default:
	}
}

// request is the content of a request.
type request struct {
	op   Opcode
	args []byte // header payload
	data []byte // payload

	want Opcode
	most uint64 // limit on the data of an answer without dst; 0 means maxInfo
	dst  []byte
}

// start sends a request. The caller collects the answer with wait. After start returns,
// no goroutine reads from the data of the request.
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
	c.frames <- f // never full, because its place belongs to the holder of the token
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

// endedErr returns the reason why the connection ended.
func (c *Client) endedErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// wait waits for the answer to a call. It returns when ctx ends. After it returns, no
// goroutine writes to the buffer of the call.
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

// answered returns the error of a call that has ended.
func (c *Client) answered(ctx context.Context, k *call) error {
	if k.err == nil {
		return nil
	}
	return c.ownSilence(ctx, k.err)
}

// forget abandons a call, so that its answer is dropped. After forget returns, no
// goroutine writes to the buffer of the call.
func (c *Client) forget(k *call) {
	c.mu.Lock()
	k.abandoned = true
	filling := c.filling == k
	if filling {
		// The reader is reading into the buffer. An expired deadline interrupts the
		// read, and the reader continues with a buffer of its own.
		k.kicked = true
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	if filling {
		<-k.done
	}
}

// do calls start and wait. It returns the failure of either as an *Error.
func (c *Client) do(ctx context.Context, op, path string, r request) (*call, error) {
	k, err := c.start(ctx, r)
	if err != nil {
		return nil, fail(op, path, err)
	}
	return k, c.result(ctx, op, path, k)
}

// result waits for a call. It returns an *Error unless the call succeeded.
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

// end closes the connection. The first cause is kept. The reader notices the end and
// fails all calls that are not answered.
func (c *Client) end(cause error) {
	c.mu.Lock()
	first := c.ended == nil
	if first {
		c.ended = &EndedError{Cause: cause}
		close(c.over)
	}
	c.mu.Unlock()
	if first {
		_ = c.conn.Close() // the error has no receiver
	}
}

// read runs on the reader goroutine. It assigns answers to calls by packet number and
// never waits for a caller.
func (c *Client) read() {
	defer close(c.gone)
	err := c.readAnswer()
	for err == nil {
		err = c.readAnswer()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // io.EOF is reserved for a Read at the end of a file
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

// errAnswer is the cause if the device violates the protocol.
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

// take reads a short answer, or an answer for which a buffer is allocated.
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
		// The packet was complete, so only this call fails.
		k.err = fmt.Errorf("%w: operation %#x, want %#x", errAnswer, uint64(h.op), uint64(k.want))
	}
	return nil
}

// fill reads n bytes of data into the buffer of the call, until the call is abandoned.
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
		// The error is that of the expired deadline. If there is another error, the
		// next read returns it again.
		return c.discard(n - uint64(got))
	}
	if err != nil && got == int(n) {
		err = nil // the error belongs to the next packet
	}
	k.data = k.dst[:got]
	return err
}

// unfill records that the reader no longer uses the buffer. It reports whether the call
// was abandoned in the meantime.
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

// drop discards the answer to an abandoned call. If the answer holds the handle of an
// open file, drop closes the file, because no caller knows the handle.
func (c *Client) drop(k *call, h header, n uint64) error {
	if k.want == opOpenResult && h.op == opOpenResult && n == 8 {
		var b [8]byte
		if _, err := io.ReadFull(c.in, b[:]); err != nil {
			return err
		}
		f := &File{c: c, ref: binary.LittleEndian.Uint64(b[:])}
		go f.abandon(context.Background()) // the reader must not wait for the writer
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
