package virtual

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"net"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/rsd"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// shim is the suffix of the names of lockdown services in a tunnel.
const shim = ".shim.remote"

// handler adapts a function to the service.Handler interface.
type handler func(ctx context.Context, c net.Conn) error

func (h handler) Serve(ctx context.Context, c net.Conn) error { return h(ctx, c) }

// instruments returns the device side of Instruments. Faults may be set for single
// channels of it.
func (m *Machine) instruments() service.Handler {
	return &dvt.Device{
		Phone: m.phone, Fault: m.channelFault, Budget: m.budget, Logger: m.opts.Logger,
	}
}

// coreService returns a function that makes one service of the CoreDevice family. All
// services of a machine share one coredevice.Device, because they need to know of each
// other's connections.
func coreService(n service.Name) func(*Machine) service.Handler {
	return func(m *Machine) service.Handler { return m.core.Handler(n) }
}

// trustPairing returns the device side of remote pairing over lockdown.
func (m *Machine) trustPairing() service.Handler {
	return handler(func(ctx context.Context, c net.Conn) error {
		d := m.pairing(nil)
		d.Consent = nil
		return d.Serve(ctx, remotepair.NewStream(c))
	})
}

// tunnelPairing returns the device side of remote pairing in a tunnel. It opens no
// tunnels itself.
func (m *Machine) tunnelPairing() service.Handler { return m.pairingXPC(nil) }

func (m *Machine) trustedLockdown() service.Handler {
	return &lockdown.Device{
		Phone: m.phone, Trusted: true, Network: true, IdleTimeout: -1, Logger: m.opts.Logger,
	}
}

func (m *Machine) untrustedLockdown() service.Handler {
	return &lockdown.Device{
		Phone: m.phone, Network: true, IdleTimeout: -1, Logger: m.opts.Logger,
	}
}

// proxy returns the device side of CoreDeviceProxy.
func (m *Machine) proxy() service.Handler { return handler(m.serveTunnel) }

// serveTunnel serves a connection to CoreDeviceProxy, which becomes a tunnel.
func (m *Machine) serveTunnel(ctx context.Context, c net.Conn) error {
	return m.runTunnel(ctx,
		func(ctx context.Context, d *tunnel.Device) error { return d.Serve(ctx, c) })
}

// runTunnel serves a tunnel and registers it, so that DropTunnels can end it.
func (m *Machine) runTunnel(
	ctx context.Context, serve func(context.Context, *tunnel.Device) error,
) error {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	m.mu.Lock()
	m.lastTunnel++
	id := m.lastTunnel
	m.tunnels[id] = cut
	faults := m.tunnelFaults
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.tunnels, id)
		m.mu.Unlock()
	}()
	return serve(ctx, &tunnel.Device{
		Open: m.newInside().open, RSDPort: m.rsdPort(), Faults: faults.Faults,
		Logger: m.opts.Logger,
	})
}

// errCut is the reason why a tunnel ended that DropTunnels has cut.
var errCut = errors.New("tunnel was cut")

// DropTunnels cuts every tunnel to the device and returns how many there were.
func (m *Machine) DropTunnels() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, cut := range m.tunnels {
		cut(errCut)
	}
	return len(m.tunnels)
}

// Tunnels returns the number of tunnels to the device.
func (m *Machine) Tunnels() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tunnels)
}

// firstRemote returns the port of the first service in tunnels. It changes with
// every boot.
func (m *Machine) firstRemote() uint16 {
	sum := sha256.Sum256([]byte("ports " + m.phone.Clock.BootID()))
	return rsd.FirstPort + portsOfBoot + binary.BigEndian.Uint16(sum[:])%portSpread
}

// rsdPort returns the port of the RSD list inside tunnels.
func (m *Machine) rsdPort() uint16 { return m.firstRemote() - 1 }

// serveRSD serves a connection to a list of services. hosts has the rules for the hosts
// that read the list.
func (m *Machine) serveRSD(
	ctx context.Context, c net.Conn, list func() []rsd.Service, hosts *rsd.Hosts,
) {
	d := &rsd.Device{
		Phone: m.phone, Services: list, Hosts: hosts, Budget: m.budget, Logger: m.opts.Logger,
	}
	if err := d.Serve(ctx, m.misbehave(ctx, "rsd", c)); err != nil {
		m.log.Debug("RSD connection ended", "err", err)
	}
}

