package coredevice

import (
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/remotexpc"
)

// TestBadEvents uses a device that sends a good element, a malformed message, a good
// element and the end. The stream has both good elements.
func TestBadEvents(t *testing.T) {
	channel := func(status any) func(c xpc.UUID) xpc.Dict {
		return func(c xpc.UUID) xpc.Dict {
			return xpc.Dict{{Key: keyStatus, Value: status}, {Key: keySideChannel, Value: c}}
		}
	}
	pushing := func(v any) func(c xpc.UUID) xpc.Dict {
		return channel(xpc.Dict{{Key: "pushing", Value: xpc.Dict{{Key: "elements", Value: v}}}})
	}
	plain := func(key string, v any) func(c xpc.UUID) xpc.Dict {
		return func(xpc.UUID) xpc.Dict { return xpc.Dict{{Key: key, Value: v}} }
	}
	refused := refuse(DomainAction, actionFailed, "odd").encode()
	for name, bad := range map[string]func(c xpc.UUID) xpc.Dict{
		"something else":    plain("x", true),
		"no channel":        plain(keyStatus, xpc.Dict{}),
		"channel as text":   plain(keySideChannel, "x"),
		"status of a type":  channel(int64(1)),
		"null":              channel(xpc.Null{}),
		"unknown status":    channel(xpc.Dict{{Key: "pausing", Value: xpc.Dict{}}}),
		"pushing as text":   channel(xpc.Dict{{Key: "pushing", Value: "x"}}),
		"element of a type": pushing([]any{"x"}),
		"element null":      pushing([]any{xpc.Null{}}),
		"error as element":  pushing([]any{refused}),
		"process, no PID":   pushing([]any{xpc.Dict{}}),
		"huge":              pushing([]any{make([]byte, 1<<20)}),
		"huge, no channel":  plain("x", make([]byte, 1<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			token := func(pid int) []any {
				return []any{xpc.Dict{{Key: keyPID, Value: int64(pid)}}}
			}
			a := streamer(t, func(c *remotexpc.Conn, _ *remotexpc.Message, id xpc.UUID) {
				for _, d := range []xpc.Dict{
					(&push{channel: id, elements: token(1)}).encode(), bad(id),
					(&push{channel: id, elements: token(2)}).encode(),
					(&push{channel: id, finished: true}).encode(),
				} {
					if err := c.Send(ctx, d); err != nil {
						t.Error(err)
					}
				}
			})
			list, err := a.StreamProcesses(ctx)
			if err != nil || len(list) != 2 || list[1].PID != 2 {
				t.Errorf("StreamProcesses = %+v, %v, want processes 1 and 2", list, err)
			}
			if n := a.Malformed(); n != 1 {
				t.Errorf("%d malformed events, want 1", n)
			}
		})
	}
}

// TestUnasked uses a device that also sends messages before, during and after a
// request.
func TestUnasked(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
		for range 3000 {
			if err := c.Send(ctx, xpc.Dict{{Key: "news", Value: make([]byte, 1000)}}); err != nil {
				return err
			}
		}
		return c.Reply(ctx, m, output(xpc.Dict{}))
	})
	for range 3 {
		if _, err := c.Invoke(ctx, featListProcesses, nil); err != nil {
			t.Fatal(err)
		}
	}
}
