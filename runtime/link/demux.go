package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// DemuxOptions describe the messages of a service for a Demux.
type DemuxOptions[M any] struct {
	Max uint32 // bound of a message in bytes
	// Decode returns a message and what it answers: the key that a request has given to
	// Ask, or "" for a message that is never an answer. A message for which it fails is
	// left out and counted.
	Decode func(body []byte) (m M, answers string, err error)
	Queue  int           // bound of the messages that wait for Next
	Time   time.Duration // bound of a request whose context has no deadline
}

// Demux is the host side of a service that sends property lists unasked beside its
// answers. One goroutine reads the connection. It passes an answer to the request and
// queues everything else for Next, and never waits for either. The methods may be called
// from any goroutine.
type Demux[M any] struct {
	conn    *PlistConn
	o       DemuxOptions[M]
	writing chan struct{} // holds a token while no goroutine writes
	done    chan struct{} // closed when the reading goroutine has ended
	queue   *Queue[M]     // ends with the connection
	bad     Skipped
	once    sync.Once

	mu    sync.Mutex
	asked map[string][]chan M // requests without an answer, the oldest first
	open  int                 // number of these requests
}

// ErrUnread ends a Demux if more messages arrive than Next fetches.
var ErrUnread = errors.New("too many messages nobody asked for")

// ErrUnanswered is the error of a request if too many others have no answer yet.
var ErrUnanswered = errors.New("too many requests without an answer")

// maxAsked bounds the requests of a Demux without an answer, among them those whose
// caller has given up.
const maxAsked = 256

// NewDemux returns a Demux on c and starts its goroutine. Close closes c and ends the
// goroutine.
func NewDemux[M any](c net.Conn, o DemuxOptions[M]) *Demux[M] {
	d := &Demux[M]{
		conn: &PlistConn{Conn: c, Max: o.Max}, o: o,
		writing: make(chan struct{}, 1), done: make(chan struct{}),
		queue: NewQueue(QueueOptions[M]{Items: o.Queue}),
		asked: map[string][]chan M{},
	}
	d.writing <- struct{}{}
	go d.read()
	return d
}

func (d *Demux[M]) read() {
	defer close(d.done)
	for {
		body, err := d.conn.RecvBytes(context.Background())
		if err != nil {
			d.queue.End(err)
			return
		}
		m, answers, err := d.o.Decode(body)
		switch {
		case err != nil:
			d.bad.Add(nil, "malformed message left out", "err", err)
		case answers != "" && d.answer(answers, m):
		case !d.queue.Push(m):
			d.queue.End(ErrUnread)
			d.conn.Close()
			return
		}
	}
}

// answer passes m to the oldest request with the key. It returns false if there is none.
func (d *Demux[M]) answer(key string, m M) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := d.asked[key]
	if len(waiting) == 0 {
		return false
	}
	waiting[0] <- m // it has room for one, and takes one
	d.forget(key, waiting[1:])
	return true
}

// forget sets the requests that are left after one has ended. mu is held.
func (d *Demux[M]) forget(key string, left []chan M) {
	d.open--
	d.asked[key] = left
	if len(left) == 0 {
		delete(d.asked, key)
	}
}

// Send sends a message that has no answer.
func (d *Demux[M]) Send(ctx context.Context, v any) error {
	return d.send(ctx, v, func() error { return nil })
}

// send sends v after before, which is called while no other message is sent.
func (d *Demux[M]) send(ctx context.Context, v any, before func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-d.writing:
	case <-ctx.Done():
		return Expired(ctx, d.conn)
	}
	defer func() { d.writing <- struct{}{} }()
	if err := before(); err != nil {
		return err
	}
	return d.conn.Send(ctx, v)
}

// Ask sends a request and returns its answer: the first message with the key that no
// earlier request has got. If ctx ends before, the answer is dropped when it arrives.
func (d *Demux[M]) Ask(ctx context.Context, key string, v any) (answer M, err error) {
	ctx, cancel := WithDefault(ctx, d.o.Time)
	defer cancel()
	got := make(chan M, 1)
	err = d.send(ctx, v, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.open >= maxAsked {
			return ErrUnanswered
		}
		d.open++
		d.asked[key] = append(d.asked[key], got)
		return nil
	})
	if err != nil {
		return answer, err
	}
	select {
	case answer = <-got:
		return answer, nil
	case <-ctx.Done():
		return answer, Expired(ctx, d.conn)
	case <-d.done:
	}
	select {
	case answer = <-got: // it was the last message
		return answer, nil
	default:
		return answer, d.queue.Err()
	}
}

// Next returns the next message that answers no request. After the end of the connection
// it still returns the messages that arrived before.
func (d *Demux[M]) Next(ctx context.Context) (M, error) {
	m, err := d.queue.Pop(ctx)
	if err != nil && err == ctx.Err() {
		err = Expired(ctx, d.conn)
	}
	return m, err
}

// Malformed returns the number of messages that were left out.
func (d *Demux[M]) Malformed() uint64 { return d.bad.Count() }

// Close closes the connection and ends all calls on it.
func (d *Demux[M]) Close() error {
	var err error
	d.once.Do(func() { err = d.conn.Close() })
	<-d.done
	return err
}
