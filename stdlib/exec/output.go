package exec

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// waitingOutput is how much of a program's output waits for the script. Then the program waits.
	waitingOutput = 1 << 20
	readSize      = 32 << 10
	// drainTime is how long an output must be silent after the end of its program before it is
	// closed. Other processes that the program has started may hold it open for ever.
	drainTime = time.Second
)

// output holds what a program writes to one pipe. A goroutine reads the pipe.
type output struct {
	name string // "stdout" or "stderr", for messages
	file *os.File

	mu      sync.Mutex
	buf     []byte // what was read from the pipe and is not taken yet
	scanned int    // bytes at the start of buf that hold no end of line
	limit   int64  // the pump waits as long as buf is longer than this and
	raised  int64  // this, while waiters is not 0, and
	need    int64  // this
	waiters int    // calls that wait for the end of the program
	cut     bool   // what is beyond limit is dropped instead
	dropped int64
	reads   int  // how often something came
	stuck   bool // the pump waits for room
	over    bool
	err     error // why the pipe ended, nil for the normal end

	change chan struct{} // holds a token when there is something to look at
	full   chan struct{} // holds a token when the pump began to wait for room
	room   chan struct{} // holds a token when the pump shall look at the limit again
	ended  chan struct{} // closed when over is set
	gone   chan struct{} // closed when the pump has ended
}

func newOutput(name string, file *os.File, limit int64, cut bool) *output {
	return &output{
		name: name, file: file, limit: limit, cut: cut,
		change: make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
		gone:   make(chan struct{}),
	}
}

func token(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// pump reads the pipe to its end.
func (o *output) pump() {
	defer close(o.gone)
	part := make([]byte, readSize)
	for {
		n, err := o.file.Read(part)
		if !o.add(part[:n]) {
			return
		}
		switch err {
		case nil:
		case io.EOF:
			o.end(nil)
			return
		default:
			o.end(err)
			return
		}
	}
}

// add takes what was read, and waits until there is room for more. It returns false when the output
// has ended.
func (o *output) add(part []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(part) > 0 {
		o.reads++
	}
	if free := max(o.limit-int64(len(o.buf)), 0); o.cut && int64(len(part)) > free {
		o.dropped += int64(len(part)) - free
		part = part[:free]
	}
	o.buf = append(o.buf, part...)
	token(o.change)
	for !o.over && int64(len(o.buf)) > o.most() {
		o.stuck = true
		token(o.full)
		o.mu.Unlock()
		select {
		case <-o.room:
		case <-o.ended:
		}
		o.mu.Lock()
		o.stuck = false
	}
	return !o.over
}

// end closes the pipe. What was read can still be taken.
func (o *output) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	o.over, o.err = true, err
	close(o.ended)
	token(o.change)
	go o.file.Close() // on Windows it waits for the read that the pump is in
}

// drain ends the output when it has been silent for drainTime. It returns when it has ended.
func (o *output) drain() {
	o.mu.Lock()
	seen := o.reads
	o.mu.Unlock()
	for {
		t := time.NewTimer(drainTime)
		select {
		case <-o.ended:
			t.Stop()
			return
		case <-t.C:
		}
		o.mu.Lock()
		silent := o.reads == seen && !o.stuck
		seen = o.reads
		o.mu.Unlock()
		if silent {
			o.end(nil)
			return
		}
	}
}

// most is how much may wait in buf. mu is held.
func (o *output) most() int64 {
	if o.waiters > 0 {
		return max(o.limit, o.need, o.raised)
	}
	return max(o.limit, o.need)
}

// raise lets up to limit bytes wait, until lower is called.
func (o *output) raise(limit int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiters++
	o.raised = limit
	token(o.room)
}

func (o *output) lower() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiters--
}

// tooLong reports whether more than limit bytes wait.
func (o *output) tooLong(limit int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.buf)) > limit
}

// take removes up to n bytes. finished reports that nothing follows.
func (o *output) take(n int64) (b []byte, finished bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b = o.cutFront(int(min(n, int64(len(o.buf)))))
	return b, o.over && len(o.buf) == 0
}

// cutFront removes the first n bytes. mu is held.
func (o *output) cutFront(n int) []byte {
	b := o.buf[:n:n]
	if o.buf = o.buf[n:]; len(o.buf) == 0 {
		o.buf = nil
	}
	o.scanned, o.need = 0, 0
	token(o.room)
	return b
}

// line removes a line and returns it without its end. It returns errLong when the line has more
// than limit bytes, and io.EOF after the last one. ok is false when it is not complete yet.
func (o *output) line(limit int64) (line []byte, ok bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := bytes.IndexByte(o.buf[o.scanned:], '\n'); i >= 0 {
		line = o.cutFront(o.scanned + i + 1)
	} else if o.over && len(o.buf) > 0 {
		line = o.cutFront(len(o.buf))
	} else if o.over {
		return nil, false, io.EOF
	} else {
		o.scanned = len(o.buf)
		if int64(len(o.buf)) > limit {
			return nil, false, errLong
		}
		o.need = limit
		token(o.room)
		return nil, false, nil
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if int64(len(line)) > limit {
		return nil, false, errLong
	}
	return line, true, nil
}

// failure returns the error that has ended the pipe.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// wait returns when there may be something new.
func (o *output) wait(ctx context.Context) error {
	select {
	case <-o.change:
		return nil
	case <-o.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
