package device

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/pair"
)

const (
	// maxSessions bounds the lockdown sessions that a Device has at the same time.
	maxSessions = 8
	// sessionPatience is how long a call waits for the shared session. A session answers
	// one request after the other, so that a request that the device does not answer,
	// such as the start of a service that hangs, keeps all later ones waiting.
	sessionPatience = 500 * time.Millisecond
)

// sessions are the lockdown sessions of a Device. There is usually one, which all calls
// share. A call that waits too long for it opens another one, which becomes the shared
// session if the first one is still in use afterwards, and is closed otherwise.
type sessions struct {
	// shared has the slot of the shared session while no call uses it. The slot has no
	// session before the first call. It is a channel and not a mutex, so that a caller's
	// context ends the wait for it.
	shared chan *slot
	spare  chan *slot // has the slots without a session

	// pairing has a token unless a call pairs or unpairs.
	pairing chan struct{}
	closing sync.Mutex // held by Close

	mu sync.Mutex
	// epoch counts the changes of the pairing. A session of an earlier epoch is not used
	// any more.
	epoch  int
	starts map[string]*serviceTurn
}

// slot is the place of a session. Only the call that has taken the slot uses it.
type slot struct{ session *session } // nil if none is open

// close closes the session, if there is one.
func (s *slot) close() error {
	if s.session == nil {
		return nil
	}
	err := s.session.Close()
	s.session = nil
	return err
}

// serviceTurn is the turn of the calls that start one service.
type serviceTurn struct {
	turn  chan struct{} // has a token while no call starts the service
	users int           // guarded by sessions.mu
}

func (s *sessions) init() {
	s.shared, s.spare = make(chan *slot, 1), make(chan *slot, maxSessions)
	slots := make([]slot, maxSessions)
	s.shared <- &slots[0]
	for n := range slots[1:] {
		s.spare <- &slots[n+1]
	}
	s.pairing = make(chan struct{}, 1)
	s.pairing <- struct{}{}
	s.starts = map[string]*serviceTurn{}
}

// take returns a slot for one call, which puts it back. It returns that of the shared
// session, or another one if the shared session stays in use.
func (s *sessions) take(ctx context.Context) (*slot, error) {
	select {
	case one := <-s.shared:
		return one, nil
	default:
	}
	patience := time.NewTimer(sessionPatience)
	defer patience.Stop()
	select {
	case one := <-s.shared:
		return one, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-patience.C:
	}
	select {
	case one := <-s.shared:
		return one, nil
	case one := <-s.spare:
		return one, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// put returns a slot. Its session is shared from now on, unless there is another one.
func (s *sessions) put(one *slot) {
	select {
	case s.shared <- one:
	default:
		_ = one.close() // the call has ended, and closing changes nothing for it
		s.spare <- one
	}
}

// renew makes all later calls use a new session, because the pairing changes.
func (s *sessions) renew() {
	s.mu.Lock()
	s.epoch++
	s.mu.Unlock()
	select {
	case one := <-s.shared:
		_ = one.close()
		s.put(one)
	default: // it is closed before it is used again
	}
}

func (s *sessions) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// pairs waits until no other call pairs or unpairs. The caller calls the function that
// it returns.
func (s *sessions) pairs(ctx context.Context) (func(), error) {
	select {
	case <-s.pairing:
		return func() { s.pairing <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// starting waits until no other call starts the service, so that a service that hangs
// does not use up the sessions. The caller calls the function that it returns.
func (s *sessions) starting(ctx context.Context, service string) (func(), error) {
	s.mu.Lock()
	one := s.starts[service]
	if one == nil {
		one = &serviceTurn{turn: make(chan struct{}, 1)}
		one.turn <- struct{}{}
		s.starts[service] = one
	}
	one.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.users--
		if one.users == 0 {
			delete(s.starts, service)
		}
	}
	select {
	case <-one.turn:
		return func() {
			one.turn <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// close closes all sessions and waits for the calls that use them and for a pairing. The
// caller has ended their contexts.
func (s *sessions) close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	<-s.pairing
	defer func() { s.pairing <- struct{}{} }()
	var slots []*slot
	var errs []error
	for len(slots) < maxSessions {
		var one *slot
		select {
		case one = <-s.shared:
		case one = <-s.spare:
		}
		errs = append(errs, one.close())
		slots = append(slots, one)
	}
	for _, one := range slots {
		s.put(one)
	}
	return errors.Join(errs...)
}

// withSession runs fn with the shared session or, if another call uses that for too
// long, with another one. It opens the session if there is none. If a session that had
// worked is gone, since the device closes idle ones, it is opened again once.
func (d *Device) withSession(ctx context.Context, fn func(*session) error) error {
	one, err := d.sessions.take(ctx)
	if err != nil {
		return err
	}
	defer d.sessions.put(one)
	if one.session != nil && one.session.epoch != d.sessions.now() {
		_ = one.close()
	}
	for {
		if d.life.Err() != nil {
			return net.ErrClosed
		}
		if one.session == nil {
			s, err := d.startSession(ctx)
			if err != nil {
				return err
			}
			one.session = s
		}
		err := fn(one.session)
		if err == nil || !sessionLost(err) { // a refusal shows that the session works
			one.session.used = true
			return err
		}
		worked := one.session.used
		_ = one.close()
		if !worked || ctx.Err() != nil {
			return err
		}
		d.log.Debug("lockdown session lost, opening another", "layer", "device", "err", err)
	}
}

// pairOnce pairs, unless another call has paired meanwhile. refused is the record that
// the device does not accept any more, or nil.
func (d *Device) pairOnce(ctx context.Context, refused *pair.Record) (*pair.Record, error) {
	done, err := d.sessions.pairs(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	record, err := d.finder.loadRecord(ctx, d.Info())
	if err == nil && (refused == nil || record.HostID != refused.HostID) {
		return record, nil
	}
	if err != nil && !errors.Is(err, ErrNotPaired) {
		return nil, err
	}
	return d.pair(ctx)
}
