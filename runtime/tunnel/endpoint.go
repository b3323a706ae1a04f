package tunnel

import (
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// flows is among how many queues the connections of a tunnel are spread.
	flows = 64
	// maxQueued bounds what waits for the carrier. TCP's windows keep a tunnel
	// with dozens of busy connections below it; what gets there is a peer that
	// makes us answer (pings, SYNs to closed ports) and does not read the
	// answers.
	maxQueued = 64 << 20
	// packetMemory is what a packet takes beside its bytes and its PacketBuffer:
	// the views and chunks that hold the bytes. Answers to pings are little else.
	packetMemory = 256
)

// memoryOf is how much a packet counts in an outbox.
func memoryOf(p *stack.PacketBuffer) int { return p.MemSize() + packetMemory }

// outbox is what the stack wants to send, in order within each connection and
// in turns between connections: a small question does not wait behind the
// megabytes of a transfer. It never makes the stack wait, because two stacks
// that wait for each other's reader would do so for ever, and below its bound
// it drops nothing, because a drop costs TCP a stall of 200 ms. What holds a
// sender back is TCP's own window.
type outbox struct {
	mu     sync.Mutex
	ready  sync.Cond
	queues [flows]packetQueue
	turns  []uint8 // queues that hold something, the next one first
	size   int     // memory of what is queued
	closed bool
}

// packetQueue is a FIFO that reuses its memory.
type packetQueue struct {
	packets []*stack.PacketBuffer
	head    int
	sent    int // of the first packet's payload
}

func (q *packetQueue) push(p *stack.PacketBuffer) {
	if q.head > 0 && len(q.packets) == cap(q.packets) {
		n := copy(q.packets, q.packets[q.head:])
		clear(q.packets[n:])
		q.packets, q.head = q.packets[:n], 0
	}
	q.packets = append(q.packets, p)
}

// first returns the next piece of the first packet.
func (q *packetQueue) first() piece { return cut(q.packets[q.head], q.sent) }

// pop removes the piece that first returned and says whether the queue is
// empty now.
func (q *packetQueue) pop(c piece) (empty bool) {
	if !c.last() {
		q.sent = c.to
		return false
	}
	q.packets[q.head], q.sent = nil, 0
	q.head++
	if empty = q.head == len(q.packets); empty {
		q.packets, q.head = q.packets[:0], 0
	}
	return empty
}

func newOutbox() *outbox {
	o := &outbox{}
	o.ready.L = &o.mu
	return o
}

// push queues a packet and says whether there was room.
func (o *outbox) push(p *stack.PacketBuffer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := memoryOf(p)
	if o.closed || o.size+size > maxQueued {
		return false
	}
	flow := uint8(p.Hash % flows)
	q := &o.queues[flow]
	if len(q.packets) == 0 {
		o.turns = append(o.turns, flow)
	}
	q.push(p.IncRef())
	o.size += size
	if len(o.turns) == 1 {
		o.ready.Signal()
	}
	return true
}

// take waits for packets and appends up to most bytes of them to batch, but
// one packet in any case. It returns nothing once the outbox is closed. The
// caller lets go of each piece's packet.
func (o *outbox) take(batch []piece, most int) []piece {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.turns) == 0 && !o.closed {
		o.ready.Wait()
	}
	room := most
	for len(o.turns) > 0 && !o.closed {
		flow := o.turns[0]
		q := &o.queues[flow]
		c := q.first()
		size := c.size()
		if len(batch) > 0 && size > room {
			break
		}
		room -= size
		batch = append(batch, c)
		if c.last() {
			o.size -= memoryOf(c.packet)
		} else {
			c.packet.IncRef() // the queue keeps its own
		}
		n := copy(o.turns, o.turns[1:])
		o.turns = o.turns[:n]
		if !q.pop(c) {
			o.turns = append(o.turns, flow)
		}
	}
	return batch
}

// close wakes take and lets everything that is queued go.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for i := range o.queues {
		q := &o.queues[i]
		for _, p := range q.packets[q.head:] {
			p.DecRef()
		}
		*q = packetQueue{}
	}
	o.turns, o.size = nil, 0
	o.ready.Broadcast()
}

// endpoint is the network interface of the stack: what the stack sends goes to
// the outbox, what the carrier brings goes to deliver.
type endpoint struct {
	out *outbox
	mss int // of the segments that are sent

	mu         sync.RWMutex
	mtu        uint32
	dispatcher stack.NetworkDispatcher
}

var (
	_ stack.LinkEndpoint = (*endpoint)(nil)
	_ stack.GSOEndpoint  = (*endpoint)(nil)
)

// deliver hands a packet to the stack, which owns it from then on.
func (e *endpoint) deliver(head *buffer.View, body buffer.Buffer) {
	e.mu.RLock()
	d := e.dispatcher
	e.mu.RUnlock()
	payload := buffer.MakeWithView(head)
	payload.Merge(&body)
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	p.NetworkProtocolNumber = ipv6.ProtocolNumber
	if d != nil {
		d.DeliverNetworkPacket(ipv6.ProtocolNumber, p)
	}
	p.DecRef()
}

// WritePackets is called with locks of the connection held: it must not wait.
func (e *endpoint) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for i, p := range list.AsSlice() {
		if !e.out.push(p) {
			return i, &tcpip.ErrNoBufferSpace{}
		}
	}
	return list.Len(), nil
}

// Capabilities leaves out the checksums of what arrives: where the carrier is
// not trusted to have brought it unharmed, the session looks at them before
// segments are joined.
func (*endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

func (e *endpoint) MTU() uint32 {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.mtu
}

func (e *endpoint) SetMTU(mtu uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mtu = mtu
}

func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = d
}

func (e *endpoint) IsAttached() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.dispatcher != nil
}

// GSOMaxSize is how much the stack handles as one segment until the outbox cuts
// it: it makes one trip through the stack instead of ten.
func (e *endpoint) GSOMaxSize() uint32 { return gsoSize(e.mss) }

// SupportedGSO says that packets are cut, and their checksums made, here.
func (*endpoint) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

func (*endpoint) MaxHeaderLength() uint16                 { return 0 }
func (*endpoint) LinkAddress() tcpip.LinkAddress          { return "" }
func (*endpoint) SetLinkAddress(tcpip.LinkAddress)        {}
func (*endpoint) Wait()                                   {}
func (*endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*endpoint) AddHeader(*stack.PacketBuffer)           {}
func (*endpoint) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*endpoint) Close()                                  {}
func (*endpoint) SetOnCloseAction(func())                 {}
