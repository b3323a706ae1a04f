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

// chunks are what the bytes of a file wait in; small frames share one.
var chunks = sync.Pool{New: func() any { return new([frameSize]byte) }}

// incoming is a file that the peer sends. Its fields belong to Conn.mu.
type incoming struct {
	id    uint64 // of the transfer, once known
	known bool   // the first bytes have been looked at
	head  []byte // the first bytes, until there are enough to look at
	taken bool   // somebody reads it

	chunks []*[frameSize]byte
	start  int // of what is unread in the first chunk
	size   int // of all that is unread
	err    error
	ready  chan struct{} // there is something new
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

// add appends bytes, filling up the last chunk first.
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

// take moves bytes out.
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

// openIncoming takes a new file stream of the peer; mu is held.
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

// broadcastOpened wakes whoever waits for a file; mu is held.
func (c *Conn) broadcastOpened() {
	close(c.opened)
	c.opened = make(chan struct{})
}

// readFile takes n bytes of a file stream.
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

// fileBytes looks at the first bytes of a file stream and keeps the others; mu
// is held.
func (c *Conn) fileBytes(st *stream, b []byte) error {
	f := st.file
	if f.err != nil {
		return nil // nobody reads it any more
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

// firstBytes takes the message that begins a file off it. A host does not count
// on it, as it is not known that every device sends one; mu is held.
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

// dropStream resets a stream and forgets it; mu is held.
func (c *Conn) dropStream(st *stream, code http2.ErrCode) {
	c.pending.resets = append(c.pending.resets, reset{st.id, code})
	c.forget(st)
	c.poke()
}

// forget takes a stream off the list, with what is unread; mu is held.
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

// endFile takes END_STREAM on a file stream; mu is held.
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

// FileReader receives a file from the peer. One goroutine may use it at a time.
type FileReader struct {
	c    *Conn
	st   *stream
	left int64 // -1 when the size is not known
	// Stream is the HTTP/2 stream.
	Stream uint32
}

// ReceiveFile waits until the peer has opened its index-th file stream on this
// connection, the first being 0, and tells it to begin. Devices open them in the
// order in which they announce the files. A negative size means that the file
// goes on until the peer ends it.
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

// ReceiveFileID is ReceiveFile for the file whose transfer has an id, wherever
// it comes.
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

// ID is the transfer's id, 0 as long as the peer has not told it: it does so
// ahead of the file's first byte.
func (f *FileReader) ID() uint64 {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.st.file.id
}

// awaitFile waits for a file stream that nobody has taken yet.
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
			return nil, net.ErrClosed // it was there, and is over or somebody else's
		}
		select {
		case <-opened:
		case <-c.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// begin gives the sender the sign that it may.
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

// Read returns the next bytes of the file, io.EOF behind the last. A file that
// ends too early gives an Error whose cause is io.ErrUnexpectedEOF.
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

// take moves what there is, and returns why there will be no more.
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

// Reader returns f as an io.Reader that ctx bounds.
func (f *FileReader) Reader(ctx context.Context) io.Reader { return fileReader{ctx, f} }

type fileReader struct {
	ctx context.Context
	f   *FileReader
}

// Read is FileReader.Read.
func (r fileReader) Read(p []byte) (int, error) { return r.f.Read(r.ctx, p) }

// Close ends the file's stream. What was not read is thrown away. A device
// resets the stream of a file that it has in full, too, and hosts expect it.
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
