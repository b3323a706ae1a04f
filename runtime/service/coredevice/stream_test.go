package coredevice

import (
	"context"
	"errors"
	"net"
	"slices"
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
			if err != nil {
				t.Errorf("StreamProcesses: %v", err)
				return
			}
			var ids []int
			for _, p := range list {
				ids = append(ids, p.PID)
			}
			if want := []int{1, 2}; !slices.Equal(ids, want) {
				t.Errorf("StreamProcesses = %v, want %v", ids, want)
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

// streaming is what a device sends after a request for a stream.
type streaming func(c *remotexpc.Conn, m *remotexpc.Message, channel xpc.UUID)

// streamer returns a client of a device that answers the first stream with ways[0], the
// second with ways[1], and so on.
func streamer(t *testing.T, ways ...streaming) *Apps {
	return &Apps{fake(t, func(c *remotexpc.Conn, m *remotexpc.Message) error {
		i, err := DecodeInvocation(m.Body)
		if err != nil {
			return err
		}
		in, _ := i.Input.(xpc.Dict)
		proxy, _ := in.Dict(keyProxy)
		channel, _ := proxy.UUID(keyChannel)
		ways[0](c, m, channel)
		ways = ways[1:]
		return nil
	})}
}

// TestStreams uses devices that send streams in unusual ways.
func TestStreams(t *testing.T) {
	bubble(t, "", func(t *testing.T, _ *rig) {
		ctx := context.Background()
		token := func(pid int) xpc.Dict { return xpc.Dict{{Key: keyPID, Value: int64(pid)}} }
		say := func(c *remotexpc.Conn, p *push) {
			if err := c.Send(ctx, p.encode()); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		failing := func(c *remotexpc.Conn, _ *remotexpc.Message, channel xpc.UUID) {
			say(c, &push{channel: channel, elements: []any{token(1)}})
			_ = c.Send(ctx, encodeFailure("", refuse(DomainAction, actionFailed, "no more")))
		}
		a := streamer(t, func(c *remotexpc.Conn, m *remotexpc.Message, channel xpc.UUID) {
			_ = c.Reply(ctx, &remotexpc.Message{Message: xpc.Message{ID: 99}},
				encodeFailure("", refuse("D", 1, "late")))
			_ = c.Reply(ctx, m, output(xpc.Dict{}))
			say(c, &push{channel: xpc.UUID{9}, finished: true})
			say(c, &push{channel: channel, elements: []any{token(1), token(2)}})
			say(c, &push{channel: channel})
			say(c, &push{channel: channel, elements: []any{token(3)}})
			say(c, &push{channel: channel, finished: true})
		}, failing, failing)
		// The stream has several pieces, a reply between them, and messages of another
		// channel.
		list, err := a.StreamProcesses(ctx)
		if err != nil {
			t.Fatalf("StreamProcesses: %v", err)
		}
		var ids []int
		for _, p := range list {
			ids = append(ids, p.PID)
		}
		if want := []int{1, 2, 3}; !slices.Equal(ids, want) {
			t.Errorf("StreamProcesses = %v, want %v", ids, want)
		}
		// The device reports an error. The connection stays usable.
		list, err = a.StreamProcesses(ctx)
		if list != nil {
			t.Errorf("StreamProcesses = %v beside an error", list)
		}
		refusal := "coredevice: streamprocesslist: no more (CoreDevice.ActionError 3)"
		if err == nil || err.Error() != refusal {
			t.Errorf("StreamProcesses: %v, want %s", err, refusal)
		}
		// If the host stops reading, the connection ends, because the device would not
		// stop.
		want := errors.New("enough")
		if err := a.Stream(ctx, featStreamProcess, nil,
			func([]any) error { return want }); !errors.Is(err, want) {
			t.Errorf("Stream = %v", err)
		}
		<-a.Done()
		// The device sends more elements than the limit.
		many := make([]any, maxElements/4+1)
		for i := range many {
			many[i] = token(i)
		}
		a = streamer(t, func(c *remotexpc.Conn, _ *remotexpc.Message, channel xpc.UUID) {
			for range 4 {
				say(c, &push{channel: channel, elements: many})
			}
		})
		if _, err := a.StreamProcesses(ctx); !errors.Is(err, ErrProtocol) {
			t.Errorf("StreamProcesses = %v", err)
		}
		// The device sends nothing.
		a = streamer(t, func(*remotexpc.Conn, *remotexpc.Message, xpc.UUID) {})
		if _, err := a.StreamProcesses(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("StreamProcesses = %v", err)
		}
	})
}
