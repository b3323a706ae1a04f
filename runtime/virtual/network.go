package virtual

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/remotepair"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// announceTime bounds the first announcement.
const announceTime = 5 * time.Second

// NetworkOptions says how a device shows itself on a network of this computer,
// beside the muxer.
type NetworkOptions struct {
	// Address is where it listens; the zero value is 127.0.0.1.
	Address netip.Addr
	// Ethernet is the interface that the USB cable makes since iOS 17: the
	// list of services for hosts that are not paired, and remote pairing
	// through it. It is there while the device is plugged in.
	Ethernet bool
	// Wifi has lockdownd and, since iOS 17, remote pairing over TCP.
	Wifi bool
	// Trusted has what is inside tunnels without a tunnel around it: the list
	// for paired hosts and all services. No device does that; programs that
	// are given the address of a list can be tried so without a tunnel.
	Trusted bool
	// TrustedPort is the port of that list; 0 is a free one.
	TrustedPort uint16
	// Fixed insists on the ports that devices have, so that other programs
	// find them; without it free ones do where those are taken.
	Fixed bool
	// Announce tells of it by Bonjour, on the interface that has Address.
	Announce bool
}

// Presence is a device on a network. It goes when the device does and comes
// back with it, at other ports as after a boot.
type Presence struct {
	machine *Machine
	opts    NetworkOptions

	mu     sync.Mutex
	up     *listening
	closed bool
}

// Ports is where a Presence listens; those that are not there are 0.
type Ports struct {
	Untrusted uint16 // RSD for hosts that are not paired
	Trusted   uint16 // RSD as inside a tunnel
	Lockdown  uint16
	Pairing   uint16 // remote pairing over TCP
}

// listening is what a Presence has open between coming and going.
type listening struct {
	m       *Machine
	address netip.Addr
	ports   Ports
	life    context.Context
	end     context.CancelFunc
	work    sync.WaitGroup

	mu        sync.Mutex
	told      *bonjour.Advertisement // nil = nobody is told
	listeners []net.Listener
	asked     int // listeners of tunnels
}

// Show puts the device on a network until the Presence or the machine is
// closed.
func (m *Machine) Show(o NetworkOptions) (*Presence, error) {
	if !o.Address.IsValid() {
		o.Address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	p := &Presence{machine: m, opts: o}
	m.mu.Lock()
	closed := m.closed
	m.shown = append(m.shown, p)
	m.mu.Unlock()
	err := net.ErrClosed
	if !closed {
		err = p.come()
	}
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.shown = slices.DeleteFunc(m.shown, func(o *Presence) bool { return o == p })
		return nil, err
	}
	return p, nil
}

// Address is where the device listens.
func (p *Presence) Address() netip.Addr { return p.opts.Address }

// Ports says where the device listens at the moment.
func (p *Presence) Ports() Ports {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up == nil {
		return Ports{}
	}
	return p.up.ports
}

// Close takes the device off the network and waits for its connections.
func (p *Presence) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.leave()
	return nil
}

// come opens the listeners; while they are open it does nothing.
func (p *Presence) come() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.up != nil {
		return nil
	}
	l := &listening{m: p.machine, address: p.opts.Address}
	l.life, l.end = context.WithCancel(context.Background())
	if err := l.open(&p.opts); err != nil {
		l.close()
		return err
	}
	if p.opts.Announce {
		if err := p.announce(l); err != nil {
			l.close()
			return err
		}
	}
	p.up = l
	return nil
}

// announce tells the network where l listens, until l is closed.
func (p *Presence) announce(l *listening) error {
	ctx, cancel := context.WithTimeout(l.life, announceTime)
	defer cancel()
	name, err := interfaceOf(p.opts.Address)
	if err != nil {
		return err
	}
	ad, err := bonjour.Advertise(ctx, p.advertised(l.ports),
		bonjour.AdvertiseOptions{Interfaces: []string{name}, Logger: p.machine.opts.Logger})
	if err == nil {
		l.told = ad
	}
	return err
}

