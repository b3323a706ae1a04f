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
	// DomainAction is of the invocations themselves: 2 not implemented, 3
	// failed, 5 not permitted.
	DomainAction = "CoreDevice.ActionError"
	// DomainCoreDevice is of CoreDevice: 1001 not supported, 10002 launch
	// failed, 10003 locked.
	DomainCoreDevice = "com.apple.dt.CoreDeviceError"
	// DomainCocoa is of inputs that could not be decoded: 4864 wrong, 4865
	// missing.
	DomainCocoa = "NSCocoaErrorDomain"
	// DomainPOSIX has the numbers of errno.
	DomainPOSIX = "NSPOSIXErrorDomain"
	// DomainOSStatus has old numbers, -10814 for an unknown app.
	DomainOSStatus = "NSOSStatusErrorDomain"

	domainOpenService = "FBSOpenApplicationServiceErrorDomain" // 1 denied
	domainOpenApp     = "FBSOpenApplicationErrorDomain"        // 4 unknown app, 7 locked
)

// Codes of those domains.
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

	// maxUnderlying bounds how deep errors nest.
	maxUnderlying = 8
)

// Error is every failure of the package.
type Error struct {
	// Op is the feature or action without its prefix, or "connect", "open
	// terminal", "read", "write", "serve".
	Op string
	// Subject is what it was tried on: a bundle identifier, a PID, a path.
	Subject string
	// Domain and Code are the device's, when it refused. Description is its
	// text.
	Domain      string
	Code        int64
	Description string
	// Info is all that the device says about a refusal; errors that caused it
	// are nested under NSUnderlyingError.
	Info xpc.Dict
	// Err is the cause of other failures.
	Err error
}

// Error says `coredevice: launchapplication "com.x": The application failed to
// launch. (com.apple.dt.CoreDeviceError 10002): The operation couldn’t be ...`.
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

// Is finds what the device's codes mean, also those of the errors behind its
// own: fs.ErrNotExist for an unknown app or process, ErrLocked, fs.ErrPermission,
// fs.ErrInvalid, and errors.ErrUnsupported for a feature that this version of iOS
// has not.
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

// causes calls f for the errors behind a refusal, from the outside in.
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

// innermost is what the error that all began with says.
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

// meaning says what a code is in general, nil if it is nothing in particular.
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

// refuse makes the error that a device sends.
func refuse(domain string, code int64, description string, info ...xpc.Pair) *Error {
	return &Error{Domain: domain, Code: code, Description: description,
		Info: append(xpc.Dict{{Key: keyDescription, Value: description}}, info...)}
}

// because nests an error in another's info.
func because(e *Error) xpc.Pair { return xpc.Pair{Key: keyUnderlying, Value: e.encode()} }

func (e *Error) encode() xpc.Dict {
	return xpc.Dict{
		{Key: "code", Value: e.Code}, {Key: "domain", Value: e.Domain},
		{Key: "userInfo", Value: e.Info},
	}
}

// decodeError reads a refusal. One that says nothing is a refusal all the same.
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

// failed makes the error of an operation out of its cause, which may be a
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
