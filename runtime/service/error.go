package service

import (
	"strconv"

	"github.com/imdlua/imdlua/runtime/link"
)

// Code is the error code that a device sends when it refuses a request, such as
// "DeviceLocked". Devices send more codes than the packages of the services declare.
// errors.Is finds the code in an Error.
type Code string

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Errors makes the errors of one service. The package of the service declares one
// value:
//
//	var errs = service.Errors{
//		Service: "mobileimagemounter",
//		Codes:   map[service.Code]error{ErrUnknownCommand: errors.ErrUnsupported},
//	}
type Errors struct {
	// Service is the name of the package. The text of each error begins with it.
	Service string
	// Codes maps codes to the general errors that they match. For example, the code for
	// an app that the device does not have maps to fs.ErrNotExist.
	Codes map[Code]error
}

// New returns the error of an operation that failed for another reason than a refusal
// by the device.
func (s *Errors) New(op, subject string, err error) *Error {
	return &Error{Service: s.Service, Op: op, Subject: subject, Err: err}
}

// Refused returns the error of an operation that the device refused.
func (s *Errors) Refused(op, subject string, code Code, text string) *Error {
	return &Error{
		Service: s.Service, Op: op, Subject: subject, Code: code, Text: text,
		general: s.Codes[code],
	}
}

// Error is the failure of an operation of a service. If the device refused the
// operation, Code is set. Otherwise Err holds the cause.
type Error struct {
	Service string // name of the package, such as "installationproxy"
	Op      string // operation that failed, such as "lookup", "connect" or "serve"
	Subject string // object of the operation; may be empty
	Code    Code   // error code sent by the device; "" if the device did not refuse
	Text    string // description that the device sent with the code
	Number  int64  // error number that the device sent, such as -402620395; 0 if none
	Err     error  // cause, if the device did not refuse

	general error // general error that Code matches; nil if none
}

// Error returns a text such as
//
//	installationproxy: browse "User": NotEntitled: not for you (0xe8008015)
func (e *Error) Error() string {
	s := link.Attempt(e.Service, e.Op, e.Subject)
	if e.Code != "" {
		s += ": " + string(e.Code)
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Number != 0 {
		// These numbers are documented in their unsigned form.
		s += " (0x" + strconv.FormatUint(uint64(uint32(e.Number)), 16) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is reports whether target is the code or the general error that the code matches.
func (e *Error) Is(target error) bool {
	return e.Code != "" && (target == e.Code || target == e.general)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
