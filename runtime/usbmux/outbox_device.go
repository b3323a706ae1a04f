package usbmux

import (
	"io"
	"net"
	"sync"
)

// outbox queues frames for a listener, so that the sender does not wait.
type outbox struct {
	mu     sync.Mutex
	cond   sync.Cond
	queue  [][]byte
	limit  int // 0 means none yet
	done   bool
	broken bool
	cut    func() // ends the connection
}

func (o *outbox) init(cut func()) {
	o.cond.L = &o.mu
	o.cut = cut
}

// push queues a frame. A listener with too many queued frames is disconnected.
func (o *outbox) push(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken || o.done {
		return
	}
	if o.limit > 0 && len(o.queue) >= o.limit {
		o.broken, o.queue = true, nil
		o.cut()
		o.cond.Signal()
		return
	}
	o.queue = append(o.queue, b)
	o.cond.Signal()
}

// finish lets drain return once the queue is empty.
func (o *outbox) finish() {
	o.mu.Lock()
	o.done = true
	o.cond.Signal()
	o.mu.Unlock()
}

// drain writes the queue until finish is called or a write fails.
func (o *outbox) drain(w io.Writer) {
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.done && !o.broken {
			o.cond.Wait()
		}
		batch := o.queue
		o.queue = nil
		stop := o.broken || len(batch) == 0
		o.mu.Unlock()
		if stop {
			return
		}
		buffers := net.Buffers(batch)
		if _, err := buffers.WriteTo(w); err != nil {
			o.mu.Lock()
			o.broken, o.queue = true, nil
			o.cut()
			o.mu.Unlock()
			return
		}
	}
}
