// Package raw gives scripts direct access to a device, for what no other family covers:
// any service by its name, any port, and ports of this computer that are forwarded to
// the device.
package raw

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// maxRecv is the most bytes that one call may read.
const maxRecv = 64 << 20

// Connection is an open connection to a service or a port of a device.
type Connection struct {
	name string
	udid string
	conn net.Conn

	// A task that reads has an element in reading, and a task that writes has one in
	// writing. Therefore one task may wait for an answer while another sends.
	reading, writing chan struct{}
	rest             []byte // bytes that were read but not returned yet; guarded by reading

	life   *device.Life
	once   sync.Once
	closed error

	mu   sync.Mutex
	dump io.Writer // where hexdump writes; nil if it is off
}

// NewConnection returns the Connection of scripts for an open connection.
func NewConnection(name, udid string, c net.Conn) *Connection {
	return &Connection{
		name: name, udid: udid, conn: c, life: device.NewLife("Connection"),
		reading: make(chan struct{}, 1), writing: make(chan struct{}, 1),
	}
}

// Close ends the connection.
func (s *Connection) Close() error {
	s.once.Do(func() {
		s.life.End()
		s.closed = s.conn.Close()
	})
	return s.closed
}

// guard is link.GuardRead or link.GuardWrite.
type guard func(context.Context, net.Conn) func(error) error

