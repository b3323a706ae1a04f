package afc

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/service"
)

// Device is the device side of AFC for one file tree. One Device serves any number of
// connections. A handle is valid only on the connection that opened it.
type Device struct {
	// FS is the file tree.
	FS *files.FS
	// Model is the product type in the answer to GetDeviceInfo, such as "iPhone12,8".
	Model string
	// Within confines clients to a directory of FS, such as "/Documents". Paths still
	// begin at the root of FS. "" means no restriction.
	Within string
	// Logger receives each request at debug level; nil means no logging.
	Logger *slog.Logger
}

// NewDevice returns the device side for the media tree of a phone.
func NewDevice(e service.Env) service.Handler {
	return &Device{FS: e.Phone.Media, Model: e.Phone.Identity.ProductType, Logger: e.Logger}
}

const (
	// maxHandles bounds the open handles of one connection.
	maxHandles = 4096
	// maxReadAnswer bounds the size of one answer. Clients ask for at most 4 MiB, but a
	// file may be as large as the volume.
	maxReadAnswer = 1 << 30
	// chunk is the size of the pieces in which file data is copied: a page of a file,
	// a multiple of the size of a TLS record, and small enough for a second-level cache.
	chunk = files.PageSize
)

// Serve answers the requests of one connection until the client disconnects or ctx
// ends. It returns nil if the client disconnects, and an error if the client does not
// speak AFC.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	log := d.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &session{
		d: d, conn: c, in: bufio.NewReaderSize(c, readAhead), log: log.With("layer", "afc"),
		ctx: ctx,
	}
	s.handles.init()
	defer s.handles.closeAll()
	defer s.idle()
	release := link.Guard(ctx, c)
	err := s.next()
	for err == nil {
		err = s.next()
	}
	err = release(err)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == io.EOF || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fail("serve", "", err)
}

// session is the state of one connection.
type session struct {
	d       *Device
	conn    net.Conn
	in      *bufio.Reader
	log     *slog.Logger
	handles handles

	ctx  context.Context // context of Serve
	args []byte          // arguments of the request, valid until the next one
	out  []byte
	bulk *[]byte // buffer of reads and writes; nil if the last request was neither
}

// buffer returns a buffer of chunk bytes for a read or a write.
func (s *session) buffer() []byte {
	if s.bulk == nil {
		s.bulk = newPiece(chunk)
	}
	return (*s.bulk)[:chunk]
}

// idle returns the buffer to the pool.
func (s *session) idle() {
	if s.bulk != nil {
		freePiece(s.bulk)
		s.bulk = nil
	}
}

// answer is the answer to a request. An answer with nil data and a code is a status.
type answer struct {
	op   Opcode
	num  uint64 // number of opStatus, opOpenResult, opTellResult and opDirOpenResult
	data []byte // data of opData
}

func statusAnswer(err error) answer { return answer{op: opStatus, num: uint64(statusOf(err))} }

// next answers one request.
func (s *session) next() error {
	var b [headerLen]byte
	if _, err := io.ReadFull(s.in, b[:]); err != nil {
		return err
	}
	h, err := decodeHeader(&b)
	if err != nil {
		// The start of the next packet is not known after an invalid header.
		if sendErr := s.send(h, statusAnswer(HeaderInvalid)); sendErr != nil {
			return sendErr
		}
		return err
	}
	body := h.entire - headerLen
	if h.op == opWrite || h.op == opWriteAt {
		return s.write(h, body)
	}
	if body > maxArguments {
		return s.overlong(h, body)
	}
	// The end of the header payload does not matter, because clients differ in whether
	// they put arguments into the header payload or into the payload.
	s.args, err = link.ReadN(s.in, int(body), s.args)
	if err != nil {
		return err
	}
	if h.op == opRead || h.op == opReadAt {
		return s.readFile(h)
	}
	s.idle()
	return s.send(h, s.perform(h.op))
}

