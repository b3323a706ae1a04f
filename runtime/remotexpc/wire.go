// Package remotexpc carries XPC messages over the subset of HTTP/2 that remoted and its
// services use on iOS 17 and later. It has no TLS, no ALPN and empty header blocks.
// HTTP/2 provides only streams and windows.
//
// Stream 1 carries the host's requests and the device's messages, and stream 3 carries
// the device's replies. A connection is opened as follows (H host, D device). The three
// opening messages have no content, and the device mirrors each:
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
// Files are sent without a wrapper on streams of their own. Those from the device have
// even numbers, and those from the host odd ones from 5 on. The sender's first message
// on the stream is empty, with flags 00100001 and the id of the transfer. The receiver
// answers with an empty one with flags 00200001. A device waits for that answer; a host
// does not. An empty DATA frame with END_STREAM ends the file:
//
//	D  HEADERS#2, DATA#2 flags 00100001 id 7
//	D  DATA#3 {..., fileTransfer: {expectedLength: 5}}
//	H  HEADERS#2, DATA#2 flags 00200001
//	D  DATA#2 "hello", DATA#2 END_STREAM
//
// pymobiledevice3 and appium have one buffer for the messages of all streams. The
// frames of two messages must therefore not be interleaved.
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

	rootStream  = 1 // requests, and the device's messages
	replyStream = 3 // replies
	firstUpload = 5 // a host's first file

	// frameSize is the size of the longest frame that is sent. It is the default of
	// SETTINGS_MAX_FRAME_SIZE, which no peer raises.
	frameSize = 16384
	// startWindow is the size of each window before SETTINGS and WINDOW_UPDATE raise
	// it.
	startWindow = 65535
	maxWindow   = 1<<31 - 1

	// maxStreams is how many files a peer may send at the same time.
	maxStreams = 100
	// maxControl is how many answers to SETTINGS, PING and refused streams may wait for
	// a peer that does not read them.
	maxControl = 1000
	// batch is how much is written to the connection at once.
	batch = 4 * frameSize
	// growStep is how much memory is allocated for a declared length before the bytes
	// arrive.
	growStep = 64 << 10
	// maxEarlyMessage bounds a host's messages until the connection is open. Hosts do
	// not wait until then before they send a request.
	maxEarlyMessage = 1 << 20
	// aloneMessages and aloneBytes bound the messages that are kept while none are
	// received. A single message may be of any size.
	aloneMessages = 256
	aloneBytes    = 1 << 20
)

// carriesMessages reports whether a stream is one of the two for messages. The number
// of the device's first file is between theirs.
func carriesMessages(id uint32) bool { return id == rootStream || id == replyStream }

// Defaults of Options.
const (
	// DefaultWindow is the window of Apple's own programs.
	DefaultWindow = 1 << 20
	// BulkWindow is for connections that receive large files.
	BulkWindow = 16 << 20
	// DefaultBuffer bounds what waits to be received.
	DefaultBuffer = 64 << 20
	// DefaultMessage bounds a message. The lists of a device with many applications
	// have some hundred KB.
	DefaultMessage = 64 << 20
)

// The operations of Error.Op.
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

// emptySize is the size of a message with an empty dictionary.
const emptySize = 44

// bare encodes a message without a body, which cannot fail.
func bare(flags uint32, id uint64) []byte {
	b, _ := xpc.Append(nil, &xpc.Message{Flags: flags, ID: id})
	return b
}

// emptyMessage encodes the message that opens stream 1, which cannot fail.
func emptyMessage() []byte {
	b, _ := xpc.Append(nil, &xpc.Message{Flags: flagsEmpty, Body: xpc.Dict{}})
	return b
}

func wrapperFlags(b []byte) uint32 { return binary.LittleEndian.Uint32(b[4:]) }
func wrapperID(b []byte) uint64    { return binary.LittleEndian.Uint64(b[16:]) }

// Message is an XPC message and the stream on which it was received.
type Message struct {
	xpc.Message
	Stream uint32
}

// WantsReply reports whether the sender waits for a reply.
func (m *Message) WantsReply() bool { return m.Flags&xpc.FlagWantingReply != 0 }

