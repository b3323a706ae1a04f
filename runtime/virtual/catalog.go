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
	"github.com/imdlua/imdlua/runtime/service/dtsimulatelocation"
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
	// device makes the device side of a service that needs only the phone. machine
	// makes that of a service that needs the Machine. Exactly one of them is set.
	device  func(service.Env) service.Handler
	machine func(*Machine) service.Handler

	open   bool   // may be started without a session
	locked bool   // may be started while the device is locked, without an escrow bag
	fault  string // name of the service in SetFault; "" means the name of the service

	// offered reports whether a phone has the service over lockdown; nil means that
	// all phones have it. A service without a lockdown name exists only in tunnels.
	offered func(p *phone.Phone) bool
}

// catalog returns the services of the virtual device, for lockdown and for the RSD lists
// in tunnels. A new service is one line here. Package rsd describes the entries of the RSD
// lists; services that it does not know come at the end of a list.
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
		{
			name: dtsimulatelocation.Service, device: dtsimulatelocation.NewDevice,
			offered: oldDeveloper,
		},
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

// Names of services that the Machine itself implements.
var (
	coreDeviceProxy = service.Name{Lockdown: tunnel.LockdownService}
	// lockdownPairing is remote pairing for hosts that lockdown trusts. It shows no
	// dialog and opens no tunnels.
	lockdownPairing = service.Name{
		Lockdown: remotepair.LockdownService, Remote: remotepair.LockdownService + shim,
		Checkin: true,
	}
	remotePairing     = service.Name{Remote: remotepair.Service}
	trustedLockdown   = service.Name{Remote: "com.apple.mobile.lockdown.remote.trusted"}
	untrustedLockdown = service.Name{Remote: "com.apple.mobile.lockdown.remote.untrusted"}
)

// oldDeveloper reports whether a phone offers the developer services over lockdown. Since
// iOS 17 they exist only in tunnels.
func oldDeveloper(p *phone.Phone) bool {
	return p.Identity.VersionNumber() < 1700 && p.DeveloperServices()
}

// since returns a function for entry.offered: phones have the service since a version of
// iOS, written as 1704 for 17.4.
func since(version int) func(*phone.Phone) bool {
	return func(p *phone.Phone) bool { return p.Identity.VersionNumber() >= version }
}

// offers reports whether a phone offers the service over lockdown.
func (e *entry) offers(p *phone.Phone) bool {
	return e.name.Lockdown != "" && (e.offered == nil || e.offered(p))
}

// faultName returns the name of the service in SetFault.
func (e *entry) faultName() string {
	if e.fault != "" {
		return e.fault
	}
	return e.name.String()
}

// Services returns the names of all services that virtual devices implement: the lockdown
// name if there is one, otherwise the RSD name.
func Services() []string {
	var names []string
	for _, e := range catalog() {
		names = append(names, e.name.String())
	}
	return names
}

// LockdownServices returns the lockdown names of all services that have one.
func LockdownServices() []string {
	var names []string
	for _, e := range catalog() {
		if e.name.Lockdown != "" {
			names = append(names, e.name.Lockdown)
		}
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

// startService answers lockdown's StartService with a port on which the service
// waits for one connection. The port may outlive the lockdown connection, so it
// keeps the host whose certificates the TLS handshake must match.
func (m *Machine) startService(
	_ context.Context, name string, host *trust.Host, escrow []byte,
) (lockdown.Endpoint, error) {
	return m.start(name, host, escrow, m.listenOnce)
}

// start starts a service on a port that listen opens.
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

// entry returns the first service whose name matches, or nil.
func (m *Machine) entry(is func(service.Name) bool) *entry {
	for i := range m.catalog {
		if is(m.catalog[i].name) {
			return &m.catalog[i]
		}
	}
	return nil
}

// serviceBegan is the log message about a connection to a service, which the attribute
// "service" names. The interop tests read it.
const serviceBegan = "service connection began"

func (m *Machine) serveService(ctx context.Context, c net.Conn, e *entry, host *trust.Host) {
	log := m.log.With("service", e.name.Lockdown)
	if host != nil {
		t, err := lockdown.DeviceTLS(ctx, c, m.phone.Trust.Key(), *host)
		if err != nil {
			log.Debug("TLS refused", "err", err)
			return
		}
		c = t
		if e.name.HandshakeOnlyTLS {
			c = t.Raw()
		}
		defer c.Close()
	}
	log.Debug(serviceBegan)
	if err := m.handler(e).Serve(ctx, m.misbehave(ctx, e.faultName(), c)); err != nil {
		log.Debug("service connection ended", "err", err)
	}
}

// handler returns the device side of a service. It makes one for all connections
// of the machine.
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

// logAs writes a log entry of a daemon about something that the machine does.
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
