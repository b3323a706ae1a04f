package remotexpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
)

// chunks hold the bytes of files. Several small frames share one.
var chunks = sync.Pool{New: func() any { return new([frameSize]byte) }}

// incoming is a file that the peer sends. Conn.mu guards its fields.
type incoming struct {
	id    uint64 // id of the transfer, if known
	known bool   // whether the first bytes have been examined
	head  []byte // the first bytes, until there are enough to examine
	taken bool   // whether a FileReader has it

	chunks []*[frameSize]byte
	start  int // offset of the unread bytes in the first chunk
	size   int // number of unread bytes
	err    error
	ready  chan struct{} // signals that something has changed
}

func (f *incoming) end(err error) {
	if f.err == nil {
		f.err = err
		f.poke()
	}
}

func (f *incoming) poke() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// add appends bytes. It fills the last chunk first.
func (f *incoming) add(b []byte) {
	for len(b) > 0 {
		used := (f.start + f.size) % frameSize
		if f.start+f.size == len(f.chunks)*frameSize {
			f.chunks = append(f.chunks, chunks.Get().(*[frameSize]byte))
			used = 0
		}
		n := copy(f.chunks[len(f.chunks)-1][used:], b)
		f.size += n
		b = b[n:]
	}
	f.poke()
}

// take removes and returns bytes.
func (f *incoming) take(p []byte) int {
	done := 0
	for len(p) > 0 && f.size > 0 {
		n := copy(p, f.chunks[0][f.start:min(f.start+f.size, frameSize)])
		f.start += n
		f.size -= n
		done += n
		p = p[n:]
		if f.start == frameSize {
			f.dropChunk()
		}
	}
	if f.size == 0 && len(f.chunks) > 0 {
		f.dropChunk()
	}
	return done
}

func (f *incoming) dropChunk() {
	chunks.Put(f.chunks[0])
	f.chunks[0] = nil
	f.chunks = f.chunks[1:]
	f.start = 0
	if len(f.chunks) == 0 {
		f.chunks = nil
	}
}

// openIncoming adds a new file stream of the peer. The caller holds mu.
func (c *Conn) openIncoming(id uint32) error {
	c.lastPeer = id
	files := 0
	for _, st := range c.streams {
		if st.file != nil {
			files++
		}
	}
	if files >= maxStreams {
		c.pending.resets = append(c.pending.resets, reset{id, http2.ErrCodeRefusedStream})
		return c.controlGrew()
	}
	st := c.newStream(id)
	st.opened = true
	st.file = &incoming{ready: make(chan struct{}, 1)}
	c.streams[id] = st
	c.broadcastOpened()
	return nil
}

// broadcastOpened wakes the goroutines that wait for a file. The caller holds mu.
func (c *Conn) broadcastOpened() {
	close(c.opened)
	c.opened = make(chan struct{})
}

// readFile reads n bytes of a file stream.
func (c *Conn) readFile(st *stream, n int) error {
	for n > 0 {
		if _, err := c.br.Peek(1); err != nil {
			return unexpected(err)
		}
		b, _ := c.br.Peek(min(n, c.br.Buffered()))
		c.mu.Lock()
		err := c.fileBytes(st, b)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		n -= len(b)
		_, _ = c.br.Discard(len(b))
	}
	return nil
}

// fileBytes examines the first bytes of a file stream and keeps the others. The caller
// holds mu.
func (c *Conn) fileBytes(st *stream, b []byte) error {
	f := st.file
	if f.err != nil {
		return nil // the file is not read any more
	}
	if !f.known {
		n := min(len(b), xpc.WrapperSize-len(f.head))
		f.head = append(f.head, b[:n]...)
		b = b[n:]
		if len(f.head) < xpc.WrapperSize {
			return nil
		}
		if err := c.firstBytes(st); err != nil {
			return err
		}
	}
	if f.err != nil || len(b) == 0 {
		return nil
	}
	return c.addToFile(st, b)
}

