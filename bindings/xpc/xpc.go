// Package xpc gives scripts access to any RemoteXPC service of a device. Scripts can
// exchange dictionaries with a service, and invoke the features of the CoreDevice
// services. The services are in the RSD list, which iOS 17 and later have inside a
// tunnel.
//
// The table shows how values of scripts are converted to values of XPC:
//
//	string           string          Data, data("...")     data
//	whole number     int64           uint64("1"), UInt64   uint64
//	other number     double          plist.real(1)         double
//	boolean          bool            xpc.uuid("...")       uuid
//	null             null            Date                  date
//	table            array or dict   array{}, dict{}       the same when empty
//
// In messages of the device, int64 and uint64 both become numbers (Int64 and UInt64
// beyond 2^53), and a uuid becomes text in capitals.
package xpc

import (
	"context"
	"errors"
	"io"

	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
)

// runner runs f without the interpreter lock and adds the device to its error.
type runner func(c *api.Call, t device.Timeout, f func(context.Context) error) error

// Connection is an open RemoteXPC connection to a service of a device.
type Connection struct {
	name string
	udid string
	conn *remotexpc.Conn
	life *device.Life
	run  runner
	// features is the second connection, which only invoke uses.
	features *link.Lazy[*coredevice.Conn]
}

func open(
	c *api.Call, d *device.Device, name string, t device.Timeout,
) (api.Opened[*Connection], error) {
	at := service.Name{Remote: name}
	return device.Open(c, d, t, func(ctx context.Context) (*Connection, error) {
		nc, err := d.Open(ctx, at)
		if err != nil {
			return nil, err
		}
		conn, err := remotexpc.Connect(ctx, nc, remotexpc.Options{Alone: true})
		if err != nil {
			return nil, err
		}
		feature := func(ctx context.Context) (*coredevice.Conn, error) {
			return coredevice.Connect(ctx, d, at)
		}
		return newConnection(name, d.UDID(), conn, feature, d.Do), nil
	})
}

// newConnection returns the Connection of scripts for conn. feature opens the second
// connection.
func newConnection(
	name, udid string, conn *remotexpc.Conn,
	feature func(context.Context) (*coredevice.Conn, error), run runner,
) *Connection {
	return &Connection{
		name: name, udid: udid, conn: conn, run: run,
		life: device.NewLife("XPC"), features: link.NewLazy(feature),
	}
}

// Close ends the connection.
func (x *Connection) Close() error {
	x.life.End()
	return errors.Join(x.features.Close(), x.conn.Close())
}

// do runs f with the deadline of t. It cancels f when x is closed.
func (x *Connection) do(c *api.Call, t device.Timeout, f func(context.Context) error) error {
	return x.run(c, t, x.life.Bound(f))
}

// body converts a script's table to a message.
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
	AnyReply bool `lua:"any_reply" doc:"take the next message, marked as a reply or not"`
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
	return x.do(c, t, func(ctx context.Context) error {
		return x.conn.Send(ctx, message)
	})
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

// explain explains the errors of RemoteXPC that scripts may want to distinguish.
var explain = device.Only[*remotexpc.Error](device.Reasons(
	device.Reason{Err: remotexpc.ErrProtocol, Code: "protocol"},
	device.Reason{Err: remotexpc.ErrOverflow, Code: "protocol"},
	device.Reason{Err: remotexpc.ErrReset, Code: "refused"},
	device.Reason{Err: remotexpc.ErrGoAway, Code: "refused"},
))
