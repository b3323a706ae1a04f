// Package virtual is the virtual device. It serves the phone model through the
// device sides of all protocols, behind a muxer and a lockdownd, so that programs
// that are made for real devices work with it.
//
// A Host is a muxer with any number of devices plugged in. A Machine is one
// device. Everything runs in this process, and in memory unless a socket is asked
// for:
//
//	client -- usbmux --> Host.Mux -- Connect 62078 --> lockdownd of a Machine
//	                              -- Connect 49xxx --> a started service
//	                                 CoreDeviceProxy --> a tunnel
//	       -- RSD 58783 --> remote pairing -- createListener --> a tunnel
//	                        a tunnel -- RSD --> every service
//
// Services answer from the phone of the Machine. The list of services is in
// catalog.go, tunnels and the services in them are in tunnel.go, lists of services and
// their ports in lists.go, devices on a network in network.go, and faults of services in
// fault.go.
package virtual

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/service"
	"github.com/imdlua/imdlua/runtime/service/coredevice"
	"github.com/imdlua/imdlua/runtime/usbmux"
)

const (
	// firstPort is the first port of the range in which started services listen.
	firstPort = 49152
	// portLife is how long a started service waits for its one connection.
	portLife = 60 * time.Second
	// bootTime is how long a restarting device is detached from the muxer.
	bootTime = 500 * time.Millisecond
	// receiveBudget bounds the bytes that a device keeps of all RemoteXPC and DTX
	// connections, because every host that reaches the device can make such connections.
	receiveBudget = 128 << 20
)

// Options describes one virtual device. The zero value is a phone of the default
// profile that trusts every host.
type Options struct {
	Phone phone.Options
	Echo  uint16        // port that sends back what it receives; 0 means none
	Boot  time.Duration // duration of a restart; 0 means half a second
	// Heartbeat is the interval at which the heartbeat service expects answers, in
	// whole seconds. 0 means 10 s, as on real devices.
	Heartbeat time.Duration
	// Lists is the rule for several hosts that read one list of services.
	Lists  ListRule
	Logger *slog.Logger // nil means silent
}

// Machine is one virtual device. It is safe for concurrent use.
type Machine struct {
	phone    *phone.Phone
	opts     Options
	log      *slog.Logger
	lockdown *lockdown.Device

	mu     sync.Mutex
	mux    *usbmux.Muxer
	id     uint32 // device id at the muxer; 0 while unplugged
	going  bool   // the device is going down: new connections are refused
	ports  map[uint16]*port
	next   uint16
	faults map[string]Fault
	closed bool

	handlers map[*entry]service.Handler
	catalog  []entry
	core     *coredevice.Device // device side of the CoreDevice family
	peers    *remotepair.Peers  // hosts that are trusted for tunnels
	shown    []*Presence        // on networks
	budget   *link.Budget       // shared by all RemoteXPC and DTX connections

	tunnels      map[int]context.CancelCauseFunc // by the number of the tunnel
	lastTunnel   int
	tunnelFaults TunnelFaults

	following sync.Mutex // held while the networks follow EnableWifiConnections

	life context.Context // ends at Close
	end  context.CancelFunc
	work sync.WaitGroup // restarts and changes of the networks in progress
}

// port is a port on which a started service or a permanent server listens.
type port struct {
	serve   func(ctx context.Context, c net.Conn)
	once    bool
	expires *time.Timer
}

// New makes a virtual device. It is not plugged in.
func New(o Options) (*Machine, error) {
	p, err := phone.New(o.Phone)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Boot == 0 {
		o.Boot = bootTime
	}
	m := &Machine{
		phone: p, opts: o,
		log:    o.Logger.With("layer", "virtual", "udid", p.Identity.UDID),
		ports:  map[uint16]*port{},
		next:   firstPort,
		faults: map[string]Fault{},

		catalog:  catalog(),
		budget:   link.NewBudget(receiveBudget),
		handlers: map[*entry]service.Handler{},
		tunnels:  map[int]context.CancelCauseFunc{},
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.lockdown = &lockdown.Device{Phone: p, Start: m.startService, Logger: o.Logger}
	m.peers = remotepair.NewPeers(p)
	m.core = &coredevice.Device{Phone: p, Budget: m.budget, Logger: o.Logger}
	m.ports[lockdown.Port] = &port{serve: m.serveLockdown}
	if o.Echo != 0 {
		m.ports[o.Echo] = &port{serve: echo}
	}
	p.Power.OnAction(m.power)
	p.Values.OnWifiConnections(m.wifiChanged)
	return m, nil
}

// Phone returns the model of the phone. Services answer from it, and what hosts
// change is changed in it.
func (m *Machine) Phone() *phone.Phone { return m.phone }

// UDID returns the device's identifier.
func (m *Machine) UDID() string { return m.phone.Identity.UDID }

// Listen serves a port of the device until the machine is closed, as an app with
// a listening socket does. serve owns the connection until it returns.
func (m *Machine) Listen(number uint16, serve func(ctx context.Context, c net.Conn)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ports[number] = &port{serve: serve}
}

// Attach plugs the device into a muxer. It does nothing if the device is plugged
// in already, or if it is in recovery mode, in which a muxer does not see it.
func (m *Machine) Attach(mux *usbmux.Muxer) {
	if m.Attached() || m.phone.Power.InRecovery() {
		return
	}
	// The networks come first: a host that sees the device at the muxer finds it there.
	for _, p := range m.presences() {
		if err := p.come(); err != nil {
			m.log.Warn("not on the network any more", "address", p.opts.Address, "err", err)
		}
	}
	m.plugIn(mux)
	for _, p := range m.presences() {
		if p.cable() && !m.Attached() { // it was unplugged in the meantime
			p.leave()
		}
	}
}

// plugIn attaches the device to the muxer.
func (m *Machine) plugIn(mux *usbmux.Muxer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.id != 0 {
		return
	}
	m.mux = mux
	m.id = mux.Attach(usbmux.Attachment{
		UDID: m.phone.Identity.UDID, ProductID: m.phone.Identity.USBProduct(),
		Speed:   480_000_000,
		Address: netip.Addr{}, Open: m.open,
	})
	m.phone.Notifications.Post("com.apple.mobile.lockdown.host_attached")
}

// ErrRecovery means that a device is in recovery mode, in which it cannot be reached.
var ErrRecovery = errors.New("device is in recovery mode")

// Replug plugs the device into the muxer that it was plugged into last.
func (m *Machine) Replug() error {
	m.mu.Lock()
	mux, closed := m.mux, m.closed
	m.mu.Unlock()
	if closed || mux == nil {
		return net.ErrClosed
	}
	if m.phone.Power.InRecovery() {
		return ErrRecovery
	}
	m.Attach(mux)
	return nil
}

// Detach unplugs the device. Every connection to it ends.
func (m *Machine) Detach() {
	m.mu.Lock()
	mux, id := m.mux, m.id
	m.id = 0
	m.mu.Unlock()
	if id == 0 {
		return
	}
	for _, p := range m.presences() {
		if p.cable() {
			p.leave()
		}
	}
	mux.Detach(id)
}

// Attached reports whether the device is plugged in.
func (m *Machine) Attached() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id != 0
}

