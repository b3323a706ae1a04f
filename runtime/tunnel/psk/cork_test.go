package psk

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// counted counts the writes of a connection.
type counted struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *counted) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// Records that are kept must be sent in one write, with one record for each Write. No more
// than maxCorked bytes may be kept.
func TestCork(t *testing.T) {
	t.Parallel()
	x, b := link.Pipe()
	a := &counted{Conn: x}
	c, s := mustMeet(t, a, b, &Config{Key: testKey()}, &Config{Key: testKey()})
	defer s.Close()
	before := a.count()
	c.Cork()
	for n := range 5 {
		wrote, err := c.Write(bytes.Repeat([]byte{byte(n)}, 1000+n))
		if err != nil {
			t.Fatal(err)
		}
		if wrote != 1000+n {
			t.Fatalf("Write = %d, want %d", wrote, 1000+n)
		}
	}
	if n := a.count() - before; n != 0 {
		t.Errorf("%d writes while corked", n)
	}
	if err := c.Uncork(); err != nil {
		t.Fatal(err)
	}
	if n := a.count() - before; n != 1 {
		t.Errorf("%d writes for five records, want 1", n)
	}
	buf := make([]byte, maxPlain)
	for n := range 5 {
		// One Read returns one record.
		got, err := s.Read(buf)
		if err != nil {
			t.Errorf("record %d: %v", n, err)
		}
		if want := bytes.Repeat([]byte{byte(n)}, 1000+n); !bytes.Equal(buf[:got], want) {
			t.Errorf("record %d: %d bytes, want %d of %d", n, got, len(want), n)
		}
	}
	before = a.count()
	if err := c.Uncork(); err != nil {
		t.Errorf("Uncork of nothing: %v", err)
	}
	if n := a.count() - before; n != 0 {
		t.Errorf("Uncork of nothing: %d writes", n)
	}
	c.Cork()
	go c.Write(make([]byte, 2*maxCorked))
	if _, err := io.ReadFull(s, make([]byte, maxCorked)); err != nil {
		t.Errorf("more than is kept: %v", err)
	}
}

// Records that are kept must be sent before the connection closes. If there is no peer,
// Uncork must fail.
func TestCorkClose(t *testing.T) {
	t.Parallel()
	c, s := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	c.Cork()
	c.Write([]byte("last words"))
	c.Close()
	wantRest(t, s, "last words")
	if err := c.Uncork(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Uncork after Close: %v", err)
	}
	c, s = pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	c.Cork()
	c.Write([]byte("x"))
	s.Close()
	c.conn.Close()
	var e *Error
	if err := c.Uncork(); !errors.As(err, &e) {
		t.Errorf("Uncork without a connection: %v (%T), want an *Error", err, err)
	} else if e.Op != "write" {
		t.Errorf("Uncork without a connection: the operation of %v is %q, want write", err, e.Op)
	}
	if _, err := c.Write([]byte("x")); !errors.As(err, &e) {
		t.Errorf("Write after that: %v", err)
	}
}