// do runs f with the deadline of t. Its error names the service.
func (s *Connection) do(c *api.Call, t device.Timeout, f func(ctx context.Context) error) error {
	err := s.life.Error(c.Timeout(t.Timeout).TryBlock(f))
	var h *host.Error
	if err == nil || errors.As(err, &h) {
		return err
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// inTurn runs f when no other task has the turn, which is s.reading or s.writing.
func (s *Connection) inTurn(
	ctx context.Context, turn chan struct{}, g guard, f func() error,
) error {
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return link.Expired(ctx, s.conn)
	}
	return g(ctx, s.conn)(f())
}

func (s *Connection) read(c *api.Call, t device.Timeout, f func() error) error {
	return s.do(c, t, func(ctx context.Context) error {
		return s.inTurn(ctx, s.reading, link.GuardRead, f)
	})
}

func (s *Connection) write(c *api.Call, t device.Timeout, b []byte) error {
	return s.do(c, t, func(ctx context.Context) error {
		return s.inTurn(ctx, s.writing, link.GuardWrite, func() error { return s.put(b) })
	})
}

// put writes bytes. Only put writes to the connection and only more reads from it, so that
// hexdump shows every byte.
func (s *Connection) put(b []byte) error {
	s.trace("->", b)
	_, err := s.conn.Write(b)
	return err
}

// more reads once and appends the bytes to rest. They stay there until take returns
// them, so that a call that times out loses nothing.
func (s *Connection) more() error {
	buf := make([]byte, 64<<10)
	n, err := s.conn.Read(buf)
	s.trace("<-", buf[:n])
	s.rest = append(s.rest, buf[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// need reads until rest has at least n bytes.
func (s *Connection) need(n int) error {
	for len(s.rest) < n {
		if err := s.more(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// take removes the first n bytes from rest and returns them.
func (s *Connection) take(n int) []byte {
	b := s.rest[:n:n]
	s.rest = s.rest[n:]
	return b
}

// trace prints bytes if hexdump is on.
func (s *Connection) trace(direction string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dump != nil && len(b) > 0 {
		fmt.Fprintf(s.dump, "%s %s %d bytes\n%s", direction, s.name, len(b), hex.Dump(b))
	}
}

func send(c *api.Call, s *Connection, b []byte, t device.Timeout) error {
	return s.write(c, t, b)
}

func recv(c *api.Call, s *Connection, n *int, t device.Timeout) (any, error) {
	if n != nil && (*n < 0 || *n > maxRecv) {
		return nil, c.ArgError(1, "between 0 and %d bytes can be asked for", maxRecv)
	}
	var out []byte
	err := s.read(c, t, func() error {
		if n != nil {
			if err := s.need(*n); err != nil {
				return err
			}
			out = s.take(*n)
			return nil
		}
		if len(s.rest) == 0 {
			if err := s.more(); err != nil {
				return err
			}
		}
		out = s.take(len(s.rest))
		return nil
	})
	if err != nil {
		if n == nil && errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	return out, nil
}

func recvUntil(c *api.Call, s *Connection, end []byte, t device.Timeout) (out []byte, err error) {
	if len(end) == 0 {
		return nil, c.ArgError(1, "the delimiter is empty")
	}
	err = s.read(c, t, func() error {
		for seen := 0; ; {
			if i := bytes.Index(s.rest[seen:], end); i >= 0 {
				out = s.take(seen + i + len(end))
				return nil
			}
			seen = max(0, len(s.rest)-len(end)+1)
			if seen > maxRecv {
				return fmt.Errorf("no delimiter in %d bytes", seen)
			}
			if err := s.need(len(s.rest) + 1); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

type plistOptions struct {
	device.Timeout
	Binary bool   `lua:"binary" doc:"write a binary property list instead of XML"`
	Endian string `lua:"endian" doc:"byte order of the length: be or le" default:"be"`
}

func (o plistOptions) order() (binary.ByteOrder, error) {
	switch o.Endian {
	case "", "be":
		return binary.BigEndian, nil
	case "le":
		return binary.LittleEndian, nil
	}
	return nil, fmt.Errorf("endian is be or le, not %q", o.Endian)
}

// frame returns a script's value as a property list that is preceded by its length.
func (o plistOptions) frame(c *api.Call, v lua.LValue) ([]byte, error) {
	order, err := o.order()
	if err != nil {
		return nil, c.ArgError(2, "%v", err)
	}
	value, err := api.Plain(v)
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	format := plist.XML
	if o.Binary {
		format = plist.Binary
	}
	body, err := plist.Encode(value, format)
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	frame := make([]byte, 4, 4+len(body))
	order.PutUint32(frame, uint32(len(body)))
	return append(frame, body...), nil
}

// takePlist reads a property list that is preceded by its length. v is nil if the length
// is 0.
func (s *Connection) takePlist(order binary.ByteOrder) (v any, err error) {
	if err := s.need(4); err != nil {
		return nil, err
	}
	n := order.Uint32(s.rest)
	if n > maxRecv {
		return nil, &link.FrameError{Length: n, Max: maxRecv}
	}
	if err := s.need(4 + int(n)); err != nil {
		return nil, err
	}
	body := s.take(4 + int(n))[4:]
	if n > 0 {
		v, err = plist.Decode(body)
	}
	return v, err
}

func sendPlist(c *api.Call, s *Connection, v lua.LValue, o plistOptions) error {
	frame, err := o.frame(c, v)
	if err != nil {
		return err
	}
	return send(c, s, frame, o.Timeout)
}

func recvPlist(c *api.Call, s *Connection, o plistOptions) (any, error) {
	order, err := o.order()
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	var v any
	err = s.read(c, o.Timeout, func() (err error) {
		v, err = s.takePlist(order)
		return err
	})
	return v, err
}

// call sends a request and reads its answer. It has the turn to read from the beginning,
// so that another call or read cannot take the answer.
func call(c *api.Call, s *Connection, v lua.LValue, o plistOptions) (any, error) {
	frame, err := o.frame(c, v)
	if err != nil {
		return nil, err
	}
	order, _ := o.order() // frame has checked it
	var answer any
	err = s.do(c, o.Timeout, func(ctx context.Context) error {
		return s.inTurn(ctx, s.reading, link.GuardRead, func() error {
			err := s.inTurn(ctx, s.writing, link.GuardWrite,
				func() error { return s.put(frame) })
			if err != nil {
				return err
			}
			answer, err = s.takePlist(order)
			return err
		})
	})
	return answer, err
}

func setDump(c *api.Call, s *Connection, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dump = nil
	if on {
		s.dump = c.Host().Stderr()
	}
}

type serviceOptions struct {
	device.Timeout
	Escrow bool `lua:"escrow" doc:"send the escrow bag, for services on a locked device"`
	Plain  bool `lua:"handshake_only" doc:"the service speaks plain text after its TLS handshake"`
}

// open connects to a service by its lockdown name. It accepts any name, even if this
// program does not know the service.
func open(
	c *api.Call, d *device.Device, name string, o serviceOptions,
) (api.Opened[*Connection], error) {
	n := service.Name{Lockdown: name, Escrow: o.Escrow, HandshakeOnlyTLS: o.Plain}
	return device.Open(c, d, o.Timeout, func(ctx context.Context) (*Connection, error) {
		conn, err := d.Open(ctx, n)
		if err != nil {
			return nil, err
		}
		return NewConnection(name, d.UDID(), conn), nil
	})
}

func connect(
	c *api.Call, d *device.Device, port uint16, t device.Timeout,
) (api.Opened[*Connection], error) {
	return device.Open(c, d, t, func(ctx context.Context) (*Connection, error) {
		conn, err := d.Connect(ctx, port)
		if err != nil {
			return nil, err
		}
		return NewConnection(fmt.Sprintf("port %d", port), d.UDID(), conn), nil
	})
}

func connectionClass() *api.Class {
	c := api.NewClass[*Connection]("Connection", "An open connection to a service or port of the "+
		"device. Bytes come as Data, which is accepted wherever text is; plists are decoded to "+
		"tables.")
	c.Var, c.Closer, c.Perm = "svc", true, "raw"
	c.String = func(s *Connection) string { return "Connection<" + s.name + " on " + s.udid + ">" }
	c.Fields = []*api.Field{api.Property("name", "service or port",
		func(s *Connection) string { return s.name })}
	opts := api.ParamDoc("opts", "timeout")
	raises := api.Raises("timeout", "disconnected")
	const svc = "local svc = device():service(\"com.apple.mobile.diagnostics_relay\")\n"
	c.Methods = []*api.Func{
		api.Method("send", "Writes bytes.",
			"bytes opts?", send,
			api.ParamDoc("bytes", "text or Data"),
			opts,
			raises,
			api.Perm("raw"),
			api.Example(svc+`svc:send("\0\0\0\0")`)),
		api.Method("recv", "Reads exactly n bytes; without n, what comes next. Returns nil at the "+
			"end of the stream.",
			"n? opts?", recv,
			api.ParamDoc("n", "how many bytes"),
			opts,
			raises,
			api.Returns("Data? bytes"),
			api.Perm("raw"),
			api.Example(`local conn = device():service("com.apple.syslog_relay")
print(#conn:recv() > 0)`)),
		api.Method("recv_until", "Reads up to and including a delimiter.",
			"delimiter opts?", recvUntil,
			api.ParamDoc("delimiter", "bytes to look for"),
			opts,
			raises,
			api.Returns("Data bytes"),
			api.Perm("raw"),
			api.Example(`local conn = device():service("com.apple.syslog_relay")
print(conn:recv_until("\n\0"):string())`)),
		api.Method("send_plist", "Writes a property list behind its length.",
			"value opts?", sendPlist,
			api.ParamDoc("value", "table or other value"),
			api.ParamDoc("opts", "form, byte order, timeout"),
			raises,
			api.Perm("raw"),
			api.Example(svc+`svc:send_plist({ Request = "Goodbye" }, { binary = true })`)),
		api.Method("recv_plist", "Reads one property list with its length.",
			"opts?", recvPlist,
			api.ParamDoc("opts", "byte order, timeout"),
			raises,
			api.Returns("any value"),
			api.Perm("raw"),
			api.Example(svc+`svc:send_plist{ Request = "All" }
print(svc:recv_plist().Status)`)),
		api.Method("call", "Writes a property list and reads the answer.",
			"value opts?", call,
			api.ParamDoc("value", "table or other value"),
			api.ParamDoc("opts", "form, byte order, timeout"),
			raises,
			api.Returns("any answer"),
			api.Perm("raw"),
			api.Example(svc+`print(svc:call{ Request = "GasGauge" }.Status)`)),
		api.Method("hexdump", "Shows every byte sent and received from now on, on standard error, "+
			"as they come: also the lengths of plists, and what a call that fails has read.",
			"on", setDump,
			api.ParamDoc("on", "true or false"),
			api.Perm("raw"),
			api.Example(svc+`svc:hexdump(true)
svc:call{ Request = "WiFi" }`)),
	}
	return c
}

// explain explains the errors of property lists that cannot be sent or received.
func explain(err error) (code, hint string) {
	var f *link.FrameError
	var p *plist.Error
	if errors.As(err, &f) || errors.As(err, &p) {
		return "protocol", ""
	}
	return "", ""
}

// Family returns the methods service, connect and forward of Device.
func Family() device.Family {
	raises := api.Raises("InvalidService", "PasswordProtected", "refused", "timeout", "not_paired",
		"disconnected")
	return device.Family{
		Classes: []*api.Class{connectionClass(), forwardClass()},
		Methods: []*api.Func{
			api.Method("service", "Starts a service by the name that the device knows it by and "+
				"connects to it; TLS is taken care of.",
				"name opts?", open,
				api.ParamDoc("name", "such as com.apple.mobile.notification_proxy"),
				api.StringKind("name", "service"),
				api.ParamDoc("opts", "escrow, handshake_only, timeout"),
				raises,
				api.Perm("raw"),
				api.Example(`local svc = device():service("com.apple.mobile.diagnostics_relay")
print(svc:call{ Request = "WiFi" }.Status)`)),
			api.Method("connect", "Connects to a TCP port of the device.",
				"port opts?", connect,
				api.ParamDoc("port", "1 to 65535"),
				api.ParamDoc("opts", "timeout"),
				raises,
				api.Perm("raw"),
				api.Example(`local conn = device():connect(62078)
print(conn:call{ Request = "QueryType" }.Type)`)),
			api.Method("forward", "Forwards a port of this computer to a port of the device, "+
				"until the scope ends. Any number of connections at once.",
				"opts", forward,
				api.ParamDoc("opts", "which ports"),
				api.Checks(host.AccessHost),
				api.Raises("address_in_use"),
				api.Perm("net"),
				api.Example(`local dev = device()
local fwd = dev:forward{ remote_port = 62078 }
print(fwd.local_port > 0)`)),
		},
		Explain: explain,
	}
}
