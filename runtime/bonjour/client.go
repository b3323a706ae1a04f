package bonjour

import (
	"cmp"
	"context"
	"io"
	"iter"
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/mdns"
)

// MDNS is the Browser over multicast DNS. The zero value works; one may be used
// by many at once.
//
// It stands on github.com/hashicorp/mdns, whose query has limits that this
// type works around:
//   - it sends one packet, over two families of which one failing ends both, and
//     by one interface: each interface and family has its own queries here, and
//     they are repeated;
//   - it listens until its timeout whatever happens to its context, and changes
//     an entry until then: a query that nobody waits for any more is left to end
//     by itself, and entries are read after its end;
//   - it tells of one instance in a packet that has several: repeating helps
//     when the answers then come one by one, otherwise the others are not seen;
//   - it tells one address of each family, and not which interface a packet
//     came by: the repeated answers are merged, and the interface follows from
//     the zone or the subnet of what was found.
//
// Real devices answer these queries by unicast, each in a packet of its own.
type MDNS struct {
	// Logger is silent when nil.
	Logger *slog.Logger

	// lookup and links are replaced in tests; nil is the real thing.
	lookup func(context.Context, *mdns.QueryParam) error
	links  func() ([]link, error)

	running sync.WaitGroup
}

// entryBuffer holds what one query finds; the library drops what does not fit.
// Entries of other services count as well.
const entryBuffer = 256

// grace is how long a browse waits for queries that end later than they should.
const grace = 500 * time.Millisecond

// round is one query: when it is sent, and how long its answers are heard.
type round struct{ at, listen time.Duration }

// The first queries of a browse; afterwards one follows every roundGap. Each
// listens a little into the next one, so that a late answer finds its socket
// open. What was found is known only when a query ends, so that those of a
// browse that may end early are shorter and one more.
var (
	rounds = []round{
		{0, 1500 * time.Millisecond},
		{1000 * time.Millisecond, 2000 * time.Millisecond},
		{2500 * time.Millisecond, roundGap + grace},
	}
	earlyRounds = []round{
		{0, 300 * time.Millisecond},
		{300 * time.Millisecond, 700 * time.Millisecond},
		{1000 * time.Millisecond, 700 * time.Millisecond},
		{1700 * time.Millisecond, 800 * time.Millisecond},
		{2500 * time.Millisecond, roundGap},
	}
)

const roundGap = 2500 * time.Millisecond

// schedule is the rounds of a browse that lasts for timeout.
func schedule(timeout time.Duration, early bool) iter.Seq[round] {
	first := rounds
	if early {
		first = earlyRounds
	}
	return func(yield func(round) bool) {
		for n := 0; ; n++ {
			r := first[min(n, len(first)-1)]
			if n >= len(first) {
				r.at += time.Duration(n-len(first)+1) * roundGap
			}
			if r.at >= timeout {
				return
			}
			r.listen = min(r.listen, timeout-r.at)
			if !yield(r) {
				return
			}
		}
	}
}

// asker sends the queries of a browse on one interface over one family.
type asker struct {
	link
	v6   bool
	kind Type
}

func (a asker) family() string {
	if a.v6 {
		return "IPv6"
	}
	return "IPv4"
}

// outcome is what became of a query, or with done of an asker.
type outcome struct {
	asker asker
	found []Instance
	err   error
	done  bool
}

