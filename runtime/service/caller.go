package service

import (
	"context"
	"net"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
)

// Exchanges describes a service that answers each property list with one or several
// others. The package of the service declares one value and embeds a Caller in its
// Client.
type Exchanges struct {
	Errors *Errors
	// Max bounds the size of a message of an answer in bytes.
	Max uint32
	// Timeout bounds a call whose context has no deadline.
	Timeout time.Duration
	// Refusal returns the error that a message of an answer holds, or nil if it holds
	// none. A nil Refusal means that each call looks for refusals itself.
	Refusal func(op, subject string, m plist.Dict) error
}

// Caller returns the client side on a connection to the service. Close closes c.
func (e *Exchanges) Caller(c net.Conn) Caller {
	return Caller{e, link.NewExchange(c, e.Max, e.Timeout)}
}

// Caller is the client side of a service that answers each property list with one or
// several others. Goroutines may share it; it makes one exchange at a time. If an
// exchange fails half way, requests and answers no longer match, and every later call
// fails with the same cause.
type Caller struct {
	exchanges *Exchanges
	exchange  *link.Exchange
}

// Close closes the connection and ends all calls on it.
func (c *Caller) Close() error { return c.exchange.Close() }

// Call sends a request and returns the message of the answer. op and subject describe
// the call in its error. A refusal by the device is an error.
func (c *Caller) Call(
	ctx context.Context, op, subject string, req plist.Dict,
) (plist.Dict, error) {
	answer, err := c.exchange.Ask(ctx, req)
	if err != nil {
		return nil, c.exchanges.Errors.New(op, subject, err)
	}
	if err := c.refusal(op, subject, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// Each sends a request and calls take with each message of the answer until take
// returns true. A refusal by the device ends the answer.
func (c *Caller) Each(
	ctx context.Context, op, subject string, req plist.Dict,
	take func(plist.Dict) (end bool, err error),
) error {
	var refused error
	err := c.exchange.Each(ctx, req, func(m plist.Dict) (bool, error) {
		refused = c.refusal(op, subject, m)
		if refused != nil {
			return true, nil
		}
		return take(m)
	})
	if err != nil {
		return c.exchanges.Errors.New(op, subject, err)
	}
	return refused
}

func (c *Caller) refusal(op, subject string, m plist.Dict) error {
	if c.exchanges.Refusal == nil {
		return nil
	}
	return c.exchanges.Refusal(op, subject, m)
}
