// Package service is the contract between a device's services and the rest:
// a service states its names, an Opener finds the route to it, a Handler is the
// side that the virtual device plays. A service's client needs nothing but the
// net.Conn it is given.
package service

import (
	"context"
	"io"
	"net"
)

// Name says how a service is reached.
type Name struct {
	Lockdown string // name for lockdown's StartService; "" when it has none
	Remote   string // name in the RSD list of a tunnel; "" when it has none
	Checkin  bool   // over RSD an RSDCheckin exchange comes first (".shim.remote" names)

	// HandshakeOnlyTLS: over lockdown TLS ends with its handshake and plain
	// text follows.
	HandshakeOnlyTLS bool
	// NeedsDDI: the service exists only while a developer disk image is
	// mounted.
	NeedsDDI bool
	// Escrow: over lockdown the pairing's escrow bag is sent along, so that
	// the service starts on a locked device.
	Escrow bool
}

// String returns the name that people know the service by.
func (n Name) String() string {
	if n.Lockdown != "" {
		return n.Lockdown
	}
	return n.Remote
}

// Opener opens a connection to a service, whatever the route. *device.Device is
// one. The connection lives until it is closed; ctx bounds the opening alone.
type Opener interface {
	Open(ctx context.Context, n Name) (net.Conn, error)
}

// Randomizer is an Opener that says where random bytes of its services come from, so
// that what was recorded can be replayed to the byte.
type Randomizer interface {
	Rand() io.Reader // nil is crypto/rand
}

// Rand returns where the random bytes of a service come from; nil is crypto/rand.
func Rand(o Opener) io.Reader {
	if r, ok := o.(Randomizer); ok {
		return r.Rand()
	}
	return nil
}

// Handler is the device side of a service: it serves one connection until the
// peer leaves or ctx ends. The caller closes c.
type Handler interface {
	Serve(ctx context.Context, c net.Conn) error
}
