package tunneld

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
)

// Reached is a tunnel that other programs on this computer can dial into. No API lists
// it.
type Reached struct {
	// Address and Port are those of the list of services. All services are at the same
	// address, on the ports that the list has.
	Address netip.Addr
	Port    uint16

	server *Server
}

// Reach makes a tunnel reachable in the way that Server does, until Close or the end of
// the tunnel. ctx bounds the call only. A nil logger discards its records.
func Reach(ctx context.Context, t Tunnel, logger *slog.Logger) (*Reached, error) {
	s := &Server{Manager: single{t}, Logger: logger}
	r := s.newRun()
	r.python = true
	r.ctx, r.cancel = context.WithCancel(context.Background())
	s.current = r
	go func() {
		<-r.ctx.Done()
		r.end(nil)
	}()
	reached := &Reached{server: s}
	e := r.await(ctx, t)
	if e == nil {
		reached.Close()
		err := context.Cause(ctx)
		if err == nil {
			err = errors.New("its list of services cannot be read, or no port can be listened on")
		}
		return nil, &Error{Op: "reach", Address: t.Address.String(), Err: err}
	}
	f := e.front()
	reached.Address, reached.Port = f.address, f.rsdPort
	return reached, nil
}

// Close closes the listeners and every connection into the tunnel.
func (r *Reached) Close() error { return r.server.Close() }

// single is a Manager of one tunnel that it does not own.
type single struct{ tunnel Tunnel }

func (m single) Tunnels() []Tunnel {
	if m.tunnel.over() {
		return nil
	}
	return []Tunnel{m.tunnel}
}

func (m single) Start(context.Context, string, string, string) (Tunnel, error) {
	return Tunnel{}, errors.ErrUnsupported
}

func (m single) Cancel(string) bool  { return false }
func (m single) Restart(string) bool { return false }
func (m single) Clear()              {}
func (m single) Ready() bool         { return true }
