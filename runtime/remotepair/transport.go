package remotepair

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

// Transport carries the messages of one control channel. One goroutine may send while
// another receives. Recv returns io.EOF if the peer has left.
type Transport interface {
	Send(ctx context.Context, m *Message) error
	Recv(ctx context.Context) (*Message, error)
	Close() error
}

// MaxMessage bounds a message of the XPC transport. A message of the other transport
// has at most 64 KiB.
const MaxMessage = 1 << 20

// A frame of the TCP transport: magic, u16 big-endian length, JSON.
const (
	frameMagic  = "RPPairing"
	frameHeader = len(frameMagic) + 2
	maxFrame    = 1<<16 - 1
	maxJSONDeep = 64
)

var (
	errMagic = errors.New("frame does not begin with RPPairing")
	errDeep  = errors.New("JSON nests too deep")
)

// Stream is the Transport that carries JSON in RPPairing frames.
type Stream struct {
	conn    net.Conn
	pending []byte // bytes of a frame that is not complete
}

// NewStream returns the Transport over a connection to the Bonjour service
// _remotepairing._tcp or to LockdownService.
func NewStream(c net.Conn) *Stream { return &Stream{conn: c} }

// Send writes one frame in one write.
func (s *Stream) Send(ctx context.Context, m *Message) error {
	body, err := appendJSON(make([]byte, frameHeader), m.tree())
	if err != nil {
		return err
	}
	n := len(body) - frameHeader
	if n > maxFrame {
		return fmt.Errorf("message of %d bytes does not fit a frame", n)
	}
	copy(body, frameMagic)
	binary.BigEndian.PutUint16(body[len(frameMagic):], uint16(n))
	release := link.GuardWrite(ctx, s.conn)
	_, err = s.conn.Write(body)
	return release(err)
}

// Recv reads one frame. A call that is ended by its context loses no bytes.
func (s *Stream) Recv(ctx context.Context) (*Message, error) {
	release := link.GuardRead(ctx, s.conn)
	body, err := s.frame()
	err = release(err)
	if err != nil {
		return nil, err
	}
	tree, err := decodeJSON(body)
	if err != nil {
		return nil, err
	}
	return parseMessage(tree)
}

func (s *Stream) frame() ([]byte, error) {
	if err := s.fill(frameHeader); err != nil {
		if err == io.ErrUnexpectedEOF && len(s.pending) == 0 {
			err = io.EOF
		}
		return nil, err
	}
	if !bytes.HasPrefix(s.pending, []byte(frameMagic)) {
		return nil, errMagic
	}
	n := int(binary.BigEndian.Uint16(s.pending[len(frameMagic):]))
	if err := s.fill(frameHeader + n); err != nil {
		return nil, err
	}
	body := s.pending[frameHeader:]
	s.pending = nil
	return body, nil
}

// fill reads until pending has n bytes. It allocates memory as the bytes arrive.
func (s *Stream) fill(n int) error {
	const step = 4 << 10
	for len(s.pending) < n {
		at := len(s.pending)
		s.pending = slices.Grow(s.pending, min(n-at, step))
		m, err := s.conn.Read(s.pending[at:min(n, cap(s.pending))])
		s.pending = s.pending[:at+m]
		if err != nil && len(s.pending) < n {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// Close closes the connection.
func (s *Stream) Close() error { return s.conn.Close() }

// appendJSON appends compact JSON: keys are sorted, binary values are base64, and HTML
// characters are not escaped.
func appendJSON(b []byte, tree plist.Dict) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func decodeJSON(b []byte) (plist.Dict, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w: %w", errShape, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: more than one JSON value", errShape)
	}
	tree, err := fromJSON(v, 0)
	if err != nil {
		return nil, err
	}
	return tree.(plist.Dict), nil
}

// fromJSON converts numbers to the types that plist.Dict's getters accept.
func fromJSON(v any, depth int) (any, error) {
	if depth > maxJSONDeep {
		return nil, errDeep
	}
	switch t := v.(type) {
	case map[string]any:
		d := make(plist.Dict, len(t))
		for k, e := range t {
			x, err := fromJSON(e, depth+1)
			if err != nil {
				return nil, err
			}
			if x != nil { // null is the same as a missing value
				d[k] = x
			}
		}
		return d, nil
	case []any:
		for i, e := range t {
			x, err := fromJSON(e, depth+1)
			if err != nil {
				return nil, err
			}
			t[i] = x
		}
		return t, nil
	case json.Number:
		return number(t), nil
	}
	return v, nil
}

func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	var u uint64
	if err := json.Unmarshal([]byte(n), &u); err == nil {
		return u
	}
	f, _ := n.Float64() // infinite if it is out of range
	return f
}