// interfaceOf finds the interface that has an address.
func interfaceOf(a netip.Addr) (string, error) {
	if a.Zone() != "" {
		return a.Zone(), nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, n := range addresses {
			// The whole of 127/8 is the loopback interface's.
			if prefix, err := netip.ParsePrefix(n.String()); err == nil &&
				(prefix.Addr() == a || a.IsLoopback() && prefix.Contains(a)) {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no interface has the address %s", a)
}

func (p *Presence) leave() {
	p.mu.Lock()
	l := p.up
	p.up = nil
	p.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// cable reports whether the Presence hangs on the cable.
func (p *Presence) cable() bool { return p.opts.Ethernet || p.opts.Trusted }

// presences returns those of the machine.
func (m *Machine) presences() []*Presence {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Presence(nil), m.shown...)
}

func (l *listening) open(o *NetworkOptions) (err error) {
	modern := l.m.phone.Identity.VersionNumber() >= 1700
	if o.Ethernet && modern {
		if l.ports.Untrusted, err = l.list(rsd.Port, o.Fixed,
			rsd.TableOptions{Untrusted: true}); err != nil {
			return err
		}
	}
	if o.Trusted && modern {
		if l.ports.Trusted, err = l.list(o.TrustedPort, o.TrustedPort != 0,
			rsd.TableOptions{}); err != nil {
			return err
		}
	}
	if o.Wifi {
		if l.ports.Lockdown, err = l.listen(lockdown.Port, o.Fixed, false,
			l.serveLockdown); err != nil {
			return err
		}
		if modern {
			l.ports.Pairing, err = l.listen(remotepair.DefaultPort, o.Fixed, false, l.servePairing)
		}
	}
	return err
}

// list opens a list of services and each service on a port of its own. All
// ports are known before the first connection is accepted.
func (l *listening) list(port uint16, fixed bool, o rsd.TableOptions) (uint16, error) {
	ports, waiting := map[string]uint16{}, map[string]net.Listener{}
	// Everything that may ever be listed gets its port now.
	o.Image = true
	for _, s := range rsd.Table(l.m.phone, o) {
		tcp, err := l.bind(0, true)
		if err != nil {
			for _, w := range waiting {
				w.Close()
			}
			return 0, err
		}
		waiting[s.Name], ports[s.Name] = tcp, portOf(tcp)
	}
	for name, tcp := range waiting {
		l.run(tcp, false, func(ctx context.Context, c net.Conn) {
			for _, now := range l.services(o, ports) {
				if now.Name == name {
					l.serveService(ctx, c, now)
				}
			}
		})
	}
	return l.listen(port, fixed, false, func(ctx context.Context, c net.Conn) {
		l.m.serveRSD(ctx, c, func() []rsd.Service { return l.services(o, ports) })
	})
}

// services is a list as it is now.
func (l *listening) services(o rsd.TableOptions, ports map[string]uint16) []rsd.Service {
	o.Image = l.m.phone.DeveloperServices()
	o.Port = func(name string) uint16 { return ports[name] }
	return rsd.Table(l.m.phone, o)
}

func (l *listening) serveService(ctx context.Context, c net.Conn, s rsd.Service) {
	if s.Name != remotepair.Service {
		l.m.serveRemote(ctx, c, s)
		return
	}
	if err := l.m.pairingXPC(l.tunnel).Serve(ctx, l.m.misbehave(ctx, s.Name, c)); err != nil {
		l.m.log.Debug("remote pairing ended", "err", err)
	}
}

func (l *listening) servePairing(ctx context.Context, c net.Conn) {
	if err := l.m.pairing(l.tunnel).Serve(ctx,
		remotepair.NewStream(l.m.misbehave(ctx, remotepair.Service, c))); err != nil {
		l.m.log.Debug("remote pairing ended", "err", err)
	}
}

// serveLockdown is lockdownd as hosts on the network see it: nobody may pair.
func (l *listening) serveLockdown(ctx context.Context, c net.Conn) {
	d := &lockdown.Device{Phone: l.m.phone, Network: true, Logger: l.m.opts.Logger, Start: func(
		_ context.Context, name string, host *trust.Host, escrow []byte,
	) (lockdown.Endpoint, error) {
		return l.m.start(name, host, escrow,
			func(serve func(context.Context, net.Conn)) (uint16, error) {
				return l.listen(0, true, true, serve)
			})
	}}
	if err := d.Serve(ctx, l.m.misbehave(ctx, "lockdown", c)); err != nil {
		l.m.log.Debug("lockdown connection ended", "err", err)
	}
}

// bind listens on a port; when it is taken and not insisted on, on a free one.
func (l *listening) bind(port uint16, fixed bool) (net.Listener, error) {
	at := func(port uint16) string {
		return net.JoinHostPort(l.address.String(),
			strconv.Itoa(int(port)))
	}
	tcp, err := link.Listen(l.life, "tcp", at(port))
	if err != nil && !fixed {
		tcp, err = link.Listen(l.life, "tcp", at(0))
	}
	return tcp, err
}

func portOf(tcp net.Listener) uint16 { return uint16(tcp.Addr().(*net.TCPAddr).Port) }

// listen accepts connections on a port that bind finds. once ends after the
// first connection, or when none comes.
func (l *listening) listen(
	port uint16, fixed, once bool, serve func(context.Context, net.Conn),
) (uint16, error) {
	tcp, err := l.bind(port, fixed)
	if err != nil {
		return 0, err
	}
	n := portOf(tcp)
	return n, l.run(tcp, once, serve)
}

// run accepts connections of a listener, which is closed with the rest.
func (l *listening) run(tcp net.Listener, once bool, serve func(context.Context, net.Conn)) error {
	var keep net.Listener
	if !once {
		keep = tcp
	}
	if !l.begin(keep) {
		tcp.Close()
		return net.ErrClosed
	}
	if once {
		_ = tcp.(*net.TCPListener).SetDeadline(time.Now().Add(portLife))
	}
	go func() {
		defer l.work.Done()
		if once {
			l.acceptOne(tcp, serve)
		} else {
			l.accept(tcp, serve)
		}
	}()
	return nil
}

// begin counts work that close waits for, and keeps a listener for it to close;
// false when it is over.
func (l *listening) begin(keep net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() != nil {
		return false
	}
	if keep != nil {
		l.listeners = append(l.listeners, keep)
	}
	l.work.Add(1)
	return true
}

func (l *listening) accept(tcp net.Listener, serve func(context.Context, net.Conn)) {
	for {
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		l.work.Go(func() { l.serve(c, serve) })
	}
}

// acceptOne waits for the one connection that was announced, until the listener's
// deadline.
func (l *listening) acceptOne(tcp net.Listener, serve func(context.Context, net.Conn)) {
	stop := context.AfterFunc(l.life, func() { tcp.Close() })
	c, err := tcp.Accept()
	stop()
	tcp.Close()
	if err == nil {
		l.serve(c, serve)
	}
}

func (l *listening) serve(c net.Conn, serve func(context.Context, net.Conn)) {
	defer c.Close()
	serve(l.life, c)
}

// close ends everything and waits for it.
func (l *listening) close() {
	if l.told != nil {
		l.told.Close() // says goodbye
	}
	l.mu.Lock()
	l.end()
	listeners := l.listeners
	l.mu.Unlock()
	for _, tcp := range listeners {
		tcp.Close()
	}
	l.work.Wait()
}
