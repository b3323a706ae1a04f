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

// Server is the side that a device plays. It publishes its capabilities without
// waiting for those of the host, which some hosts never send, and serves the
// channels that the host opens. The zero value refuses them all.
type Server struct {
	// Capabilities are published first. nil means DefaultCapabilities.
	Capabilities nskeyed.Dict
	// Channels make a Handler for a channel that the host opens, by identifier.
	// A host may open an identifier more than once: each channel has its own. A
	// maker must not wait, and keeps ch if it means to send events later.
	Channels map[string]func(ch *Channel) Handler
	// Control makes the Handler of channel 0, on which the accessibility audit
	// daemon does everything. May be nil.
	Control func(ch *Channel) Handler
	// Connected runs on its own goroutine for each connection until ctx ends,
	// which is when the connection does: for a device that calls its host. May
	// be nil.
	Connected func(ctx context.Context, c *Conn)
	// Hold delays what is sent first until the host has sent something, or so
	// much time passed. Where TLS ends with the handshake, some hosts lose what
	// arrives along with the end of it; 200 ms suits them.
	Hold time.Duration
	// Classes decode objects beside those of Foundation.
	Classes *nskeyed.Classes
	// Buffer is Options.Buffer for each connection; 0 is DefaultServerBuffer.
	Buffer int
	// Budget bounds what all hosts together send that is kept; nil means no bound.
	Budget *link.Budget
	// Logger is silent if nil.
	Logger *slog.Logger
}

// Serve serves one host until it leaves, which is not an error, or ctx ends.
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
		if err = c.Err(); errors.Is(err, ErrPeerClosed) {
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

// accept makes the handler of a channel. The text for an unknown identifier is
// free, programs show it at most.
func (s *Server) accept(ch *Channel) (ChannelOptions, error) {
	maker := s.Channels[ch.Identifier()]
	if maker == nil {
		return ChannelOptions{}, UnknownChannel(ch.Identifier())
	}
	return ChannelOptions{Handler: maker(ch)}, nil
}

// hold waits for the host's first byte and puts it back. It returns nil if the
// host left without one.
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

// prefixed is a connection of which the first bytes were read already.
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

// Methods is a Handler of calls by selector. A selector that is not there is
// refused as a device does; what is not a call is ignored.
type Methods map[string]func(ctx context.Context, args Args) (any, error)

// Handle calls the method.
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
