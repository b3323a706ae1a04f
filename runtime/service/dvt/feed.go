package dvt

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
)

// Limits on the messages that wait for the reader of a stream.
const (
	feedLimit = 1024
	feedBytes = 32 << 20
)

// feed receives the messages of a stream on a channel of its own. If the reader is too
// slow, the oldest messages are dropped and counted. The recent messages matter most
// for a stream, so closing it instead would not help.
type feed struct {
	op      string
	subject string
	ch      *dtx.Channel
	log     *slog.Logger
	done    chan struct{} // closed when pump has ended
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

// pump moves messages from the channel to the queue until the channel is closed.
func (f *feed) pump() {
	defer close(f.done)
	for {
		in, err := f.ch.Next(context.Background())
		if err != nil {
			f.queue.End(err)
			return
		}
		if in.ExpectsReply { // no event of these services expects a reply
			_ = in.Reply(f.ch.Context(), dtx.UnknownSelector(in.Selector))
		}
		f.queue.Push(in)
	}
}

// next waits for the next message.
func (f *feed) next(ctx context.Context) (*dtx.Incoming, error) {
	in, err := f.queue.Pop(ctx)
	if err != nil {
		return nil, &Error{Op: f.op, Subject: f.subject, Err: err}
	}
	return in, nil
}

// await returns the first value that parse finds in a message. Parse returns false for
// ok if the stream does not use the message. A message that cannot be decoded is
// counted, logged and ignored. Versions of iOS differ in the messages that they send,
// and later messages, such as the end of a process, must not be lost.
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

// pass counts and logs a message that is ignored as a whole or in part.
func (f *feed) pass(in *dtx.Incoming, err error) {
	f.bad.Add(f.log, "malformed event passed over",
		"type", in.Type, "selector", link.Clip(in.Selector), "err", err)
}

// Malformed returns the number of messages that were ignored, as a whole or in part,
// because they could not be decoded.
func (f *feed) Malformed() uint64 { return f.bad.Count() }

// Dropped returns the number of messages that were dropped because Next was not called
// often enough.
func (f *feed) Dropped() uint64 {
	return f.queue.Dropped()
}

// Close ends the stream and a call of Next that waits.
func (f *feed) Close() error {
	var err error
	f.once.Do(func() {
		f.queue.Close(net.ErrClosed)
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = f.ch.Close(ctx)
		if err != nil {
			if f.ch.Conn().Err() != nil {
				err = nil // the session has already ended
			} else {
				err = &Error{Op: "close", Subject: f.subject, Err: err}
			}
		}
		<-f.done
	})
	return err
}
