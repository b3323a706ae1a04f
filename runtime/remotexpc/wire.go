// Package remotexpc carries XPC messages over the subset of HTTP/2 that remoted
// and the services behind it speak on iOS 17 and later. There is no TLS, no
// ALPN and nothing in the header blocks: HTTP/2 only gives streams and windows.
//
// Stream 1 takes the host's requests and what the device says by itself, stream
// 3 the device's replies. A connection comes up like this (H host, D device;
// the three messages have no content, the device mirrors each):
//
//	H  preface, SETTINGS{3: 100, 4: 1048576}, WINDOW_UPDATE#0 983041
//	H  HEADERS#1, DATA#1 flags 00000001 {}
//	H  HEADERS#3, DATA#1 flags 00000201, DATA#3 flags 00400001
//	D  SETTINGS{3: 100, 4: 1048576}, WINDOW_UPDATE#0 983041, SETTINGS ACK
//	D  HEADERS#1, DATA#1 flags 00000001 {}
//	D  DATA#1 flags 00000201, HEADERS#3, DATA#3 flags 00400001
//	H  SETTINGS ACK
//	H  DATA#1 flags 00010101 id 1 {...}     a request
//	D  DATA#3 flags 00020101 id 1 {...}     its reply
//	D  DATA#1 flags 00000101 id 2 {...}     a message of the device's own
//
// Files travel raw on streams of their own, even ones from the device and odd
// ones from 5 on from the host. The sender's first message there is empty, with
// flags 00100001 and the transfer's id; the receiver answers with an empty one,
// flags 00200001, for which a device waits and a host does not. An empty DATA
// frame with END_STREAM ends the file:
//
//	D  HEADERS#2, DATA#2 flags 00100001 id 7
//	D  DATA#3 {..., fileTransfer: {expectedLength: 5}}
//	H  HEADERS#2, DATA#2 flags 00200001
//	D  DATA#2 "hello", DATA#2 END_STREAM
//
// Hosts keep one buffer for the messages of all streams, so that the frames of
// one message may not have those of another between them.
package remotexpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

const (
	preface = http2.ClientPreface

	rootStream  = 1 // requests, and what the device says by itself
	replyStream = 3 // replies
	firstUpload = 5 // a host's first file

	// frameSize is the longest frame that is sent: the default of
	// SETTINGS_MAX_FRAME_SIZE, which nobody raises.
	frameSize = 16384
	// startWindow is every window until SETTINGS and WINDOW_UPDATE raise it.
	startWindow = 65535
	maxWindow   = 1<<31 - 1

	// maxStreams is how many files a peer may have on their way at once.
	maxStreams = 100
	// maxControl is how many answers to SETTINGS, PING and refused streams
	// may wait for a peer that does not read them.
	maxControl = 1000
	// batch is how much is handed to the connection at once.
	batch = 4 * frameSize
	// growStep is how much memory a declared length is trusted with.
	growStep = 64 << 10
	// maxEarlyMessage bounds the messages of a host until the connection is up. Hosts
	// do not wait with their first request.
	maxEarlyMessage = 1 << 20
	// aloneMessages and aloneBytes bound the messages that are kept while nobody
	// receives; one of any size may wait.
	aloneMessages = 256
	aloneBytes    = 1 << 20
)

// carriesMessages reports whether a stream is one of the two for messages; the
// device's first file has a number between theirs.
func carriesMessages(id uint32) bool { return id == rootStream || id == replyStream }

// Defaults of Options.
const (
	// DefaultWindow is what Apple's own programs announce.
	DefaultWindow = 1 << 20
	// BulkWindow is for connections that receive large files.
	BulkWindow = 16 << 20
	// DefaultBuffer bounds what waits to be received.
	DefaultBuffer = 64 << 20
	// DefaultMessage bounds a message. The lists of a full device have some hundred KB.
	DefaultMessage = 64 << 20
)

// Operations, as Error.Op names them.
const (
	opConnect  = "connect"
	opAccept   = "accept"
	opSend     = "send"
	opReceive  = "receive"
	opCall     = "call"
	opShutdown = "shutdown"
	opSendFile = "send file"
	opRecvFile = "receive file"
)

// Flags of the messages that open a connection and a file stream.
const (
	flagsEmpty        = xpc.FlagAlwaysSet
	flagsOpening      = xpc.FlagAlwaysSet | xpc.FlagOpening
	flagsInit         = xpc.FlagAlwaysSet | xpc.FlagInitHandshake
	flagsFileRequest  = xpc.FlagAlwaysSet | xpc.FlagFileTransferRequest
	flagsFileResponse = xpc.FlagAlwaysSet | xpc.FlagFileTransferResponse
)

// emptySize is how long a message with an empty dictionary is.
const emptySize = 44

// bare encodes a message without a body.
func bare(flags uint32, id uint64) []byte {
	b, _ := xpc.Append(nil, &xpc.Message{Flags: flags, ID: id}) // has nothing that could fail
	return b
}

// emptyMessage encodes the message that opens stream 1.
func emptyMessage() []byte {
	b, _ := xpc.Append(nil, &xpc.Message{Flags: flagsEmpty, Body: xpc.Dict{}}) // as above
	return b
}

