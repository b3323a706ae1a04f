package link

import (
	"errors"
	"strconv"
)

// ErrProtocol matches every error about a peer that violates its protocol; see
// Malformed.
var ErrProtocol = errors.New("the peer does not keep to the protocol")

// Malformed returns an error for something that no peer may send. A package declares
// its errors once and wraps them with the details.
func Malformed(text string) error { return Cause(text, ErrProtocol) }

// Cause returns an error with a text of its own that is a general error as well: errors.Is
// finds general in it. Packages make theirs once.
func Cause(text string, general error) error { return &cause{text, general} }

type cause struct {
	text    string
	general error
}

func (c *cause) Error() string { return c.text }

func (c *cause) Unwrap() error { return c.general }

// Attempt returns the beginning of an error's text: the package, what it tried, and on what
// if that is not empty, as in `afc: open "/x"`.
func Attempt(pkg, op, subject string) string {
	s := pkg + ": " + op
	if subject != "" {
		s += " " + strconv.Quote(subject)
	}
	return s
}

// Failure returns the text of an error: attempt, which Attempt returns, the code and the
// detail that a peer refused with, and the cause. What is empty or nil is left out.
func Failure(attempt, code, detail string, cause error) string {
	if code != "" {
		attempt += ": " + Clip(code)
	}
	if detail != "" {
		attempt += " (" + Clip(detail) + ")"
	}
	if cause != nil {
		attempt += ": " + cause.Error()
	}
	return attempt
}

// Causes returns code and cause without what is empty or nil, for the method Unwrap of an
// error that has both.
func Causes[C interface {
	~string
	error
}](code C, cause error) []error {
	var errs []error
	if code != "" {
		errs = append(errs, code)
	}
	if cause != nil {
		errs = append(errs, cause)
	}
	return errs
}
