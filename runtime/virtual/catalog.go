package virtual

import (
	"context"
	"net"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/log"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
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
	name service.Name
	// device makes the device side of the phone, machine that of a service which
	// needs more of the Machine. One of them is set.
	device  func(service.Env) service.Handler
	machine func(*Machine) service.Handler

	open   bool   // may be started without a session
	locked bool   // may be started while the device is locked, without an escrow bag
	fault  string // what faults know it by; "" is the name of the service

	// offered reports whether this phone has the service over lockdown; nil = all
	// phones have. A service without a name in lockdown is in tunnels alone.
	offered func(p *phone.Phone) bool
}

// catalog lists the services of the virtual device, for lockdown and for the lists of
// services in tunnels: a new one is one line here. What devices tell of their services
// in those lists stands in package rsd; a service that is not there is listed after them.
func catalog() []entry {
	return []entry{
		{name: afc.Service, device: afc.NewDevice},
		{name: housearrest.Service, device: housearrest.NewDevice},
		{name: crashreportcopymobile.Service, device: crashreportcopymobile.NewDevice},
		{name: crashreportmover.Service, device: crashreportmover.NewDevice},
		{name: syslogrelay.Service, device: syslogrelay.NewDevice},
		{name: ostracerelay.Service, device: ostracerelay.NewDevice},
		{name: diagnosticsrelay.Service, device: diagnosticsrelay.NewDevice, locked: true},
		{name: notificationproxy.Service, device: notificationproxy.NewDevice, locked: true},
		{
			name: notificationproxy.Insecure, device: notificationproxy.NewInsecureDevice,
			open: true, locked: true,
		},
		{name: heartbeat.Service, device: heartbeat.NewDevice, locked: true},
		{name: installationproxy.Service, device: installationproxy.NewDevice},
		{name: mobileimagemounter.Service, device: mobileimagemounter.NewDevice, locked: true},
		{name: dvt.Service, machine: (*Machine).instruments, offered: oldDeveloper},
		{name: coredevice.AppService, machine: coreService(coredevice.AppService)},
		{name: coredevice.OpenStdIOSocket, machine: coreService(coredevice.OpenStdIOSocket)},
		{name: coredevice.DeviceInfo, machine: coreService(coredevice.DeviceInfo)},
		{name: coredevice.Diagnostics, machine: coreService(coredevice.Diagnostics)},
		{name: coreDeviceProxy, machine: (*Machine).proxy, offered: since(1704)},
		{name: lockdownPairing, machine: (*Machine).trustPairing, offered: since(1700)},
		{name: remotePairing, machine: (*Machine).tunnelPairing},
		{name: trustedLockdown, machine: (*Machine).trustedLockdown, fault: "lockdown"},
		{name: untrustedLockdown, machine: (*Machine).untrustedLockdown, fault: "lockdown"},
	}
}

// Names of services that the Machine itself has.
var (
	coreDeviceProxy = service.Name{Lockdown: tunnel.LockdownService}
	// lockdownPairing gives trust without a dialog to hosts that lockdown trusts; there
	// are no tunnels this way.
	lockdownPairing = service.Name{
		Lockdown: remotepair.LockdownService, Remote: remotepair.LockdownService + shim,
		Checkin: true,
	}
	remotePairing     = service.Name{Remote: remotepair.Service}
	trustedLockdown   = service.Name{Remote: "com.apple.mobile.lockdown.remote.trusted"}
	untrustedLockdown = service.Name{Remote: "com.apple.mobile.lockdown.remote.untrusted"}
)

// oldDeveloper reports whether a phone has them over lockdown: from iOS 17 on they
// are inside the tunnel alone.
func oldDeveloper(p *phone.Phone) bool {
	return p.Identity.VersionNumber() < 1700 && p.DeveloperServices()
}

// since offers a service from a version of iOS on, 1704 being 17.4.
func since(version int) func(*phone.Phone) bool {
	return func(p *phone.Phone) bool { return p.Identity.VersionNumber() >= version }
}

// offers reports whether a phone has the service over lockdown.
func (e *entry) offers(p *phone.Phone) bool {
	return e.name.Lockdown != "" && (e.offered == nil || e.offered(p))
}

// faultName is the name that faults know the service by.
func (e *entry) faultName() string {
	if e.fault != "" {
		return e.fault
	}
	return e.name.String()
}

// Services returns the names of all services that there are virtual devices for: the
// lockdown name where there is one, the name in lists of services otherwise.
func Services() []string {
	var names []string
	for _, e := range catalog() {
		names = append(names, e.name.String())
	}
	return names
}

// Services returns the lockdown names of the services that the device offers.
func (m *Machine) Services() []string {
	var names []string
	for i := range m.catalog {
		if e := &m.catalog[i]; e.offers(m.phone) {
			names = append(names, e.name.Lockdown)
		}
	}
	return names
}

// startService answers lockdown's StartService: a port on which the service
// waits for one connection. The port outlives the lockdown connection, so it
// remembers whose certificates the TLS handshake has to match.
func (m *Machine) startService(
	_ context.Context, name string, host *trust.Host, escrow []byte,
) (lockdown.Endpoint, error) {
	return m.start(name, host, escrow, m.listenOnce)
}

// start starts a service on a port that listen provides.
func (m *Machine) start(
	name string, host *trust.Host, escrow []byte,
	listen func(func(context.Context, net.Conn)) (uint16, error),
) (lockdown.Endpoint, error) {
	refuse := func(code lockdown.Code) (lockdown.Endpoint, error) {
		return lockdown.Endpoint{}, &lockdown.Error{Op: "StartService", Subject: name, Code: code}
	}
	found := m.entry(func(n service.Name) bool { return n.Lockdown == name })
	switch {
	case found == nil, !found.offers(m.phone):
		return refuse(lockdown.ErrInvalidService)
	case host == nil && !found.open:
		return refuse(lockdown.ErrSessionInactive)
	case m.phone.Screen.Locked() && !found.locked && len(escrow) == 0:
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

// entry looks a service up.
func (m *Machine) entry(is func(service.Name) bool) *entry {
	for i := range m.catalog {
		if is(m.catalog[i].name) {
			return &m.catalog[i]
		}
	}
	return nil
}

func (m *Machine) serveService(ctx context.Context, c net.Conn, e *entry, host *trust.Host) {
	log := m.log.With("service", e.name.Lockdown)
	if host != nil {
		t, err := lockdown.DeviceTLS(ctx, c, m.phone.Trust.Key(), *host)
		if err != nil {
			log.Debug("TLS refused", "err", err)
			return
		}
		if c = t; e.name.HandshakeOnlyTLS {
			c = t.Raw()
		}
		defer c.Close()
	}
	if err := m.handler(e).Serve(ctx, m.misbehave(ctx, e.faultName(), c)); err != nil {
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
		if e.machine != nil {
			h = e.machine(m)
		} else {
			h = e.device(service.Env{
				Phone: m.phone, Logger: m.opts.Logger, Heartbeat: m.opts.Heartbeat,
			})
		}
		m.handlers[e] = h
	}
	return h
}

// logAs writes what a daemon says about the machine's own doings.
func (m *Machine) logAs(process, subsystem, category, message string) {
	for _, p := range m.phone.Processes.List() {
		if p.Name == process {
			m.phone.Log.Write(log.Entry{
				PID: p.PID, Subsystem: subsystem, Category: category, Message: message,
			})
			return
		}
	}
}
