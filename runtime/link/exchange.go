package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

// Exchange is the host side of a service that answers a property list with one or
// several others. Requests of several goroutines are sent one after the other.
type Exchange struct {
	conn    *PlistConn
	timeout time.Duration
	turn    chan struct{} // has a token while no request is in progress
	err     error         // why the connection cannot be used any more; guarded by turn
	once    sync.Once
}

// NewExchange returns an Exchange on c, which Close closes. max bounds an answer in
// bytes. timeout bounds a request whose context has no deadline.
func NewExchange(c net.Conn, max uint32, timeout time.Duration) *Exchange {
	e := &Exchange{
		conn: &PlistConn{Conn: c, Max: max}, timeout: timeout, turn: make(chan struct{}, 1),
	}
	e.turn <- struct{}{}
	return e
}

// Close closes the connection, which ends every request on it.
func (e *Exchange) Close() error {
	var err error
	e.once.Do(func() { err = e.conn.Close() })
	return err
}

// Ask sends req and returns the message of the answer.
func (e *Exchange) Ask(ctx context.Context, req plist.Dict) (answer plist.Dict, err error) {
	err = e.Each(ctx, req, func(m plist.Dict) (bool, error) {
		answer = m
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// Each sends req and calls take for each message of the answer until take returns true.
// If an answer is interrupted, or take returns an error, requests and answers no longer
// match, and every later request fails with the same cause.
func (e *Exchange) Each(
	ctx context.Context, req plist.Dict, take func(plist.Dict) (end bool, err error),
) error {
	ctx, cancel := WithDefault(ctx, e.timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-e.turn:
	case <-ctx.Done():
		return Expired(ctx, e.conn)
	}
	defer func() { e.turn <- struct{}{} }()
	if e.err != nil {
		return fmt.Errorf("connection is out of step: %w", e.err)
	}
	e.err = e.answer(ctx, req, take)
	return e.err
}

// WithDefault bounds a call by d if its context has no deadline.
func WithDefault(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

func (e *Exchange) answer(
	ctx context.Context, req plist.Dict, take func(plist.Dict) (bool, error),
) error {
	if err := e.conn.Send(ctx, req); err != nil {
		return err
	}
	for total := 0; ; {
		b, err := e.conn.RecvBytes(ctx)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		total += len(b)
		if total > maxAnswer {
			return &AnswerError{Max: maxAnswer}
		}
		var m plist.Dict
		if err := plist.Unmarshal(b, &m); err != nil {
			return err
		}
		end, err := take(m)
		if err != nil || end {
			return err
		}
	}
}

// maxAnswer bounds the sum of the messages of an answer.
const maxAnswer = 256 << 20

// ErrTooLarge matches the errors about a peer that sends more than a limit allows:
// FrameError, AnswerError and similar errors of other packages.
var ErrTooLarge = errors.New("too large")

// AnswerError reports an answer whose messages are too large together.
type AnswerError struct{ Max int64 }

func (e *AnswerError) Error() string {
	return fmt.Sprintf("answer is over the limit of %d bytes", e.Max)
}

// Is matches ErrTooLarge.
func (e *AnswerError) Is(target error) bool { return target == ErrTooLarge }
