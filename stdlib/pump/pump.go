// Package pump reads the output of a program or server in the background, for scripts that take it
// line by line or in pieces. The amount that is buffered for the script is limited.
package pump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// Waiting is how many bytes of a source are usually buffered.
	Waiting  = 1 << 20
	readSize = 32 << 10
	// drainTime is how long a source must be silent before Drain ends the pump.
	drainTime = time.Second
)

// errLong means that a line is longer than the limit of the caller.
var errLong = errors.New("the line is too long")

// Pump holds what was read from a source and not taken yet. Its methods may be called from any
// goroutine.
type Pump struct {
	src   io.Reader
	close func()

	mu      sync.Mutex
	buf     []byte // what was read and is not taken yet
	scanned int    // bytes at the start of buf that hold no end of line
	limit   int64  // allowed length of buf, see most
	raised  int64  // allowed length of buf while waiters is not 0
	need    int64  // allowed length of buf while a call waits for the end of a line
	waiters int    // calls of Raise without a call of Lower
	cut     bool   // whether bytes beyond limit are dropped
	dropped int64
	reads   int  // how often bytes were read
	stuck   bool // whether the pump waits for room
	over    bool
	err     error // why the source ended, nil for the normal end

	change chan struct{} // holds a token when bytes were read or the source has ended
	full   chan struct{} // holds a token when the pump has begun to wait for room
	room   chan struct{} // holds a token when the pump must check the limit again
	ended  chan struct{} // closed when over is set
	gone   chan struct{} // closed when the pump has ended
}

// New returns a pump that reads src when Run is called. It stops reading while more than limit
// bytes are buffered; if cut is true, it drops the bytes beyond the limit instead. close must make
// a waiting read of src return. It is called once, on a goroutine of its own.
func New(src io.Reader, close func(), limit int64, cut bool) *Pump {
	return &Pump{
		src: src, close: close, limit: limit, cut: cut,
		change: make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
		gone:   make(chan struct{}),
	}
}

// Ended returns a channel that is closed when nothing more is read.
func (p *Pump) Ended() <-chan struct{} { return p.ended }

// Gone returns a channel that is closed when Run has returned.
func (p *Pump) Gone() <-chan struct{} { return p.gone }

// Full returns a channel that holds a token when the pump has begun to wait for room.
func (p *Pump) Full() <-chan struct{} { return p.full }

// Dropped returns how many bytes were beyond the limit.
func (p *Pump) Dropped() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}

// Size returns the size of the buffer.
func (p *Pump) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cap(p.buf)
}

func token(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Run reads the source to its end.
func (p *Pump) Run() {
	defer close(p.gone)
	part := make([]byte, readSize)
	for {
		n, err := p.src.Read(part)
		if !p.add(part[:n]) {
			return
		}
		switch err {
		case nil:
		case io.EOF:
			p.End(nil)
			return
		default:
			p.End(err)
			return
		}
	}
}

// add appends part to the buffer and waits until there is room for more. It returns false if the
// pump has ended.
func (p *Pump) add(part []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(part) > 0 {
		p.reads++
	}
	if free := max(p.limit-int64(len(p.buf)), 0); p.cut && int64(len(part)) > free {
		p.dropped += int64(len(part)) - free
		part = part[:free]
	}
	p.buf = append(p.buf, part...)
	token(p.change)
	for !p.over && int64(len(p.buf)) > p.most() {
		p.stuck = true
		token(p.full)
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-p.ended:
		}
		p.mu.Lock()
		p.stuck = false
	}
	return !p.over
}

// End closes the source. What was read can still be taken.
func (p *Pump) End(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over, p.err = true, err
	close(p.ended)
	token(p.change)
	go p.close() // close may wait for the read of Run
}

// Drain ends the pump when the source has been silent for drainTime. It returns when the pump has
// ended.
func (p *Pump) Drain() {
	p.mu.Lock()
	seen := p.reads
	p.mu.Unlock()
	for {
		t := time.NewTimer(drainTime)
		select {
		case <-p.ended:
			t.Stop()
			return
		case <-t.C:
		}
		p.mu.Lock()
		silent := p.reads == seen && !p.stuck
		seen = p.reads
		p.mu.Unlock()
		if silent {
			p.End(nil)
			return
		}
	}
}

// most returns the allowed length of buf. mu is held.
func (p *Pump) most() int64 {
	if p.waiters > 0 {
		return max(p.limit, p.need, p.raised)
	}
	return max(p.limit, p.need)
}

// Raise allows limit bytes in the buffer until Lower is called.
func (p *Pump) Raise(limit int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters++
	p.raised = limit
	token(p.room)
}

// Lower undoes a call of Raise.
func (p *Pump) Lower() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiters--
}

// TooLong reports whether more than limit bytes are buffered. If so, it puts a token in Full for
// the other callers that wait for it.
func (p *Pump) TooLong(limit int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int64(len(p.buf)) <= limit {
		return false
	}
	token(p.full)
	return true
}

// Take removes up to n bytes. finished is true if nothing follows.
func (p *Pump) Take(n int64) (b []byte, finished bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b = p.cutFront(int(min(n, int64(len(p.buf)))))
	return b, p.over && len(p.buf) == 0
}

// cutFront removes the first n bytes. mu is held.
func (p *Pump) cutFront(n int) []byte {
	b := p.buf[:n:n]
	p.buf = p.buf[n:]
	if len(p.buf) == 0 {
		p.buf = nil
	}
	p.scanned, p.need = 0, 0
	token(p.room)
	return b
}

// line removes a line and returns it without its end. It returns errLong if the line has more than
// limit bytes, and io.EOF after the last line. ok is false if the line is not complete yet.
func (p *Pump) line(limit int64) (line []byte, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := bytes.IndexByte(p.buf[p.scanned:], '\n')
	switch {
	case i >= 0:
		line = p.cutFront(p.scanned + i + 1)
	case p.over && len(p.buf) > 0:
		line = p.cutFront(len(p.buf))
	case p.over:
		return nil, false, io.EOF
	default:
		p.scanned = len(p.buf)
		if int64(len(bytes.TrimSuffix(p.buf, []byte("\r")))) > limit {
			return nil, false, errLong
		}
		p.need = limit + 1 // the last byte may belong to the end of the line
		token(p.room)
		return nil, false, nil
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if int64(len(line)) > limit {
		return nil, false, errLong
	}
	return line, true, nil
}

// Failure returns the error that has ended the source.
func (p *Pump) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Wait returns when bytes may have been read, or the source has ended.
func (p *Pump) Wait(ctx context.Context) error {
	select {
	case <-p.change:
		return nil
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
