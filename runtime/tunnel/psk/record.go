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
	// maxPlain is how much a record may carry, maxCipher how long its fragment
	// may be.
	maxPlain  = 1 << 14
	maxCipher = maxPlain + 2048
	// maxIdleRecords is how many records without data may follow each other.
	maxIdleRecords = 32

	// maxCorked is how many bytes of records are kept.
	maxCorked = 256 << 10

	firstBuffer = 4 << 10
	lastBuffer  = 64 << 10
)

// inbound is the reading half of a connection.
type inbound struct {
	mu     sync.Mutex
	buf    []byte // read ahead
	r, w   int    // unread part of buf
	plain  []byte // of the last record, in buf
	cipher opener // nil before ChangeCipherSpec
	seq    uint64
	err    error // final
}

// fill reads until at least n bytes are unread. An error loses nothing.
func (in *inbound) fill(c net.Conn, n int) error {
	for in.w-in.r < n {
		if in.r > 0 {
			in.w = copy(in.buf, in.buf[in.r:in.w])
			in.r = 0
		}
		if in.w == len(in.buf) {
			// Full of bytes that have arrived: what a header claims reserves
			// nothing.
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

// next reads and opens one record. Its body is valid until the next call.
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
	if body, err = in.cipher.open(in.seq, typ, body); err != nil {
		return 0, nil, err
	}
	in.seq++
	if len(body) > maxPlain {
		return 0, nil, bad(AlertRecordOverflow, "record of %d bytes", len(body))
	}
	return typ, body, nil
}

// readAlert returns what an alert means: nil for what may be passed over.
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
	buf    []byte // what goes out with the next write
	corked bool   // data waits for Uncork
	cipher sealer // nil before ChangeCipherSpec
	seq    uint64
	err    error // final
}

var errSequence = errors.New("record numbers are used up")

// append puts one record of at most maxPlain bytes behind b.
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

// record writes one record in one write, behind what was kept; data is kept
// itself while the connection is corked.
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

// flush writes what was kept.
func (o *outbound) flush(c net.Conn) error {
	b := o.buf
	o.buf = o.buf[:0]
	if len(b) == 0 {
		return nil
	}
	_, err := c.Write(b)
	return err
}
