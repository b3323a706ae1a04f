package bonjour

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// MDNS is the Browser over multicast DNS. The zero value is ready to use. It may be
// used by several goroutines.
//
// MDNS sends each question from a port of its own, so that devices answer to that port
// ("legacy unicast", RFC 6762, 6.7). It also receives the answers that are sent to the
// group. Anybody on the network can answer. What one sender sends is therefore kept
// separate from what others send, and each sender has a share of the bytes that are
// read and of the instances that are kept.
type MDNS struct {
	// Logger logs nothing if it is nil.
	Logger *slog.Logger

	// open and links are replaced in tests; nil means the system's.
	open  func(context.Context, asker) ([]wire, error)
	links func() ([]link, error)
}

// rounds are the times of the first questions of a browse. After them one question
// follows every roundGap.
var rounds = []time.Duration{0, 1000 * time.Millisecond, 2500 * time.Millisecond}

const roundGap = 2500 * time.Millisecond

// earlyPause is the time between an answer and the call of Early, so that many answers
// do not cause many calls.
const earlyPause = 20 * time.Millisecond

// schedule returns the times of the questions of a browse that lasts for timeout.
func schedule(timeout time.Duration) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for n := 0; ; n++ {
			at := rounds[min(n, len(rounds)-1)]
			if n >= len(rounds) {
				at += time.Duration(n-len(rounds)+1) * roundGap
			}
			if at >= timeout || !yield(at) {
				return
			}
		}
	}
}

// asker sends the questions of a browse on one interface over one family of addresses.
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

// outcome is the result of sending a question, or a packet that was received.
type outcome struct {
	heard answer
	err   error // of a question that could not be sent
	asked bool  // whether a question was sent
}

// Browse asks on every interface of the query and listens for its timeout. It fails
// only if no question could be sent. It returns at once when ctx ends or Early returns
// true.
func (m *MDNS) Browse(ctx context.Context, q Query) ([]Instance, error) {
	fail := func(err error) error {
		return &Error{Op: "browse", Subject: string(q.Type), Err: err}
	}
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
	var running sync.WaitGroup
	defer running.Wait()
	inner, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	results := make(chan outcome)
	for _, a := range askers {
		running.Go(func() { m.ask(inner, a, q, results) })
	}
	b := newBrowse(q.Type, askers)
	b.gather(inner, results, q.Early)
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	if !b.worked {
		return nil, fail(cmp.Or(b.err, context.DeadlineExceeded))
	}
	return b.list(), nil
}

// gather adds the outcomes until ctx ends or early returns true.
func (b *browse) gather(
	ctx context.Context, results <-chan outcome, early func([]Instance) bool,
) {
	var due <-chan time.Time
	for {
		select {
		case o := <-results:
			if b.add(o) && early != nil && due == nil {
				due = time.After(earlyPause)
			}
		case <-due:
			due = nil
			if all := b.list(); len(all) > 0 && early(all) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// askers returns an asker for each interface and family of the query.
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

// ask sends the questions of one asker and listens until ctx ends. After a failure it
// tries again, because an interface that has just come up, such as that of a device
// that was just plugged in, cannot send for up to a second.
func (m *MDNS) ask(ctx context.Context, a asker, q Query, results chan<- outcome) {
	logger := m.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	logger = logger.With("layer", "bonjour", "type", string(a.kind),
		"interface", a.Name, "family", a.family())
	e := &ear{asker: a, results: results, log: logger}
	defer e.running.Wait()
	start := time.Now()
	for at := range schedule(q.Timeout) {
		timer := time.NewTimer(time.Until(start.Add(at)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		err := m.question(ctx, e)
		if err != nil {
			logger.Debug("question not sent", "err", err)
		}
		e.tell(ctx, outcome{err: err, asked: err == nil})
	}
	<-ctx.Done()
}

// question sends the question once. In its first call it opens the sockets.
func (m *MDNS) question(ctx context.Context, e *ear) error {
	var q dns.Msg
	q.Question = []dns.Question{{Name: formatName(e.kind.labels()...),
		Qtype: dns.TypePTR, Qclass: dns.ClassINET}}
	b, err := q.Pack()
	if err != nil {
		return err
	}
	if e.wires == nil {
		open := m.open
		if open == nil {
			open = openWires
		}
		e.wires, err = open(ctx, e.asker)
		if err != nil {
			return err
		}
		e.listen(ctx)
	}
	e.round.Add(1)
	return e.wires[0].multicast(b, e.link)
}

// openWires opens the socket for questions and, if possible, one that receives what is
// sent to the group.
func openWires(ctx context.Context, a asker) ([]wire, error) {
	own, err := openSocket(ctx, a.v6, anyPort(a.v6))
	if err != nil {
		return nil, err
	}
	wires := []wire{own}
	if group, _, err := listen(ctx, a.v6, []link{a.link}); err == nil {
		wires = append(wires, group)
	}
	return wires, nil
}

// ear receives packets for an asker.
type ear struct {
	asker
	wires   []wire // the first one sends the questions
	results chan<- outcome
	log     *slog.Logger
	round   atomic.Int64
	running sync.WaitGroup
}

func (e *ear) tell(ctx context.Context, o outcome) {
	select {
	case e.results <- o:
	case <-ctx.Done():
	}
}

// listen reads from the wires until ctx ends.
func (e *ear) listen(ctx context.Context) {
	wires := slices.Clone(e.wires)
	context.AfterFunc(ctx, func() {
		for _, w := range wires {
			w.Close()
		}
	})
	for _, w := range wires {
		e.running.Go(func() { e.hear(ctx, w) })
	}
}

func (e *ear) hear(ctx context.Context, w wire) {
	p := port{wire: w, v6: e.v6, links: []link{e.link}}
	s := shares{limit: maxHeard}
	b := make([]byte, maxPacket+1)
	for {
		in, err := w.read(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			e.log.Debug("read failed", "err", err)
			select {
			case <-time.After(readPause):
			case <-ctx.Done():
			}
			continue
		}
		// Responses are sent from port 5353 and from the link (RFC 6762, 6 and 11).
		_, _, ok := p.linkOf(in)
		if !ok || in.from.Port() != Port || !s.take(in.from.Addr(), len(in.body), e.round.Load()) {
			continue
		}
		if facts := e.facts(in.body); len(facts) > 0 {
			e.tell(ctx, outcome{heard: answer{link: e.Name, sender: in.from.Addr(), facts: facts}})
		}
	}
}
