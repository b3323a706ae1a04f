package dvt

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
)

// Limits of what waits for a reader of a stream.
const (
	feedLimit = 1024
	feedBytes = 32 << 20
)

// feed takes what the device sends on a channel of its own. A reader that is
// too slow loses the oldest messages, which are counted: a stream is about now,
// and closing it would help nobody.
type feed struct {
	op      string
	subject string
	ch      *dtx.Channel
	log     *slog.Logger
	wake    chan struct{} // holds a token while there may be something
	done    chan struct{} // closed when the pump has ended
	once    sync.Once

	mu      sync.Mutex
	queue   []*dtx.Incoming
	bytes   int
	dropped uint64
	bad     link.Skipped
	closed  bool
	err     error // why nothing follows
}

// feed opens a channel for a stream.
func (s *Session) feed(ctx context.Context, op, subject, identifier string) (*feed, error) {
	ch, err := s.Open(ctx, identifier, dtx.ChannelOptions{})
	if err != nil {
		return nil, &Error{Op: op, Subject: subject, Err: inner(err)}
	}
	f := &feed{
		op: op, subject: subject, ch: ch, wake: make(chan struct{}, 1), done: make(chan struct{}),
		log: s.log.With("channel", identifier),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &Error{
			Op: op, Subject: subject, Err: net.ErrClosed,
		} // the channel ends with the connection
	}
	s.wg.Go(f.pump)
	return f, nil
}

// pump empties the channel until it is closed.
func (f *feed) pump() {
	defer close(f.done)
	for {
		in, err := f.ch.Next(context.Background())
		if err != nil {
			f.end(err)
			return
		}
		if in.ExpectsReply { // no event of these services does
			_ = in.Reply(f.ch.Context(), dtx.UnknownSelector(in.Selector))
		}
		f.put(in)
	}
}

func size(in *dtx.Incoming) int { return len(in.Aux) + len(in.Payload) }

func (f *feed) put(in *dtx.Incoming) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, in)
	f.bytes += size(in)
	for len(f.queue) > 1 && (len(f.queue) > feedLimit || f.bytes > feedBytes) {
		f.bytes -= size(f.queue[0])
		f.queue[0] = nil
		f.queue = f.queue[1:]
		f.dropped++
	}
	f.signal()
}

// end says why nothing follows what is queued. The first reason counts.
func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.signal()
}

func (f *feed) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest message; what came before the end is still there.
func (f *feed) take() (*dtx.Incoming, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		f.signal() // for others that wait
		return nil, net.ErrClosed
	}
	if len(f.queue) == 0 {
		if f.err != nil {
			f.signal()
		}
		return nil, f.err
	}
	in := f.queue[0]
	f.queue[0] = nil
	f.bytes -= size(in)
	if f.queue = f.queue[1:]; len(f.queue) > 0 || f.err != nil {
		f.signal()
	}
	return in, nil
}

// next waits for a message.
func (f *feed) next(ctx context.Context) (*dtx.Incoming, error) {
	for {
		in, err := f.take()
		if err != nil {
			return nil, &Error{Op: f.op, Subject: f.subject, Err: err}
		}
		if in != nil {
			return in, nil
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, &Error{Op: f.op, Subject: f.subject, Err: ctx.Err()}
		}
	}
}

// await returns the first value that parse makes of a message; ok is false for a
// message that means nothing to the stream. A message that cannot be decoded is
// counted, logged and passed over: versions of iOS differ in what they send, and what
// follows (the end of a process) must not be lost.
func await[T any](
	ctx context.Context, f *feed, parse func(*dtx.Incoming) (v T, ok bool, err error),
) (T, error) {
	for {
		in, err := f.next(ctx)
		if err != nil {
			var zero T
			return zero, err
		}
		v, ok, err := parse(in)
		if err != nil {
			f.pass(in, err)
		}
		if ok {
			return v, nil
		}
	}
}

// pass notes a message, or a part of one, that is passed over.
func (f *feed) pass(in *dtx.Incoming, err error) {
	f.bad.Add(f.log, "malformed event passed over",
		"type", in.Type, "selector", link.Clip(in.Selector), "err", err)
}

// Malformed counts the messages that were passed over, whole or in part, because they
// could not be decoded.
func (f *feed) Malformed() uint64 { return f.bad.Count() }

// Dropped counts the messages that were lost because Next was called too
// rarely.
func (f *feed) Dropped() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped
}

// Close ends the stream and every Next that waits.
func (f *feed) Close() error {
	var err error
	f.once.Do(func() {
		f.mu.Lock()
		f.closed, f.queue = true, nil
		f.signal()
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err = f.ch.Close(ctx); err != nil {
			if f.ch.Conn().Err() != nil {
				err = nil // the session went first
			} else {
				err = &Error{Op: "close", Subject: f.subject, Err: err}
			}
		}
		<-f.done
	})
	return err
}
