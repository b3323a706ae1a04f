package usbmux

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// dialTimeout bounds the connection to the multiplexer, which is on this computer or
// near it.
const dialTimeout = 5 * time.Second

// Options says which multiplexer a Client uses.
type Options struct {
	Address string        // see ParseAddress; "" means the system's default
	Dial    link.DialFunc // is used instead of Address
	Program string        // name under which the multiplexer lists this client; "" means "imdlua"
	Logger  *slog.Logger  // nil means none
}

// Client sends requests to a multiplexer. It opens a connection for each request, as
// usbmuxd's own library does. It therefore needs no Close, and may be used by several
// goroutines.
type Client struct {
	dial    link.DialFunc
	address string
	program string
	known   int // bound of the connected devices: maxKnown, fewer in tests
	log     *slog.Logger
}

// New returns a Client. It does not connect, but returns an error if the form of the
// address is not known.
func New(o Options) (*Client, error) {
	c := &Client{dial: o.Dial, address: o.Address, program: o.Program,
		known: maxKnown, log: logger(o.Logger)}
	if c.program == "" {
		c.program = "imdlua"
	}
	if c.dial != nil {
		return c, nil
	}
	if c.address == "" {
		c.address = DefaultAddress(runtime.GOOS)
	}
	network, address, err := ParseAddress(c.address)
	if err != nil {
		return nil, err
	}
	c.dial = func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		return d.DialContext(ctx, network, address)
	}
	return c, nil
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.With("layer", "usbmux")
}

// Address returns the address as it was given, or the system's default. It is "" for a
// Client with a Dial function and no address.
func (c *Client) Address() string { return c.address }

// request builds a request with the keys that every client adds. The daemon shows them
// in ListListeners.
func (c *Client) request(message string, args plist.Dict) plist.Dict {
	d := plist.Dict{
		"MessageType":         message,
		"ClientVersionString": "imdlua",
		"ProgName":            c.program,
		"kLibUSBMuxVersion":   int64(3),
	}
	for k, v := range args {
		d[k] = v
	}
	return d
}

// requestTag is the tag of the only request of a connection.
const requestTag = 1

// open connects and sends one request. On error it closes the connection.
func (c *Client) open(ctx context.Context, message string, args plist.Dict) (net.Conn, error) {
	f, err := plistFrame(requestTag, c.request(message, args))
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to multiplexer: %w", err)
	}
	release := link.GuardWrite(ctx, conn)
	_, err = conn.Write(appendFrame(nil, f))
	err = release(err)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.log.DebugContext(ctx, "request", "message", message)
	return conn, nil
}

// reply is the answer to a request: a Result, or a dictionary with the requested
// values.
type reply struct {
	plist.Dict
	result   Result
	isResult bool
}

// answer reads the reply to a request. It returns an error for a Result other than OK.
func (c *Client) answer(ctx context.Context, conn net.Conn) (reply, error) {
	release := link.GuardRead(ctx, conn)
	f, err := readFrame(conn, maxReply)
	err = release(err)
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return reply{}, err
	}
	if err := checkTag(f); err != nil {
		return reply{}, err
	}
	r, d, ok, err := decodeResult(f)
	if err == nil && r != OK {
		err = r
	}
	return reply{d, r, ok}, err
}

// checkTag returns an error if the reply has the tag of another request.
func checkTag(f frame) error {
	if f.tag == requestTag {
		return nil
	}
	return link.Malformed(fmt.Sprintf("reply has tag %d, the request has %d", f.tag, requestTag))
}

// call makes a request that is answered with a dictionary.
func (c *Client) call(
	ctx context.Context, op, subject, message string, args plist.Dict,
) (plist.Dict, error) {
	r, err := c.exchange(ctx, op, subject, message, args)
	return r.Dict, err
}

// do makes a request that is answered with a Result.
func (c *Client) do(ctx context.Context, op, subject, message string, args plist.Dict) error {
	r, err := c.exchange(ctx, op, subject, message, args)
	if err == nil && !r.isResult {
		return &Error{Op: op, Subject: subject, Err: errReply("a result")}
	}
	return err
}

func (c *Client) exchange(
	ctx context.Context, op, subject, message string, args plist.Dict,
) (reply, error) {
	conn, err := c.open(ctx, message, args)
	if err != nil {
		return reply{}, &Error{Op: op, Subject: subject, Err: err}
	}
	defer conn.Close()
	r, err := c.answer(ctx, conn)
	if err != nil {
		return reply{}, &Error{Op: op, Subject: subject, Code: r.result, Err: err}
	}
	return r, nil
}