// serveRemote serves a connection to a service of an RSD list.
func (m *Machine) serveRemote(ctx context.Context, c net.Conn, s rsd.Service) {
	h, known := m.remote(s)
	m.log.Debug(serviceBegan, "service", known)
	c = m.misbehave(ctx, known, c)
	played := h != nil
	if !played {
		h = m.absent(s)
	}
	if s.Transport() == rsd.Checkin {
		h = &rsd.CheckinDevice{
			Service: s.Name, Handler: h, Refuse: m.refusal(s.Name, played), Logger: m.opts.Logger,
		}
	}
	if err := h.Serve(ctx, c); err != nil {
		m.log.Debug("service connection ended", "service", s.Name, "err", err)
	}
}

// remote returns the device side of a listed service, or nil if there is none,
// and the name of the service in SetFault.
func (m *Machine) remote(s rsd.Service) (service.Handler, string) {
	e := m.entry(func(n service.Name) bool { return n.Remote == s.Name })
	if e == nil {
		return nil, s.Name
	}
	return m.handler(e), e.faultName()
}

// refusal returns a function that decides whether a lockdown service may be used
// in a tunnel. All hosts there are paired. But a locked device starts only few
// services without an escrow bag.
func (m *Machine) refusal(name string, played bool) func(context.Context, []byte) error {
	return func(_ context.Context, escrow []byte) error {
		e := m.entry(func(n service.Name) bool { return n.Remote == name })
		open := e == nil || e.locked || !m.phone.Screen.Locked() ||
			m.phone.Screen.UnlockedSinceBoot() && m.knownBag(escrow)
		switch {
		case !played:
			return rsd.ErrInvalidService
		case !open:
			return rsd.ErrPasswordProtected
		}
		m.logAs("lockdownd", "com.apple.mobile.lockdown", "service", "starting "+name)
		return nil
	}
}

// knownBag reports whether a host that the phone trusts has this escrow bag.
func (m *Machine) knownBag(bag []byte) bool {
	for _, h := range m.phone.Trust.Hosts() {
		if len(bag) > 0 && subtle.ConstantTimeCompare(bag, h.EscrowBag) == 1 {
			return true
		}
	}
	return false
}

// coreDevice is the prefix of the names of the services of the CoreDevice family.
const coreDevice = "com.apple.coredevice."

// absent returns the device side of a listed service that the virtual device does
// not implement. If it speaks RemoteXPC, every request is answered with an error: that of an
// action that is not implemented in the CoreDevice family, and otherwise a dictionary with the
// errno of an operation that is not supported. A message that wants no reply ends the
// connection, as the end of a daemon does. All other services are closed at once.
func (m *Machine) absent(s rsd.Service) service.Handler {
	if s.Transport() != rsd.RemoteXPC {
		return handler(func(context.Context, net.Conn) error { return nil })
	}
	if strings.HasPrefix(s.Name, coreDevice) {
		return m.core.Unimplemented()
	}
	refuse := func(ctx context.Context, c *remotexpc.Conn) error {
		for {
			q, err := c.Receive(ctx)
			if err != nil {
				if c.Err() == nil && ctx.Err() == nil {
					continue // one message that is malformed
				}
				return err
			}
			if !q.WantsReply() {
				return nil
			}
			if err := c.Reply(ctx, q, unsupported(s.Name)); err != nil {
				return err
			}
		}
	}
	return &remotexpc.Device{
		Options: remotexpc.Options{Budget: m.budget, Logger: m.opts.Logger}, Handle: refuse,
	}
}

// unsupported is the answer of a service that the virtual device does not implement.
func unsupported(name string) xpc.Dict {
	const enotsup = 45 // on Darwin
	return xpc.Dict{
		{Key: "error", Value: int64(enotsup)},
		{Key: "errorDescription", Value: name + " is not implemented by the virtual device."},
	}
}

// pairing returns the device side of a remote pairing channel. listen opens the
// listeners for tunnels; it is nil where no tunnels can be opened.
func (m *Machine) pairing(
	listen func(context.Context, remotepair.ListenerRequest) (*remotepair.Listener, error),
) *remotepair.Device {
	return &remotepair.Device{
		Phone: m.phone, Peers: m.peers, Consent: m.phone.Trust.Ask, Listen: listen,
		Logger: m.opts.Logger,
	}
}

// pairingXPC returns the device side of remote pairing over RemoteXPC.
func (m *Machine) pairingXPC(
	listen func(context.Context, remotepair.ListenerRequest) (*remotepair.Listener, error),
) service.Handler {
	return &remotexpc.Device{
		Options: remotexpc.Options{
			Greeting:   remotepair.Greeting(),
			MaxMessage: remotepair.MaxMessage, Buffer: remotepair.MaxMessage, Budget: m.budget,
			Logger: m.opts.Logger,
		},
		Handle: func(ctx context.Context, c *remotexpc.Conn) error {
			return m.pairing(listen).Serve(ctx, remotepair.NewXPC(c))
		},
	}
}
