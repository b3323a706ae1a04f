package virtual

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/lockdown"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/service/dvt"
	"github.com/imdlua/imdlua/runtime/tunnel"
)

// FaultKind is a way in which a service misbehaves.
type FaultKind int

// The ways in which connections and devices fail in practice.
const (
	// CloseMidMessage closes the connection after Fault.After bytes of answers.
	CloseMidMessage FaultKind = iota + 1
	// Stall stops answering after Fault.After bytes and keeps the connection
	// open.
	Stall
	// Trickle sends one byte at a time, Fault.Delay apart.
	Trickle
	// Late delays every answer by Fault.Delay.
	Late
	// WrongLength makes the first message claim far more bytes than follow:
	// the byte at Fault.LengthAt becomes 0x7F.
	WrongLength
	// KillChannel answers Fault.After calls on a channel of Instruments and closes
	// the channel at the next call.
	KillChannel
	// NeverAnswer answers Fault.After calls on a channel of Instruments and leaves
	// all later calls without an answer. If it is set for a service, lockdownd does not
	// answer the request to start the service, and answers nothing else on that
	// connection.
	NeverAnswer
)

var faultNames = map[string]FaultKind{
	"close": CloseMidMessage, "stall": Stall, "trickle": Trickle, "late": Late,
	"length": WrongLength,
	"kill":   KillChannel, "mute": NeverAnswer,
}

// ParseFault returns the kind with the name that scripts use: close, stall,
// trickle, late or length, or for channels kill or mute.
func ParseFault(name string) (FaultKind, bool) { k, ok := faultNames[name]; return k, ok }

// Fault is a misbehaviour of one service. It applies to every connection that
// begins while it is set.
type Fault struct {
	Kind FaultKind
	// After is the number of bytes that the device still sends, for CloseMidMessage and
	// Stall, or the number of calls that it answers, for channels.
	After int
	// Delay is used by Trickle, where 0 means 1 ms, and by Late, where 0 means 1 s.
	Delay time.Duration
	// LengthAt is the offset of the byte that WrongLength changes: 0 for plist frames,
	// 15 for AFC.
	LengthAt int
}

// SetFault makes a service misbehave from its next connection on. The name of a
// service is that of lockdown, or that of RSD if lockdown does not have the
// service. "lockdown" means lockdownd itself, "rsd" the list of services, and "*"
// every service. The name may also be the identifier of a channel of Instruments,
// which misbehaves from its next call on.
func (m *Machine) SetFault(service string, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[service] = f
}

// TunnelFaults are the faults of tunnels. The zero value has none.
type TunnelFaults struct {
	// RefuseListener makes remote pairing refuse to open a listener.
	RefuseListener bool
	// WrongKey makes QUIC listeners present another key than the one that remote
	// pairing announced.
	WrongKey bool
	// Faults are the faults of the packets.
	tunnel.Faults
}

// SetTunnelFaults sets the faults of tunnels that begin from now on.
func (m *Machine) SetTunnelFaults(f TunnelFaults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tunnelFaults = f
}

// ClearFaults removes all faults, including those of tunnels.
func (m *Machine) ClearFaults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.faults)
	m.tunnelFaults = TunnelFaults{}
}

// channelFault returns the fault of the next call on a channel of Instruments.
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

// misbehave returns c with the fault that is set for the service, or c itself if
// none is set.
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

// startFunc is the field Start of lockdown.Device.
type startFunc func(
	ctx context.Context, name string, host *trust.Host, escrow []byte,
) (lockdown.Endpoint, error)

// starting returns start for the lockdown connection c. For a service with the fault
// NeverAnswer the function waits until the host has left the connection.
func (m *Machine) starting(c net.Conn, start startFunc) startFunc {
	return func(
		ctx context.Context, name string, host *trust.Host, escrow []byte,
	) (lockdown.Endpoint, error) {
		m.mu.Lock()
		f, ok := m.faults[name]
		if !ok {
			f = m.faults["*"]
		}
		m.mu.Unlock()
		if f.Kind != NeverAnswer {
			return start(ctx, name, host, escrow)
		}
		// Nothing else reads or writes c before the function returns.
		hung := &faultyConn{
			Conn: c, ctx: ctx, gone: make(chan struct{}), stalled: make(chan struct{}),
			reading: make(chan struct{}, 1),
		}
		go hung.watch()
		hung.wait(0)
		hung.Close()
		return lockdown.Endpoint{}, net.ErrClosed
	}
}

// faultyConn applies a Fault to what the device writes.
type faultyConn struct {
	net.Conn
	ctx  context.Context
	f    Fault
	mu   sync.Mutex
	left int
	sent bool
	once sync.Once
	gone chan struct{} // closed when the connection is closed or the peer has left

	stalled chan struct{} // closed when a Stall begins

	// reading holds a token while the service or watch reads. They take turns here,
	// because inside a TLS connection they would wait for each other without a
	// deadline.
	reading chan struct{}
}

func (c *faultyConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (c *faultyConn) leave() { c.once.Do(func() { close(c.gone) }) }

// Read reads for the service. Once the connection is stalled, Read only waits for
// its end: watch reads the data, and a service that got a part of it would close
// the connection.
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

// wait waits for d and returns true, or returns false if the connection or the
// device ends first. If d is 0 it waits for that end.
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

// cut sends the bytes that are still allowed, and then closes the connection or
// stalls. A stalled connection is read in the background, to notice when the peer
// leaves; otherwise it would stay open for ever.
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

// watch reads until the peer has left. If a read ends at a deadline that the
// service has set, watch tries again a little later.
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
