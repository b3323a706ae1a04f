package afc

import (
	"github.com/imdlua/imdlua/runtime/phone/files"

	"encoding/binary"
	"io"
	"math"
	"os"
)

// handle is an open file or directory of a connection.
type handle struct {
	file *files.File // nil for a directory
	mode Mode
	pos  int64

	names []byte // names of a directory that have not been sent
}

// handles assigns numbers to the open files and directories of a connection. Numbers
// begin at 1, because clients take 0 for a failure. A number is never used again.
type handles struct {
	open map[uint64]*handle
	last uint64
}

func (t *handles) init() { t.open = map[uint64]*handle{} }

func (t *handles) add(h *handle) uint64 {
	t.last++
	t.open[t.last] = h
	return t.last
}

func (t *handles) closeAll() {
	for _, h := range t.open {
		if h.file != nil {
			_ = h.file.Close() // a file in memory, and the peer has disconnected
		}
	}
	t.open = nil
}

// file returns the open file with a number.
func (t *handles) file(ref uint64) (*handle, error) {
	h := t.open[ref]
	if h == nil || h.file == nil {
		return nil, InvalidArgument
	}
	return h, nil
}

// openFlags are the flags of os.OpenFile for each mode.
var openFlags = [...]int{
	ModeRead:       os.O_RDONLY,
	ModeReadWrite:  os.O_RDWR | os.O_CREATE,
	ModeWrite:      os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
	ModeWriteRead:  os.O_RDWR | os.O_CREATE | os.O_TRUNC,
	ModeAppend:     os.O_WRONLY | os.O_APPEND | os.O_CREATE,
	ModeAppendRead: os.O_RDWR | os.O_APPEND | os.O_CREATE,
}

func (s *session) open() (uint64, error) {
	v, p, err := s.onePath(1, false)
	switch {
	case err != nil:
		return 0, err
	case v[0] < uint64(ModeRead) || v[0] > uint64(ModeAppendRead):
		return 0, InvalidArgument
	case len(s.handles.open) >= maxHandles:
		return 0, NoResources
	}
	f, err := s.d.FS.Open(p, openFlags[v[0]])
	if err != nil {
		return 0, err
	}
	return s.handles.add(&handle{file: f, mode: Mode(v[0])}), nil
}

// openDir reads the listing at once. The first read request receives it.
func (s *session) openDir() (uint64, error) {
	_, p, err := s.onePath(0, false)
	if err != nil {
		return 0, err
	}
	if len(s.handles.open) >= maxHandles {
		return 0, NoResources
	}
	names, err := s.listing(p)
	if err != nil {
		return 0, err
	}
	return s.handles.add(&handle{names: names}), nil
}

func (s *session) readDirRef() ([]byte, error) {
	v, _, err := s.u64s(1)
	if err != nil {
		return nil, err
	}
	h := s.handles.open[v[0]]
	if h == nil || h.file != nil {
		return nil, InvalidArgument
	}
	names := h.names
	h.names = nil
	return names, nil
}

func (s *session) tell() (uint64, error) {
	v, _, err := s.u64s(1)
	if err != nil {
		return 0, err
	}
	h, err := s.handles.file(v[0])
	if err != nil {
		return 0, err
	}
	return uint64(h.pos), nil
}

// handleOp performs the operations on handles that are answered with a status.
func (s *session) handleOp(op Opcode) error {
	n := 1
	switch op {
	case opSeek:
		n = 3
	case opSetSize, opLock, opImmutableHint:
		n = 2
	}
	v, _, err := s.u64s(n)
	if err != nil {
		return err
	}
	if op == opDirClose {
		if h := s.handles.open[v[0]]; h == nil || h.file != nil {
			return InvalidArgument
		}
		delete(s.handles.open, v[0])
		return nil
	}
	h, err := s.handles.file(v[0])
	if err != nil {
		return err
	}
	switch op {
	case opSeek:
		return h.seek(v[1], int64(v[2]))
	case opClose:
		delete(s.handles.open, v[0])
		return h.file.Close()
	case opSetSize:
		if v[1] > math.MaxInt64 {
			return InvalidArgument
		}
		return h.file.Truncate(int64(v[1]))
	case opLock:
		return h.lock(v[1])
	}
	return nil // opImmutableHint
}

func (h *handle) seek(whence uint64, offset int64) error {
	base := int64(0)
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		base = h.pos
	case io.SeekEnd:
		base = h.file.Size()
	default:
		return InvalidArgument
	}
	if offset > math.MaxInt64-base || base+offset < 0 {
		return InvalidArgument
	}
	h.pos = base + offset
	return nil
}

// lock implements flock. It never waits, even if LOCK_NB is not set, because the
// connection could not answer other requests while it waits.
func (h *handle) lock(bits uint64) error {
	switch bits &^ lockNoWait {
	case lockRelease:
		h.file.Unlock()
		return nil
	case lockShared, lockExclusive:
		err := h.file.Lock(bits&lockExclusive != 0)
		if statusOf(err) == Busy {
			return WouldBlock
		}
		return err
	}
	return InvalidArgument
}

