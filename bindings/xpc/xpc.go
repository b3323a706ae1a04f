// Package xpc gives scripts any RemoteXPC service of a device: the dictionaries
// that it takes and says, and the envelope of the CoreDevice family. Such
// services are in the RSD list, which iOS 17 and later have inside a tunnel.
//
// Values cross like this; what has two forms in XPC is chosen by the script:
//
//	string           string          Data, data("...")     data
//	whole number     int64           uint64("1"), UInt64   uint64
//	other number     double          plist.real(1)         double
//	boolean          bool            xpc.uuid("...")       uuid
//	null             null            Date                  date
//	table            array or dict   array{}, dict{}       the same when empty
//
// Of what the device says, int64 and uint64 both become numbers (Int64 and
// UInt64 beyond 2^53), and a uuid becomes text in capitals.
package xpc

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// Connection is an open RemoteXPC connection to a service of a device.
type Connection struct {
	name string
	udid string
	conn *remotexpc.Conn
	// do runs f without the interpreter lock and names the device in its error.
	do func(c *api.Call, t device.Timeout, f func(context.Context) error) error
	// feature opens what Invoke needs; it is a connection of its own.
	feature func(ctx context.Context) (invoker, error)

	mu      sync.Mutex
	invoker invoker
	turn    chan struct{} // held while the invoker is opened
}

func open(c *api.Call, d *device.Device, name string, t device.Timeout) (x *Connection, err error) {
	at := service.Name{Remote: name}
	err = d.Do(c, t, func(ctx context.Context) error {
		nc, err := d.Open(ctx, at)
		if err != nil {
			return err
		}
		conn, err := remotexpc.Connect(ctx, nc, remotexpc.Options{})
		if err != nil {
			return err
		}
		x = &Connection{name: name, udid: d.UDID(), conn: conn, do: d.Do, turn: make(chan struct{}, 1),
			feature: func(ctx context.Context) (invoker, error) { return connectFeatures(ctx, d, at) }}
		return nil
	})
	return x, err
}

// Close ends the connection.
func (x *Connection) Close() error {
	x.mu.Lock()
	i := x.invoker
	x.invoker = nil
	x.mu.Unlock()
	if i != nil {
		return errors.Join(i.Close(), x.conn.Close())
	}
	return x.conn.Close()
}

// body is a script's table as a message.
func body(c *api.Call, v any) (xpc.Dict, error) {
	if _, ok := v.(map[string]any); !ok {
		return nil, c.ArgError(1, "a table with string keys expected")
	}
	x, err := encode(v)
	if err != nil {
		return nil, c.ArgError(1, "%v", err)
	}
	return x.(xpc.Dict), nil
}

type callOptions struct {
	device.Timeout
	AnyReply bool `lua:"any_reply" doc:"take the next message of the service as the answer, also one that is not marked as such"`
}

func call(c *api.Call, x *Connection, v any, o callOptions) (any, error) {
	request, err := body(c, v)
	if err != nil {
		return nil, err
	}
	ask := x.conn.Call
	if o.AnyReply {
		ask = x.conn.CallAny
	}
	var answer xpc.Dict
	err = x.do(c, o.Timeout, func(ctx context.Context) (err error) {
		answer, err = ask(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return decode(answer), nil
}

func send(c *api.Call, x *Connection, v any, t device.Timeout) error {
	message, err := body(c, v)
	if err != nil {
		return err
	}
	return x.do(c, t, func(ctx context.Context) error { return x.conn.Send(ctx, message) })
}

func recv(c *api.Call, x *Connection, t device.Timeout) (any, error) {
	var m *remotexpc.Message
	err := x.do(c, t, func(ctx context.Context) (err error) {
		m, err = x.conn.Receive(ctx)
		return err
	})
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(m.Body), nil
}

// code names the failures that scripts may want to tell apart.
func code(err error) string {
	var e *remotexpc.Error
	switch {
	case !errors.As(err, &e):
		return featureCode(err)
	case errors.Is(err, remotexpc.ErrProtocol), errors.Is(err, remotexpc.ErrOverflow):
		return "protocol"
	case errors.Is(err, remotexpc.ErrReset), errors.Is(err, remotexpc.ErrGoAway):
		return "refused"
	}
	return ""
}