func wrapperFlags(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:]) }
func wrapperID(b []byte) uint64    { return binary.LittleEndian.Uint64(b[16:]) }

// Message is an XPC message and the stream that it came on.
type Message struct {
	xpc.Message
	Stream uint32
}

// WantsReply reports whether the sender waits for a reply.
func (m *Message) WantsReply() bool { return m.Flags&xpc.FlagWantingReply != 0 }

// Options of a connection. The zero value works.
type Options struct {
	// Window is the receive window of each stream, and of the connection
	// where HTTP/2 allows that: never below 65535. 0 is DefaultWindow. Hosts
	// that receive large files use BulkWindow.
	Window uint32
	// MaxMessage is the longest message that is taken; 0 is DefaultMessage.
	MaxMessage int
	// Buffer bounds what waits to be received on all streams together. A
	// peer that keeps to the windows stays far below. Of one that does not, a
	// host drops the oldest messages; a device ends the connection. 0 is
	// DefaultBuffer.
	Buffer int
	// Budget bounds what all connections that share it hold; nil means no bound.
	Budget *link.Budget
	// Alone says that nobody receives until Receive is called, see
	// Conn.Receiving. It is for a host's side.
	Alone bool
	// Pipeline lets calls overlap. Without it they take turns, as it is not
	// known of every service that its replies bear the request's id.
	Pipeline bool
	// Greeting, on a device's side, is sent in place of the last message
	// that it mirrors while the connection comes up. The tunnel service
	// greets so.
	Greeting xpc.Dict
	// Logger gets every message at debug level; nil is silent.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	o.Window = min(o.Window, maxWindow)
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMessage
	}
	if o.Buffer <= 0 {
		o.Buffer = DefaultBuffer
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("layer", "remotexpc")
	return o
}

var (
	// ErrProtocol is the cause of an Error when the peer breaks the rules of
	// HTTP/2 or RemoteXPC.
	ErrProtocol = link.Malformed("protocol violation")
	// ErrReset is the cause of an Error when the peer gave a stream up.
	ErrReset = errors.New("stream reset by peer")
	// ErrGoAway is the cause of an Error when the peer gave the connection up.
	ErrGoAway = errors.New("connection refused further use by peer")
	// ErrOverflow is the cause of an Error when the peer sends more than
	// Options.Buffer or Options.Budget holds and nobody receives it.
	ErrOverflow = errors.New("too much waits to be received")
	// ErrCut is the cause of an Error when a message could not be sent to its
	// end, after which nothing else can.
	ErrCut = errors.New("message was cut short")
)

// Error is every failure of the package.
type Error struct {
	// Op is what was tried: "connect", "accept", "send", "receive", "call",
	// "shutdown", "send file", "receive file".
	Op string
	// Stream is the HTTP/2 stream, 0 when it is the whole connection.
	Stream uint32
	// Code is the peer's HTTP/2 error code with ErrReset and ErrGoAway, and
	// the one that the peer was told with ErrProtocol.
	Code uint32
	// Text is what a peer says with ErrGoAway, or what is wrong with
	// ErrProtocol.
	Text string
	// Err is the cause.
	Err error

	tell  bool // the peer should hear of it in a GOAWAY frame
	ended bool // the connection ended for this reason
}

// Error says `remotexpc: call: stream 3: stream reset by peer (STREAM_CLOSED)`.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("remotexpc: " + e.Op)
	if e.Stream != 0 {
		b.WriteString(": stream " + strconv.FormatUint(uint64(e.Stream), 10))
	}
	if e.Err == io.EOF || e.Err == io.ErrUnexpectedEOF {
		b.WriteString(": connection closed by peer")
	} else if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	if e.Err == ErrReset || e.Err == ErrGoAway {
		b.WriteString(" (" + http2.ErrCode(e.Code).String() + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports net.ErrClosed for a connection that ended in whatever way.
func (e *Error) Is(target error) bool {
	if target != net.ErrClosed {
		return false
	}
	if errors.Is(e.Err, io.ErrClosedPipe) || link.Disconnected(e.Err) {
		return true
	}
	// A connection that never came up has ended, too; a file that ends early
	// is no such thing.
	return e.ended || (e.Op == opConnect || e.Op == opAccept) && !e.interrupted()
}

// interrupted reports whether the caller's context was the reason.
func (e *Error) interrupted() bool {
	return errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded)
}

// violation is the peer's mistake, which ends the connection.
func violation(code http2.ErrCode, format string, args ...any) *Error {
	return &Error{
		Code: uint32(code), Text: fmt.Sprintf(format, args...), Err: ErrProtocol, tell: true,
	}
}

// asError makes the cause of a broken connection from what reading or writing
// returned.
func asError(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	if code := http2.ConnectionError(0); errors.As(err, &code) {
		return violation(http2.ErrCode(code), "malformed frame")
	}
	if se := (http2.StreamError{}); errors.As(err, &se) {
		e := violation(se.Code, "malformed frame")
		e.Stream = se.StreamID
		return e
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.ErrUnexpectedEOF // nobody here sets a deadline for reading but to stop it
	}
	return &Error{Err: err}
}

// clip keeps a text from the peer short enough for one line.
func clip(b []byte) string {
	const most = 200
	s := string(b[:min(len(b), most)])
	return strings.ToValidUTF8(s, "")
}
