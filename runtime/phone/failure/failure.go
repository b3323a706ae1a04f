// Package failure has the error type that all subjects of the phone share.
package failure

import "strconv"

// Error is every failure of the model of the phone: what was tried, on what, and why.
// The cause is one of the Err values of the subject's package or of io/fs and is
// found by errors.Is.
type Error struct {
	// Op is what was tried, in lower case: "open", "set value", "pair".
	Op string
	// Subject is what it was tried on: a path, a key, a bundle identifier.
	Subject string
	// Err is the cause.
	Err error
}

// Wrap returns an Error with the cause err, or nil if err is nil.
func Wrap(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Subject: subject, Err: err}
}

// Error says `phone: open "/x": file does not exist`.
func (e *Error) Error() string {
	s := "phone: " + e.Op
	if e.Subject != "" {
		s += " " + strconv.Quote(e.Subject)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
