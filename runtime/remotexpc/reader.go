package remotexpc

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// magic begins every message.
const magic = 0x29B00B92

// read is the goroutine that reads. It handles frames until the connection ends.
func (c *Conn) read() {
	defer c.wg.Done()
	defer c.settle()
	for {
		if err := c.readFrame(); err != nil {
			if err == io.EOF && c.inMessage() {
				err = io.ErrUnexpectedEOF
			}
			c.fail(asError(err))
			return
		}
	}
}

// settle returns the connection's part of the shared budget when the connection has
// ended. Queued messages can still be received. They are freed with the connection.
func (c *Conn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.buffered
	for _, id := range []uint32{rootStream, replyStream} {
		n += cap(c.streams[id].part.buf)
	}
	c.opts.Budget.Give(n)
	c.opts.Budget = nil
}

// inMessage reports whether a message has been received in part.
func (c *Conn) inMessage() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[rootStream].part.n > 0 || c.streams[replyStream].part.n > 0
}

func (c *Conn) readFrame() error {
	fh, err := c.fr.ReadFrameHeader()
	if err != nil {
		return err
	}
	if !c.hasSettings() && fh.Type != http2.FrameSettings && fh.Type != http2.FrameWindowUpdate {
		return violation(http2.ErrCodeProtocol, "first frame is %s, not SETTINGS", fh.Type)
	}
	if fh.Type == http2.FrameData {
		return c.readData(fh)
	}
	if fh.Length > frameSize {
		return violation(http2.ErrCodeFrameSize, "%s frame of %d bytes", fh.Type, fh.Length)
	}
	f, err := c.fr.ReadFrameForHeader(fh)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.WindowUpdateFrame:
		return c.onWindowUpdate(f)
	case *http2.HeadersFrame:
		return c.onHeaders(f)
	case *http2.RSTStreamFrame:
		return c.onReset(f)
	case *http2.GoAwayFrame:
		return &Error{Code: uint32(f.ErrCode), Text: clip(f.DebugData()), Err: ErrGoAway}
	case *http2.PingFrame:
		if !f.IsAck() {
			c.pending.pings = append(c.pending.pings, f.Data)
			return c.controlGrew()
		}
	case *http2.PushPromiseFrame:
		return violation(http2.ErrCodeProtocol, "PUSH_PROMISE")
	}
	return nil // PRIORITY, CONTINUATION and unknown frames have no meaning here
}

func (c *Conn) hasSettings() bool {
	select {
	case <-c.settled:
		return true
	default:
		return false
	}
}

// controlGrew wakes the control goroutine. The caller holds mu.
func (c *Conn) controlGrew() error {
	if c.pending.acks+len(c.pending.pings)+len(c.pending.resets) > maxControl {
		return violation(http2.ErrCodeEnhanceYourCalm, "too many frames that want an answer")
	}
	c.poke()
	return nil
}

func (c *Conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.acked = true
		return nil
	}
	if n, ok := f.Value(http2.SettingInitialWindowSize); ok {
		if n > maxWindow {
			return violation(http2.ErrCodeFlowControl, "initial window of %d", n)
		}
		diff := int64(n) - c.sendStart
		c.sendStart = int64(n)
		for _, st := range c.streams {
			st.send += diff
			if st.send > maxWindow {
				return violation(http2.ErrCodeFlowControl, "window of stream %d is over 2^31-1",
					st.id)
			}
		}
		c.broadcastGrown()
	}
	c.pending.acks++
	if !c.hasSettings() {
		close(c.settled)
	}
	return c.controlGrew()
}

func (c *Conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	window := &c.sendWindow
	if f.StreamID != 0 {
		st := c.streams[f.StreamID]
		if st == nil {
			return c.notIdle(f.StreamID, f.Type)
		}
		window = &st.send
	}
	*window += int64(f.Increment)
	if *window > maxWindow {
		return violation(http2.ErrCodeFlowControl, "window of stream %d is over 2^31-1", f.StreamID)
	}
	c.broadcastGrown()
	return nil
}

