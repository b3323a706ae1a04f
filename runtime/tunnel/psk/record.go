package psk

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// A record: type u8 | version 03 03 | length u16 | fragment.
const (
	recordChangeCipher = 20
	recordAlert        = 21
	recordHandshake    = 22
	recordData         = 23

	recordHeader = 5
	version      = 0x0303
	// maxPlain is the largest content of a record, and maxCipher its largest fragment.
	maxPlain  = 1 << 14
	maxCipher = maxPlain + 2048
	// maxIdleRecords is the largest number of consecutive records without data.
	maxIdleRecords = 32

	// maxCorked is the largest number of bytes of records that Cork keeps.
	maxCorked = 256 << 10

	firstBuffer = 4 << 10
	lastBuffer  = 64 << 10
)

// inbound is the reading half of a connection.
type inbound struct {
	mu     sync.Mutex
	buf    []byte // read ahead
	r, w   int    // unread part of buf
	plain  []byte // content of the last record; a part of buf
	cipher opener // nil before ChangeCipherSpec
	seq    uint64
	err    error // no read is possible after it
}

// fill reads until at least n bytes are unread. After an error no bytes are lost.
func (in *inbound) fill(c net.Conn, n int) error {
	for in.w-in.r < n {
		if in.r > 0 {
			in.w = copy(in.buf, in.buf[in.r:in.w])
			in.r = 0
		}
		if in.w == len(in.buf) {
			// The buffer grows only when it is full, so that the length in a header
			// does not allocate memory by itself.
			grown := make([]byte, min(max(2*len(in.buf), firstBuffer), lastBuffer))
			copy(grown, in.buf[:in.w])
			in.buf = grown
		}
		m, err := c.Read(in.buf[in.w:])
		in.w += m
		if in.w-in.r >= n {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next reads and decrypts one record. Its body is valid until the next call.
func (in *inbound) next(c net.Conn) (typ byte, body []byte, err error) {
	if err := in.fill(c, recordHeader); err != nil {
		if err == io.EOF && in.w > in.r {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	h := in.buf[in.r : in.r+recordHeader]
	typ = h[0]
	n := int(binary.BigEndian.Uint16(h[3:]))
	if typ < recordChangeCipher || typ > recordData || h[1] != version>>8 {
		return 0, nil, bad(AlertProtocolVersion, "not a TLS record")
	}
	// The first ClientHello may come as 03 01.
	if in.cipher != nil && binary.BigEndian.Uint16(h[1:]) != version {
		return 0, nil, bad(AlertProtocolVersion, "record of another version")
	}
	if n > maxCipher || in.cipher == nil && n > maxPlain {
		return 0, nil, bad(AlertRecordOverflow, "record of %d bytes", n)
	}
	if err := in.fill(c, recordHeader+n); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	body = in.buf[in.r+recordHeader : in.r+recordHeader+n]
	in.r += recordHeader + n
	if in.cipher == nil {
		return typ, body, nil
	}
	body, err = in.cipher.open(in.seq, typ, body)
	if err != nil {
		return 0, nil, err
	}
	in.seq++
	if len(body) > maxPlain {
		return 0, nil, bad(AlertRecordOverflow, "record of %d bytes", len(body))
	}
	return typ, body, nil
}

// readAlert returns the error of an alert, or nil if it can be ignored.
func readAlert(body []byte) error {
	switch {
	case len(body) != 2:
		return bad(AlertDecodeError, "alert of %d bytes", len(body))
	case Alert(body[1]) == AlertCloseNotify:
		return io.EOF
	case body[0] == alertWarning && Alert(body[1]) == AlertUserCanceled:
		return nil // close_notify follows
	}
	return RemoteAlert(body[1])
}

// outbound is the writing half of a connection.
type outbound struct {
	mu     sync.Mutex
	buf    []byte // bytes of the next write
	corked bool   // data is kept until Uncork
	cipher sealer // nil before ChangeCipherSpec
	seq    uint64
	err    error // no write is possible after it
}

var errSequence = errors.New("record numbers are used up")

// append appends one record of at most maxPlain bytes to b.
func (o *outbound) append(b []byte, typ byte, p []byte) ([]byte, error) {
	start := len(b)
	b = append(b, typ, version>>8, version&0xFF, 0, 0)
	if o.cipher == nil {
		b = append(b, p...)
	} else {
		if o.seq == 1<<64-1 {
			return nil, errSequence
		}
		b = o.cipher.seal(b, o.seq, typ, p)
		o.seq++
	}
	binary.BigEndian.PutUint16(b[start+3:], uint16(len(b)-start-recordHeader))
	return b, nil
}

// record writes one record in one write, together with the kept ones. While the
// connection is corked, a record with data is kept.
func (o *outbound) record(c net.Conn, typ byte, p []byte) error {
	b, err := o.append(o.buf, typ, p)
	if err != nil {
		return err
	}
	o.buf = b
	if o.corked && typ == recordData && len(b) < maxCorked {
		return nil
	}
	return o.flush(c)
}

// flush writes the kept records.
func (o *outbound) flush(c net.Conn) error {
	b := o.buf
	o.buf = o.buf[:0]
	if len(b) == 0 {
		return nil
	}
	_, err := c.Write(b)
	return err
}