// trace logs an answer.
func (s *session) trace(h header, a answer) {
	if !s.log.Enabled(s.ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.Uint64("op", uint64(h.op)), slog.Uint64("packet", h.packet)}
	if a.op == opStatus {
		attrs = append(attrs, slog.Uint64("status", a.num))
	}
	s.log.LogAttrs(s.ctx, slog.LevelDebug, "request", attrs...)
}

// overlong discards a request that is not a write and exceeds the limit for arguments.
func (s *session) overlong(h header, body uint64) error {
	if _, err := io.CopyN(io.Discard, s.in, int64(body)); err != nil {
		return unexpected(err)
	}
	status := TooMuchData
	if !h.op.known() {
		status = NotSupported
	}
	return s.send(h, statusAnswer(status))
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send sends an answer in one write. Its lengths matter: go-ios, idevice and tidevice
// take data only from the payload, and numbers only from the header payload.
func (s *session) send(h header, a answer) error {
	s.trace(h, a)
	r := header{entire: headerLen, this: headerLen, packet: h.packet, op: a.op}
	if a.op == opData {
		r.entire += uint64(len(a.data))
		s.out = append(appendHeader(s.out[:0], r), a.data...)
	} else {
		r.entire, r.this = headerLen+8, headerLen+8
		s.out = binary.LittleEndian.AppendUint64(appendHeader(s.out[:0], r), a.num)
	}
	_, err := s.conn.Write(s.out)
	if cap(s.out) > chunk {
		s.out = nil // large listings are rare, so the buffer is not kept
	}
	return err
}

// perform performs all operations except reads and writes of files.
func (s *session) perform(op Opcode) answer {
	switch op {
	case opReadDir, opGetFileInfo, opGetDeviceInfo, opConnectionInfo,
		opHash, opHashRange, opSizeOfContents, opDirRead:
		data, err := s.query(op)
		if err != nil {
			return statusAnswer(err)
		}
		return answer{op: opData, data: data}
	case opOpen:
		ref, err := s.open()
		return number(opOpenResult, ref, err)
	case opDirOpen:
		ref, err := s.openDir()
		return number(opDirOpenResult, ref, err)
	case opTell:
		pos, err := s.tell()
		return number(opTellResult, pos, err)
	case opSeek, opClose, opDirClose, opSetSize, opLock, opImmutableHint:
		return statusAnswer(s.handleOp(op))
	case opSetOptions, opFSBlockSize, opSocketBlockSize:
		return statusAnswer(nil) // these requests are hints without an effect here
	}
	return statusAnswer(s.change(op))
}

func number(op Opcode, n uint64, err error) answer {
	if err != nil {
		return statusAnswer(err)
	}
	return answer{op: op, num: n}
}

// statusOf maps an error of the file tree to a status, as iOS maps errno.
func statusOf(err error) Status {
	var s Status
	switch {
	case err == nil:
		return Success
	case errors.As(err, &s):
		return s
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, files.ErrIsDir):
		return IsDirectory
	case errors.Is(err, files.ErrNotEmpty):
		return NotEmpty
	case errors.Is(err, fs.ErrPermission):
		return PermissionDenied
	case errors.Is(err, fs.ErrExist):
		return Exists
	case errors.Is(err, files.ErrNotDir):
		return ReadError
	case errors.Is(err, files.ErrBusy):
		return Busy
	case errors.Is(err, files.ErrNoSpace):
		return NoSpace
	case errors.Is(err, files.ErrInvalid), errors.Is(err, fs.ErrClosed):
		return InvalidArgument
	}
	return UnknownError
}

// u64s removes n numbers from the beginning of the arguments.
func (s *session) u64s(n int) ([3]uint64, []byte, error) {
	var v [3]uint64
	if len(s.args) < 8*n {
		return v, nil, InvalidArgument
	}
	for i := range n {
		v[i] = binary.LittleEndian.Uint64(s.args[8*i:])
	}
	return v, s.args[8*n:], nil
}
