package rsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

// errorText is the length of the longest error text, whatever the peer has sent.
const errorText = 1500

// listOf returns a handshake with these services.
func listOf(services any) xpc.Dict {
	return xpc.Dict{
		{Key: keyMessageType, Value: typeHandshake},
		{Key: keyProperties, Value: xpc.Dict{}},
		{Key: keyServices, Value: services},
	}
}

// numbered returns n services.
func numbered(n int) xpc.Dict {
	d := make(xpc.Dict, 0, n)
	for i := range n {
		entry := xpc.Dict{{Key: "Port", Value: "1"}}
		d = append(d, xpc.Pair{Key: fmt.Sprint(i), Value: entry})
	}
	return d
}

// TestHostileDevice uses devices that answer with something other than a list and then
// send nothing. The context of the call has no deadline.
func TestHostileDevice(t *testing.T) {
	t.Parallel()
	bytes := func(s string) service.Handler {
		return handlerFunc(func(ctx context.Context, c net.Conn) error {
			_, _ = c.Write([]byte(s))
			<-ctx.Done()
			return nil
		})
	}
	says := func(messages ...xpc.Dict) service.Handler {
		return &remotexpc.Device{Handle: func(ctx context.Context, c *remotexpc.Conn) error {
			for _, m := range messages {
				if err := c.Send(ctx, m); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return nil
		}}
	}
	long := strings.Repeat("x", 1<<20)
	for name, row := range map[string]struct {
		device service.Handler
		want   error
	}{
		"silent":           {bytes(""), context.DeadlineExceeded},
		"one byte":         {bytes("\x00"), context.DeadlineExceeded},
		"another protocol": {bytes("SSH-2.0-OpenSSH\r\n"), nil},
		"no list":          {says(), context.DeadlineExceeded},
		"slow heartbeats": {&remotexpc.Device{Handle: func(
			ctx context.Context, c *remotexpc.Conn,
		) error {
			for n := uint64(0); ; n++ {
				if err := c.Send(ctx, heartbeat(n)); err != nil {
					return err
				}
				time.Sleep(time.Second) // the time of a bubble
			}
		}}, context.DeadlineExceeded},
		"long type": {
			says(xpc.Dict{{Key: keyMessageType, Value: long}}), link.ErrProtocol,
		},
		"no properties": {
			says(xpc.Dict{{Key: keyMessageType, Value: typeHandshake}}), link.ErrProtocol,
		},
		"services as text":   {says(listOf(long)), link.ErrProtocol},
		"services in a list": {says(listOf([]any{xpc.Dict{}})), link.ErrProtocol},
		"too many services":  {says(listOf(numbered(maxServices + 1))), link.ErrProtocol},
		"huge": {
			says(listOf(xpc.Dict{{Key: "x", Value: make([]byte, maxList)}})), nil,
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t)
			m.listen(listPort, row.device)
			c, err := Dial(context.Background(), m.dial, listPort, Options{})
			var e *Error
			if c != nil {
				t.Fatalf("%s: Dial returns a client: %v", name, c)
			} else if !errors.As(err, &e) {
				t.Fatalf("%s: Dial = %.200v, want an *Error", name, err)
			}
			if row.want != nil && !errors.Is(err, row.want) {
				t.Errorf("%s: %.200v, want %v", name, err, row.want)
			}
			if n := len(err.Error()); n > errorText {
				t.Errorf("%s: the error's text has %d bytes", name, n)
			}
			m.close()
		})
	}
}

// TestStrangeServices checks that entries without a valid port are ignored and the
// others are kept.
func TestStrangeServices(t *testing.T) {
	t.Parallel()
	var services xpc.Dict
	for _, port := range []any{
		"0", "-1", "65536", "", "1e3", " 1", "0x10", strings.Repeat("1", 1<<16),
		int64(-1), uint64(0), uint64(1 << 16), 1.5, true, []byte("1"), []any{}, xpc.Dict{}, nil,
	} {
		entry := xpc.Dict{{Key: "Port", Value: port}}
		services = append(services, xpc.Pair{Key: fmt.Sprintf("%T%.20v", port, port), Value: entry})
	}
	services = append(services,
		xpc.Pair{Key: "no entry", Value: "49152"},
		xpc.Pair{Key: "good", Value: xpc.Dict{
			{Key: "Port", Value: "49152"}, {Key: "Entitlement", Value: uint64(1)},
			{Key: "Properties", Value: "x"},
		}},
	)
	p, err := decodePeer(listOf(services))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Services["good"]
	if len(p.Services) != 1 {
		t.Errorf("%d services, want 1", len(p.Services))
	}
	if s.Port != 49152 {
		t.Errorf("good has the port %d, want 49152", s.Port)
	}
	if s.Transport() != Raw {
		t.Errorf("good has the transport %v, want %v", s.Transport(), Raw)
	}
	full, err := decodePeer(listOf(numbered(maxServices)))
	if err != nil {
		t.Errorf("decodePeer of %d services: %v", maxServices, err)
	} else if len(full.Services) != maxServices {
		t.Errorf("decodePeer of %d services has %d", maxServices, len(full.Services))
	}
}

// TestHostileCheckin uses services that do not complete the check-in, and hosts that do
// not begin it. The contexts have no deadline.
func TestHostileCheckin(t *testing.T) {
	t.Parallel()
	for name, say := range map[string]string{
		"silent": "", "one byte": "\x00", "lying length": "\x00\x00\x10\x00<plist",
	} {
		synctest.Test(t, func(t *testing.T) {
			a, b := linktest.Pipe()
			_, _ = b.Write([]byte(say))
			err := checkin(context.Background(), a, "s", "imdlua", nil)
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s: checkin = %v, want an *Error", name, err)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: checkin = %v, want %v", name, err, context.DeadlineExceeded)
			}
			a.Close()
			d := &CheckinDevice{Service: "s",
				Handler: handlerFunc(func(context.Context, net.Conn) error {
					t.Errorf("%s: served", name)
					return nil
				})}
			c, own := linktest.Pipe()
			_, _ = c.Write([]byte(say))
			err = d.Serve(context.Background(), own)
			if !errors.As(err, &e) {
				t.Errorf("%s: Serve = %v, want an *Error", name, err)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: Serve = %v, want %v", name, err, context.DeadlineExceeded)
			}
			b.Close()
		})
	}
}