// Options of a connection. The zero value works.
type Options struct {
	// Window is the receive window of each stream. It is also that of the connection,
	// unless it is below 65535, which HTTP/2 does not allow. 0 means DefaultWindow.
	// Hosts that receive large files use BulkWindow.
	Window uint32
	// MaxMessage is the size of the longest message that is accepted; 0 means
	// DefaultMessage.
	MaxMessage int
	// Buffer bounds what waits to be received on all streams together. A peer that
	// respects the windows sends far less. If a peer sends more, a host drops the
	// oldest messages, and a device ends the connection. 0 means DefaultBuffer.
	Buffer int
	// Budget bounds what all connections that share it keep; nil means no bound.
	Budget *link.Budget
	// Alone states that no messages are received until Receive is called; see
	// Conn.Receiving. It is for hosts.
	Alone bool
	// Pipeline lets calls overlap. Otherwise they are made one after the other, because
	// it is not known for every service that its replies have the id of the request.
	Pipeline bool
	// Greeting is sent by a device in place of the last message that it mirrors while
	// the connection is opened. The tunnel service has such a greeting.
	Greeting xpc.Dict
	// Logger logs every message at debug level. If it is nil, nothing is logged.
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
	// ErrProtocol is the cause of an Error if the peer violates HTTP/2 or RemoteXPC.
	ErrProtocol = link.Malformed("protocol violation")
	// ErrReset is the cause of an Error if the peer has reset the stream.
	ErrReset = errors.New("stream reset by peer")
	// ErrGoAway is the cause of an Error if the peer has sent GOAWAY.
	ErrGoAway = errors.New("connection refused further use by peer")
	// ErrOverflow is the cause of an Error if the peer sends more than Options.Buffer
	// or Options.Budget allows, and it is not received.
	ErrOverflow = errors.New("too much waits to be received")
	// ErrCut is the cause of an Error if a message was sent in part only. Nothing else
	// can be sent after that.
	ErrCut = errors.New("message was cut short")
)

// Error is the type of every error of the package.
type Error struct {
	// Op is what was tried: "connect", "accept", "send", "receive", "call",
	// "shutdown", "send file", "receive file".
	Op string
	// Stream is the HTTP/2 stream, or 0 for the connection.
	Stream uint32
	// Code is an HTTP/2 error code. With ErrReset and ErrGoAway the peer has sent it;
	// with ErrProtocol it was sent to the peer.
	Code uint32
	// Text is the text of the peer with ErrGoAway, or the violation with ErrProtocol.
	Text string
	// Err is the cause.
	Err error

	tell  bool // whether to tell the peer in a GOAWAY frame
	ended bool // whether the connection has ended for this reason
}

// Error returns text such as `remotexpc: call: stream 3: stream reset by peer
// (STREAM_CLOSED)`.
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

// Is matches net.ErrClosed for a connection that has ended for any reason.
func (e *Error) Is(target error) bool {
	if target != net.ErrClosed {
		return false
	}
	if errors.Is(e.Err, io.ErrClosedPipe) || link.Disconnected(e.Err) {
		return true
	}
	// A connection that was never open has ended, too. A file that ends early has not
	// ended the connection.
	opening := e.Op == opConnect || e.Op == opAccept
	return e.ended || opening && !e.interrupted()
}

// interrupted reports whether the caller's context was the reason.
func (e *Error) interrupted() bool {
	return errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded)
}

// violation returns the error about a peer that violates the protocol, which ends the
// connection.
func violation(code http2.ErrCode, format string, args ...any) *Error {
	return &Error{
		Code: uint32(code), Text: fmt.Sprintf(format, args...), Err: ErrProtocol, tell: true,
	}
}

// asError returns the cause for a connection on which reading or writing has failed.
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
		// The only deadline for reading is the one that stops the reader.
		err = io.ErrUnexpectedEOF
	}
	return &Error{Err: err}
}

// clip shortens text from the peer, so that it fits into one line.
func clip(b []byte) string {
	const most = 200
	s := string(b[:min(len(b), most)])
	return strings.ToValidUTF8(s, "")
}
