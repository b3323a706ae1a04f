// Package failure has the error type of all subjects of the phone.
package failure

import "strconv"

// Error is the error type of the phone model. Its cause is one of the Err values of the
// subject's package or of io/fs, and errors.Is finds it.
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

// Error returns a text such as `phone: open "/x": file does not exist`.
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
