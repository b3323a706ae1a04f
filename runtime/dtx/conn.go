package dtx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// MaxChannels is how many channels a peer may open on a connection.
	MaxChannels = 1024

	readBuffer     = 64 << 10
	maxSelectors   = 512  // how many selectors a connection remembers
	maxSelectorKey = 1024 // longest archive of a selector that is remembered

	maxSelector   = 64 << 10 // longest archive of a selector
	maxIdentifier = 4 << 10  // longest identifier of a channel that the peer opens
	// maxControl bounds the arguments of a control message. It also bounds the arguments
	// of all notifications of capabilities together.
	maxControl = 1 << 20
)

// Selectors of channel 0.
const (
	selCapabilities   = "_notifyOfPublishedCapabilities:"
	selRequestChannel = "_requestChannelWithCode:identifier:"
	selCancelChannel  = "_channelCanceled:"
)

// Capability keys that every peer publishes.
const (
	CapabilityCompression = "com.apple.private.DTXBlockCompression"
	CapabilityConnection  = "com.apple.private.DTXConnection"
)

// DefaultCapabilities returns the capabilities that a side publishes by default.
// They ask the peer not to compress messages. This package can decompress them,
// but compression costs the device time, and a cable is fast.
func DefaultCapabilities() nskeyed.Dict {
	return nskeyed.Dict{
		{Key: CapabilityCompression, Value: int64(0)}, {Key: CapabilityConnection, Value: int64(1)},
	}
}

// Options of a connection. The zero value works.
type Options struct {
	// Capabilities are published at once, as the first message. nil means
	// DefaultCapabilities.
	Capabilities nskeyed.Dict
	// Silent publishes no capabilities, as hosts of the accessibility audit daemon do.
	Silent bool
	// Classes decode objects of classes that are not part of Foundation.
	Classes *nskeyed.Classes
	// Control returns the options of channel 0: who handles the messages on it that
	// are not control messages. If it is nil, calls are refused as unknown.
	Control func(ch *Channel) ChannelOptions
	// Accept decides about a channel that the peer opens. It returns the options of
	// the channel, or an error to refuse it. It must not wait, and must not send on
	// the channel before it has returned. If it is nil, all channels are refused.
	Accept func(ch *Channel) (ChannelOptions, error)
	// Buffer bounds the bytes that the connection keeps because of its peer: messages
	// that are incomplete, messages that wait on channels or are being handled, and
	// answers that cannot be sent because the peer does not read. Messages that wait may
	// use half of it; a channel overflows if there is no room for its message. 0 means
	// DefaultBuffer.
	Buffer int
	// Budget bounds these bytes for several connections together; nil means no bound.
	Budget *link.Budget
	// Logger is silent if nil.
	Logger *slog.Logger
}

// Conn is one end of a DTX connection. Hosts and devices use it in the same way.
// Its methods may be called concurrently. Only Close waits for handlers.
type Conn struct {
	nc      net.Conn
	opts    Options
	log     *slog.Logger
	control *Channel
	out     outbox
	wg      sync.WaitGroup // reader, writer, handlers, Channel.Go
	done    chan struct{}  // closed with err set
	ctx     context.Context
	cancel  context.CancelFunc
	drafts  sync.Pool // of *draft

	memory *account

	selectors map[string]string // by archive; only the reader uses it
	capsSize  int               // size of all capabilities so far; only the reader uses it

	mu       sync.Mutex
	channels map[int32]*Channel
	calls    map[callKey]chan *Message
	archives map[string][]byte // by selector
	opened   int32             // code of the last channel that this side opened
	serving  int               // handlers that run, including those of cancelled channels
	err      error             // why the connection is over
	drop     bool              // ended by Close: queued messages are not handled
	caps     nskeyed.Dict
	capsOnce sync.Once
	capsSeen chan struct{}
}

// callKey identifies the call that a reply belongs to.
type callKey struct {
	code int32
	id   uint32
}

