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
)

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
	size   int     // bytes queued
	closed bool
}

// packetQueue is a FIFO that reuses its memory.
type packetQueue struct {
	packets []*stack.PacketBuffer
	head    int
}

func (q *packetQueue) push(p *stack.PacketBuffer) {
	if q.head > 0 && len(q.packets) == cap(q.packets) {
		n := copy(q.packets, q.packets[q.head:])
		clear(q.packets[n:])
		q.packets, q.head = q.packets[:n], 0
	}
	q.packets = append(q.packets, p)
}

func (q *packetQueue) first() *stack.PacketBuffer { return q.packets[q.head] }

// pop removes the first packet and says whether the queue is empty now.
func (q *packetQueue) pop() (empty bool) {
	q.packets[q.head] = nil
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
	size := p.Size()
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
// one packet in any case. It returns nothing once the outbox is closed.
func (o *outbox) take(batch []*stack.PacketBuffer, most int) []*stack.PacketBuffer {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.turns) == 0 && !o.closed {
		o.ready.Wait()
	}
	room := most
	for len(o.turns) > 0 && !o.closed {
		q := &o.queues[o.turns[0]]
		p := q.first()
		size := p.Size()
		if len(batch) > 0 && size > room {
			break
		}
		room -= size
		o.size -= size
		batch = append(batch, p)
		flow := o.turns[0]
		n := copy(o.turns, o.turns[1:])
		o.turns = o.turns[:n]
		if !q.pop() {
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

// appendPacket appends the bytes of a packet.
func appendPacket(b []byte, p *stack.PacketBuffer) []byte {
	views, offset := p.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		s := v.AsSlice()
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		b = append(b, s[offset:]...)
		offset = 0
	}
	return b
}

// endpoint is the network interface of the stack: what the stack sends goes to
// the outbox, what the carrier brings goes to deliver.
type endpoint struct {
	out    *outbox
	verify bool // check the TCP checksums of what arrives

	mu         sync.RWMutex
	mtu        uint32
	dispatcher stack.NetworkDispatcher
}

var (
	_ stack.LinkEndpoint = (*endpoint)(nil)
	_ stack.GSOEndpoint  = (*endpoint)(nil)
)

// deliver hands a packet to the stack, which owns it from then on.
func (e *endpoint) deliver(head, body *buffer.View) {
	e.mu.RLock()
	d := e.dispatcher
	e.mu.RUnlock()
	payload := buffer.MakeWithView(head)
	if body != nil {
		_ = payload.Append(body) // fails on nil alone
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	p.NetworkProtocolNumber = ipv6.ProtocolNumber
	p.RXChecksumValidated = !e.verify
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

// Capabilities leaves out the checksums of what arrives where the carrier is
// trusted to have brought it unharmed.
func (e *endpoint) Capabilities() stack.LinkEndpointCapabilities {
	if e.verify {
		return 0
	}
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

// GSOMaxSize is how much the stack handles as one segment until it is cut into
// packets.
func (*endpoint) GSOMaxSize() uint32                      { return 1 << 16 }
func (*endpoint) SupportedGSO() stack.SupportedGSO        { return stack.GVisorGSOSupported }
func (*endpoint) MaxHeaderLength() uint16                 { return 0 }
func (*endpoint) LinkAddress() tcpip.LinkAddress          { return "" }
func (*endpoint) SetLinkAddress(tcpip.LinkAddress)        {}
func (*endpoint) Wait()                                   {}
func (*endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*endpoint) AddHeader(*stack.PacketBuffer)           {}
func (*endpoint) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*endpoint) Close()                                  {}
func (*endpoint) SetOnCloseAction(func())                 {}
