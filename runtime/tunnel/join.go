package tunnel

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
)

const (
	// holdTime is how long a segment waits for the next when its sender lets
	// expect one: longer than any sender takes between two of a burst, shorter
	// than what anybody notices.
	holdTime = time.Millisecond
	// Every wait in vain adds futileCost to a score, every segment that was
	// joined takes one off, and so does every one that is not held because the
	// score is above futileLimit: peers whose bursts end without notice are
	// left alone, but for a try now and then.
	futileCost  = 64
	futileLimit = 128
	futileMost  = 1024
)

// joiner puts the segments of a connection that follow each other together
// before the stack sees them (generic receive offload): its work is by packet,
// so one of 64 KiB costs an eighth of eight small ones. Segments are held only
// while the next one is sure to be near: because it has arrived already, or
// because its sender did not mark the burst's end with PSH. Whatever does not
// continue what is held lets it go first, so the order stays.
type joiner struct {
	deliver func(head *buffer.View, body buffer.Buffer)

	mu     sync.Mutex
	head   *buffer.View // headers of what is held; nil = nothing is
	body   buffer.Buffer
	next   uint32 // the sequence number that continues it
	joined int    // segments in it
	timer  *time.Timer
	armed  bool // the timer is for what is held
	score  int
	closed bool
}

// add takes a packet. more says that the next one can be had without waiting.
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
		_ = j.body.Append(body) // fails on nil alone
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

// hold reports whether to wait for what follows a segment, and sees to it that
// the wait ends.
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

// expire lets go of what was held in vain.
func (j *joiner) expire() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.head == nil || !j.armed {
		return
	}
	j.score = min(j.score+futileCost, futileMost)
	j.flush()
}

// release lets go of what is held because the next segment does not come.
func (j *joiner) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flush()
}

// flush delivers what is held.
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

// close delivers what is held; nothing is held any more afterwards.
func (j *joiner) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flush()
	j.closed = true
	if j.timer != nil {
		j.timer.Stop()
	}
}

// joinable reports whether a packet is a plain segment with data: no flags but ACK
// and PSH.
func joinable(h []byte, body *buffer.View) bool {
	if body == nil || len(h) < ipHeader+tcpHeader || h[6] != protocolTCP {
		return false
	}
	return h[ipHeader+tcpFlags]&^flagPSH == flagACK &&
		len(h) == ipHeader+int(h[ipHeader+tcpOffset]>>4)*4
}

// continues reports whether a segment of n bytes with headers h comes next in
// what is held. Its acknowledgement, window and options must say the same, but
// that time stamps may go on: the first one counts.
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

// onlyStamps reports whether time stamps are all that the options have.
func onlyStamps(options []byte) bool {
	return len(options) == 12 && string(options[:4]) == "\x01\x01\x08\x0a"
}
