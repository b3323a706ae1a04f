// Package virtual is the virtual device: it puts the phone model and every
// device side of this repository behind a muxer and a lockdownd, so that
// programs which know only real devices work against it.
//
// A Host is a machine with a muxer and any number of devices plugged in; a
// Machine is one device. Everything runs in this process and, unless somebody
// asks for a socket, in memory:
//
//	client -- usbmux --> Host.Mux -- Connect 62078 --> lockdownd of a Machine
//	                              -- Connect 49xxx --> a started service
//	                                 CoreDeviceProxy --> a tunnel
//	       -- RSD 58783 --> remote pairing -- createListener --> a tunnel
//	                        a tunnel -- RSD --> every service
//
// What services answer comes from the phone of the Machine; which services
// there are stands in catalog.go, tunnels and what is in them in tunnel.go, how
// a device shows itself on a network in network.go, and how they can be told to
// misbehave in fault.go.
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
	// firstPort begins the range that started services listen in.
	firstPort = 49152
	// portLife is how long a started service waits for its one connection.
	portLife = 60 * time.Second
	// bootTime is how long a restarting device stays away from the bus.
	bootTime = 500 * time.Millisecond
	// receiveBudget bounds what hosts send on all RemoteXPC and DTX connections to a
	// device, which anybody who reaches it can make.
	receiveBudget = 128 << 20
)

// Options describes one virtual device. The zero value is a trusting phone of
// the default profile.
type Options struct {
	Phone phone.Options
	Echo  uint16        // a port of the device that sends back what it gets; 0 = none
	Boot  time.Duration // how long a restart takes; 0 = half a second
	// Heartbeat is how often the device wants to hear from hosts that keep it
	// awake, in whole seconds; 0 = 10 s, as devices do.
	Heartbeat time.Duration
	Logger    *slog.Logger // nil = silent
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
	going  bool   // the device goes down: nothing new is opened on it
	ports  map[uint16]*port
	next   uint16
	faults map[string]Fault
	closed bool

	handlers map[*entry]service.Handler
	catalog  []entry
	core     *coredevice.Device // the CoreDevice family
	peers    *remotepair.Peers  // hosts that are trusted for tunnels
	shown    []*Presence        // on networks
	budget   *link.Budget       // of what hosts send on RemoteXPC and DTX connections

	tunnels      map[int]context.CancelCauseFunc // cut a tunnel
	lastTunnel   int
	tunnelFaults TunnelFaults

	life context.Context // ends at Close
	end  context.CancelFunc
	work sync.WaitGroup // restarts under way
}

// port is where a started service or a permanent listener waits.
type port struct {
	serve   func(ctx context.Context, c net.Conn)
	once    bool
	expires *time.Timer
}

// New makes a virtual device that is not plugged in yet.
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
	return m, nil
}

// Phone returns the model: what services answer is read from it and what
// clients change is found in it.
func (m *Machine) Phone() *phone.Phone { return m.phone }

// UDID returns the device's identifier.
func (m *Machine) UDID() string { return m.phone.Identity.UDID }

// Listen puts a permanent server on a port of the device, as an app with a
// listening socket would. serve owns the connection until it returns.
func (m *Machine) Listen(number uint16, serve func(ctx context.Context, c net.Conn)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ports[number] = &port{serve: serve}
}

// Attach plugs the device into a muxer; while it is plugged in this does
// nothing.
func (m *Machine) Attach(mux *usbmux.Muxer) {
	if m.Attached() {
		return
	}
	// Whoever hears of the device at the muxer finds its network as well.
	for _, p := range m.presences() {
		if err := p.come(); err != nil {
			m.log.Warn("not on the network any more", "address", p.opts.Address, "err", err)
		}
	}
	m.plugIn(mux)
	for _, p := range m.presences() {
		if p.cable() && !m.Attached() { // unplugged meanwhile
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
		UDID: m.phone.Identity.UDID, ProductID: 0x12A8, Speed: 480_000_000,
		Address: netip.Addr{}, Open: m.open,
	})
	m.phone.Notifications.Post("com.apple.mobile.lockdown.host_attached")
}

// Replug plugs the device into the muxer it was in last.
func (m *Machine) Replug() error {
	m.mu.Lock()
	mux, closed := m.mux, m.closed
	m.mu.Unlock()
	if closed || mux == nil {
		return net.ErrClosed
	}
	m.Attach(mux)
	return nil
}

// Detach unplugs the device: every connection to it ends.
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

// Close unplugs the device for good and waits for what it was doing.
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

// power carries out what a client asked of the model. It returns at once: it
// is called from inside a connection that the detach will end.
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
		if a != power.Restart {
			return
		}
		m.phone.Boot()
		t := time.NewTimer(m.opts.Boot)
		defer t.Stop()
		select {
		case <-t.C:
			m.Attach(mux)
		case <-m.life.Done():
		}
	}()
}

// leave takes a device that goes down off its networks and off the muxer. To a host
// that is one event: whoever loses one connection cannot open another one meanwhile.
func (m *Machine) leave() {
	for _, p := range m.presences() {
		p.leave()
	}
	m.Detach()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.going = false
}

// open is the muxer's question who listens on a port of the device.
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

// listenOnce gives a service a fresh port for one connection.
func (m *Machine) listenOnce(serve func(context.Context, net.Conn)) (uint16, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range 65535 - firstPort {
		n := m.next
		if m.next++; m.next == 0 {
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
	if err := m.lockdown.Serve(ctx, c); err != nil {
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
