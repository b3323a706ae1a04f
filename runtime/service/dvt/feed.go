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
	done    chan struct{} // closed when the pump has ended
	once    sync.Once
	queue   *link.Queue[*dtx.Incoming]
	bad     link.Skipped
}

// feed opens a channel for a stream.
func (s *Session) feed(ctx context.Context, op, subject, identifier string) (*feed, error) {
	ch, err := s.Open(ctx, identifier, dtx.ChannelOptions{})
	if err != nil {
		return nil, &Error{Op: op, Subject: subject, Err: inner(err)}
	}
	f := &feed{
		op: op, subject: subject, ch: ch, done: make(chan struct{}),
		log: s.log.With("channel", identifier),
		queue: link.NewQueue(link.QueueOptions[*dtx.Incoming]{
			Items: feedLimit, Bytes: feedBytes, Size: (*dtx.Incoming).Size, DropOldest: true,
		}),
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
			f.queue.End(err)
			return
		}
		if in.ExpectsReply { // no event of these services does
			_ = in.Reply(f.ch.Context(), dtx.UnknownSelector(in.Selector))
		}
		f.queue.Push(in)
	}
}

// next waits for a message.
func (f *feed) next(ctx context.Context) (*dtx.Incoming, error) {
	in, err := f.queue.Pop(ctx)
	if err != nil {
		return nil, &Error{Op: f.op, Subject: f.subject, Err: err}
	}
	return in, nil
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
	return f.queue.Dropped()
}

// Close ends the stream and every Next that waits.
func (f *feed) Close() error {
	var err error
	f.once.Do(func() {
		f.queue.Close(net.ErrClosed)
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
