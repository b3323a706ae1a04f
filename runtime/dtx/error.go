package dtx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link"
)

// Causes of an Error. Those of the first group come from decoding, those of the
// second from using a connection.
var (
	// ErrMagic says that the bytes are not DTX. Either the peer speaks another
	// protocol, or the beginning of the stream was lost.
	ErrMagic = link.Malformed("bad magic")
	// ErrHeader says that a header is shorter than the format allows.
	ErrHeader = link.Malformed("short header")
	// ErrSizes says that the lengths in a message contradict each other.
	ErrSizes = link.Malformed("inconsistent sizes")
	// ErrFragment says that a fragment belongs to no message, or arrived twice or
	// out of order.
	ErrFragment = link.Malformed("unknown fragment")
	// ErrTooLarge says that a limit of this package was exceeded.
	ErrTooLarge = link.Cause("message too large", link.ErrTooLarge)
	// ErrIncomplete says that the bytes end inside a message.
	ErrIncomplete = link.Cause("incomplete message", io.ErrUnexpectedEOF)
	// ErrPrimitive says that an argument is of an unknown kind or cut short.
	ErrPrimitive = link.Malformed("bad argument list")
	// ErrCompressed says that a compressed payload cannot be expanded.
	ErrCompressed = link.Malformed("bad compressed payload")

	// ErrPeerClosed says that the peer closed the connection. It is also a
	// net.ErrClosed.
	ErrPeerClosed = link.Cause("peer closed", net.ErrClosed)
	// ErrChannelClosed says that one of the sides cancelled the channel.
	ErrChannelClosed = errors.New("channel closed")
	// ErrOverflow says that a channel was closed because its messages arrived
	// faster than they were taken.
	ErrOverflow = errors.New("channel overflow: messages were not taken in time")
	// ErrStalled says that a connection was closed because the peer sends
	// requests and does not read the answers.
	ErrStalled = errors.New("peer does not read")
	// ErrRemote matches every error that the peer sent as an answer.
	ErrRemote = errors.New("refused by the peer")
	// ErrUnknownSelector matches the answer of a peer that does not have the method.
	ErrUnknownSelector = errors.New("unknown selector")
)

// peerClosed is ErrPeerClosed with the error of the network connection, such as
// that its tunnel is down.
type peerClosed struct{ err error }

func (e *peerClosed) Error() string   { return ErrPeerClosed.Error() + ": " + e.err.Error() }
func (e *peerClosed) Unwrap() []error { return []error{ErrPeerClosed, e.err} }

// ended wraps the reason why a connection is over. It is also a net.ErrClosed.
type ended struct{ err error }

func (e *ended) Error() string   { return strings.TrimPrefix(e.err.Error(), "dtx: ") }
func (e *ended) Unwrap() []error { return []error{e.err, net.ErrClosed} }

// Domain is the error domain of DTX. Services have domains of their own.
const Domain = "DTXMessage"

// unknownSelector is the end of the text that answers an unknown selector. Only
// this text identifies the answer: its domain and code are those of other failures.
const unknownSelector = " - it does not respond to the selector"

// Error is the error type of this package.
type Error struct {
	Op      string // what was tried, "call" or "open channel"; empty for bytes
	Subject string // selector or identifier
	Err     error  // an *nskeyed.NSError if the peer refused
}

// Error returns a text such as
// "dtx: call takeScreenshot: <the peer's text> (domain 1)".
func (e *Error) Error() string {
	s := "dtx: "
	if e.Op != "" {
		s += e.Op
		if e.Subject != "" {
			s += " " + e.Subject
		}
		s += ": "
	}
	return s + strings.TrimPrefix(e.Err.Error(), "dtx: ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Remote returns the error that the peer sent, or nil if it sent none.
func (e *Error) Remote() *nskeyed.NSError {
	var ns *nskeyed.NSError
	errors.As(e.Err, &ns)
	return ns
}

// Is matches ErrRemote and ErrUnknownSelector.
func (e *Error) Is(target error) bool {
	if target != ErrRemote && target != ErrUnknownSelector {
		return false
	}
	ns := e.Remote()
	if ns == nil || target == ErrRemote {
		return ns != nil
	}
	return strings.HasSuffix(ns.Description(), unknownSelector)
}

// Refuse returns an error that a Handler can return, and that is sent to the peer
// as it is. Of any other error the text is sent, with Domain as its domain.
func Refuse(domain string, code int64, text string) *nskeyed.NSError {
	return &nskeyed.NSError{
		Domain: domain, Code: code,
		UserInfo: nskeyed.Dict{{Key: "NSLocalizedDescription", Value: text}},
	}
}

// UnknownSelector returns the refusal of a selector that does not exist.
func UnknownSelector(selector string) *nskeyed.NSError {
	return Refuse(Domain, 1, "Unable to invoke '"+link.Clip(selector)+"'"+unknownSelector)
}

// nsError converts an error to the form in which it is sent as an answer.
func nsError(err error) *nskeyed.NSError {
	var ns *nskeyed.NSError
	if errors.As(err, &ns) {
		return ns
	}
	return Refuse(Domain, 1, err.Error())
}

// waitError says which reply did not arrive before the context ended.
type waitError struct {
	channel int32
	id      uint32
	err     error // the context's
}

func (e *waitError) Error() string {
	if errors.Is(e.err, context.DeadlineExceeded) {
		return fmt.Sprintf("timeout waiting for reply %d/%d", e.channel, e.id)
	}
	return fmt.Sprintf("waiting for reply %d/%d: %v", e.channel, e.id, e.err)
}

func (e *waitError) Unwrap() error { return e.err }
