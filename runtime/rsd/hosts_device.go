package rsd

import (
	"context"
	"errors"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone"
)

// singleListSince is the version of iOS since which remoted has the rules of Hosts.
const singleListSince = 2702

// SingleList reports whether remoted of a phone has the rules of Hosts.
func SingleList(p *phone.Phone) bool { return p.Identity.VersionNumber() >= singleListSince }

// Hosts has the rules of remoted since iOS 27.2 for the hosts that read one list. A list
// belongs to a tunnel or to a network interface.
//
// Only one host is connected at a time: a new connection replaces the older one. remoted
// remembers the UUID in the last host's handshake, also when that host has left. If the
// UUID of the next handshake is different, remoted closes the listeners of all services,
// so that the ports that hosts have read refuse connections. It opens other ports and
// sends the list again. Connections to services stay open.
type Hosts struct {
	// Move closes the listeners of the services and opens others. The list has their
	// ports from then on. Move must be set, and must not use the Hosts.
	Move func()

	mu      sync.Mutex
	last    xpc.UUID // of the last handshake
	known   bool     // whether there was a handshake
	current *visit   // the host that is connected, or the last one
}

// visit is a connection of a host.
type visit struct {
	hosts *Hosts
	end   context.CancelCauseFunc
}

// errReplaced is the reason for the end of a connection after a newer one was made.
var errReplaced = errors.New("replaced by a newer connection")

// enter ends the connection of the host before, and returns a context that ends when
// the next host connects.
func (h *Hosts) enter(ctx context.Context) (context.Context, *visit) {
	ctx, end := context.WithCancelCause(ctx)
	v := &visit{hosts: h, end: end}
	h.mu.Lock()
	old := h.current
	h.current = v
	h.mu.Unlock()
	if old != nil {
		old.end(errReplaced)
	}
	return ctx, v
}

// leave ends a visit.
func (v *visit) leave() { v.end(nil) }

// greet takes the handshake of a host and reports whether the ports have changed. The
// handshake of a host that was replaced meanwhile does not count.
func (v *visit) greet(id xpc.UUID) (moved bool) {
	h := v.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != v {
		return false
	}
	moved = h.known && h.last != id
	h.last, h.known = id, true
	if moved {
		h.Move()
	}
	return moved
}