// readFile answers both read operations. It sends data while it reads the file, so a
// request for a gigabyte takes no more memory than a request for a chunk. An answer is
// shorter than requested only at the end of the file, because one client takes a short
// answer for the whole file.
func (s *session) readFile(h header) error {
	f, pos, n, err := s.readArgs(h.op)
	if err != nil {
		return s.send(h, statusAnswer(err))
	}
	buf := s.buffer()
	first := int(min(n, uint64(len(buf)-headerLen)))
	if _, err := f.file.ReadAt(buf[headerLen:headerLen+first], pos); err != nil && err != io.EOF {
		return s.send(h, statusAnswer(err))
	}
	s.trace(h, answer{op: opData})
	appendHeader(buf[:0],
		header{entire: headerLen + n, this: headerLen, packet: h.packet, op: opData})
	if _, err := s.conn.Write(buf[:headerLen+first]); err != nil {
		return err
	}
	for done := uint64(first); done < n; {
		part := buf[:min(uint64(len(buf)), n-done)]
		m, err := f.file.ReadAt(part, pos+int64(done))
		if err != nil && err != io.EOF {
			return err // the length has been sent, so no status can follow
		}
		clear(part[m:]) // the file was truncated in the meantime
		if _, err := s.conn.Write(part); err != nil {
			return err
		}
		done += uint64(len(part))
	}
	if h.op == opRead {
		f.pos += int64(n)
	}
	return nil
}

// readArgs returns the file, the position, and the number of bytes to send.
func (s *session) readArgs(op Opcode) (f *handle, pos int64, n uint64, err error) {
	count := 2
	if op == opReadAt {
		count = 3
	}
	v, _, err := s.u64s(count)
	if err != nil {
		return nil, 0, 0, err
	}
	f, err = s.handles.file(v[0])
	if err != nil {
		return nil, 0, 0, err
	}
	pos = f.pos
	if op == opReadAt {
		if v[1] > math.MaxInt64 {
			return nil, 0, 0, InvalidArgument
		}
		pos = int64(v[1])
	}
	// The header announces the size that the file has at this time.
	return f, pos, min(v[count-1], maxReadAnswer, uint64(max(f.file.Size()-pos, 0))), nil
}

// write answers both write operations. It writes data to the file while it arrives,
// because a packet may carry a gigabyte.
func (s *session) write(h header, body uint64) error {
	f, pos, err := s.writeArgs(h.op, &body)
	if err != nil && !isStatus(err) {
		return err
	}
	for body > 0 {
		n := min(body, chunk)
		if err == nil {
			n = min(body, chunk-uint64(pos)%chunk) // to the end of a page of the file
		}
		var readErr error
		if err == nil && n == files.PageSize {
			pos, err, readErr = s.writePage(f, pos)
		} else {
			part := s.buffer()[:n]
			var m int
			m, readErr = io.ReadFull(s.in, part)
			if err == nil && m > 0 {
				pos, err = f.write(part[:m], pos)
			}
		}
		if readErr != nil {
			return unexpected(readErr)
		}
		body -= n
	}
	if h.op == opWrite && f != nil {
		f.pos = pos
	}
	return s.send(h, statusAnswer(err))
}

// writePage reads a page of the file and gives it to the file. It returns the position
// after the data, and the errors of the file and of the connection.
func (s *session) writePage(f *handle, pos int64) (next int64, err, readErr error) {
	page := files.NewPage()
	m, readErr := io.ReadFull(s.in, page)
	if readErr != nil || f.mode == ModeAppend || f.mode == ModeAppendRead {
		next = pos
		if m > 0 {
			next, err = f.write(page[:m], pos)
		}
		files.FreePage(page)
		return next, err, readErr
	}
	err = f.file.WritePage(page, pos)
	if err != nil {
		return pos, err, nil
	}
	return pos + files.PageSize, nil, nil
}

// write writes p at pos, or at the end of the file in the append modes. It returns the
// position after the data.
func (h *handle) write(p []byte, pos int64) (int64, error) {
	if h.mode == ModeAppend || h.mode == ModeAppendRead {
		at, err := h.file.Append(p)
		if err != nil {
			return pos, err
		}
		return at + int64(len(p)), nil
	}
	n, err := h.file.WriteAt(p, pos)
	return pos + int64(n), err
}

// writeArgs reads the numbers that precede the data. It sets body to the number of
// bytes that follow them. If the error is a Status, the caller has to discard the data.
func (s *session) writeArgs(op Opcode, body *uint64) (*handle, int64, error) {
	var b [16]byte
	n := 8
	if op == opWriteAt {
		n = 16
	}
	if *body < uint64(n) {
		return nil, 0, InvalidArgument
	}
	if _, err := io.ReadFull(s.in, b[:n]); err != nil {
		return nil, 0, unexpected(err)
	}
	*body -= uint64(n)
	f, err := s.handles.file(binary.LittleEndian.Uint64(b[:]))
	if err != nil {
		return nil, 0, err
	}
	if op == opWrite {
		return f, f.pos, nil
	}
	off := binary.LittleEndian.Uint64(b[8:])
	if off > math.MaxInt64 {
		return nil, 0, InvalidArgument
	}
	return f, int64(off), nil
}

func isStatus(err error) bool {
	_, ok := err.(Status)
	return ok
}