// Close unplugs the device for good and waits until its work has ended.
func (m *Machine) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.end()
	for _, p := range m.presences() {
		p.Close()
	}
	m.Detach()
	m.work.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, p := range m.ports {
		if p.expires != nil {
			p.expires.Stop()
		}
		delete(m.ports, n)
	}
	return nil
}

// power carries out a power action that a host asked for. It does the work on
// another goroutine, because it is called while a connection is served that the
// detaching ends.
func (m *Machine) power(a power.Action) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.mux == nil || a == power.Sleep {
		return
	}
	mux := m.mux
	m.going = true
	m.work.Add(1)
	go func() {
		defer m.work.Done()
		m.leave()
		if a == power.Recovery {
			m.log.Warn("device is in recovery mode until it is told to leave it")
		}
		if a != power.Restart {
			return
		}
		m.phone.BootFor(m.opts.Boot)
		if link.Sleep(m.life, m.opts.Boot) == nil {
			m.Attach(mux)
		}
	}()
}

// LeaveRecovery restarts a device that is in recovery mode, so that it comes back. It does
// nothing if the device is not in recovery mode.
func (m *Machine) LeaveRecovery() {
	if m.phone.Power.InRecovery() {
		m.log.Info("device leaves recovery mode")
		m.phone.Power.Do(power.Restart)
	}
}

// wifiChanged begins or ends lockdownd on the networks. It does the work on another goroutine,
// because it is called while a connection is served that may end.
func (m *Machine) wifiChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.work.Add(1)
	go func() {
		defer m.work.Done()
		m.following.Lock()
		defer m.following.Unlock()
		for _, p := range m.presences() {
			if err := p.followWifi(); err != nil {
				m.log.Warn("lockdownd is not on the network", "address", p.opts.Address, "err",
					err)
			}
		}
	}()
}

// leave removes a device that goes down from its networks and from the muxer. A host sees
// this as one event: after it has lost one connection it cannot open another one.
func (m *Machine) leave() {
	for _, p := range m.presences() {
		p.leave()
	}
	m.Detach()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.going = false
}

// open returns the function that serves a port of the device. The muxer calls it.
func (m *Machine) open(number uint16) (func(context.Context, net.Conn), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.ports[number]
	if !ok || m.going || m.id == 0 {
		return nil, errors.New("connection refused")
	}
	if p.once {
		p.expires.Stop()
		delete(m.ports, number)
	}
	return p.serve, nil
}

// listenOnce opens a free port for one connection.
func (m *Machine) listenOnce(serve func(context.Context, net.Conn)) (uint16, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range 65535 - firstPort {
		n := m.next
		m.next++
		if m.next == 0 {
			m.next = firstPort
		}
		if _, taken := m.ports[n]; taken {
			continue
		}
		p := &port{serve: serve, once: true}
		p.expires = time.AfterFunc(portLife, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.ports[n] == p {
				delete(m.ports, n)
			}
		})
		m.ports[n] = p
		return n, nil
	}
	return 0, errors.New("no free port")
}

func (m *Machine) serveLockdown(ctx context.Context, c net.Conn) {
	c = m.misbehave(ctx, "lockdown", c)
	d := *m.lockdown
	d.Start = m.starting(c, m.startService)
	if err := d.Serve(ctx, c); err != nil {
		m.log.Debug("lockdown connection ended", "err", err)
	}
}

// echo sends back what it reads.
func echo(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, werr := c.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