// notIdle accepts a frame for a stream that is closed, since it may have been sent
// before. It refuses a frame for a stream that was never opened.
func (c *Conn) notIdle(id uint32, t http2.FrameType) error {
	if c.ofPeer(id) && id <= c.lastPeer || !c.ofPeer(id) && id < c.nextOwn {
		return nil
	}
	return violation(http2.ErrCodeProtocol, "%s: invalid stream_id %d", t, id)
}

// ofPeer reports whether the peer opens streams with this id.
func (c *Conn) ofPeer(id uint32) bool { return id%2 == 1 == c.device }

func (c *Conn) onHeaders(f *http2.HeadersFrame) error {
	id := f.StreamID
	st := c.streams[id]
	switch {
	case st != nil && !st.opened:
		st.opened = true
		if c.ofPeer(id) {
			c.lastPeer = max(c.lastPeer, id)
		}
		if c.device && carriesMessages(id) {
			return c.onOpening(opening{stream: id})
		}
	case st != nil:
		// A second header block on a stream has trailers, which have no meaning here.
	case !c.ofPeer(id) || id <= c.lastPeer:
		if err := c.notIdle(id, f.Type); err != nil {
			return violation(http2.ErrCodeProtocol, "request HEADERS: invalid stream_id")
		}
		return nil
	default:
		if err := c.openIncoming(id); err != nil {
			return err
		}
		st = c.streams[id]
	}
	if f.StreamEnded() && st != nil {
		return c.onEnd(st)
	}
	return nil
}

// onOpening passes an opening step to Accept. Later ones are ignored.
func (c *Conn) onOpening(o opening) error {
	if c.up {
		return nil
	}
	select {
	case c.opening <- o:
		return nil
	default:
		return violation(http2.ErrCodeEnhanceYourCalm,
			"too many messages before the connection is up")
	}
}

func (c *Conn) onReset(f *http2.RSTStreamFrame) error {
	st := c.streams[f.StreamID]
	if st == nil {
		return c.notIdle(f.StreamID, f.Type)
	}
	e := &Error{Stream: f.StreamID, Code: uint32(f.ErrCode), Err: ErrReset}
	if carriesMessages(f.StreamID) {
		return e // nothing works without these streams
	}
	st.err = e
	if st.file != nil {
		st.file.end(e)
	}
	c.forget(st)
	c.broadcastGrown()
	return nil
}

// onEnd handles the end of a stream. The caller holds mu.
func (c *Conn) onEnd(st *stream) error {
	switch {
	case carriesMessages(st.id):
		return io.EOF
	case st.file != nil:
		return c.endFile(st)
	}
	return nil
}

// readData reads a DATA frame. Its bytes are copied once, from the connection's buffer
// to the place where they are kept.
func (c *Conn) readData(fh http2.FrameHeader) error {
	if fh.StreamID == 0 {
		return violation(http2.ErrCodeProtocol, "DATA on stream 0")
	}
	pad, n := 0, int(fh.Length)
	if fh.Flags.Has(http2.FlagDataPadded) {
		b, err := c.br.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		pad, n = int(b), n-1
		if pad > n {
			return violation(http2.ErrCodeProtocol, "DATA with more padding than bytes")
		}
	}
	st, err := c.receiveData(fh)
	if err != nil {
		return err
	}
	switch {
	case st == nil:
		err = c.skip(n)
	case st.file != nil:
		err = c.readFile(st, n-pad)
	default:
		err = c.readMessages(st, n-pad)
	}
	if err == nil && st != nil {
		err = c.skip(pad)
	}
	if err != nil || st == nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credit(st)
	if fh.Flags.Has(http2.FlagDataEndStream) {
		return c.onEnd(st)
	}
	return nil
}