func (c *Conn) addToFile(st *stream, b []byte) error {
	if err := c.keep(len(b)); err != nil {
		return err
	}
	st.recv.held += int64(len(b))
	st.file.add(b)
	return nil
}

// firstBytes removes the message at the beginning of a file, if there is one. It is not
// known whether every device sends it. The caller holds mu.
func (c *Conn) firstBytes(st *stream) error {
	f := st.file
	head := f.head
	f.known, f.head = true, nil
	m, n, err := xpc.Decode(head)
	request := err == nil && n == len(head) && m.Flags&xpc.FlagFileTransferRequest != 0
	switch {
	case request && (m.ID != 0 || !c.device):
		f.id = m.ID
		c.broadcastOpened()
		return nil
	case c.device:
		c.dropStream(st, http2.ErrCodeStreamClosed)
		return c.controlGrew()
	}
	c.broadcastOpened()
	return c.addToFile(st, head)
}

// dropStream resets a stream and removes it. The caller holds mu.
func (c *Conn) dropStream(st *stream, code http2.ErrCode) {
	c.pending.resets = append(c.pending.resets, reset{st.id, code})
	c.forget(st)
	c.poke()
}

// forget removes a stream with its unread bytes. The caller holds mu.
func (c *Conn) forget(st *stream) {
	delete(c.streams, st.id)
	if f := st.file; f != nil {
		c.release(f.size)
		st.recv.held -= int64(f.size)
		f.size = 0
		for len(f.chunks) > 0 {
			f.dropChunk()
		}
		f.end(net.ErrClosed)
	}
}

// endFile handles END_STREAM on a file stream. The caller holds mu.
func (c *Conn) endFile(st *stream) error {
	if f := st.file; !f.known {
		f.known = true
		if c.device {
			c.dropStream(st, http2.ErrCodeStreamClosed)
			return c.controlGrew()
		}
		head := f.head
		f.head = nil
		if len(head) > 0 {
			if err := c.addToFile(st, head); err != nil {
				return err
			}
		}
		c.broadcastOpened()
	}
	st.file.end(io.EOF)
	return nil
}

// FileReader receives a file from the peer. Only one goroutine may use it at a time.
type FileReader struct {
	c    *Conn
	st   *stream
	left int64 // -1 if the size is not known
	// Stream is the number of the HTTP/2 stream.
	Stream uint32
}

// ReceiveFile waits until the peer has opened its file stream with the given index on
// this connection, counted from 0, and tells the peer to begin. A device opens the
// streams in the order in which it announces the files. If size is negative, the file
// extends until the peer ends it.
func (c *Conn) ReceiveFile(ctx context.Context, index int, size int64) (*FileReader, error) {
	if index < 0 || index > (maxWindow-firstUpload)/2 {
		return nil, &Error{Op: opRecvFile, Err: errors.New("no such index")}
	}
	id := uint32(index+1) * 2
	if c.device {
		id = firstUpload + uint32(index)*2
	}
	return c.receiveFile(ctx, size, func(st *stream) bool { return st.id == id }, id)
}

// ReceiveFileID is ReceiveFile for the file with a transfer id, on whichever stream it
// is.
func (c *Conn) ReceiveFileID(ctx context.Context, id uint64, size int64) (*FileReader, error) {
	return c.receiveFile(ctx, size,
		func(st *stream) bool { return st.file.known && st.file.id == id }, 0)
}

func (c *Conn) receiveFile(
	ctx context.Context, size int64, want func(*stream) bool, id uint32,
) (*FileReader, error) {
	st, err := c.awaitFile(ctx, want, id)
	if err == nil {
		err = c.begin(ctx, st)
	}
	if err != nil {
		return nil, opError(opRecvFile, id, err)
	}
	return &FileReader{c: c, st: st, left: size, Stream: st.id}, nil
}

// ID returns the id of the transfer. It is 0 until the peer has sent it, which it does
// before the first byte of the file.
func (f *FileReader) ID() uint64 {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.st.file.id
}

