package tunnel

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
)

const (
	// holdTime is how long a segment waits for the next one if its sender seems to have
	// more. It is longer than the time between two segments of a burst, and too short
	// to be noticed.
	holdTime = time.Millisecond
	// The score says whether holding is useful. Each segment that was held in vain adds
	// futileCost to it. Each segment that was joined, or was not held because of the
	// score, subtracts one. Segments are not held while the score is above futileLimit.
	// Peers that do not mark the end of their bursts are therefore tried only now and
	// then.
	futileCost  = 64
	futileLimit = 128
	futileMost  = 1024
)

// joiner joins the consecutive segments of a connection before they are passed to the
// stack (generic receive offload). The stack works per packet, so that one packet of 64
// KiB needs an eighth of the time of eight small ones. A segment is held only if the
// next one is close: it has arrived already, or the sender did not mark the end of the
// burst with PSH. A packet that does not continue the held segment is passed on after
// it, so that the order is kept.
type joiner struct {
	deliver func(head *buffer.View, body buffer.Buffer)

	mu     sync.Mutex
	head   *buffer.View // headers of the held segment; nil means none
	body   buffer.Buffer
	next   uint32 // the sequence number of the segment that continues it
	joined int    // number of segments in it
	timer  *time.Timer
	armed  bool // whether the timer is set for the held segment
	score  int
	closed bool
}

// add takes a packet. more reports whether another one has arrived already.
func (j *joiner) add(head, body *buffer.View, more bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := head.AsSlice()
	whole, n := joinable(h, body), size(body)
	pushed := whole && h[ipHeader+tcpFlags]&flagPSH != 0
	switch {
	case j.head != nil && whole && j.continues(h, n):
		j.joined++
		j.score = max(j.score-1, 0)
		j.next += uint32(n)
		if pushed {
			j.head.AsSlice()[ipHeader+tcpFlags] |= flagPSH
		}
		_ = j.body.Append(body) // fails only for nil
		head.Release()
	default:
		j.flush()
		payload := buffer.Buffer{}
		if body != nil {
			_ = payload.Append(body)
		}
		if j.closed || !whole || !j.hold(pushed, more) {
			j.deliver(head, payload)
			return
		}
		j.head, j.body, j.joined = head, payload, 1
		j.next = binary.BigEndian.Uint32(h[ipHeader+tcpSequence:]) + uint32(n)
	}
	if !j.hold(pushed, more) || int(j.body.Size())+n > gsoLimit {
		j.flush()
	}
}

// hold reports whether to hold a segment, and sets the timer that ends the wait.
func (j *joiner) hold(pushed, more bool) bool {
	if more {
		return true
	}
	if pushed {
		return false
	}
	if j.score > futileLimit {
		j.score--
		return false
	}
	if !j.armed {
		j.armed = true
		if j.timer == nil {
			j.timer = time.AfterFunc(holdTime, j.expire)
		} else {
			j.timer.Reset(holdTime)
		}
	}
	return true
}

// expire delivers a segment that was held in vain.
func (j *joiner) expire() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.head == nil || !j.armed {
		return
	}
	j.score = min(j.score+futileCost, futileMost)
	j.flush()
}

// release delivers the held segment, because the next one does not come.
func (j *joiner) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flush()
}

// flush delivers the held segment.
func (j *joiner) flush() {
	if j.head == nil {
		return
	}
	head, body := j.head, j.body
	j.head, j.body, j.armed = nil, buffer.Buffer{}, false
	if j.joined > 1 {
		binary.BigEndian.PutUint16(head.AsSlice()[4:],
			uint16(head.Size()-ipHeader+int(body.Size())))
	}
	j.deliver(head, body)
}

// close delivers the held segment. No segment is held after that.
func (j *joiner) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flush()
	j.closed = true
	if j.timer != nil {
		j.timer.Stop()
	}
}

// joinable reports whether a packet is a plain segment with data, which has no flags
// other than ACK and PSH.
func joinable(h []byte, body *buffer.View) bool {
	if body == nil || len(h) < ipHeader+tcpHeader || h[6] != protocolTCP {
		return false
	}
	return h[ipHeader+tcpFlags]&^flagPSH == flagACK &&
		len(h) == ipHeader+int(h[ipHeader+tcpOffset]>>4)*4
}

// continues reports whether a segment of n bytes with headers h directly follows the
// held one. Its acknowledgement, window and options must be the same, except for time
// stamps, of which the first one is kept.
func (j *joiner) continues(h []byte, n int) bool {
	own := j.head.AsSlice()
	if len(own) != len(h) || int(j.body.Size())+n > gsoLimit {
		return false
	}
	a, b := own[ipHeader:], h[ipHeader:]
	return binary.BigEndian.Uint32(b[tcpSequence:]) == j.next &&
		bytes.Equal(own[:4], h[:4]) && bytes.Equal(own[6:ipHeader], h[6:ipHeader]) &&
		bytes.Equal(a[:tcpSequence], b[:tcpSequence]) &&
		bytes.Equal(a[tcpAck:tcpFlags], b[tcpAck:tcpFlags]) &&
		bytes.Equal(a[tcpWindow:tcpChecksum], b[tcpWindow:tcpChecksum]) &&
		(bytes.Equal(a[tcpHeader:], b[tcpHeader:]) ||
			onlyStamps(a[tcpHeader:]) && onlyStamps(b[tcpHeader:]))
}

// onlyStamps reports whether the only option is time stamps.
func onlyStamps(options []byte) bool {
	return len(options) == 12 && string(options[:4]) == "\x01\x01\x08\x0a"
}
