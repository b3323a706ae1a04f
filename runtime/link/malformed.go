package link

import "errors"

// ErrProtocol is found by errors.Is in every error that says that a peer does not
// keep to its protocol: see Malformed.
var ErrProtocol = errors.New("the peer does not keep to the protocol")

// Malformed returns an error for something that no peer may send. Packages make
// theirs once and wrap it in what they found.
func Malformed(text string) error { return &malformed{text} }

type malformed struct{ text string }

func (m *malformed) Error() string { return m.text }

// Is matches ErrProtocol.
func (m *malformed) Is(target error) bool { return target == ErrProtocol }
