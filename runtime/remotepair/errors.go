package remotepair

import (
	"errors"
	"fmt"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/codec/tlv8"
	"github.com/imdlua/imdlua/runtime/link"
)

// Causes of an Error.
var (
	// ErrNotPaired means that the device does not know this host, or has
	// forgotten it.
	ErrNotPaired = errors.New("device does not know this host")
	// ErrDenied means that the user or the device refused to pair.
	ErrDenied = errors.New("pairing was refused on the device")
	// ErrLocked means that the device refused because it is locked. It matches
	// ErrDenied.
	ErrLocked = fmt.Errorf("%w, which is locked", ErrDenied)
	// ErrWrongPIN means that the PIN was not the one that the device shows.
	ErrWrongPIN = errors.New("wrong PIN")
	// ErrPINNeeded means that the device shows a PIN and Options.PIN is nil.
	ErrPINNeeded = errors.New("device shows a PIN that must be entered")
	// ErrBackOff means that pairing was tried too often. Error.Retry is the time to
	// wait.
	ErrBackOff = errors.New("too many attempts, wait")
	// ErrMaxTries means that pairing was tried so often that the device refuses all
	// further attempts.
	ErrMaxTries = errors.New("too many attempts")
	// ErrMaxPeers means that the device cannot trust any more hosts.
	ErrMaxPeers = errors.New("device trusts too many hosts already")
	// ErrAuthentication means that a signature or ciphertext of the peer was not made
	// with its key.
	ErrAuthentication = errors.New("peer does not prove who it is")
	// ErrProtocol means that the peer sent a message that is not allowed there.
	ErrProtocol = link.Malformed("unexpected message")
	// ErrNotVerified means that a request requires Verify or Pair first.
	ErrNotVerified = errors.New("channel is not encrypted yet")
)

// Error is the type of every error of the package.
type Error struct {
	Op      string // "handshake", "verify", "pair", "call", "serve", "load", ...
	Subject string // state ("M2"), request or record
	// Code is the code that the peer sent: the Error item of a pairing message, or the
	// code of an NSError. Domain is set for an NSError.
	Code   int64
	Domain string
	Retry  time.Duration // with ErrBackOff
	Err    error
}

func (e *Error) Error() string {
	s := "remotepair: " + e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	s += ": " + e.Err.Error()
	if e.Code != 0 {
		s += fmt.Sprintf(" (%d)", e.Code)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// controlDomain is the NSError domain of the encrypted channel.
const controlDomain = "com.apple.CoreDevice.ControlChannelConnectionError"

// Codes of that domain.
const (
	// CodeForgotten makes hosts delete their record.
	CodeForgotten = 2
	// CodeUnsupported means that the device or the transport does not support the
	// request.
	CodeUnsupported = 3
)

// Is matches errors.ErrUnsupported if the device does not support a request.
func (e *Error) Is(target error) bool {
	return target == errors.ErrUnsupported && e.Domain == controlDomain && e.Code == CodeUnsupported
}

var pairingCodes = map[int64]error{
	tlv8.CodeAuthentication: ErrAuthentication,
	tlv8.CodeBackOff:        ErrBackOff,
	tlv8.CodeUnknownPeer:    ErrNotPaired,
	tlv8.CodeMaxPeers:       ErrMaxPeers,
	tlv8.CodeMaxTries:       ErrMaxTries,
}

// pairingError returns the error of a pairing message, or nil if it has none.
func pairingError(op string, p *pairingData) *Error {
	v, ok := p.list.Get(tlv8.PairingError)
	if !ok {
		return nil
	}
	e := &Error{Op: op, Subject: fmt.Sprintf("M%d", p.state()), Err: errors.New("refused")}
	if n, ok := p.list.Uint(tlv8.PairingError); ok && len(v) == 1 {
		e.Code = int64(n)
	}
	if cause, ok := pairingCodes[e.Code]; ok {
		e.Err = cause
	}
	if s, ok := p.list.Uint(tlv8.RetryDelay); ok && s < 1<<32 {
		e.Retry = time.Duration(s) * time.Second
	}
	return e
}

// peerError returns an Error for an NSError, which has a domain, a code and a text.
func peerError(op, subject string, d plist.Dict, cause error) *Error {
	e := &Error{Op: op, Subject: subject, Err: cause}
	e.Domain, _ = d.String("domain")
	e.Code, _ = d.Int("code")
	info, _ := d.Dict("userInfo")
	text, ok := info.String("NSLocalizedDescription")
	switch {
	case ok && cause != nil:
		e.Err = fmt.Errorf("%w: %q", cause, link.Clip(text))
	case ok:
		e.Err = fmt.Errorf("device says %q", link.Clip(text))
	case cause == nil:
		e.Err = errors.New("device refused")
	}
	return e
}

func nsError(domain string, code int64, text string) plist.Dict {
	return plist.Dict{
		"domain": domain, "code": code, "userInfo": plist.Dict{"NSLocalizedDescription": text},
	}
}
