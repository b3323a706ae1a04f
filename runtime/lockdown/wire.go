// Package lockdown communicates with lockdownd, the daemon on port 62078 that describes
// the device, pairs with hosts and starts services. Every use of a classic service
// begins with it.
//
// Messages are framed property lists (package link), and each request has one answer. A
// usual exchange:
//
//	> {Label: "imdlua", Request: "QueryType"}
//	< {Request: "QueryType", Type: "com.apple.mobile.lockdown"}
//	> {Label: "imdlua", Request: "GetValue", Key: "ProductVersion"}
//	< {Request: "GetValue", Key: "ProductVersion", Value: "17.5.1"}
//	> {Label: "imdlua", Request: "StartSession", HostID: "2DA6..", SystemBUID: "3014.."}
//	< {Request: "StartSession", SessionID: "5BAA61E4-..", EnableSessionSSL: true}
//	  TLS handshake on the same connection; the device is the server and knows
//	  the host by its certificate
//	> {Label: "imdlua", Request: "StartService", Service: "com.apple.afc"}
//	< {Request: "StartService", Service: "com.apple.afc", Port: 49231, EnableServiceSSL: true}
//	> {Label: "imdlua", Request: "StopSession", SessionID: "5BAA61E4-.."}
//	< {Request: "StopSession", Result: "Success"}
//	  close_notify both ways, then plain text again on the same connection
//
// A refusal has the echoed keys, and Error instead of the result:
//
//	< {Request: "GetValue", Key: "Nope", Error: "MissingValue"}
//
// The exchange is the same on every iOS version. iOS 17 and later also offer it inside
// a tunnel, where no session is needed.
package lockdown

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strconv"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// Port is the port of lockdownd.
const Port = 62078

// DeviceType is the answer to QueryType of a device that runs iOS. A device in restore
// mode answers "com.apple.mobile.restored".
const DeviceType = "com.apple.mobile.lockdown"

// protocolVersion is sent with pairing requests.
const protocolVersion = "2"

// Request names, as they go over the wire.
const (
	reqQueryType     = "QueryType"
	reqGetValue      = "GetValue"
	reqSetValue      = "SetValue"
	reqRemoveValue   = "RemoveValue"
	reqStartSession  = "StartSession"
	reqStopSession   = "StopSession"
	reqStartService  = "StartService"
	reqPair          = "Pair"
	reqValidatePair  = "ValidatePair"
	reqUnpair        = "Unpair"
	reqResetPairing  = "ResetPairing"
	reqEnterRecovery = "EnterRecovery"
	reqGoodbye       = "Goodbye"
	reqActivate      = "Activate"
	reqDeactivate    = "Deactivate"
)

// Code is a refusal by the device, as sent. It is an error, so that errors.Is(err,
// lockdown.ErrPasswordProtected) matches an *Error with this code.
type Code string

// Error returns the code as the device writes it.
func (c Code) Error() string { return string(c) }

// Is maps codes to the general errors of io/fs where one fits.
func (c Code) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return c == ErrMissingValue || c == ErrInvalidService
	case fs.ErrPermission:
		switch c {
		case ErrGetProhibited, ErrSetProhibited, ErrRemoveProhibited, ErrImmutableValue,
			ErrServiceProhibited, ErrPasswordProtected, ErrEscrowLocked, ErrDeviceLocked,
			ErrUserDeniedPairing, ErrMCProtected, ErrFMiPProtected:
			return true
		}
	}
	return false
}

