package rsd

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/remotexpc"
)

// Proxy serves a list of services in place of the device, so that they can be offered
// on other ports than the device's. One Proxy serves any number of connections.
type Proxy struct {
	// Peer returns the description and list to send, and is called for each connection;
	// it must be set. Its result is not changed. An error ends the connection.
	Peer func(ctx context.Context) (*Peer, error)
	// Logger logs nothing if it is nil.
	Logger *slog.Logger

	once   sync.Once
	budget *link.Budget // of all connections
}

// Serve sends the list when the connection is established, and answers heartbeats until
// the host leaves, which is not an error, or ctx ends. The caller closes c.
func (p *Proxy) Serve(ctx context.Context, c net.Conn) error {
	p.once.Do(func() { p.budget = link.NewBudget(proxyBudget) })
	x := &remotexpc.Device{Options: smallRequests(p.budget, p.Logger), Handle: p.handle}
	if err := x.Serve(ctx, c); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Op: "serve", Err: err}
	}
	return nil
}

func (p *Proxy) handle(ctx context.Context, c *remotexpc.Conn) error {
	peer, err := p.Peer(ctx)
	if err != nil {
		return err
	}
	if err := c.Send(ctx, peer.encode()); err != nil {
		return err
	}
	for {
		m, err := c.Receive(ctx)
		switch {
		case err == nil:
			t, _ := m.Body.String(keyMessageType)
			if t != typeHeartbeat || !m.WantsReply() {
				continue // the host's handshake
			}
			if err := c.Reply(ctx, m, m.Body); err != nil {
				return err
			}
		case c.Err() != nil || ctx.Err() != nil:
			return err
		}
	}
}

// encode returns the handshake of a device, its keys in order.
func (p *Peer) encode() xpc.Dict {
	services := make(xpc.Dict, 0, len(p.Services))
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		services = append(services, xpc.Pair{Key: name, Value: s.encode()})
	}
	properties := p.Properties.Dict
	if properties == nil {
		properties = xpc.Dict{}
	}
	return xpc.Dict{
		{Key: keyMessageType, Value: typeHandshake},
		{Key: keyProtocolVersion, Value: p.ProtocolVersion},
		{Key: keyProperties, Value: properties},
		{Key: keyServices, Value: services},
		{Key: keyUUID, Value: p.UUID},
	}
}
