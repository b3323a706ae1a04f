package bonjour

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// This responder is built on github.com/miekg/dns. The server of hashicorp/mdns could
// not be used: it answers by unicast only and sends neither announcements nor goodbyes.
// Programs that listen passively, such as Apple's mDNSResponder, avahi and programs
// that browse continuously, do not see its services. It also compares names with their
// case and escapes.

// AdvertiseOptions says where to advertise. The zero value means the loopback
// interface, over IPv4 and IPv6.
type AdvertiseOptions struct {
	// Interfaces are names of interfaces. nil means the loopback interface, so that
	// nothing is sent to a network by default.
	Interfaces []string
	// NoIPv4 and NoIPv6 exclude a family of addresses. Addresses of both families are
	// sent over either.
	NoIPv4, NoIPv6 bool
	// Logger logs nothing if it is nil.
	Logger *slog.Logger
}

// Advertisement advertises services until it is closed.
type Advertisement struct {
	log   *slog.Logger
	ports []port
	stop  chan struct{}
	wg    sync.WaitGroup

	mu     sync.Mutex // held while a zone is announced
	zone   *zone
	closed bool
}

// port is a wire and its interfaces.
type port struct {
	wire
	v6    bool
	links []link
}

// slot is an instance on an interface, over a family of addresses.
type slot struct {
	v6    bool
	index int
	name  string
}

// Advertise announces the services and answers questions about them until Close. ctx
// bounds the call only. Advertise fails if no interface can be used with any family. If
// only some cannot, it logs them. The addresses of the interfaces are those at the time
// of the call.
func Advertise(ctx context.Context, s []Service, o AdvertiseOptions) (*Advertisement, error) {
	z, err := newZone(s)
	if err != nil {
		return nil, err
	}
	all, err := localLinks()
	if err != nil {
		return nil, &Error{Op: "advertise", Err: err}
	}
	if o.Interfaces == nil {
		all = slices.DeleteFunc(all, func(l link) bool { return !l.loopback() })
	}
	links, err := chooseLinks(all, o.Interfaces, true)
	if err != nil {
		return nil, &Error{Op: "advertise", Err: err}
	}
	a := newAdvertisement(o.Logger)
	var failures error
	for _, v6 := range []bool{false, true} {
		if v6 && o.NoIPv6 || !v6 && o.NoIPv4 {
			continue
		}
		w, joined, err := listen(ctx, v6, links)
		if err != nil {
			failures = errors.Join(failures, err)
			a.log.Warn("a family cannot be used", "ipv6", v6, "err", err)
			continue
		}
		a.ports = append(a.ports, port{wire: w, v6: v6, links: joined})
	}
	if a.ports == nil {
		if failures == nil {
			failures = ErrNoInterface
		}
		return nil, &Error{Op: "advertise", Err: failures}
	}
	if err := a.start(z); err != nil {
		return nil, err
	}
	return a, nil
}

func newAdvertisement(l *slog.Logger) *Advertisement {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return &Advertisement{log: l.With("layer", "bonjour"), stop: make(chan struct{}), zone: &zone{}}
}

// start announces the zone on the ports and serves it.
func (a *Advertisement) start(z *zone) error {
	for _, p := range a.ports {
		a.wg.Go(func() { a.serve(p) })
	}
	if err := a.replace(z); err != nil {
		a.Close()
		return err
	}
	return nil
}

// Update replaces the services. It sends goodbyes for those that are removed and
// announces those that are new or have changed. On error the old services stay.
func (a *Advertisement) Update(s []Service) error {
	z, err := newZone(s)
	if err != nil {
		return err
	}
	return a.replace(z)
}

// Close sends goodbyes and ends the advertisement. It may be called twice.
func (a *Advertisement) Close() error {
	a.mu.Lock()
	if !a.closed {
		if err := a.swap(&zone{}); err != nil {
			a.log.Debug("goodbye not sent", "err", err)
		}
		a.closed = true
		close(a.stop)
		for _, p := range a.ports {
			p.Close()
		}
	}
	a.mu.Unlock()
	a.wg.Wait()
	return nil
}

func (a *Advertisement) replace(z *zone) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return &Error{Op: "advertise", Err: net.ErrClosed}
	}
	return a.swap(z)
}

// swap makes z the zone and sends the changes to the group. The caller holds a.mu.
func (a *Advertisement) swap(z *zone) error {
	old, err := a.announcements(a.zone)
	if err != nil {
		return err
	}
	next, err := a.announcements(z)
	if err != nil {
		return err
	}
	gone := a.zone
	a.zone = z
	news := map[slot][]byte{}
	for _, p := range a.ports {
		for _, l := range p.links {
			for n := range gone.offers {
				o := &gone.offers[n]
				s := slot{p.v6, l.Index, o.nameKey}
				if old[s] != nil && next[s] == nil {
					a.goodbye(p, l, gone, o)
				}
			}
		}
	}
	for s, m := range next {
		if string(old[s]) != string(m) {
			news[s] = m
		}
	}
	if len(news) == 0 {
		return nil
	}
	a.announce(news)
	a.wg.Go(func() { a.again(news) })
	return nil
}

