package link

import "errors"

// ErrProtocol is found by errors.Is in every error that says that a peer does not
// keep to its protocol: see Malformed.
var ErrProtocol = errors.New("the peer does not keep to the protocol")

// Malformed returns an error for something that no peer may send. Packages make
// theirs once and wrap it in what they found.
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
