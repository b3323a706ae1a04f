package device

import (
	"errors"

	"github.com/imdlua/imdlua/runtime/link"
)

// Explain returns the short stable code that scripts see for an error, and a hint that says
// what its reader can do about it, which may be empty. The code is empty for errors that it
// does not know.
type Explain func(err error) (code, hint string)

// Reason is the code and the hint of one error.
type Reason struct {
	Err        error
	Code, Hint string
}

// Reasons explains the errors of a list. The first that an error is decides.
func Reasons(list ...Reason) Explain {
	return func(err error) (code, hint string) {
		for _, r := range list {
			if link.Is(err, r.Err) {
				return r.Code, r.Hint
			}
		}
		return "", ""
	}
}

// Only explains errors of one type, as explain does, and no others.
func Only[E error](explain Explain) Explain {
	return func(err error) (code, hint string) {
		var e E
		if !errors.As(err, &e) {
			return "", ""
		}
		return explain(e)
	}
}

// first returns what the first of list says that knows err.
func first(list []Explain, err error) (code, hint string) {
	for _, explain := range list {
		code, hint = explain(err)
		if code != "" {
			return code, hint
		}
	}
	return "", ""
}