// receiveData counts a DATA frame for the windows and returns its stream, or nil if the
// bytes are not wanted.
func (c *Conn) receiveData(fh http2.FrameHeader) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The connection's window is always credited, so that a file that is not read does
	// not block replies.
	c.recv.received += int64(fh.Length)
	c.owe(0, c.recv.due())
	st := c.streams[fh.StreamID]
	if st == nil {
		return nil, c.notIdle(fh.StreamID, fh.Type)
	}
	if !st.opened {
		if c.device || !carriesMessages(st.id) {
			return nil, violation(http2.ErrCodeProtocol, "DATA: stream %d is not open", st.id)
		}
		st.opened = true
	}
	st.recv.received += int64(fh.Length)
	// go-ios sends messages without respecting the windows. It has no reason to do so
	// for files.
	window := st.recv.window
	if !c.acked {
		window = max(window, startWindow)
	}
	if st.file != nil && fh.Length > 0 && st.recv.received-st.recv.credited > window {
		return nil, violation(http2.ErrCodeFlowControl, "stream %d exceeds its window", st.id)
	}
	return st, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *Conn) skip(n int) error {
	_, err := c.br.Discard(n)
	return unexpected(err)
}

// readMessages reads n bytes of a message stream.
func (c *Conn) readMessages(st *stream, n int) error {
	for n > 0 {
		dst, err := st.part.space(c.opts.Budget)
		if err != nil {
			return err
		}
		m, err := c.br.Read(dst[:min(n, len(dst))])
		if err != nil {
			return unexpected(err)
		}
		n -= m
		raw, err := st.part.advance(m, c.messageLimit(), c.opts.Budget)
		if err == nil && raw != nil {
			c.opts.Budget.Give(cap(raw)) // counted again where it is kept
			err = c.deliver(st, raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// messageLimit returns the maximum size of a message. It is small until the host has
// opened the connection completely.
func (c *Conn) messageLimit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up {
		return c.opts.MaxMessage
	}
	return min(c.opts.MaxMessage, maxEarlyMessage)
}

// deliver passes a complete message to the call that waits for it, to Accept, to the
// sender of a file, or to the queue.
func (c *Conn) deliver(st *stream, raw []byte) error {
	flags := wrapperFlags(raw)
	if c.log.Enabled(context.Background(), slog.LevelDebug) {
		c.log.Debug("message came", "stream", st.id, "flags", flags, "id", wrapperID(raw), "bytes",
			len(raw))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !carriesMessages(st.id) {
		if flags&xpc.FlagFileTransferResponse != 0 && !st.gone {
			st.gone = true
			close(st.goes)
		}
		return nil
	}
	if flags&xpc.FlagReply != 0 && c.wasGivenUp(wrapperID(raw)) {
		return nil
	}
	if cl := c.callFor(st.id, flags, wrapperID(raw), len(raw)); cl != nil {
		cl.reply <- raw
		return nil
	}
	if len(raw) <= emptySize &&
		flags&(xpc.FlagDataPresent|xpc.FlagWantingReply|xpc.FlagReply) == 0 {
		// It has no content, as the messages that open a connection.
		if c.device {
			return c.onOpening(opening{stream: st.id, raw: raw})
		}
		return nil
	}
	return c.enqueue(st, raw)
}

// keep counts n bytes that wait to be received. The caller holds mu.
func (c *Conn) keep(n int) error {
	if c.buffered > 0 && c.buffered+n > c.opts.Buffer {
		return overflow("%d bytes wait already", c.buffered)
	}
	if !c.opts.Budget.Take(n) {
		return overflow("all connections together hold too much")
	}
	c.buffered += n
	return nil
}

// release subtracts bytes that keep has counted. The caller holds mu.
func (c *Conn) release(n int) {
	c.buffered -= n
	c.opts.Budget.Give(n)
}

// overflow returns the error about a peer that sends more than can be kept.
func overflow(format string, args ...any) *Error {
	e := violation(http2.ErrCodeEnhanceYourCalm, format, args...)
	e.Err = ErrOverflow
	return e
}
