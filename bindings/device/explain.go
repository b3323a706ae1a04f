package device

import (
	"errors"

	"github.com/imdlua/imdlua/runtime/link"
)

// Explain returns the short stable code that scripts see for an error, and a hint that says
// what the user can do about it. The hint may be empty. The code is empty if Explain does not
// know the error.
type Explain func(err error) (code, hint string)

// Reason holds the code and the hint for one error.
type Reason struct {
	Err        error
	Code, Hint string
}

// Reasons returns an Explain for the errors of a list. If several entries match an error, the
// first one is used.
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

// Only returns an Explain that calls explain for errors of type E and knows no others.
func Only[E error](explain Explain) Explain {
	return func(err error) (code, hint string) {
		var e E
		if !errors.As(err, &e) {
			return "", ""
		}
		return explain(e)
	}
}

// first returns the explanation of the first function in list that knows err.
func first(list []Explain, err error) (code, hint string) {
	for _, explain := range list {
		code, hint = explain(err)
		if code != "" {
			return code, hint
		}
	}
	return "", ""
}
