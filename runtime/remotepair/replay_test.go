package remotepair

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
)

// sequence is a source of random bytes that are the same in each run.
type sequence struct {
	mu sync.Mutex
	r  io.Reader
}

func newSequence(seed byte) *sequence {
	return &sequence{r: rand.NewChaCha8([32]byte{seed})}
}

func (s *sequence) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(b)
}

// tap is a connection that records the written bytes.
type tap struct {
	net.Conn
	said bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.said.Write(b)
	return t.Conn.Write(b)
}

// exchange pairs, verifies on another connection and asks for a listener. It returns
// what each side has sent.
func exchange(t *testing.T) (host, device []byte) {
	p := phonetest.New(t, phone.Options{})
	hostRand, deviceRand := newSequence(1), newSequence(2)
	dev := &Device{
		Phone: p, Peers: NewPeers(p), Rand: deviceRand,
		Listen: func(context.Context, ListenerRequest) (*Listener, error) {
			return &Listener{Port: 50000}, nil
		},
	}
	o := Options{Identity: NewIdentity("my mac", hostRand), HostName: "my mac", Rand: hostRand}
	connected := func(f func(*Client) error) {
		a, b := linktest.Pipe()
		ha, hb := &tap{Conn: a}, &tap{Conn: b}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = dev.Serve(context.Background(), NewStream(hb))
		}()
		c, err := Connect(t.Context(), NewStream(ha), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := f(c); err != nil {
			t.Fatal(err)
		}
		c.Close()
		<-served
		host, device = append(host, ha.said.Bytes()...), append(device, hb.said.Bytes()...)
	}
	connected(func(c *Client) (err error) {
		o.Record, err = c.Pair(t.Context())
		return err
	})
	connected(func(c *Client) error {
		if err := c.Verify(t.Context()); err != nil {
			return err
		}
		_, err := c.CreateListener(t.Context(), ListenerRequest{Protocol: TCP})
		return err
	})
	return host, device
}

// TestReplay makes the same exchange twice. With the same random bytes, all sent bytes
// must be the same.
func TestReplay(t *testing.T) {
	host, device := exchange(t)
	for range 3 {
		h, d := exchange(t)
		if !bytes.Equal(h, host) {
			t.Error("the host said something else")
		}
		if !bytes.Equal(d, device) {
			t.Error("the device said something else")
		}
	}
	if len(host) < 1000 {
		t.Errorf("the host said only %d bytes", len(host))
	}
	if len(device) < 1000 {
		t.Errorf("the device said only %d bytes", len(device))
	}
}