// New starts a connection on nc. The Conn owns nc and closes it.
func New(nc net.Conn, o Options) *Conn {
	c := &Conn{
		nc: nc, opts: o, log: o.Logger,
		done: make(chan struct{}), capsSeen: make(chan struct{}),
		channels: make(map[int32]*Channel), calls: make(map[callKey]chan *Message),
		selectors: make(map[string]string), archives: make(map[string][]byte),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("layer", "dtx")
	c.memory = newAccount(o.Buffer, o.Budget)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.drafts.New = func() any { return new(draft) }
	c.out.init()
	c.control = newChannel(c, 0, "")
	if o.Control != nil {
		c.control.take(o.Control(c.control))
	} else {
		c.control.deaf = true
	}
	c.channels[0] = c.control
	if !o.Silent {
		c.publish()
	}
	c.wg.Add(2)
	go c.write()
	go c.read()
	return c
}

func (c *Conn) publish() {
	caps := c.opts.Capabilities
	if caps == nil {
		caps = DefaultCapabilities()
	}
	d, err := c.encodeCall(0, selCapabilities, []any{caps})
	if err != nil {
		c.fail(&Error{Op: "publish", Subject: "capabilities", Err: err}, false)
		return
	}
	defer c.release(d)
	_ = c.enqueue(c.ctx, &d.Message, nil, true)
}

// Control returns channel 0, which always exists.
func (c *Conn) Control() *Channel { return c.control }

// Capabilities waits until the peer has published its capabilities and returns
// them. A peer may publish more than once; later entries replace earlier ones.
func (c *Conn) Capabilities(ctx context.Context) (nskeyed.Dict, error) {
	select {
	case <-c.capsSeen:
	default:
		select {
		case <-c.capsSeen:
		case <-c.done:
			return nil, &Error{Op: "wait for", Subject: "capabilities", Err: c.Err()}
		case <-ctx.Done():
			return nil, &Error{Op: "wait for", Subject: "capabilities", Err: ctx.Err()}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(nskeyed.Dict(nil), c.caps...), nil
}

// Done returns a channel that is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns the reason why the connection is over, or nil while it is open. The
// error is also a net.ErrClosed, whatever the reason.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close sends the messages that wait in the outbox, ends all calls and channels,
// and waits for handlers. A Handler must not call it.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed, true)
	c.wg.Wait()
	c.memory.close()
	return nil
}

// fail ends the connection. It does nothing if the connection has ended already.
func (c *Conn) fail(err error, byClose bool) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if !errors.Is(err, net.ErrClosed) {
		c.log.Warn("connection ends", "err", err)
		err = &ended{err}
	}
	c.err, c.drop = err, byClose
	channels := make([]*Channel, 0, len(c.channels))
	for _, ch := range c.channels {
		channels = append(channels, ch)
	}
	clear(c.calls)
	close(c.done)
	c.mu.Unlock()
	c.cancel()
	for _, ch := range channels {
		ch.end(err)
	}
	c.out.close(c.nc, byClose)
}

// read is the only reader of the network connection. It hands messages to calls
// and channels, and never waits for them or for the writer.
func (c *Conn) read() {
	defer c.wg.Done()
	r := NewReader(bufio.NewReaderSize(c.nc, readBuffer))
	r.account = c.memory
	for {
		m, err := r.Read()
		if err != nil {
			c.fail(readError(err), false)
			return
		}
		if !c.dispatch(m, r.taken) {
			c.memory.give(r.taken)
		}
	}
}

func readError(err error) error {
	if err == io.EOF {
		return ErrPeerClosed
	}
	var op *net.OpError
	if errors.As(err, &op) && !op.Timeout() {
		return &Error{Op: "read", Err: &peerClosed{op.Err}}
	}
	return err
}

// dispatch hands a message to its call or channel. It returns true if the message waits on
// a channel, in which case the bytes taken for it remain counted.
func (c *Conn) dispatch(m *Message, taken int) (kept bool) {
	code := m.Channel
	if m.Conversation%2 == 0 {
		code = -code // on the wire it is positive if the sender opened the channel
	}
	if m.Conversation%2 == 1 {
		c.logReceived(m, code, "")
		c.reply(code, m)
		return false
	}
	in := &Incoming{Message: m, conn: c, code: code, taken: taken}
	var bad error
	if m.Type == Dispatch {
		in.Selector, bad = c.selector(m.Payload)
	}
	c.logReceived(m, code, in.Selector)
	switch {
	case bad != nil:
		c.log.Warn("call without a selector", "channel", code, "err", bad)
		in.refuse(Refuse(Domain, 1, "the call's selector cannot be read"))
	case code == 0 && c.controlMessage(in):
	default:
		c.mu.Lock()
		ch := c.channels[code]
		c.mu.Unlock()
		if ch == nil {
			c.log.Debug("message for no channel", "channel", code)
			in.refuse(Refuse(Domain, 1, "there is no such channel"))
			return false
		}
		return ch.push(in)
	}
	return false
}

func (c *Conn) logReceived(m *Message, code int32, selector string) {
	if c.log.Enabled(c.ctx, slog.LevelDebug) {
		c.log.Debug("received", "channel", code, "id", m.ID, "conversation", m.Conversation, "type",
			m.Type, "selector", selector, "bytes", m.Size())
	}
}

// reply hands a reply to the call that waits for it. It ignores all other replies:
// late ones, repeated ones, and those that do not answer a call.
func (c *Conn) reply(code int32, m *Message) {
	if m.Conversation != 1 {
		c.log.Debug("reply in no conversation", "id", m.ID, "conversation", m.Conversation)
		return
	}
	key := callKey{code, m.ID}
	c.mu.Lock()
	ch := c.calls[key]
	delete(c.calls, key)
	c.mu.Unlock()
	if ch == nil {
		c.log.Debug("reply without a call", "channel", code, "id", m.ID)
		return
	}
	ch <- m // does not block: ch has room for one message and gets only this one
}

// selector decodes the payload of a call. It keeps the archives that it has
// decoded, because a peer uses few different selectors.
func (c *Conn) selector(b []byte) (string, error) {
	if s, ok := c.selectors[string(b)]; ok {
		return s, nil
	}
	if len(b) > maxSelector {
		return "", fmt.Errorf("%w: selector of %d bytes", ErrTooLarge, len(b))
	}
	v, err := nskeyed.Decode(b)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", link.Malformed("selector is not a string")
	}
	if len(c.selectors) < maxSelectors && len(b) <= maxSelectorKey {
		c.selectors[string(b)] = s
	}
	return s, nil
}