// announcements returns the messages that announce a zone.
func (a *Advertisement) announcements(z *zone) (map[slot][]byte, error) {
	all := map[slot][]byte{}
	for _, p := range a.ports {
		for _, l := range p.links {
			for n := range z.offers {
				o := &z.offers[n]
				if !o.on(l) {
					continue
				}
				s := slot{p.v6, l.Index, o.nameKey}
				m, err := pack(z.announcement(o, l), false)
				if err == nil && all[s] != nil {
					err = errors.New("the same name twice on " + l.Name)
				}
				if err != nil {
					return nil, &Error{Op: "advertise", Subject: o.name, Err: err}
				}
				all[s] = m
			}
		}
	}
	return all, nil
}

// goodbye sends an offer's records with a lifetime of 0. The addresses of its host are
// kept while another service has the same host.
func (a *Advertisement) goodbye(p port, l link, gone *zone, o *offer) {
	records := []dns.RR{o.ptr(), o.srv(), o.txt()}
	if len(a.zone.hostRecords(o.hostKey, l)) == 0 {
		records = gone.announcement(o, l)
	}
	m, err := pack(records, true)
	if err == nil {
		err = p.multicast(m, l)
	}
	if err != nil {
		a.log.Debug("goodbye not sent", "instance", o.Name, "interface", l.Name, "err", err)
	}
}

// announce sends announcements, sorted by name on each interface.
func (a *Advertisement) announce(messages map[slot][]byte) {
	slots := slices.SortedFunc(maps.Keys(messages),
		func(x, y slot) int { return cmp.Compare(x.name, y.name) })
	for _, p := range a.ports {
		for _, l := range p.links {
			for _, s := range slots {
				if s.v6 != p.v6 || s.index != l.Index {
					continue
				}
				if err := p.multicast(messages[s], l); err != nil {
					a.log.Debug("announcement not sent", "interface", l.Name, "ipv6", p.v6, "err",
						err)
				}
			}
		}
	}
}

// again announces a second time the offers that are still the same.
func (a *Advertisement) again(news map[slot][]byte) {
	t := time.NewTimer(announceGap)
	defer t.Stop()
	select {
	case <-a.stop:
		return
	case <-t.C:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	now, err := a.announcements(a.zone)
	if err != nil {
		return // the zone could be announced before and has not changed
	}
	for s, m := range news {
		if string(now[s]) != string(m) {
			delete(news, s)
		}
	}
	a.announce(news)
}

// maxAnswered bounds the bytes that are sent in a second in answer to one client, and
// maxAsks the bytes of its questions that are read.
const (
	maxAnswered = 512 << 10
	maxAsks     = 256 << 10
)

// readPause is the pause after a failed read.
const readPause = 100 * time.Millisecond

func (a *Advertisement) serve(p port) {
	b := make([]byte, maxPacket+1)
	asks, answered := shares{limit: maxAsks}, shares{limit: maxAnswered}
	start := time.Now()
	for {
		in, err := p.read(b)
		if err == nil {
			who, second := in.from.Addr(), int64(time.Since(start)/time.Second)
			if asks.take(who, len(in.body), second) &&
				!a.handle(p, in, func(n int) bool { return answered.take(who, n, second) }) {
				asks.spend(who)
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		a.log.Debug("read failed", "ipv6", p.v6, "err", err)
		select {
		case <-a.stop:
			return
		case <-time.After(readPause):
		}
	}
}

// handle answers one packet. It returns false if may did not allow the bytes of an
// answer. A sender that is not on the link is answered to the group only, because its
// address may be forged.
func (a *Advertisement) handle(p port, in packet, may func(n int) bool) bool {
	l, near, ok := p.linkOf(in)
	if !ok {
		return true
	}
	a.mu.Lock()
	z := a.zone
	a.mu.Unlock()
	for _, r := range z.respond(in.body, in.from.Port() != Port, l) {
		if r.unicast && !near {
			continue
		}
		if !may(len(r.message)) {
			a.log.Debug("too many questions", "from", in.from, "interface", l.Name)
			return false
		}
		var err error
		if r.unicast {
			err = p.send(r.message, in.from)
		} else {
			err = p.multicast(r.message, l)
		}
		if err != nil {
			a.log.Debug("answer not sent", "to", in.from, "interface", l.Name, "err", err)
		}
	}
	return true
}

// linkOf returns the interface on which a packet was received, and whether the sender's
// address is on it. ok is false if the interface is not one of ours or the packet is
// not from its network. A packet to the group is. A packet to this machine only is one
// if the sender's address is on the link (RFC 6762, 11). Nobody outside can then use
// the responder to multiply packets.
func (p port) linkOf(in packet) (l link, near, ok bool) {
	from := in.from.Addr()
	holds := func(l link) bool {
		return l.holds(from) || from.Is6() && from.IsLinkLocalUnicast() && from.Zone() == l.Name ||
			// On Linux, packets to the group on the loopback interface have no other
			// source address.
			from.IsUnspecified() && l.loopback()
	}
	at := slices.IndexFunc(p.links, func(l link) bool {
		if in.index == 0 {
			return holds(l)
		}
		return l.Index == in.index
	})
	if at < 0 {
		return link{}, false, false
	}
	l = p.links[at]
	near = holds(l)
	return l, near, near || in.to.IsMulticast()
}
