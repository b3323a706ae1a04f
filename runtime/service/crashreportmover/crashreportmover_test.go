package crashreportmover

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/fuzztest"
	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/servicetest"
)

// firstWrite records the first write of the device.
type firstWrite struct {
	net.Conn
	first []byte
}

func (f *firstWrite) Write(p []byte) (int, error) {
	if f.first == nil {
		f.first = append([]byte{}, p...)
	}
	return f.Conn.Write(p)
}

// TestPing checks that the five bytes are sent in one write, because go-ios reads only
// once.
func TestPing(t *testing.T) {
	t.Parallel()
	p, err := phone.New(phone.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := linktest.Pipe()
	w := &firstWrite{Conn: server}
	if err := (NewDevice(service.Env{Phone: p})).Serve(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if want := "\x70\x69\x6e\x67\x00"; string(w.first) != want {
		t.Errorf("first write % x, want % x", w.first, want)
	}
	c := New(client)
	if err := c.Flush(context.Background()); err != nil {
		t.Error(err)
	}
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the ping: %d, %v", n, err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

var suite = servicetest.Suite[*Client]{
	Name: Service, Connect: Connect,
	Device: func(tb testing.TB) service.Handler {
		p := phonetest.New(tb, phone.Options{})
		return &Device{Env: service.Env{Phone: p}}
	},
	Calls: servicetest.Calls[*Client]{"flush": (*Client).Flush},
	Typed: fuzztest.Typed[*service.Error],
}

func TestService(t *testing.T) { suite.Test(t) }

func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	flush := (*Client).Flush
	suite.Fails(t, "another word", "pong\x00", flush, errPing)
	suite.Fails(t, "half", "pin", flush, io.ErrUnexpectedEOF)
	suite.Fails(t, "nothing", "", flush, io.ErrUnexpectedEOF)
	suite.Fails(t, "frame", "\x00\x00\x00\x05ping", flush, errPing)
}

// TestSlowDevice checks that a late ping is accepted, and that a call without a ping
// ends at its deadline.
func TestSlowDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := linktest.Pipe()
		c := New(client)
		late := time.AfterFunc(18*time.Second, func() { _, _ = io.WriteString(server, ping) })
		defer late.Stop()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Flush(ctx); err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no second ping: %v", err)
		}
		c.Close()
		server.Close()
	})
}

// TestClientGone checks that Serve returns an error if the client disconnects at once.
func TestClientGone(t *testing.T) {
	t.Parallel()
	p, err := phone.New(phone.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := linktest.Pipe()
	client.Close()
	var e *service.Error
	err = NewDevice(service.Env{Phone: p}).Serve(context.Background(), server)
	if !errors.As(err, &e) {
		t.Errorf("Serve: %v", err)
	}
}
