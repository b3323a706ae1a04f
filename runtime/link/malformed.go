package link

import "errors"

// ErrProtocol matches every error about a peer that violates its protocol; see
// Malformed.
var ErrProtocol = errors.New("the peer does not keep to the protocol")

// Malformed returns an error for something that no peer may send. A package declares
// its errors once and wraps them with the details.
func Malformed(text string) error { return &malformed{text} }

type malformed struct{ text string }

func (m *malformed) Error() string { return m.text }

// Is matches ErrProtocol.
func (m *malformed) Is(target error) bool { return target == ErrProtocol }