// errReply is the cause of an error about a reply that lacks a key.
func errReply(key string) error { return link.Malformed("reply without " + key) }

// List returns the connected devices.
func (c *Client) List(ctx context.Context) ([]Entry, error) {
	d, err := c.call(ctx, "list", "", "ListDevices", nil)
	if err != nil {
		return nil, err
	}
	list, ok := d.Array("DeviceList")
	if !ok {
		return nil, &Error{Op: "list", Err: errReply("DeviceList")}
	}
	entries := make([]Entry, 0, len(list))
	for _, v := range list {
		item, _ := v.(plist.Dict)
		e, err := decodeEntry(item)
		if err != nil {
			c.log.WarnContext(ctx, "device passed over", "error", err)
			continue
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Connect opens a TCP port of a device. It returns the connection to the multiplexer
// itself, which stays open until it is closed.
func (c *Client) Connect(ctx context.Context, deviceID uint32, port uint16) (net.Conn, error) {
	subject := fmt.Sprintf("device %d port %d", deviceID, port)
	conn, err := c.open(ctx, "Connect",
		plist.Dict{"DeviceID": int64(deviceID), "PortNumber": int64(swapPort(port))})
	if err != nil {
		return nil, &Error{Op: "connect", Subject: subject, Err: err}
	}
	r, err := c.answer(ctx, conn)
	if err == nil && !r.isResult {
		err = errReply("a result")
	}
	if err != nil {
		conn.Close()
		return nil, &Error{Op: "connect", Subject: subject, Code: r.result, Err: err}
	}
	return conn, nil
}

// BUID returns the identity of the host. All pair records that were made on the host
// have it.
func (c *Client) BUID(ctx context.Context) (string, error) {
	d, err := c.call(ctx, "read buid", "", "ReadBUID", nil)
	if err != nil {
		return "", err
	}
	s, ok := d.String("BUID")
	if !ok {
		return "", &Error{Op: "read buid", Err: errReply("BUID")}
	}
	return s, nil
}

// ReadPairRecord returns the pair record of a device as the multiplexer stores it,
// which is an XML or binary property list. The error matches fs.ErrNotExist if there is
// none.
func (c *Client) ReadPairRecord(ctx context.Context, id string) ([]byte, error) {
	d, err := c.call(ctx, opReadRecord, id, "ReadPairRecord", plist.Dict{"PairRecordID": id})
	if err != nil {
		return nil, err
	}
	b, ok := d.Data("PairRecordData")
	if !ok {
		return nil, &Error{Op: opReadRecord, Subject: id, Err: errReply("PairRecordData")}
	}
	return b, nil
}

// SavePairRecord stores a pair record. If deviceID is not 0, the multiplexer reports
// the pairing of that device to its listeners.
func (c *Client) SavePairRecord(
	ctx context.Context, id string, deviceID uint32, data []byte,
) error {
	args := plist.Dict{"PairRecordID": id, "PairRecordData": data}
	if deviceID != 0 {
		args["DeviceID"] = int64(deviceID)
	}
	return c.do(ctx, opSaveRecord, id, "SavePairRecord", args)
}

// DeletePairRecord removes a pair record.
func (c *Client) DeletePairRecord(ctx context.Context, id string) error {
	return c.do(ctx, opDeleteRecord, id, "DeletePairRecord", plist.Dict{"PairRecordID": id})
}

// ListenerInfo describes a program that listens for devices.
type ListenerInfo struct {
	ID       string // "<number>-<program>"
	Program  string
	BundleID string // of a macOS application
	Version  int64  // kLibUSBMuxVersion; 0 if it was not sent
}

// ListListeners returns the programs that listen for devices.
func (c *Client) ListListeners(ctx context.Context) ([]ListenerInfo, error) {
	d, err := c.call(ctx, "list listeners", "", "ListListeners", nil)
	if err != nil {
		return nil, err
	}
	list, ok := d.Array("ListenerList")
	if !ok {
		return nil, &Error{Op: "list listeners", Err: errReply("ListenerList")}
	}
	infos := make([]ListenerInfo, 0, len(list))
	for _, v := range list {
		item, ok := v.(plist.Dict)
		if !ok {
			c.log.WarnContext(ctx, "listener passed over", "type", plist.TypeName(v))
			continue
		}
		var l ListenerInfo
		l.ID, _ = item.String("ID String")
		l.Program, _ = item.String("ProgName")
		l.BundleID, _ = item.String("BundleID")
		l.Version, _ = item.Int("kLibUSBMuxVersion")
		infos = append(infos, l)
	}
	return infos, nil
}
