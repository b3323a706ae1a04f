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
	// flows is the number of queues for the connections of a tunnel.
	flows = 64
	// maxQueued bounds the packets that wait for the carrier. TCP's windows keep a
	// tunnel with dozens of busy connections below it. It is reached only if a peer
	// causes answers (by pings or SYNs to closed ports) and does not read them.
	maxQueued = 64 << 20
	// packetMemory is the memory of a packet in addition to its bytes and its
	// PacketBuffer, for the views and chunks that hold the bytes. Most of the memory of
	// an answer to a ping is of this kind.
	packetMemory = 256
)

// memoryOf returns the memory of a packet in an outbox.
func memoryOf(p *stack.PacketBuffer) int { return p.MemSize() + packetMemory }

// outbox holds the packets that the stack sends. They are in order within each
// connection, and connections take turns, so that a small request does not wait for a
// large transfer. push never waits, because two stacks that wait for each other's
// reader would block forever. Below maxQueued nothing is dropped, because a drop delays
// TCP by 200 ms. A sender is limited by TCP's window.
type outbox struct {
	mu     sync.Mutex
	ready  sync.Cond
	queues [flows]packetQueue
	turns  []uint8 // queues that are not empty, next one first
	size   int     // memory of the queued packets
	closed bool
}

// packetQueue is a FIFO that reuses its memory.
type packetQueue struct {
	packets []*stack.PacketBuffer
	head    int
	sent    int // bytes of the first packet's payload that have been sent
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

// pop removes the piece that first has returned and reports whether the queue is now
// empty.
func (q *packetQueue) pop(c piece) (empty bool) {
	if !c.last() {
		q.sent = c.to
		return false
	}
	q.packets[q.head], q.sent = nil, 0
	q.head++
	empty = q.head == len(q.packets)
	if empty {
		q.packets, q.head = q.packets[:0], 0
	}
	return empty
}

func newOutbox() *outbox {
	o := &outbox{}
	o.ready.L = &o.mu
	return o
}

// push queues a packet. It returns false if there is no room.
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

// take waits for packets and appends up to most bytes of them to batch, but at least
// one packet. It returns nothing after the outbox is closed. The caller releases the
// packet of each piece.
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
			c.packet.IncRef() // for the reference of the queue
		}
		n := copy(o.turns, o.turns[1:])
		o.turns = o.turns[:n]
		if !q.pop(c) {
			o.turns = append(o.turns, flow)
		}
	}
	return batch
}

// close ends a take that waits and releases the queued packets.
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

// endpoint is the network interface of the stack. Packets from the stack go to the
// outbox. Packets from the carrier go to deliver.
type endpoint struct {
	out *outbox
	mss int // of the segments to send

	mu         sync.RWMutex
	mtu        uint32
	dispatcher stack.NetworkDispatcher
}

var (
	_ stack.LinkEndpoint = (*endpoint)(nil)
	_ stack.GSOEndpoint  = (*endpoint)(nil)
)

// deliver passes a packet to the stack, which takes ownership of it.
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

// WritePackets is called while locks of the connection are held. It must not wait.
func (e *endpoint) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for i, p := range list.AsSlice() {
		if !e.out.push(p) {
			return i, &tcpip.ErrNoBufferSpace{}
		}
	}
	return list.Len(), nil
}

// Capabilities does not include the checksums of received packets. If the carrier is
// not trusted to deliver them unchanged, the session verifies them before it joins
// segments.
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

// GSOMaxSize is the size of the segments inside the stack. The outbox cuts them. The
// stack then handles one large segment instead of ten small ones.
func (e *endpoint) GSOMaxSize() uint32 { return gsoSize(e.mss) }

// SupportedGSO states that packets are cut here, and their checksums are computed here.
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