// controlMessage handles in if it is a control message, and reports whether it
// is one.
func (c *Conn) controlMessage(in *Incoming) bool {
	var serve func(Args) error
	switch in.Selector {
	case selCapabilities:
		serve = func(args Args) error { return c.learn(args, len(in.Aux)) }
	case selRequestChannel:
		serve = c.accept
	case selCancelChannel:
		serve = c.cancelled
	default:
		return false
	}
	err := c.serveControl(in, serve)
	if err != nil {
		c.log.Warn("control message refused", "selector", in.Selector, "err", err)
		in.refuse(nsError(err))
		return true
	}
	in.ack()
	return true
}

func (c *Conn) serveControl(in *Incoming, serve func(Args) error) error {
	if len(in.Aux) > maxControl {
		return fmt.Errorf("%w: arguments of %d bytes", ErrTooLarge, len(in.Aux))
	}
	args, err := in.Args()
	if err != nil {
		return err
	}
	return serve(args)
}

// learn adds the capabilities in args, whose encoded size is size bytes.
func (c *Conn) learn(args Args, size int) error {
	caps, ok := args.Dict(0)
	if !ok {
		return link.Malformed("capabilities are not dictionary")
	}
	if c.capsSize+size > maxControl {
		return fmt.Errorf("%w: capabilities", ErrTooLarge)
	}
	c.capsSize += size
	c.mu.Lock()
	for _, p := range caps {
		c.caps = setPair(c.caps, p)
	}
	c.mu.Unlock()
	c.capsOnce.Do(func() { close(c.capsSeen) })
	return nil
}

// maxCapabilities is the number of capabilities that are kept of all notifications.
const maxCapabilities = 4096

// setPair sets an entry of d, unless its key is not a string or d is full.
func setPair(d nskeyed.Dict, p nskeyed.Pair) nskeyed.Dict {
	name, ok := p.Key.(string)
	if !ok {
		return d
	}
	for i := range d {
		if d[i].Key == name {
			d[i].Value = p.Value
			return d
		}
	}
	if len(d) == maxCapabilities {
		return d
	}
	return append(d, p)
}

// accept registers a channel that the peer opens. The caller acknowledges the
// request afterwards, so that the channel exists before its first message.
func (c *Conn) accept(args Args) error {
	code, ok := args.Int(0)
	if !ok || code <= 0 || code > 1<<31-1 {
		return link.Malformed("channel code is not a positive number")
	}
	identifier, ok := args.String(1)
	if !ok {
		return link.Malformed("channel identifier is not a string")
	}
	if len(identifier) > maxIdentifier {
		return link.Malformed("channel identifier is too long")
	}
	c.mu.Lock()
	taken, count := c.channels[-int32(code)] != nil, max(len(c.channels), c.serving)
	c.mu.Unlock()
	switch {
	case taken:
		return link.Malformed("channel code is taken")
	case count >= MaxChannels:
		return link.Malformed("too many channels")
	case c.opts.Accept == nil:
		return UnknownChannel(identifier)
	}
	ch := newChannel(c, -int32(code), identifier)
	o, err := c.opts.Accept(ch)
	if err != nil {
		ch.end(err)
		return err
	}
	return c.register(ch, o)
}

// UnknownChannel returns the refusal of a channel whose identifier is unknown.
func UnknownChannel(identifier string) *nskeyed.NSError {
	text := "Unable to find a service for channel '" + link.Clip(identifier) + "'"
	return Refuse(Domain, 1, text)
}

// register adds a channel, or returns an error if the connection is over.
func (c *Conn) register(ch *Channel, o ChannelOptions) error {
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		ch.end(err)
		return err
	}
	c.channels[ch.code] = ch
	c.mu.Unlock()
	ch.take(o)
	return nil
}

// cancelled closes the channels that the peer cancels. A code is positive if the
// peer opened the channel. One call may name several channels.
func (c *Conn) cancelled(args Args) error {
	for i := range args {
		code, ok := args.Int(i)
		if !ok || code == 0 || code > 1<<31-1 || code < -(1<<31-1) {
			return link.Malformed("channel code is not a number")
		}
		if ch := c.unregister(-int32(code)); ch != nil {
			ch.end(ErrChannelClosed)
		}
	}
	return nil
}

func (c *Conn) unregister(code int32) *Channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.channels[code]
	delete(c.channels, code)
	return ch
}
