package coredevice

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
)

// Domains of the errors that devices send.
const (
	// DomainAction is the domain of errors of invocations: 2 not implemented, 3 failed,
	// 5 not permitted.
	DomainAction = "CoreDevice.ActionError"
	// DomainCoreDevice is the domain of CoreDevice: 1001 not supported, 10002 launch
	// failed, 10003 locked.
	DomainCoreDevice = "com.apple.dt.CoreDeviceError"
	// DomainCocoa is the domain of inputs that cannot be decoded: 4864 wrong value,
	// 4865 missing key.
	DomainCocoa = "NSCocoaErrorDomain"
	// DomainPOSIX is the domain of errno values.
	DomainPOSIX = "NSPOSIXErrorDomain"
	// DomainOSStatus is the domain of OSStatus codes, such as -10814 for an unknown
	// app.
	DomainOSStatus = "NSOSStatusErrorDomain"

	domainOpenService = "FBSOpenApplicationServiceErrorDomain" // 1 denied
	domainOpenApp     = "FBSOpenApplicationErrorDomain"        // 4 unknown app, 7 locked
)

// Codes of these domains.
const (
	actionNotImplemented = 2
	actionFailed         = 3
	actionGated          = 5

	coreDeviceUnsupported  = 1001
	coreDeviceLaunchFailed = 10002
	coreDeviceLocked       = 10003

	cocoaWrongValue   = 4864
	cocoaMissingValue = 4865

	posixEPERM  = 1
	posixENOENT = 2
	posixESRCH  = 3
	posixEACCES = 13
	posixEINVAL = 22
	posixEAGAIN = 35

	osStatusUnknownApp = -10814

	openDenied  = 1
	openUnknown = 4
	openLocked  = 7
)

const (
	keyDescription = "NSLocalizedDescription"
	keyReason      = "NSLocalizedFailureReason"
	keyDebug       = "NSDebugDescription"
	keyUnderlying  = "NSUnderlyingError"

	// maxUnderlying bounds the depth of nested errors.
	maxUnderlying = 8
)

// Error is the error of every operation of the package.
type Error struct {
	// Op is the name of the feature or action without its prefix, or "connect", "open
	// terminal", "read", "write" or "serve".
	Op string
	// Subject is the object of the operation: a bundle identifier, a PID or a path.
	Subject string
	// Domain, Code and Description are those that the device sent, if it refused the
	// operation.
	Domain      string
	Code        int64
	Description string
	// Info holds all data that the device sent with a refusal. The errors that caused
	// it are nested under NSUnderlyingError.
	Info xpc.Dict
	// Err is the cause if the device did not refuse the operation.
	Err error
}

// Error returns a text such as `coredevice: launchapplication "com.x": The application
// failed to launch. (com.apple.dt.CoreDeviceError 10002): The operation couldn’t be
// ...`.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(link.Attempt("coredevice", e.Op, clip(e.Subject)))
	if e.Domain != "" {
		text := clip(e.Description)
		if text != "" {
			text += " "
		}
		b.WriteString(
			": " + text + "(" + clip(e.Domain) + " " + strconv.FormatInt(e.Code, 10) + ")",
		)
		if inner := e.innermost(); inner != "" && inner != e.Description {
			b.WriteString(": " + clip(inner))
		}
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether the code of the device, or of an error that caused it, stands for
// target: fs.ErrNotExist for an unknown app or process, ErrLocked, fs.ErrPermission,
// fs.ErrInvalid, or errors.ErrUnsupported for a feature that this version of iOS does
// not have.
func (e *Error) Is(target error) bool {
	if e.Domain == "" {
		return false
	}
	found := meaning(e.Domain, e.Code) == target
	e.causes(func(domain string, code int64, _ xpc.Dict) {
		found = found || meaning(domain, code) == target
	})
	return found
}

// causes calls f for the errors that caused a refusal, the outermost first.
func (e *Error) causes(f func(domain string, code int64, info xpc.Dict)) {
	info := e.Info
	for range maxUnderlying {
		next, ok := info.Dict(keyUnderlying)
		if !ok {
			return
		}
		domain, _ := next.String("domain")
		code, _ := next.Int("code")
		info, _ = next.Dict("userInfo")
		f(domain, code, info)
	}
}

// innermost returns the description of the innermost error.
func (e *Error) innermost() string {
	text := describe(e.Info, keyReason, keyDebug)
	e.causes(func(_ string, _ int64, info xpc.Dict) {
		if s := describe(info, keyDescription, keyReason, keyDebug); s != "" {
			text = s
		}
	})
	return text
}

func describe(info xpc.Dict, keys ...string) string {
	for _, key := range keys {
		if s, _ := info.String(key); s != "" {
			return s
		}
	}
	return ""
}

// meaning returns the general error that a code stands for, or nil if there is none.
func meaning(domain string, code int64) error {
	type known struct {
		domain string
		code   int64
	}
	switch (known{domain, code}) {
	case known{DomainAction, actionNotImplemented}, known{DomainCoreDevice, coreDeviceUnsupported}:
		return errors.ErrUnsupported
	case known{DomainCoreDevice, coreDeviceLocked}, known{domainOpenApp, openLocked}:
		return ErrLocked
	case known{domainOpenApp, openUnknown}, known{DomainPOSIX, posixENOENT},
		known{DomainPOSIX, posixESRCH}, known{DomainOSStatus, osStatusUnknownApp}:
		return fs.ErrNotExist
	case known{DomainAction, actionGated}, known{DomainPOSIX, posixEPERM},
		known{DomainPOSIX, posixEACCES}:
		return fs.ErrPermission
	case known{DomainPOSIX, posixEINVAL}, known{DomainCocoa, cocoaWrongValue},
		known{DomainCocoa, cocoaMissingValue}:
		return fs.ErrInvalid
	}
	return nil
}

// refuse returns an error that a device sends.
func refuse(domain string, code int64, description string, info ...xpc.Pair) *Error {
	return &Error{Domain: domain, Code: code, Description: description,
		Info: append(xpc.Dict{{Key: keyDescription, Value: description}}, info...)}
}

// because returns the pair that nests an error in the info of another.
func because(e *Error) xpc.Pair { return xpc.Pair{Key: keyUnderlying, Value: e.encode()} }

func (e *Error) encode() xpc.Dict {
	return xpc.Dict{
		{Key: "code", Value: e.Code}, {Key: "domain", Value: e.Domain},
		{Key: "userInfo", Value: e.Info},
	}
}

// decodeError decodes a refusal. A refusal without any data is valid.
func decodeError(d xpc.Dict) *Error {
	e := &Error{}
	e.Domain, _ = d.String("domain")
	e.Code, _ = d.Int("code")
	e.Info, _ = d.Dict("userInfo")
	e.Description = describe(e.Info, keyDescription, keyReason, keyDebug)
	if e.Domain == "" {
		e.Domain = "unknown domain"
	}
	return e
}

// failed returns the error of an operation with the given cause, which may be a
// refusal.
func failed(op, subject string, err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		switch e.Op {
		case op:
			return e
		case "":
			named := *e
			named.Op, named.Subject = op, subject
			return &named
		}
	}
	return &Error{Op: op, Subject: subject, Err: err}
}
