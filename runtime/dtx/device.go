package dtx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/link"
)

// Server is the device side. It publishes its capabilities without waiting for
// those of the host, because the DVT tools of idevice never send any. It serves the
// channels that the host opens. The zero value refuses all channels.
type Server struct {
	// Capabilities are published first. nil means DefaultCapabilities.
	Capabilities nskeyed.Dict
	// Channels holds, by identifier, a function that makes the Handler of a channel
	// that the host opens. A host may open several channels with one identifier;
	// each has its own Handler. The function must not wait. It keeps ch if it wants
	// to send events later.
	Channels map[string]func(ch *Channel) Handler
	// Control makes the Handler of channel 0. The accessibility audit daemon uses
	// only this channel. It may be nil.
	Control func(ch *Channel) Handler
	// Connected is called on a goroutine of its own for each connection. It is for
	// a device that calls its host. ctx ends with the connection. It may be nil.
	Connected func(ctx context.Context, c *Conn)
	// Hold is the longest time for which the first message waits until the host has
	// sent something. It is for services that use TLS for the handshake only: go-ios
	// loses bytes that arrive together with the end of the handshake. 200 ms is
	// enough for it.
	Hold time.Duration
	// Classes decode objects of classes that are not part of Foundation.
	Classes *nskeyed.Classes
	// Buffer is Options.Buffer for each connection; 0 is DefaultServerBuffer.
	Buffer int
	// Budget is Options.Budget, shared by all connections; nil means no bound.
	Budget *link.Budget
	// Logger is silent if nil.
	Logger *slog.Logger
}

// Serve serves one host until it disconnects or ctx ends. It returns nil if the
// host disconnects.
func (s *Server) Serve(ctx context.Context, nc net.Conn) error {
	if s.Hold > 0 {
		held, err := hold(ctx, nc, s.Hold)
		if err != nil || held == nil {
			_ = nc.Close()
			return err
		}
		nc = held
	}
	o := Options{
		Capabilities: s.Capabilities, Classes: s.Classes, Accept: s.accept,
		Buffer: s.Buffer, Budget: s.Budget, Logger: s.Logger,
	}
	if o.Buffer <= 0 {
		o.Buffer = DefaultServerBuffer
	}
	if s.Control != nil {
		o.Control = func(ch *Channel) ChannelOptions {
			return ChannelOptions{Handler: s.Control(ch)}
		}
	}
	return s.run(ctx, New(nc, o))
}

func (s *Server) run(ctx context.Context, c *Conn) error {
	if s.Connected != nil {
		c.control.Go(func(ctx context.Context) { s.Connected(ctx, c) })
	}
	var err error
	select {
	case <-c.Done():
		err = c.Err()
		if errors.Is(err, ErrPeerClosed) {
			err = nil
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = c.Close()
	if err != nil {
		return &Error{Op: "serve", Err: err}
	}
	return nil
}

// accept makes the handler of a channel. No program depends on the text of the
// refusal of an unknown identifier.
func (s *Server) accept(ch *Channel) (ChannelOptions, error) {
	maker := s.Channels[ch.Identifier()]
	if maker == nil {
		return ChannelOptions{}, UnknownChannel(ch.Identifier())
	}
	return ChannelOptions{Handler: maker(ch)}, nil
}

// hold waits at most d for the first byte of the host and returns a connection
// that still has it. It returns nil if the host disconnects before it.
func hold(ctx context.Context, nc net.Conn, d time.Duration) (net.Conn, error) {
	var first [1]byte
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	release := link.GuardRead(wait, nc)
	n, err := nc.Read(first[:])
	err = release(err)
	switch {
	case n == 1:
		return &prefixed{Conn: nc, first: first[:]}, nil
	case ctx.Err() != nil:
		return nil, &Error{Op: "serve", Err: ctx.Err()}
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		return nc, nil
	case err == io.EOF:
		return nil, nil
	}
	return nil, &Error{Op: "serve", Err: fmt.Errorf("first byte: %w", err)}
}

// prefixed is a connection whose first bytes were read already. Read returns them
// again.
type prefixed struct {
	net.Conn
	first []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// Methods is a Handler that holds a function for each selector. It refuses
// unknown selectors as a device does, and ignores messages that are not calls.
type Methods map[string]func(ctx context.Context, args Args) (any, error)

// Handle calls the function of the selector.
func (m Methods) Handle(ctx context.Context, in *Incoming) (any, error) {
	if in.Type != Dispatch {
		return nil, nil
	}
	f := m[in.Selector]
	if f == nil {
		return nil, UnknownSelector(in.Selector)
	}
	args, err := in.Args()
	if err != nil {
		return nil, Refuse(Domain, 1, err.Error())
	}
	return f(ctx, args)
}
