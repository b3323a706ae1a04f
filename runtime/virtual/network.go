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

// announceTime bounds the time for the first announcement.
const announceTime = 5 * time.Second

// NetworkOptions says how a device is reachable on a network of this computer,
// in addition to the muxer.
type NetworkOptions struct {
	// Address is the address that the device listens on. The zero value means
	// 127.0.0.1.
	Address netip.Addr
	// Ethernet opens the services of the network interface over the USB cable,
	// which devices have since iOS 17: the RSD list for hosts that are not paired,
	// and remote pairing. They are there while the device is plugged in.
	Ethernet bool
	// Wifi opens lockdownd and, since iOS 17, remote pairing over TCP. lockdownd is there only
	// while EnableWifiConnections is on.
	Wifi bool
	// Trusted opens the RSD list for paired hosts and all services in it, which
	// devices have only inside tunnels. It serves to test programs that take the
	// address of such a list, without a tunnel.
	Trusted bool
	// TrustedPort is the port of that list; 0 means a free one.
	TrustedPort uint16
	// Fixed requires the ports that devices use, so that other programs find them.
	// Without it a free port is used where one of these is taken.
	Fixed bool
	// Announce advertises the services by Bonjour, on the interface of Address.
	Announce bool
}

// Presence is a device on a network. It disappears when the device is unplugged
// or shuts down, and comes back with the device, on other ports.
type Presence struct {
	machine *Machine
	opts    NetworkOptions

	mu     sync.Mutex
	up     *listening
	wifi   *listening // lockdownd; nil while connections over Wi-Fi are switched off
	closed bool
}

// Ports are the ports of a Presence; 0 means that there is no such port.
type Ports struct {
	Untrusted uint16 // RSD for hosts that are not paired
	Trusted   uint16 // RSD for paired hosts, as inside a tunnel
	Lockdown  uint16
	Pairing   uint16 // remote pairing over TCP
}

// listening holds what a Presence has open while it is on the network.
type listening struct {
	m       *Machine
	address netip.Addr
	ports   Ports
	life    context.Context
	end     context.CancelFunc
	work    sync.WaitGroup

	mu        sync.Mutex
	told      *bonjour.Advertisement // nil means that nothing is advertised
	listeners []net.Listener
	asked     int // number of listeners for tunnels
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

// Address returns the address that the device listens on.
func (p *Presence) Address() netip.Addr { return p.opts.Address }

// Ports returns the ports that the device listens on at present.
func (p *Presence) Ports() Ports {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ports Ports
	if p.up != nil {
		ports = p.up.ports
	}
	if p.wifi != nil {
		ports.Lockdown = p.wifi.ports.Lockdown
	}
	return ports
}

// Close takes the device off the network and waits for its connections.
func (p *Presence) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.leave()
	return nil
}

// come opens the listeners. It does nothing if they are open already.
func (p *Presence) come() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.up != nil || p.machine.phone.Power.InRecovery() {
		return nil
	}
	up, err := p.listen((*listening).open)
	if err != nil {
		return err
	}
	if p.wantsWifi() {
		p.wifi, err = p.listen((*listening).openWifi)
	}
	if err != nil {
		up.close()
		return err
	}
	p.up = up
	return nil
}

