package link

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// TestSocketErrors checks the errors of real sockets that fail.
func TestSocketErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = net.Listen("tcp", l.Addr().String())
	if !Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice = %v, want EADDRINUSE", err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := net.Dial("tcp", l.Addr().String()); !Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a closed port = %v, want ECONNREFUSED", err)
	}
	// A connection that is closed with SO_LINGER of 0 is reset.
	if err := s.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := c.Read(make([]byte, 1)); !Disconnected(err) {
		t.Errorf("reading from a connection that was reset = %v, want Disconnected", err)
	}
	c.Close()
	if Disconnected(io.EOF) {
		t.Error("Disconnected(io.EOF) = true")
	}
	if Is(errors.New("x"), syscall.EPIPE) {
		t.Error("Is(another error, EPIPE) = true")
	}
	if Unreachable(nil) {
		t.Error("Unreachable(nil) = true")
	}
}
