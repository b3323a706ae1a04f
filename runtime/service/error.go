package service

import (
	"strconv"

	"github.com/imdlua/imdlua/runtime/link"
)

// Code is the word that a device refuses with, such as "DeviceLocked". Devices know more of
// them than the packages of the services name. errors.Is finds it in an Error.
type Code string

// Error returns the code itself.
func (c Code) Error() string { return string(c) }

// Errors makes the errors of one service. The package of the service declares it:
//
//	var errs = service.Errors{
//		Service: "mobileimagemounter",
//		Codes:   map[service.Code]error{ErrUnknownCommand: errors.ErrUnsupported},
//	}
type Errors struct {
	// Service is the name of the package, with which each text begins.
	Service string
	// Codes says which general error a code is, if it is one: fs.ErrNotExist for the code
	// of an app that the device does not have.
	Codes map[Code]error
}

// New returns the error of an operation that failed although the device did not refuse it.
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

// Error is the failure of a service. Either Code is what the device refused with, or Err is
// the cause.
type Error struct {
	Service string // name of the package: "installationproxy"
	Op      string // what was tried: "lookup", "connect", "serve"
	Subject string // on what, "" if that needs no saying
	Code    Code   // the device's refusal, "" if it did not refuse
	Text    string // what the device says about its refusal
	Number  int64  // the device's number of its refusal, 0 if there is none: -402620395
	Err     error  // the cause of other failures

	general error // what Code is in general, nil if that is nothing in particular
}

// Error says `installationproxy: browse "User": NotEntitled: not for you (0xe8008015)`.
func (e *Error) Error() string {
	s := link.Attempt(e.Service, e.Op, e.Subject)
	if e.Code != "" {
		s += ": " + string(e.Code)
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Number != 0 {
		// The numbers are known by their unsigned form.
		s += " (0x" + strconv.FormatUint(uint64(uint32(e.Number)), 16) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is finds the code and the general error that it is.
func (e *Error) Is(target error) bool {
	return e.Code != "" && (target == e.Code || target == e.general)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
