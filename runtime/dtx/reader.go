package dtx

import (
	"errors"
	"fmt"
	"io"
)

// growStep is the memory that is allocated for a message before its bytes have
// arrived. A declared length alone does not make the reader allocate more.
const growStep = 64 << 10

// Reader reads messages from a stream of fragments. Fragments of several
// messages may be interleaved; those of one message arrive in order.
type Reader struct {
	src   io.Reader
	head  [HeaderSize]byte
	parts map[partKey]*part // incomplete messages
	held  int               // total length of their bodies so far

	account *account // counts the bytes of messages; may be nil
	taken   int      // bytes counted on the account for the message just read
}

// partKey identifies an incomplete message. The id alone is not enough: go-ios
// counts ids separately on each channel, and a request and a reply may have the
// same id.
type partKey struct {
	channel  int32
	id, conv uint32
}

type part struct {
	first header
	next  uint16 // index of the next fragment
	body  []byte
}

// NewReader returns a Reader for src, which should be buffered.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// Read returns the next message that is complete. It returns io.EOF if the stream
// ends between two messages, and ErrIncomplete if it ends inside a message. Read
// must not be called after an error.
func (r *Reader) Read() (*Message, error) {
	for {
		if _, err := io.ReadFull(r.src, r.head[:]); err != nil {
			if err == io.EOF && len(r.parts) == 0 {
				return nil, io.EOF
			}
			return nil, incomplete(err)
		}
		h, surplus, err := parseHeader(r.head[:])
		if err != nil {
			return nil, err
		}
		if int(h.length) > r.account.largest() {
			return nil, tooLong(h)
		}
		if surplus > 0 {
			if _, err := io.CopyN(io.Discard, r.src, int64(surplus)); err != nil {
				return nil, incomplete(err)
			}
		}
		h, body, err := r.fragment(h)
		if err != nil {
			return nil, err
		}
		if body != nil {
			r.taken = messageOverhead + cap(body)
			return parseBody(h, body)
		}
	}
}

// fragment reads the body that follows the header h. It returns the header and
// the body of the whole message; the body is nil while that is not complete.
func (r *Reader) fragment(h header) (header, []byte, error) {
	if h.count == 1 {
		body, err := r.more(nil, int(h.length), int(h.length))
		return h, body, err
	}
	key := partKey{h.channel, h.id, h.conv}
	p := r.parts[key]
	if h.index == 0 {
		return h, nil, r.begin(key, p, h)
	}
	switch {
	case p == nil || h.index != p.next || h.count != p.first.count:
		return h, nil, &Error{
			Err: fmt.Errorf("%w: %d of %d, message %d", ErrFragment, h.index, h.count, h.id),
		}
	case uint64(len(p.body))+uint64(h.length) > uint64(p.first.length):
		return h, nil, &Error{
			Err: fmt.Errorf("%w: fragments hold more than %d bytes", ErrSizes, p.first.length),
		}
	case r.held+int(h.length) > MaxMessage:
		return h, nil, &Error{Err: fmt.Errorf("%w: incomplete messages", ErrTooLarge)}
	}
	had := len(p.body)
	body, err := r.more(p.body, int(h.length), int(p.first.length))
	if err != nil {
		return h, nil, err
	}
	p.body = body
	r.held += len(body) - had
	p.next++
	if p.next < h.count {
		return h, nil, nil
	}
	delete(r.parts, key)
	r.held -= len(body)
	if len(body) != int(p.first.length) {
		return h, nil, &Error{Err: fmt.Errorf("%w: fragments hold %d of %d bytes", ErrSizes,
			len(body), p.first.length)}
	}
	return p.first, body, nil
}

// begin registers a message of several fragments. Its first fragment is a header
// without a body.
func (r *Reader) begin(key partKey, p *part, h header) error {
	if p != nil {
		return &Error{Err: fmt.Errorf("%w: message %d begins twice", ErrFragment, h.id)}
	}
	if len(r.parts) == MaxAssemblies {
		return &Error{
			Err: fmt.Errorf("%w: more than %d are incomplete", ErrTooLarge, MaxAssemblies),
		}
	}
	if r.parts == nil {
		r.parts = make(map[partKey]*part)
	}
	r.parts[key] = &part{first: h, next: 1}
	return nil
}

// more appends n bytes of the stream to body. The memory of body grows as bytes
// arrive, never beyond total bytes, and is counted on the account.
func (r *Reader) more(body []byte, n, total int) ([]byte, error) {
	end := len(body) + n
	for len(body) < end {
		step := min(end-len(body), max(growStep, len(body)))
		if cap(body)-len(body) < step {
			size := min(total, len(body)+max(step, len(body)))
			take := size - cap(body)
			if body == nil {
				take += messageOverhead
			}
			if err := r.account.take(take); err != nil {
				return nil, &Error{Err: err}
			}
			grown := make([]byte, len(body), size)
			copy(grown, body)
			body = grown
		}
		k, err := io.ReadFull(r.src, body[len(body):len(body)+step])
		if err != nil {
			return nil, incomplete(err)
		}
		body = body[:len(body)+k]
	}
	return body, nil
}

// incomplete converts the end of a stream to ErrIncomplete.
func incomplete(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &Error{Err: ErrIncomplete}
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	return &Error{Op: "read", Err: err}
}

// byteSource is an io.Reader for the bytes that it holds.
type byteSource []byte

func (s *byteSource) Read(p []byte) (int, error) {
	if len(*s) == 0 {
		return 0, io.EOF
	}
	n := copy(p, *s)
	*s = (*s)[n:]
	return n, nil
}
