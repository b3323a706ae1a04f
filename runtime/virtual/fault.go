package virtual

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// FaultKind says how a service misbehaves.
type FaultKind int

// The ways in which links and devices fail in practice.
const (
	// CloseMidMessage ends the connection after Fault.After bytes of answers.
	CloseMidMessage FaultKind = iota + 1
	// Stall stops answering after Fault.After bytes and keeps the connection
	// open.
	Stall
	// Trickle sends one byte at a time, Fault.Delay apart.
	Trickle
	// Late holds every answer back for Fault.Delay.
	Late
	// WrongLength makes the first message claim far more bytes than follow:
	// the byte at Fault.LengthAt becomes 0x7F.
	WrongLength
	// KillChannel ends a channel of Instruments at a call, after Fault.After
	// calls that are answered.
	KillChannel
	// NeverAnswer leaves calls on a channel of Instruments without an answer,
	// after Fault.After that have one.
	NeverAnswer
)

var faultNames = map[string]FaultKind{
	"close": CloseMidMessage, "stall": Stall, "trickle": Trickle, "late": Late,
	"length": WrongLength,
	"kill":   KillChannel, "mute": NeverAnswer,
}

// ParseFault returns the kind that scripts call by name: close, stall,
// trickle, late, length, and kill and mute for channels.
func ParseFault(name string) (FaultKind, bool) { k, ok := faultNames[name]; return k, ok }

// Fault is a misbehaviour of one service, for every connection that begins
// while it is set.
type Fault struct {
	Kind FaultKind
	// bytes the device still sends, for CloseMidMessage and Stall; calls it answers, for channels
	After    int
	Delay    time.Duration // for Trickle (0 = 1 ms) and Late (0 = 1 s)
	LengthAt int           // offset of the byte to spoil; for WrongLength (plist frames 0, AFC 15)
}

// SetFault makes a service misbehave from its next connection on. The service
// is named as in lockdown, or as in RSD when lockdown does not have it;
// "lockdown" is lockdownd itself, "rsd" the list of services and "*" stands for
// every service. A channel of Instruments is named by its identifier and
// misbehaves from its next call on.
func (m *Machine) SetFault(service string, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[service] = f
}

// TunnelFaults is what is wrong with tunnels; the zero value is nothing.
type TunnelFaults struct {
	// RefuseListener has remote pairing open no listener.
	RefuseListener bool
	// WrongKey has QUIC listeners show another key than remote pairing tells.
	WrongKey bool
	// Faults is what happens to the packets.
	tunnel.Faults
}

// SetTunnelFaults makes tunnels misbehave that begin from now on.
func (m *Machine) SetTunnelFaults(f TunnelFaults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tunnelFaults = f
}

// ClearFaults lets everything behave again.
func (m *Machine) ClearFaults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.faults)
	m.tunnelFaults = TunnelFaults{}
}

// channelFault says what becomes of a call on a channel of Instruments.
func (m *Machine) channelFault(identifier, _ string) dvt.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.faults[identifier]
	if !ok {
		return dvt.NoFault
	}
	if f.After > 0 {
		f.After--
		m.faults[identifier] = f
		return dvt.NoFault
	}
	switch f.Kind {
	case KillChannel:
		return dvt.KillChannel
	case NeverAnswer:
		return dvt.NeverAnswer
	}
	return dvt.NoFault
}

// misbehave wraps c in the fault that is set for service, if any.
func (m *Machine) misbehave(ctx context.Context, service string, c net.Conn) net.Conn {
	m.mu.Lock()
	f, ok := m.faults[service]
	if !ok && service != "lockdown" && service != "rsd" {
		f, ok = m.faults["*"]
	}
	m.mu.Unlock()
	if !ok {
		return c
	}
	if f.Delay == 0 {
		f.Delay = time.Millisecond
		if f.Kind == Late {
			f.Delay = time.Second
		}
	}
	return &faultyConn{
		Conn: c, ctx: ctx, f: f, left: f.After, gone: make(chan struct{}),
		stalled: make(chan struct{}), reading: make(chan struct{}, 1),
	}
}

// faultyConn spoils what the device writes.
type faultyConn struct {
	net.Conn
	ctx  context.Context
	f    Fault
	mu   sync.Mutex
	left int
	sent bool
	once sync.Once
	gone chan struct{} // closed with the connection, or when the peer has left

	stalled chan struct{} // closed by a stall

	// reading is full while somebody reads: the service and the watch of a
	// stall take turns, TLS would make them wait where no deadline counts.
	reading chan struct{}
}

func (c *faultyConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (c *faultyConn) leave() { c.once.Do(func() { close(c.gone) }) }

// Read is the service's, which hears nothing more once it is stalled: the watch
// takes what comes, and half of it would end the connection.
func (c *faultyConn) Read(p []byte) (int, error) {
	select {
	case <-c.stalled:
		c.wait(0)
		return 0, net.ErrClosed
	default:
		return c.read(p)
	}
}

func (c *faultyConn) read(p []byte) (int, error) {
	c.reading <- struct{}{}
	n, err := c.Conn.Read(p)
	<-c.reading
	if err != nil && !os.IsTimeout(err) {
		c.leave()
	}
	return n, err
}

// wait passes d, or returns false when the connection or the device ends. A
// stall waits for ever.
func (c *faultyConn) wait(d time.Duration) bool {
	var expired <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-expired:
		return true
	case <-c.gone:
	case <-c.ctx.Done():
	}
	return false
}

func (c *faultyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.f.Kind {
	case Late:
		if !c.wait(c.f.Delay) {
			return 0, net.ErrClosed
		}
	case Trickle:
		return c.trickle(p)
	case WrongLength:
		if !c.sent && len(p) > c.f.LengthAt {
			p = append([]byte(nil), p...)
			p[c.f.LengthAt] = 0x7F
		}
		c.sent = true
	case CloseMidMessage, Stall:
		if len(p) > c.left {
			return c.cut(p)
		}
		c.left -= len(p)
	}
	return c.Conn.Write(p)
}

func (c *faultyConn) trickle(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if !c.wait(c.f.Delay) {
			return i + 1, net.ErrClosed
		}
	}
	return len(p), nil
}

// cut sends what is still allowed and then closes or falls silent. A stalled
// device still notices that its peer left, or its connection would stay for
// ever: that is what reading in the background is for.
func (c *faultyConn) cut(p []byte) (int, error) {
	n, _ := c.Conn.Write(p[:c.left])
	c.left = 0
	if c.f.Kind == Stall {
		select {
		case <-c.stalled:
		default:
			close(c.stalled)
			go c.watch()
		}
		c.wait(0)
	}
	c.Close()
	return n, net.ErrClosed
}

// watch reads until the peer has left. A read that ends by a deadline, which
// is the service's own, is tried again a little later.
func (c *faultyConn) watch() {
	var b [512]byte
	for {
		_, err := c.read(b[:])
		if err == nil {
			continue
		}
		if !os.IsTimeout(err) || !c.wait(10*time.Millisecond) {
			return
		}
	}
}
