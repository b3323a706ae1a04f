package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// probeTimeout bounds a Probe whose context has no deadline.
	probeTimeout = 5 * time.Second
	// echoPatience is how long a Probe waits for the answer to a ping before it also
	// tries a connection, because a device may not answer pings.
	echoPatience = time.Second
)

// Probe reports whether the device still answers inside the tunnel. It returns nil if
// the device has just answered. It sends a ping and, if that is not answered, connects
// to the port of RSD. If the carrier is silent, Probe returns an *Error with
// context.DeadlineExceeded after ctx's deadline, or after five seconds. It does not end
// the tunnel.
func (t *Tunnel) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if e, ok := t.end.(*inside); ok {
		patience, done := context.WithTimeout(ctx, echoPatience)
		err := e.ping(patience, t.device)
		done()
		if err == nil {
			return nil
		}
		if e.downErr() != nil || ctx.Err() != nil {
			return &Error{Op: "probe", Subject: t.device.String(), Err: err}
		}
	}
	c, err := t.Dial(ctx, t.rsdPort)
	if err == nil {
		return c.Close()
	}
	if link.Is(err, syscall.ECONNREFUSED) {
		return nil // a refusal is an answer, too
	}
	var e *Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return &Error{Op: "probe", Subject: t.device.String(), Err: err}
}

// ping sends an ICMPv6 echo request and waits for the answer.
func (s *Stack) ping(ctx context.Context, to netip.Addr) error {
	done, err := s.begin()
	if err != nil {
		return err
	}
	defer done()
	queue := new(waiter.Queue)
	ep, terr := s.s.NewEndpoint(icmp.ProtocolNumber6, ipv6.ProtocolNumber, queue)
	if terr != nil {
		return stackError(terr)
	}
	defer ep.Close()
	entry, ready := waiter.NewChannelEntry(
		waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr,
	)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	if terr := ep.Connect(fullAddress(netip.AddrPortFrom(to, 0))); terr != nil {
		return stackError(terr)
	}
	echo := make([]byte, header.ICMPv6MinimumSize)
	header.ICMPv6(echo).SetType(header.ICMPv6EchoRequest)
	if _, terr := ep.Write(bytes.NewReader(echo), tcpip.WriteOptions{}); terr != nil {
		return stackError(terr)
	}
	for {
		var answer bytes.Buffer
		_, terr := ep.Read(&answer, tcpip.ReadOptions{})
		if terr == nil {
			return nil
		}
		if _, wait := terr.(*tcpip.ErrWouldBlock); !wait {
			return stackError(terr)
		}
		select {
		case <-ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.down:
			return s.downErr()
		}
	}
}