// listen opens listeners and advertises them.
func (p *Presence) listen(open func(*listening, *NetworkOptions) error) (*listening, error) {
	l := &listening{m: p.machine, address: p.opts.Address}
	l.life, l.end = context.WithCancel(context.Background())
	err := open(l, &p.opts)
	if err == nil && p.opts.Announce && l.ports != (Ports{}) {
		err = p.announce(l)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// wantsWifi reports whether lockdownd accepts connections here.
func (p *Presence) wantsWifi() bool {
	return p.opts.Wifi && p.machine.phone.Values.WifiConnections()
}

// followWifi begins or ends lockdownd after EnableWifiConnections was written.
func (p *Presence) followWifi() (err error) {
	p.mu.Lock()
	var gone *listening
	switch here := p.up != nil && p.wantsWifi(); {
	case here && p.wifi == nil:
		p.wifi, err = p.listen((*listening).openWifi)
	case !here && p.wifi != nil:
		gone, p.wifi = p.wifi, nil
		gone.stop()
	}
	p.mu.Unlock()
	if gone != nil {
		gone.work.Wait()
	}
	return err
}

// announce advertises the ports of l by Bonjour until l is closed.
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

// interfaceOf returns the name of the network interface that has an address.
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
			// All addresses of 127/8 belong to the loopback interface.
			if prefix, err := netip.ParsePrefix(n.String()); err == nil &&
				(prefix.Addr() == a || a.IsLoopback() && prefix.Contains(a)) {
				return i.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no interface has the address %s", a)
}

// leave closes the listeners and waits for the connections.
func (p *Presence) leave() {
	p.mu.Lock()
	all := []*listening{p.wifi, p.up}
	p.wifi, p.up = nil, nil
	p.mu.Unlock()
	for _, l := range all {
		if l != nil {
			l.stop()
		}
	}
	for _, l := range all {
		if l != nil {
			l.work.Wait()
		}
	}
}

// cable reports whether the Presence exists only while the device is plugged in.
func (p *Presence) cable() bool { return p.opts.Ethernet || p.opts.Trusted }

// presences returns the presences of the machine.
func (m *Machine) presences() []*Presence {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Presence(nil), m.shown...)
}

// open opens the listeners that the options ask for, except that of lockdownd.
func (l *listening) open(o *NetworkOptions) (err error) {
	modern := l.m.phone.Identity.VersionNumber() >= 1700
	if o.Ethernet && modern {
		l.ports.Untrusted, err = l.list(rsd.Port, o.Fixed, rsd.TableOptions{Untrusted: true})
		if err != nil {
			return err
		}
	}
	if o.Trusted && modern {
		l.ports.Trusted, err = l.list(o.TrustedPort, o.TrustedPort != 0, rsd.TableOptions{})
		if err != nil {
			return err
		}
	}
	if o.Wifi && modern {
		l.ports.Pairing, err = l.listen(remotepair.DefaultPort, o.Fixed, false, l.servePairing)
	}
	return err
}

// openWifi opens the listener of lockdownd.
func (l *listening) openWifi(o *NetworkOptions) (err error) {
	l.ports.Lockdown, err = l.listen(lockdown.Port, o.Fixed, false, l.serveLockdown)
	return err
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

// serveLockdown serves lockdownd for hosts on the network, which cannot pair.
func (l *listening) serveLockdown(ctx context.Context, c net.Conn) {
	c = l.m.misbehave(ctx, "lockdown", c)
	start := func(
		_ context.Context, name string, host *trust.Host, escrow []byte,
	) (lockdown.Endpoint, error) {
		return l.m.start(name, host, escrow,
			func(serve func(context.Context, net.Conn)) (uint16, error) {
				return l.listen(0, true, true, serve)
			})
	}
	d := &lockdown.Device{
		Phone: l.m.phone, Network: true, Logger: l.m.opts.Logger, Start: l.m.starting(c, start),
	}
	if err := d.Serve(ctx, c); err != nil {
		l.m.log.Debug("lockdown connection ended", "err", err)
	}
}

// bind listens on a port. If the port is taken and fixed is false, it listens on
// a free port instead.
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

// listen accepts connections on a port that bind opens. With once it accepts one
// connection, and waits for it at most portLife.
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

// run accepts connections of a listener until l is closed. once is as in listen.
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

// begin announces a goroutine that close waits for. A listener that is not nil is
// closed by close. begin returns false if l is closed already.
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

// acceptOne serves one connection. It waits for it until the deadline of the
// listener.
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

// close closes the listeners and connections and waits until they have ended.
func (l *listening) close() {
	l.stop()
	l.work.Wait()
}

// stop closes the listeners and connections.
func (l *listening) stop() {
	if l.told != nil {
		l.told.Close() // withdraws the advertisement from the network
	}
	l.mu.Lock()
	l.end()
	listeners := l.listeners
	l.mu.Unlock()
	for _, tcp := range listeners {
		tcp.Close()
	}
}