// awaitFile waits for a file stream for which want is true and which has no FileReader.
func (c *Conn) awaitFile(ctx context.Context, want func(*stream) bool, id uint32) (*stream, error) {
	for {
		c.mu.Lock()
		for _, st := range c.streams {
			if st.file != nil && !st.file.taken && want(st) {
				st.file.taken = true
				c.mu.Unlock()
				return st, nil
			}
		}
		opened, cause := c.opened, c.cause
		known := id != 0 && id <= c.lastPeer
		c.mu.Unlock()
		switch {
		case cause != nil:
			return nil, cause
		case known:
			return nil, net.ErrClosed // the stream was there, and has ended or has a FileReader
		}
		select {
		case <-opened:
		case <-c.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// begin tells the sender to begin.
func (c *Conn) begin(ctx context.Context, st *stream) error {
	raw := bare(flagsFileResponse, 0)
	for sent := 0; sent < len(raw); {
		n, err := c.reserve(ctx, st, len(raw)-sent)
		if err == nil {
			err = c.writeFrames(ctx, func() {
				if sent == 0 {
					c.appendHeaders(st.id)
				}
				_ = c.fr.WriteData(st.id, false, raw[sent:sent+n])
			})
			if err != nil {
				c.giveBack(st, n)
			}
		}
		if err != nil {
			c.mu.Lock()
			c.dropStream(st, http2.ErrCodeCancel)
			c.mu.Unlock()
			return err
		}
		sent += n
	}
	return nil
}

// Read returns the next bytes of the file, or io.EOF after the last. If the file ends
// too early, it returns an Error with the cause io.ErrUnexpectedEOF.
func (f *FileReader) Read(ctx context.Context, p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	if f.left > 0 && int64(len(p)) > f.left {
		p = p[:f.left]
	}
	in := f.st.file
	for {
		n, err := f.take(p)
		switch {
		case n > 0 || len(p) == 0:
			if f.left > 0 {
				f.left -= int64(n)
			}
			return n, nil
		case err == io.EOF && f.left < 0:
			return 0, io.EOF
		case err != nil:
			return 0, opError(opRecvFile, f.Stream, unexpected(err))
		}
		select {
		case <-in.ready:
		case <-f.c.done:
			if n, err := f.take(nil); n == 0 && err == nil && !f.waiting() {
				return 0, f.c.failed(opRecvFile)
			}
		case <-ctx.Done():
			return 0, &Error{Op: opRecvFile, Stream: f.Stream, Err: context.Cause(ctx)}
		}
	}
}

func (f *FileReader) waiting() bool {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.st.file.size > 0
}

// take copies the bytes that have arrived, and returns why no more will arrive.
func (f *FileReader) take(p []byte) (int, error) {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	n := f.st.file.take(p)
	if n == 0 {
		if f.st.file.size > 0 {
			return 0, nil
		}
		return 0, f.st.file.err
	}
	c.release(n)
	f.st.recv.held -= int64(n)
	c.credit(f.st)
	return n, nil
}

// Reader returns an io.Reader for f that is bounded by ctx.
func (f *FileReader) Reader(ctx context.Context) io.Reader { return fileReader{ctx, f} }

type fileReader struct {
	ctx context.Context
	f   *FileReader
}

// Read calls FileReader.Read.
func (r fileReader) Read(p []byte) (int, error) { return r.f.Read(r.ctx, p) }

// Close ends the file's stream and discards the unread bytes. A device also resets the
// stream of a file that it has received completely, and hosts expect that.
func (f *FileReader) Close() error {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[f.st.id] != f.st {
		return nil
	}
	switch over := f.left == 0 || f.st.file.err == io.EOF; {
	case over && c.device:
		c.dropStream(f.st, http2.ErrCodeNo)
	case over:
		c.forget(f.st)
	default:
		c.dropStream(f.st, http2.ErrCodeCancel)
	}
	return nil
}