// XPCConn is the part of a RemoteXPC connection that the XPC transport uses. It sends
// and receives the bodies of messages on the first stream. Recv returns io.EOF if the
// device has left.
type XPCConn interface {
	Send(ctx context.Context, body xpc.Dict) error
	Recv(ctx context.Context) (xpc.Dict, error)
	Close() error
}

const (
	hostEnvelope   = "RemotePairing.ControlChannelMessageEnvelope"
	deviceEnvelope = "RemotePairingDevice.ControlChannelMessageEnvelope"
	greetingKey    = "ServiceVersion"
)

// Greeting is the first message of a device on Service. It replaces the device's echo
// of the opening message on stream 1.
func Greeting() xpc.Dict { return xpc.Dict{{Key: greetingKey, Value: uint64(2)}} }

type xpcTransport struct {
	conn XPCConn
	once sync.Once
	err  error
}

// NewXPC returns the Transport over a connection to Service.
func NewXPC(c XPCConn) Transport { return &xpcTransport{conn: c} }

func (x *xpcTransport) Send(ctx context.Context, m *Message) error {
	name := hostEnvelope
	if m.Device {
		name = deviceEnvelope
	}
	return x.conn.Send(ctx,
		xpc.Dict{{Key: "mangledTypeName", Value: name}, {Key: "value", Value: toXPC(m.tree())}})
}

// Recv ignores greetings. Whether the greeting has been read before depends on the
// client that opened the connection.
func (x *xpcTransport) Recv(ctx context.Context) (*Message, error) {
	for {
		d, err := x.conn.Recv(ctx)
		if err != nil {
			return nil, err
		}
		value, ok := d.Dict("value")
		if !ok {
			if _, greeting := d.Get(greetingKey); greeting {
				continue
			}
			return nil, errShape
		}
		return parseMessage(fromXPC(value))
	}
}

func (x *xpcTransport) Close() error {
	x.once.Do(func() { x.err = x.conn.Close() })
	return x.err
}

// toXPC writes the keys in sorted order.
func toXPC(v any) any {
	switch t := v.(type) {
	case plist.Dict:
		keys := make([]string, 0, len(t))
		for k := range t {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		d := make(xpc.Dict, 0, len(t))
		for _, k := range keys {
			d = append(d, xpc.Pair{Key: k, Value: toXPC(t[k])})
		}
		return d
	case []any:
		list := make([]any, len(t))
		for i, e := range t {
			list[i] = toXPC(e)
		}
		return list
	}
	return v
}

// fromXPC converts the values that the other transport can carry and leaves the others
// out.
func fromXPC(d xpc.Dict) plist.Dict {
	out := make(plist.Dict, len(d))
	for _, p := range d {
		if v := fromXPCValue(p.Value); v != nil {
			out[p.Key] = v
		}
	}
	return out
}

func fromXPCValue(v any) any {
	switch t := v.(type) {
	case xpc.Dict:
		return fromXPC(t)
	case []any:
		list := make([]any, 0, len(t))
		for _, e := range t {
			if x := fromXPCValue(e); x != nil {
				list = append(list, x)
			}
		}
		return list
	case xpc.UUID:
		return t.String()
	case bool, int64, uint64, float64, string, []byte:
		return v
	}
	return nil
}
