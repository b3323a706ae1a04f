package dtx

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/link"
)

// TestHostileReplies answers a call with what is not an answer. The call fails with a typed
// error, and the connection is as good as before.
func TestHostileReplies(t *testing.T) {
	large := strings.Repeat("x", 4<<20)
	const packed = 2 << 20
	expands := compressed(MaxInflated,
		block("bv41", []uint32{MaxInflated, packed}, string(make([]byte, packed))))
	longest := binary.LittleEndian.AppendUint32(nil, 1<<32-1)
	for name, x := range map[string]struct {
		kind    Type
		payload []byte
		want    error // nil: any *Error
	}{
		"a call":                       {Dispatch, archive(t, "selector"), link.ErrProtocol},
		"a barrier":                    {Barrier, nil, link.ErrProtocol},
		"unknown type":                 {200, archive(t, "x"), link.ErrProtocol},
		"error without a cause":        {Failure, nil, ErrRemote},
		"error that is a text":         {Failure, archive(t, "no"), ErrRemote},
		"error that is not an archive": {Failure, []byte("bplist00"), nil},
		"error with a long text":       {Failure, archive(t, Refuse(large, 1, large)), ErrRemote},
		"archive cut short":            {Object, archive(t, "value")[:40], nil},
		"compressed, empty":            {Compressed, nil, nil},
		"compressed, 2^32-1 bytes":     {Compressed, longest, ErrTooLarge},
		"compressed, 256 MiB claim":    {Compressed, expands, ErrCompressed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				c, p := peer(t, Options{Silent: true})
				answer := func(m *Message) {
					asked := p.read()
					m.ID, m.Conversation = asked.ID, 1
					p.send(m)
				}
				go answer(&Message{Type: x.kind, Payload: x.payload})
				before := measure()
				_, err := c.Control().Call(ctx, "ask")
				after := measure()
				if taken := after.total - before.total; taken > 64<<20 {
					t.Errorf("%d bytes were taken", taken)
				}
				var own *Error
				if !errors.As(err, &own) {
					t.Fatalf("Call = %v, want an *Error", err)
				}
				if own.Op != "call" {
					t.Fatalf("Call = %v of the operation %q, want call", err, own.Op)
				}
				if x.want != nil && !errors.Is(err, x.want) {
					t.Errorf("Call = %v, want %v", err, x.want)
				}
				if n := len(err.Error()); n > 8192 {
					t.Errorf("the text of the error has %d bytes", n)
				}
				go answer(&Message{})
				if _, err := c.Control().Call(ctx, "ask"); err != nil {
					t.Errorf("next call: %v", err)
				}
			})
		})
	}
}
