// Package service defines how the services of a device are named, opened and served. A
// service states its Name, an Opener finds the route to it, and a Handler implements
// the device side for the virtual device. A client of a service needs only the net.Conn
// that the Opener returns.
package service

import (
	"context"
	"io"
	"net"
)

// Name identifies a service and says how it is reached.
type Name struct {
	Lockdown string // service name in lockdown's StartService request; "" if it has none
	Remote   string // service name in the RSD list of a tunnel; "" if it has none
	Checkin  bool   // an RSDCheckin exchange comes first over RSD, as for names with ".shim.remote"

	// HandshakeOnlyTLS says that over lockdown the connection uses TLS for the
	// handshake only. The data after the handshake is plain text.
	HandshakeOnlyTLS bool
	// NeedsDDI says that the service exists only while a developer disk image is
	// mounted.
	NeedsDDI bool
	// Escrow says that lockdown's StartService request carries the escrow bag of the
	// pairing record, so that the service starts on a locked device.
	Escrow bool
}

// String returns the lockdown name of the service, or its RSD name if it has no other.
func (n Name) String() string {
	if n.Lockdown != "" {
		return n.Lockdown
	}
	return n.Remote
}

// Opener opens connections to services over whichever route reaches the device.
// *device.Device implements it. The context bounds Open only; the connection lives
// until it is closed.
type Opener interface {
	Open(ctx context.Context, n Name) (net.Conn, error)
}

// Connect opens a service on a device and returns what make makes of the connection. Op
// of its errors is "connect".
func Connect[C any](
	ctx context.Context, o Opener, n Name, errs *Errors, make func(net.Conn) C,
) (C, error) {
	c, err := o.Open(ctx, n)
	if err != nil {
		var none C
		return none, errs.New("connect", "", err)
	}
	return make(c), nil
}

// Randomizer is an Opener that chooses the source of random bytes for its services. A
// fixed source makes it possible to replay a recorded exchange byte for byte.
type Randomizer interface {
	Rand() io.Reader // nil means crypto/rand
}

// Rand returns the source of random bytes for the services that o opens. It returns
// nil, which means crypto/rand, unless o is a Randomizer that chooses another source.
func Rand(o Opener) io.Reader {
	if r, ok := o.(Randomizer); ok {
		return r.Rand()
	}
	return nil
}

// Handler is the device side of a service. Serve serves one connection until the peer
// disconnects or ctx ends. The caller closes c.
type Handler interface {
	Serve(ctx context.Context, c net.Conn) error
}
