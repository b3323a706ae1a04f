package virtual

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/rsd"
)

// ListRule says how a device treats several hosts that read one list of services, which
// is that of a tunnel or of a network.
type ListRule int

const (
	// ListsOfVersion is the rule of the phone's version of iOS, which is SingleList since
	// 27.2.
	ListsOfVersion ListRule = iota
	// ManyLists lets any number of hosts be connected, which do not disturb each other.
	ManyLists
	// SingleList keeps the newest connection to a list, and changes the ports of the
	// services when the identity of the host changes; see rsd.Hosts.
	SingleList
)

var listRules = map[string]ListRule{
	"": ListsOfVersion, "version": ListsOfVersion, "many": ManyLists, "single": SingleList,
}

// ParseListRule returns the rule with the name that scripts use: version, many or single.
// "" is version.
func ParseListRule(name string) (ListRule, bool) { r, ok := listRules[name]; return r, ok }

// hosts returns the rules for the hosts of one list, or nil if they do not disturb each
// other. move changes the ports of the services in it.
func (m *Machine) hosts(move func()) *rsd.Hosts {
	single := m.opts.Lists == SingleList
	if m.opts.Lists == ListsOfVersion {
		single = rsd.SingleList(m.phone)
	}
	if !single {
		return nil
	}
	return &rsd.Hosts{Move: func() {
		m.logAs("remoted", "com.apple.remoted", "device",
			"Peer UUID changed across reconnect; reattaching so clients re-discover it")
		move()
	}}
}

const (
	// portSpread is the size of the range from which a boot takes its first port,
	// portsOfBoot the number of ports that a boot may use.
	portSpread, portsOfBoot = 8192, 256
	// portMoves is how often the ports in a tunnel may change until they are used again.
	portMoves = (1<<16-rsd.FirstPort-portSpread)/portsOfBoot - 2
)

// inside is what hosts find in a tunnel: the list of services, and the services, whose
// ports may change. The tunnels of one QUIC listener have one in common.
type inside struct {
	machine *Machine
	hosts   *rsd.Hosts

	mu    sync.Mutex
	moves int // how often the ports have changed
}

func (m *Machine) newInside() *inside {
	in := &inside{machine: m}
	in.hosts = m.hosts(in.move)
	return in
}

// move changes the ports of all services.
func (in *inside) move() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.moves++
}

// table returns a list of services with all that the catalogue has.
func (m *Machine) table(o rsd.TableOptions) []rsd.Service {
	for _, e := range m.catalog {
		o.More = append(o.More, e.name)
	}
	return rsd.Table(m.phone, o)
}

// services returns the entries of the list.
func (in *inside) services() []rsd.Service {
	m := in.machine
	list := m.table(rsd.TableOptions{Image: m.phone.DeveloperServices()})
	in.mu.Lock()
	first := m.firstRemote() + uint16(in.moves%portMoves*portsOfBoot)
	in.mu.Unlock()
	for i := range list {
		list[i].Port += first - rsd.FirstPort
	}
	return list
}

// serveList serves a connection to the list.
func (in *inside) serveList(ctx context.Context, c net.Conn) {
	in.machine.serveRSD(ctx, c, in.services, in.hosts)
}

// open returns the function that serves a port inside the tunnel.
func (in *inside) open(number uint16) (func(context.Context, net.Conn), error) {
	m := in.machine
	if number == m.rsdPort() {
		return in.serveList, nil
	}
	for _, s := range in.services() {
		if s.Port == number {
			return func(ctx context.Context, c net.Conn) { m.serveRemote(ctx, c, s) }, nil
		}
	}
	m.mu.Lock()
	p, ok := m.ports[number]
	m.mu.Unlock()
	if ok && !p.once && number != lockdown.Port {
		return p.serve, nil // apps listen on every network interface
	}
	return nil, errors.New("connection refused")
}

// shownList is a list of services on a network of this computer. Each service has a
// listener of its own.
type shownList struct {
	on      *listening
	options rsd.TableOptions

	mu    sync.Mutex
	ports map[string]uint16
	open  []net.Listener
}

// list opens an RSD list, and each service in it on a port of its own. It opens
// all ports of the services before it accepts the first connection.
func (l *listening) list(port uint16, fixed bool, o rsd.TableOptions) (uint16, error) {
	s := &shownList{on: l, options: o}
	if err := s.bind(); err != nil {
		return 0, err
	}
	hosts := l.m.hosts(func() {
		if err := s.bind(); err != nil {
			l.m.log.Warn("the services are closed", "err", err)
		}
	})
	return l.listen(port, fixed, false, func(ctx context.Context, c net.Conn) {
		l.m.serveRSD(ctx, c, s.services, hosts)
	})
}

// bind opens listeners for all services, also for those that are listed only while a
// developer image is mounted. Then it closes those that were open before.
func (s *shownList) bind() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.options
	all.Image = true
	ports, waiting := map[string]uint16{}, map[string]net.Listener{}
	var open []net.Listener
	var err error
	for _, one := range s.on.m.table(all) {
		var tcp net.Listener
		tcp, err = s.on.bind(0, true)
		if err != nil {
			break
		}
		open = append(open, tcp)
		waiting[one.Name], ports[one.Name] = tcp, portOf(tcp)
	}
	s.on.unlisten(s.open)
	if err != nil {
		s.on.unlisten(open)
		s.open = nil
		return err
	}
	s.ports, s.open = ports, open
	for name, tcp := range waiting {
		_ = s.on.run(tcp, false, func(ctx context.Context, c net.Conn) { // fails after close
			for _, now := range s.services() {
				if now.Name == name {
					s.on.serveService(ctx, c, now)
				}
			}
		})
	}
	return nil
}

// services returns the entries of the list at present.
func (s *shownList) services() []rsd.Service {
	s.mu.Lock()
	ports := s.ports
	s.mu.Unlock()
	o := s.options
	o.Image = s.on.m.phone.DeveloperServices()
	o.Port = func(name string) uint16 { return ports[name] }
	return s.on.m.table(o)
}

// unlisten closes listeners before l is closed.
func (l *listening) unlisten(old []net.Listener) {
	for _, tcp := range old {
		tcp.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = slices.DeleteFunc(l.listeners,
		func(tcp net.Listener) bool { return slices.Contains(old, tcp) })
}
