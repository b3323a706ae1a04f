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

// Records that are kept leave in one write, are still one for each Write, and
// are never more than maxCorked bytes.
func TestCork(t *testing.T) {
	t.Parallel()
	x, b := link.Pipe()
	a := &counted{Conn: x}
	c, s, cerr, serr := meet(t.Context(), a, b, &Config{Key: testKey()}, &Config{Key: testKey()})
	if cerr != nil || serr != nil {
		t.Fatalf("client %v, server %v", cerr, serr)
	}
	defer s.Close()
	before := a.count()
	c.Cork()
	for n := range 5 {
		if n, err := c.Write(bytes.Repeat([]byte{byte(n)}, 1000+n)); err != nil || n < 1000 {
			t.Fatalf("Write = %d, %v", n, err)
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
		if got, err := s.Read(buf); got != 1000+n || err != nil || buf[0] != byte(n) {
			t.Errorf("record %d: %d bytes, %v", n, got, err)
		}
	}
	before = a.count()
	if err := c.Uncork(); err != nil || a.count() != before {
		t.Errorf("Uncork of nothing: %v, %d writes", err, a.count()-before)
	}
	c.Cork()
	go c.Write(make([]byte, 2*maxCorked))
	if _, err := io.ReadFull(s, make([]byte, maxCorked)); err != nil {
		t.Errorf("more than is kept: %v", err)
	}
}

// What is kept is sent before the last words, and fails when there is nobody.
func TestCorkClose(t *testing.T) {
	t.Parallel()
	c, s := pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	c.Cork()
	c.Write([]byte("last words"))
	c.Close()
	if got, err := io.ReadAll(s); string(got) != "last words" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Uncork(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Uncork after Close: %v", err)
	}
	c, s = pair(t, &Config{Key: testKey()}, &Config{Key: testKey()})
	c.Cork()
	c.Write([]byte("x"))
	s.Close()
	c.conn.Close()
	var e *Error
	if err := c.Uncork(); !errors.As(err, &e) || e.Op != "write" {
		t.Errorf("Uncork without a connection: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.As(err, &e) {
		t.Errorf("Write after that: %v", err)
	}
}