// The codes that devices are known to send. Other codes are passed on as a Code, too.
const (
	// It is also used on this side for an answer that does not match its request.
	ErrInvalidResponse Code = "InvalidResponse"
	ErrInvalidRequest  Code = "InvalidRequest" // unknown request, or a key of the wrong type
	ErrMissingKey      Code = "MissingKey"
	ErrMissingValue    Code = "MissingValue" // the device has no such key
	ErrInternalError   Code = "InternalError"

	ErrGetProhibited    Code = "GetProhibited" // the key exists but needs a session
	ErrSetProhibited    Code = "SetProhibited"
	ErrRemoveProhibited Code = "RemoveProhibited"
	ErrImmutableValue   Code = "ImmutableValue"

	ErrPasswordProtected Code = "PasswordProtected" // locked with a passcode
	ErrDeviceLocked      Code = "DeviceLocked"
	ErrEscrowLocked      Code = "EscrowLocked" // escrow bag not accepted

	ErrMissingHostID     Code = "MissingHostID"
	ErrInvalidHostID     Code = "InvalidHostID" // not paired, or the pairing was removed
	ErrSessionActive     Code = "SessionActive"
	ErrSessionInactive   Code = "SessionInactive" // the request needs a session
	ErrMissingSessionID  Code = "MissingSessionID"
	ErrInvalidSessionID  Code = "InvalidSessionID"
	ErrInvalidConnection Code = "InvalidConnection"

	ErrMissingService Code = "MissingService"
	// unknown, or a developer service without its disk image
	ErrInvalidService    Code = "InvalidService"
	ErrServiceLimit      Code = "ServiceLimit"
	ErrServiceProhibited Code = "ServiceProhibited"

	ErrUserDeniedPairing                   Code = "UserDeniedPairing"
	ErrPairingDialogResponsePending        Code = "PairingDialogResponsePending"
	ErrPairingProhibitedOverThisConnection Code = "PairingProhibitedOverThisConnection" // Wi-Fi
	ErrMissingPairRecord                   Code = "MissingPairRecord"
	ErrInvalidPairRecord                   Code = "InvalidPairRecord"
	ErrSavePairRecordFailed                Code = "SavePairRecordFailed"
	ErrFMiPProtected                       Code = "FMiPProtected"
	ErrMCProtected                         Code = "MCProtected" // a profile forbids pairing
	// supervised pairing, see Error.Challenge
	ErrMCChallengeRequired Code = "MCChallengeRequired"

	ErrMissingActivationRecord Code = "MissingActivationRecord"
	ErrInvalidActivationRecord Code = "InvalidActivationRecord"

	ErrInvalidCheckin          Code = "InvalidCheckin"
	ErrCheckinTimeout          Code = "CheckinTimeout"
	ErrCheckinSetupFailed      Code = "CheckinSetupFailed" // the service did not come up
	ErrCheckinConnectionFailed Code = "CheckinConnectionFailed"
	ErrCheckinReceiveFailed    Code = "CheckinReceiveFailed"
	ErrCheckinResponseFailed   Code = "CheckinResponseFailed"
	ErrCheckinSendFailed       Code = "CheckinSendFailed"
	ErrCheckinOutOfMemory      Code = "CheckinOutOfMemory"

	ErrUnsupportedWatchKey    Code = "UnsupportedWatchKey"
	ErrWrongDroid             Code = "WrongDroid"
	ErrNotAValidChaperoneHost Code = "NotAValidChaperoneHost"
	ErrFailure                Code = "Failure" // Result of devices before iOS 5 that send no Error
)

// ErrTLS matches the error of a TLS handshake that failed. It is often the only sign
// that a device has forgotten the pairing.
var ErrTLS = errors.New("tls handshake failed")

// StartSession refuses a device whose key is not that of the pair record, or that asks
// for a session without TLS. It may be another device.
var (
	ErrWrongKey     = errors.New("the device has another key than the one that was paired")
	ErrPlainSession = errors.New("the device wants a session without tls")
)

// Error is the type of every error of the package. It has the request, its subject, and
// either the device's code or the cause on this side.
type Error struct {
	// Op is the request as it is sent, such as "GetValue".
	Op string
	// Subject is what the request is about: "domain/key", a service or a host.
	Subject string
	// Code is the device's refusal, or "" if Err is the cause.
	Code Code
	// Detail is the ErrorDescription that some devices add.
	Detail string
	// Challenge is the device's challenge, which is sent with ErrMCChallengeRequired.
	Challenge []byte
	// Err is the cause if there was no answer, or if it could not be used.
	Err error
}

// Error returns text such as `lockdown: GetValue "com.apple.disk_usage/Nope":
// MissingValue`.
func (e *Error) Error() string {
	return link.Failure(link.Attempt("lockdown", e.Op, e.Subject), string(e.Code), e.Detail, e.Err)
}

// Unwrap returns the code and the cause, if they are set.
func (e *Error) Unwrap() []error { return link.Causes(e.Code, e.Err) }

// Is matches net.ErrClosed for a connection that has ended for any reason.
func (e *Error) Is(target error) bool {
	return target == net.ErrClosed && e.Err != nil && gone(e.Err)
}

// gone reports whether err means that the peer or this side has closed the connection.
func gone(err error) bool {
	if errors.As(err, new(*plist.Error)) {
		return false // the peer has sent bytes, whatever their parser says about their end
	}
	for _, t := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe} {
		if errors.Is(err, t) {
			return true
		}
	}
	return link.Disconnected(err)
}

// request is a host's message. Every field except name may be empty. An empty string is
// the same as a missing one, because a host may send empty strings.
type request struct {
	name      string
	label     string
	domain    string
	key       string
	value     any // nil when absent
	hostID    string
	buid      string
	sessionID string
	service   string
	escrow    []byte
	hostName  string
	record    plist.Dict // nil when absent
	activate  plist.Dict // ActivationRecord
}

