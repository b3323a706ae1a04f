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

// Causes of an Error. The first group is found in bytes, the second while a
// connection is used.
var (
	// ErrMagic says that bytes are not DTX: a protocol mix-up, or a stream of
	// which the beginning was lost.
	ErrMagic = link.Malformed("bad magic")
	// ErrHeader says that a header is shorter than the format allows.
	ErrHeader = link.Malformed("short header")
	// ErrSizes says that the lengths in a message contradict each other.
	ErrSizes = link.Malformed("inconsistent sizes")
	// ErrFragment says that a fragment belongs to no message, comes twice or
	// out of turn.
	ErrFragment = link.Malformed("unknown fragment")
	// ErrTooLarge says that a limit of this package was passed.
	ErrTooLarge = link.Cause("message too large", link.ErrTooLarge)
	// ErrIncomplete says that the bytes end inside a message.
	ErrIncomplete = link.Cause("incomplete message", io.ErrUnexpectedEOF)
	// ErrPrimitive says that an argument is of an unknown kind or cut short.
	ErrPrimitive = link.Malformed("bad argument list")
	// ErrCompressed says that a compressed payload cannot be expanded.
	ErrCompressed = link.Malformed("bad compressed payload")

	// ErrPeerClosed says that the other side ended the connection. It is a
	// net.ErrClosed too.
	ErrPeerClosed = link.Cause("peer closed", net.ErrClosed)
	// ErrChannelClosed says that a channel was cancelled, by either side.
	ErrChannelClosed = errors.New("channel closed")
	// ErrOverflow says that a channel was closed because its messages came
	// faster than they were taken.
	ErrOverflow = errors.New("channel overflow: messages were not taken in time")
	// ErrStalled says that a connection was closed because the peer sends
	// requests and does not read the answers.
	ErrStalled = errors.New("peer does not read")
	// ErrRemote matches every error that the peer answered with.
	ErrRemote = errors.New("refused by the peer")
	// ErrUnknownSelector matches the peer's answer to a method it lacks.
	ErrUnknownSelector = errors.New("unknown selector")
)

// peerClosed is ErrPeerClosed with what the connection below said, such as that
// its tunnel is down.
type peerClosed struct{ err error }

func (e *peerClosed) Error() string   { return ErrPeerClosed.Error() + ": " + e.err.Error() }
func (e *peerClosed) Unwrap() []error { return []error{ErrPeerClosed, e.err} }

// ended is the reason of a connection's end.
type ended struct{ err error }

func (e *ended) Error() string   { return strings.TrimPrefix(e.err.Error(), "dtx: ") }
func (e *ended) Unwrap() []error { return []error{e.err, net.ErrClosed} }

// Domain is the error domain of DTX itself; services have their own.
const Domain = "DTXMessage"

// unknownSelector ends the text of the answer to an unknown selector. Programs
// recognise the answer by it: domain and code are those of any other failure.
const unknownSelector = " - it does not respond to the selector"

// Error says what went wrong.
type Error struct {
	Op      string // what was tried, "call" or "open channel"; empty for bytes
	Subject string // selector or identifier
	Err     error  // an *nskeyed.NSError if the peer refused
}

// Error gives "dtx: call takeScreenshot: <the peer's text> (domain 1)".
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

// Remote returns what the peer refused with, or nil.
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

// Refuse is an error that a Handler answers with. Any other error that it
// returns is sent as its text in the domain of DTX.
func Refuse(domain string, code int64, text string) *nskeyed.NSError {
	return &nskeyed.NSError{
		Domain: domain, Code: code,
		UserInfo: nskeyed.Dict{{Key: "NSLocalizedDescription", Value: text}},
	}
}

// UnknownSelector is the answer to a method that does not exist.
func UnknownSelector(selector string) *nskeyed.NSError {
	return Refuse(Domain, 1, "Unable to invoke '"+link.Clip(selector)+"'"+unknownSelector)
}

// nsError makes the answer to a call of an error.
func nsError(err error) *nskeyed.NSError {
	var ns *nskeyed.NSError
	if errors.As(err, &ns) {
		return ns
	}
	return Refuse(Domain, 1, err.Error())
}

// waitError says which reply did not come in time.
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