// Browse asks on every interface of the query and listens for its timeout. It
// fails only if every query failed. When ctx ends or Early says so it returns
// at once; sockets are closed then, while the library's goroutines stay for
// some seconds: Wait waits for them.
func (m *MDNS) Browse(ctx context.Context, q Query) ([]Instance, error) {
	fail := func(err error) error { return &Error{Op: "browse", Subject: string(q.Type), Err: err} }
	if !q.Type.valid() {
		return nil, fail(ErrInvalid)
	}
	if q.Timeout <= 0 {
		q.Timeout = DefaultTimeout
	}
	listLinks := m.links
	if listLinks == nil {
		listLinks = localLinks
	}
	all, err := listLinks()
	if err != nil {
		return nil, fail(err)
	}
	askers, err := q.askers(all)
	if err != nil {
		return nil, fail(err)
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan outcome)
	for _, a := range askers {
		m.running.Go(func() { m.ask(inner, a, q, results) })
	}
	b := &browse{links: all, askers: askers, found: map[instanceKey]*Instance{}}
	late := time.NewTimer(q.Timeout + grace)
	defer late.Stop()
	for live, ended := len(askers), false; live > 0 && !ended; {
		select {
		case o := <-results:
			if o.done {
				live--
			}
			ended = b.add(o) && q.Early != nil && q.Early(b.list())
		case <-ctx.Done():
			return nil, fail(ctx.Err())
		case <-late.C:
			ended, b.err = true, cmp.Or(b.err, context.DeadlineExceeded)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	if !b.worked {
		return nil, fail(b.err)
	}
	return b.list(), nil
}

// Wait waits until no query of a Browse that has returned is left behind, at
// most some seconds.
func (m *MDNS) Wait() { m.running.Wait() }

// askers are an asker for each interface and family of the query.
func (q Query) askers(all []link) ([]asker, error) {
	links, err := chooseLinks(all, q.Interfaces, q.Loopback)
	if err != nil {
		return nil, err
	}
	var askers []asker
	for _, l := range links {
		if !q.NoIPv4 && l.has(false) {
			askers = append(askers, asker{l, false, q.Type})
		}
		if !q.NoIPv6 && l.has(true) {
			askers = append(askers, asker{l, true, q.Type})
		}
	}
	if askers == nil {
		return nil, ErrNoInterface
	}
	return askers, nil
}

// ask runs the queries of one asker. A failure does not keep it from trying
// again: an interface that has just come up, such as that of a device that was
// just plugged in, cannot send for up to a second.
func (m *MDNS) ask(ctx context.Context, a asker, q Query, results chan<- outcome) {
	logger := m.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	logger = logger.With("layer", "bonjour", "type", string(a.kind), "interface", a.Name, "family",
		a.family())
	tell := func(o outcome) {
		select {
		case results <- o:
		case <-ctx.Done():
		}
	}
	var queries sync.WaitGroup
	start := time.Now()
	for r := range schedule(q.Timeout, q.Early != nil) {
		timer := time.NewTimer(time.Until(start.Add(r.at)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		if ctx.Err() != nil {
			break
		}
		queries.Go(func() {
			found, err := m.query(ctx, a, r.listen)
			if err != nil {
				logger.Debug("query failed", "err", err)
			} else {
				logger.Debug("query ended", "found", len(found))
			}
			tell(outcome{asker: a, found: found, err: err})
		})
	}
	queries.Wait()
	tell(outcome{asker: a, done: true})
}

// query sends one query and returns what was heard until it ended.
func (m *MDNS) query(ctx context.Context, a asker, listen time.Duration) ([]Instance, error) {
	lookup := m.lookup
	if lookup == nil {
		lookup = mdns.QueryContext
	}
	entries := make(chan *mdns.ServiceEntry, entryBuffer)
	err := lookup(ctx, &mdns.QueryParam{
		Service: string(a.kind), Domain: domain, Timeout: listen, Interface: a.Interface,
		DisableIPv4: a.v6, DisableIPv6: !a.v6,
		Entries: entries, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return nil, err
	}
	var found []Instance
	for len(entries) > 0 {
		if i, ok := a.instance(<-entries); ok {
			found = append(found, i)
		}
	}
	return found, nil
}

// instance reads an entry of the library, which tells of every service that it
// hears of. Interface is the zone of the link-local address, if one came by
// IPv6, and otherwise empty.
func (a asker) instance(e *mdns.ServiceEntry) (Instance, bool) {
	labels, ok := parseName(e.Name)
	if !ok || len(labels) != 4 || nameKey(labels[1:]) != nameKey(a.kind.labels()) {
		return Instance{}, false
	}
	host, ok := parseName(e.Host)
	if !ok || e.Port <= 0 || e.Port > 0xFFFF {
		return Instance{}, false
	}
	i := Instance{
		Name: labels[0], Type: a.kind, Host: strings.Join(host, "."), Port: uint16(e.Port),
		TXT: parseText(e.InfoFields),
	}
	if ip, ok := netip.AddrFromSlice(e.AddrV4); ok {
		i.Addresses = append(i.Addresses, ip.Unmap())
	}
	if e.AddrV6IPAddr != nil {
		if ip, ok := netip.AddrFromSlice(e.AddrV6IPAddr.IP); ok && ip.Is6() && !ip.Is4In6() {
			if ip.IsLinkLocalUnicast() {
				i.Interface = e.AddrV6IPAddr.Zone
			}
			i.Addresses = append(i.Addresses, ip)
		}
	}
	return i, true
}