// parseRequest decodes a message. It ignores unknown keys, and a Label that is not a
// string. If an important key has the wrong type, it returns a code together with the
// fields that could be decoded, which are echoed.
func parseRequest(d plist.Dict) (request, Code) {
	var r request
	var code Code
	str := func(key string, to *string) {
		v, ok := d.String(key)
		if _, there := d[key]; there && !ok {
			code = ErrInvalidRequest
		}
		*to = v
	}
	str("Request", &r.name)
	str("Domain", &r.domain)
	str("Key", &r.key)
	str("HostID", &r.hostID)
	str("SystemBUID", &r.buid)
	str("SessionID", &r.sessionID)
	str("Service", &r.service)
	r.label, _ = d.String("Label")
	r.hostName, _ = d.String("HostName")
	r.value = d["Value"]
	r.escrow, _ = d.Data("EscrowBag")
	r.record, _ = d.Dict("PairRecord")
	r.activate, _ = d.Dict("ActivationRecord")
	if r.name == "" {
		code = ErrInvalidRequest
	}
	return r, code
}

// echo returns the beginning of the answer to r: the request's name and the keys that
// hosts compare.
func (r *request) echo() plist.Dict {
	d := plist.Dict{}
	for k, v := range map[string]string{"Request": r.name, "Domain": r.domain, "Key": r.key} {
		if v != "" {
			d[k] = v
		}
	}
	if r.name == reqStartService && r.service != "" {
		d["Service"] = r.service
	}
	return d
}

// subject returns what r is about, for the log.
func (r *request) subject() string {
	if r.service != "" {
		return r.service
	}
	if r.hostID != "" {
		return r.hostID
	}
	return valueName(r.domain, r.key)
}

// valueName returns a domain and key in the form of error texts.
func valueName(domain, key string) string {
	if domain == "" {
		return key
	}
	return domain + "/" + key
}

// checkReply returns the device's refusal in an answer, or an error if the answer does
// not match the request. Unpair is not compared, because some firmware versions echo
// "ValidatePair".
func checkReply(op, subject string, args, d plist.Dict) error {
	echo, echoed := d["Request"]
	if echoed && op != reqUnpair && echo != op {
		return otherAnswer(op, subject, echo)
	}
	for _, key := range []string{"Domain", "Key"} {
		asked, ok := args.String(key)
		echo, echoed := d.String(key)
		if ok && echoed && echo != asked {
			return otherAnswer(op, subject, echo)
		}
	}
	code := replyCode(d)
	if code == "" {
		return nil
	}
	e := &Error{Op: op, Subject: subject, Code: code}
	e.Detail, _ = d.String("ErrorDescription")
	if ext, ok := d.Dict("ExtendedResponse"); ok {
		e.Challenge, _ = ext.Data("PairingChallenge")
	}
	return e
}

// otherAnswer returns the error for an answer to another request.
func otherAnswer(op, subject string, echo any) error {
	err := fmt.Errorf("answer is to %q", link.Clip(fmt.Sprint(echo)))
	return &Error{Op: op, Subject: subject, Code: ErrInvalidResponse, Err: err}
}

// replyCode returns the refusal in an answer. Error is a string; a few daemons send a
// number together with ErrorString.
func replyCode(d plist.Dict) Code {
	switch v := d["Error"].(type) {
	case nil:
		if r, _ := d.String("Result"); r == string(ErrFailure) {
			return ErrFailure
		}
		return ""
	case string:
		if v != "" {
			return Code(v)
		}
	default:
		if s, ok := d.String("ErrorString"); ok && s != "" {
			return Code(s)
		}
		if n, ok := plist.Int(v); ok {
			return Code(strconv.FormatInt(n, 10))
		}
	}
	return ErrInvalidResponse
}

// badReply returns the error for an answer without a required value.
func badReply(op, subject, format string, args ...any) error {
	return &Error{Op: op, Subject: subject, Code: ErrInvalidResponse,
		Err: link.Malformed(fmt.Sprintf(format, args...))}
}

// privateKeys are the entries of a record that never leave the host. Other programs are
// known to send them.
var privateKeys = []string{"HostPrivateKey", "RootPrivateKey"}

// publicRecord returns a copy of a pair record without the host's private keys.
func publicRecord(record plist.Dict) plist.Dict {
	d := record.Clone()
	for _, k := range privateKeys {
		delete(d, k)
	}
	return d
}
