package tunnel

import (
	"context"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
)

// ServeQUIC serves the device's "quic" listener on a UDP socket. Every connection with
// the right key is a tunnel. It returns when ctx ends or the socket fails, after the
// last tunnel has ended, and closes the socket.
func (d *Device) ServeQUIC(ctx context.Context, socket net.PacketConn, k Keys) error {
	defer socket.Close()
	config, err := k.deviceTLS()
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	transport := &quic.Transport{Conn: quietSocket{PacketConn: socket}}
	defer transport.Close()
	listener, err := transport.Listen(config, quicConfig())
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	defer listener.Close()
	log := Options{Logger: d.Logger}.logger()
	ctx, cancel := context.WithCancel(ctx)
	var tunnels sync.WaitGroup
	defer tunnels.Wait()
	defer cancel()
	for {
		conn, err := listener.Accept(ctx)
		if err != nil {
			return &Error{Op: "serve", Err: err}
		}
		tunnels.Go(func() {
			if err := d.serveQUIC(ctx, conn); err != nil && ctx.Err() == nil {
				log.Debug("failed", "peer", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

func (d *Device) serveQUIC(ctx context.Context, conn *quic.Conn) error {
	plain := &datagrams{conn: conn}
	defer plain.Close()
	s, q, err := hearQUIC(ctx, conn)
	if err != nil {
		return err
	}
	if d.Mute {
		select {
		case <-ctx.Done():
		case <-conn.Context().Done():
		}
		return nil
	}
	var c carrier = plain
	if d.CutAfter > 0 {
		c = &cutCarrier{carrier: plain, budget: &budget{left: d.CutAfter}}
	}
	return d.run(ctx, c, q, d.most(QUICMTU), answerOn(ctx, s))
}

// hearQUIC reads the host's part of the handshake on its first stream. The host may
// close its side of the stream afterwards, which has no meaning.
func hearQUIC(ctx context.Context, conn *quic.Conn) (*quicStream, request, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, request{}, err
	}
	s := &quicStream{Stream: stream, conn: conn}
	q, err := hear(ctx, s, s)
	if err != nil {
		return nil, request{}, err
	}
	return s, q, nil
}
