package tunnel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/imdlua/imdlua/runtime/link"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// ErrDown matches every error of a call that failed because its tunnel has ended, by
// Close or because its carrier was lost.
var ErrDown = errors.New("the tunnel is down")

// errTooMany is the error about a connection that is refused because the tunnel has
// maxConns.
var errTooMany = errors.New("too many connections")

// Error describes an operation on a tunnel and why it failed. If the device refused a
// connection, it matches syscall.ECONNREFUSED.
type Error struct {
	Op      string // "open", "serve", "dial", "listen"
	Subject string // the address, or "" if there is none
	Err     error
}

func (e *Error) Error() string {
	if e.Subject == "" {
		return fmt.Sprintf("tunnel: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("tunnel: %s %s: %v", e.Op, e.Subject, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether the cause is a time-out.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// HandshakeError reports a CDTunnel handshake that is not acceptable. It matches
// link.ErrProtocol.
type HandshakeError struct {
	Reason string
	Err    error
}

func (e *HandshakeError) Error() string {
	if e.Err == nil {
		return "handshake: " + e.Reason
	}
	// The causes quote text of the peer, which may be long.
	return fmt.Sprintf("handshake: %s: %s", e.Reason, link.Clip(e.Err.Error()))
}

// Unwrap returns the cause, which may be nil.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Is matches link.ErrProtocol.
func (e *HandshakeError) Is(target error) bool { return target == link.ErrProtocol }

// PacketError reports bytes on a stream that are not an IPv6 packet. The bytes after
// them cannot be interpreted, so the tunnel ends. It matches link.ErrProtocol.
type PacketError struct {
	First byte // where an IPv6 packet has 6 in its upper half
}

func (e *PacketError) Error() string {
	return fmt.Sprintf("byte 0x%02x does not begin an IPv6 packet", e.First)
}

// Is matches link.ErrProtocol.
func (e *PacketError) Is(target error) bool { return target == link.ErrProtocol }

// downError is the error of calls on a tunnel that has ended.
type downError struct{ cause error }

func (e *downError) Error() string        { return fmt.Sprintf("%v: %v", ErrDown, e.cause) }
func (e *downError) Unwrap() error        { return e.cause }
func (e *downError) Is(target error) bool { return target == ErrDown }

// stackError converts an error of the network stack to an error of the standard
// library.
func stackError(err tcpip.Error) error {
	switch err.(type) {
	case *tcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *tcpip.ErrConnectionReset, *tcpip.ErrAborted, *tcpip.ErrConnectionAborted:
		return syscall.ECONNRESET
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *tcpip.ErrClosedForSend:
		return syscall.EPIPE
	case *tcpip.ErrHostUnreachable, *tcpip.ErrNetworkUnreachable:
		return syscall.EHOSTUNREACH
	case *tcpip.ErrPortInUse, *tcpip.ErrDuplicateAddress:
		return syscall.EADDRINUSE
	case *tcpip.ErrBadLocalAddress:
		return syscall.EADDRNOTAVAIL
	case *tcpip.ErrInvalidEndpointState, *tcpip.ErrNotConnected:
		return net.ErrClosed
	case *tcpip.ErrWouldBlock:
		return os.ErrDeadlineExceeded
	}
	return errors.New(err.String())
}
