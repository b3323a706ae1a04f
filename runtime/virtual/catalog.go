package virtual

import (
	"context"
	"net"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/crashreportcopymobile"
	"github.com/imdlua/imdlua/runtime/service/crashreportmover"
	"github.com/imdlua/imdlua/runtime/service/diagnosticsrelay"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/service/heartbeat"
	"github.com/imdlua/imdlua/runtime/service/housearrest"
	"github.com/imdlua/imdlua/runtime/service/installationproxy"
	"github.com/imdlua/imdlua/runtime/service/mobileimagemounter"
	"github.com/imdlua/imdlua/runtime/service/notificationproxy"
	"github.com/imdlua/imdlua/runtime/service/ostracerelay"
	"github.com/imdlua/imdlua/runtime/service/syslogrelay"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// entry is one service of the virtual device.
type entry struct {
	name    service.Name
	handler func(p *phone.Phone) service.Handler
	open    bool // may be started without a session
	locked  bool // may be started while the device is locked, without an escrow bag

	// offered says whether this phone has the service over lockdown; nil = all
	// phones have. What a tunnel offers stands in the table of package rsd.
	offered func(p *phone.Phone) bool
}

// catalog lists the services of the virtual device that need nothing but the
// phone: a new one is one line here. The others are in tunnel.go, ownEntries.
var catalog = []entry{
	{name: afc.Service, handler: func(p *phone.Phone) service.Handler {
		return &afc.Device{FS: p.Media(), Model: p.ProductType()}
	}},
	{
		name:    housearrest.Service,
		handler: func(p *phone.Phone) service.Handler { return &housearrest.Device{Phone: p} },
	},
	{name: crashreportcopymobile.Service, handler: func(p *phone.Phone) service.Handler {
		return &crashreportcopymobile.Device{Phone: p}
	}},
	{
		name:    crashreportmover.Service,
		handler: func(p *phone.Phone) service.Handler { return &crashreportmover.Device{Phone: p} },
	},
	{
		name:    syslogrelay.Service,
		handler: func(p *phone.Phone) service.Handler { return &syslogrelay.Device{Phone: p} },
	},
	{
		name:    ostracerelay.Service,
		handler: func(p *phone.Phone) service.Handler { return &ostracerelay.Device{Phone: p} },
	},
	{
		name:    diagnosticsrelay.Service,
		handler: func(p *phone.Phone) service.Handler { return &diagnosticsrelay.Device{Phone: p} },
		locked:  true,
	},
	{name: notificationproxy.Service, handler: func(p *phone.Phone) service.Handler {
		return &notificationproxy.Device{Phone: p}
	}, locked: true},
	{name: notificationproxy.Insecure, handler: func(p *phone.Phone) service.Handler {
		return &notificationproxy.Device{Phone: p, Insecure: true}
	}, open: true, locked: true},
	{
		name:    heartbeat.Service,
		handler: func(p *phone.Phone) service.Handler { return &heartbeat.Device{Phone: p} },
		locked:  true,
	},
	{name: installationproxy.Service, handler: func(p *phone.Phone) service.Handler {
		return &installationproxy.Device{Phone: p}
	}},
	{name: mobileimagemounter.Service, handler: func(p *phone.Phone) service.Handler {
		return &mobileimagemounter.Device{Phone: p}
	}, locked: true},
}

// oldDeveloper says whether a phone has them over lockdown: from iOS 17 on they
// are inside the tunnel alone.
func oldDeveloper(p *phone.Phone) bool { return p.VersionNumber() < 1700 && p.DeveloperServices() }

// Services returns the lockdown names of all services that there are virtual
// devices for.
func Services() []string {
	names := []string{dvt.Service.Lockdown, tunnel.LockdownService, remotepair.LockdownService}
	for _, e := range catalog {
		names = append(names, e.name.Lockdown)
	}
	return names
}

// Services returns the lockdown names of the services that the device offers.
func (m *Machine) Services() []string {
	var names []string
	for _, e := range append(catalog[:len(catalog):len(catalog)], m.own...) {
		if e.name.Lockdown != "" && (e.offered == nil || e.offered(m.phone)) {
			names = append(names, e.name.Lockdown)
		}
	}
	return names
}

// startService answers lockdown's StartService: a port on which the service
// waits for one connection. The port outlives the lockdown connection, so it
// remembers whose certificates the TLS handshake has to match.
func (m *Machine) startService(
	_ context.Context, name string, host *phone.Host, escrow []byte,
) (lockdown.Endpoint, error) {
	return m.start(name, host, escrow, m.listenOnce)
}

// start starts a service on a port that listen provides.
func (m *Machine) start(
	name string, host *phone.Host, escrow []byte,
	listen func(func(context.Context, net.Conn)) (uint16, error),
) (lockdown.Endpoint, error) {
	refuse := func(code lockdown.Code) (lockdown.Endpoint, error) {
		return lockdown.Endpoint{}, &lockdown.Error{Op: "StartService", Subject: name, Code: code}
	}
	found := m.entry(func(n service.Name) bool { return n.Lockdown == name })
	switch {
	case found == nil, found.offered != nil && !found.offered(m.phone):
		return refuse(lockdown.ErrInvalidService)
	case host == nil && !found.open:
		return refuse(lockdown.ErrSessionInactive)
	case m.phone.Locked() && !found.locked && len(escrow) == 0:
		return refuse(lockdown.ErrPasswordProtected)
	case len(escrow) > 0 && (host == nil || string(escrow) != string(host.EscrowBag)):
		return refuse(lockdown.ErrEscrowLocked)
	}
	m.logAs("lockdownd", "com.apple.mobile.lockdown", "service", "starting "+name)
	number, err := listen(
		func(ctx context.Context, c net.Conn) { m.serveService(ctx, c, found, host) },
	)
	if err != nil {
		return refuse(lockdown.ErrServiceLimit)
	}
	return lockdown.Endpoint{Service: name, Port: number, TLS: host != nil}, nil
}

// entry looks a service up; tunnels are services of this machine alone.
func (m *Machine) entry(is func(service.Name) bool) *entry {
	for _, list := range [][]entry{catalog, m.own} {
		for i := range list {
			if is(list[i].name) {
				return &list[i]
			}
		}
	}
	return nil
}

func (m *Machine) serveService(ctx context.Context, c net.Conn, e *entry, host *phone.Host) {
	log := m.log.With("service", e.name.Lockdown)
	if host != nil {
		t, err := lockdown.DeviceTLS(ctx, c, m.phone.Key(), *host)
		if err != nil {
			log.Debug("TLS refused", "err", err)
			return
		}
		if c = t; e.name.HandshakeOnlyTLS {
			c = t.Raw()
		}
		defer c.Close()
	}
	if err := m.handler(e).Serve(ctx, m.misbehave(ctx, e.name.Lockdown, c)); err != nil {
		log.Debug("service connection ended", "err", err)
	}
}

// handler returns the device side of a service, one for all connections of this
// machine.
func (m *Machine) handler(e *entry) service.Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.handlers[e]
	if !ok {
		h = e.handler(m.phone)
		if beat, ok := h.(*heartbeat.Device); ok {
			beat.Interval = m.opts.Heartbeat
		}
		m.handlers[e] = h
	}
	return h
}

// logAs writes what a daemon says about the machine's own doings.
func (m *Machine) logAs(process, subsystem, category, message string) {
	for _, p := range m.phone.Processes() {
		if p.Name == process {
			m.phone.Log(phone.LogEntry{
				PID: p.PID, Subsystem: subsystem, Category: category, Message: message,
			})
			return
		}
	}
}
