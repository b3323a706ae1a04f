package link

import (
	"context"
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
	e := &Exchange{conn: &PlistConn{Conn: c, Max: max}, timeout: timeout, turn: make(chan struct{}, 1)}
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
func (e *Exchange) Each(ctx context.Context, req plist.Dict, take func(plist.Dict) (end bool, err error)) error {
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

func (e *Exchange) answer(ctx context.Context, req plist.Dict, take func(plist.Dict) (bool, error)) error {
	var m plist.Dict
	err := e.conn.Call(ctx, req, &m)
	for err == nil {
		end := false
		if end, err = take(m); err != nil || end {
			return err
		}
		if m, err = e.conn.RecvDict(ctx); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	return err
}
