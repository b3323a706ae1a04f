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

// Exchange is the host's end of a service that is asked with one property list
// and answers with one or several. Requests of several goroutines take turns.
type Exchange struct {
	conn    *PlistConn
	timeout time.Duration
	turn    chan struct{} // holds a token while nobody asks
	err     error         // what broke the connection; guarded by turn
	once    sync.Once
}

// NewExchange speaks on c, which Close closes. Answers have at most max bytes;
// timeout bounds a request whose context has no deadline.
func NewExchange(c net.Conn, max uint32, timeout time.Duration) *Exchange {
	e := &Exchange{
		conn: &PlistConn{Conn: c, Max: max}, timeout: timeout, turn: make(chan struct{}, 1),
	}
	e.turn <- struct{}{}
	return e
}

// Close ends the connection and every request on it.
func (e *Exchange) Close() error {
	var err error
	e.once.Do(func() { err = e.conn.Close() })
	return err
}

// Ask sends req and returns the one message of the answer.
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

// Each sends req and hands each message of the answer to take until that
// reports the end. An answer that stopped half-way, or that take gives an error
// for, leaves the connection out of step: every later request fails with the
// same cause.
func (e *Exchange) Each(
	ctx context.Context, req plist.Dict, take func(plist.Dict) (end bool, err error),
) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, e.timeout)
		defer cancel()
	}
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
		if total += len(b); total > maxAnswer {
			return &AnswerError{Max: maxAnswer}
		}
		var m plist.Dict
		if err := plist.Unmarshal(b, &m); err != nil {
			return err
		}
		if end, err := take(m); err != nil || end {
			return err
		}
	}
}

// maxAnswer bounds all messages of an answer together.
const maxAnswer = 256 << 20

// ErrTooLarge matches the errors about a peer that sends more than a limit allows:
// FrameError, AnswerError, and those of the packages above.
var ErrTooLarge = errors.New("too large")

// AnswerError reports an answer of many messages that are too large together.
type AnswerError struct{ Max int64 }

func (e *AnswerError) Error() string {
	return fmt.Sprintf("answer is over the limit of %d bytes", e.Max)
}

// Is matches ErrTooLarge.
func (e *AnswerError) Is(target error) bool { return target == ErrTooLarge }
