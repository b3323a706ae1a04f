package dtx

import (
	"bufio"
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link/linktest"
)

// bubble runs a test in which time is not real and no goroutine may be left.
func bubble(t *testing.T, f func(t *testing.T, ctx context.Context)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, context.Background()) })
}

// serve connects a host to a server. Both are gone when the test ends.
func serve(t testing.TB, s *Server, o Options) *Conn {
	t.Helper()
	a, b := linktest.Prompt()
	host := New(a, o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), b) }()
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return host
}

func open(t testing.TB, c *Conn, identifier string, o ChannelOptions) *Channel {
	t.Helper()
	ch, err := c.Open(context.Background(), identifier, o)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// wantResult makes a call and checks what it returns.
func wantResult(t testing.TB, ch *Channel, want any, selector string, args ...any) {
	t.Helper()
	got, err := ch.Call(context.Background(), selector, args...)
	if err != nil {
		t.Errorf("Call(%s, %v): %v", selector, args, err)
	}
	if got != want {
		t.Errorf("Call(%s, %v) = %v, want %v", selector, args, got, want)
	}
}

// mustNext returns the next message on a channel.
func mustNext(t testing.TB, ch *Channel) *Incoming {
	t.Helper()
	in, err := ch.Next(context.Background())
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return in
}

// wirePeer is a peer that a test plays message by message.
type wirePeer struct {
	t testing.TB
	net.Conn
	r *Reader
}

// peer returns a connection and what is on the other end of it.
func peer(t testing.TB, o Options) (*Conn, *wirePeer) {
	t.Helper()
	a, b := linktest.Prompt()
	c := New(a, o)
	p := &wirePeer{t: t, Conn: b, r: NewReader(bufio.NewReader(b))}
	t.Cleanup(func() {
		p.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, p
}

func (p *wirePeer) read() *Message {
	p.t.Helper()
	m, err := p.r.Read()
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *wirePeer) send(list ...*Message) {
	p.t.Helper()
	for _, m := range list {
		if _, err := p.Write(Append(nil, m)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// call makes a Dispatch.
func call(t testing.TB, m Message, selector string, args ...any) *Message {
	t.Helper()
	var err error
	m.Type = Dispatch
	m.Aux, err = appendValues(nil, args)
	if err != nil {
		t.Fatal(err)
	}
	m.Payload = archive(t, selector)
	return &m
}

func archive(t testing.TB, v any) []byte {
	t.Helper()
	b, err := nskeyed.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantCall checks that m is a call and returns its arguments.
func (p *wirePeer) wantCall(m *Message, code int32, selector string) Args {
	p.t.Helper()
	got, err := nskeyed.Decode(m.Payload)
	if m.Type != Dispatch {
		p.t.Fatalf("message of the type %v, want a call of %s", m.Type, selector)
	}
	if m.Channel != code {
		p.t.Fatalf("call of %s on channel %d, want %d", selector, m.Channel, code)
	}
	if err != nil {
		p.t.Fatalf("selector: %v", err)
	}
	if got != selector {
		p.t.Fatalf("call of %v, want %s", got, selector)
	}
	list, err := DecodeArgs(m.Aux)
	if err != nil {
		p.t.Fatal(err)
	}
	args := make(Args, len(list))
	for i := range list {
		args[i], err = list[i].Value(nil)
		if err != nil {
			p.t.Fatal(err)
		}
	}
	return args
}

// wantRefusal checks that m refuses a call.
func (p *wirePeer) wantRefusal(m *Message, id uint32, code int32) *nskeyed.NSError {
	p.t.Helper()
	v, err := m.Object(nil)
	ns, ok := v.(*nskeyed.NSError)
	if m.Type != Failure {
		p.t.Fatalf("message of the type %v, want a refusal of %d", m.Type, id)
	}
	if m.ID != id {
		p.t.Fatalf("refusal of %d, want %d", m.ID, id)
	}
	if m.Channel != code {
		p.t.Fatalf("refusal of %d on channel %d, want %d", id, m.Channel, code)
	}
	if m.Conversation != 1 {
		p.t.Fatalf("refusal of %d in the conversation %d, want 1", id, m.Conversation)
	}
	if !ok {
		p.t.Fatalf("refusal of %d holds %v, %v, want an NSError", id, v, err)
	}
	if ns.Domain != Domain || ns.Code != 1 {
		p.t.Fatalf("refusal of %d: %s %d, want %s 1", id, ns.Domain, ns.Code, Domain)
	}
	return ns
}
