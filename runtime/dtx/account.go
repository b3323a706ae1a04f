package dtx

import (
	"fmt"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// DefaultBuffer is the default of Options.Buffer. It has room for the longest message,
	// and for as many bytes again in messages that wait.
	DefaultBuffer = 2 * MaxMessage
	// DefaultServerBuffer is the default of Server.Buffer. The messages of hosts are
	// small; the results that wait for a host that reads slowly are larger.
	DefaultServerBuffer = 64 << 20

	// messageOverhead is added to the length of each message, so that empty messages are
	// counted as well.
	messageOverhead = 256
)

// account counts the bytes that a connection keeps for messages of its peer. A nil account
// has no limit.
type account struct {
	mu      sync.Mutex
	used    int // all bytes
	waiting int // bytes of messages that wait on channels or are being handled
	limit   int
	budget  *link.Budget
	closed  bool
}

func newAccount(limit int, budget *link.Budget) *account {
	if limit <= 0 {
		limit = DefaultBuffer
	}
	return &account{limit: limit, budget: budget}
}

// largest returns the length of the longest message that the peer may send.
func (a *account) largest() int {
	if a == nil {
		return MaxMessage
	}
	return min(MaxMessage, a.limit)
}

// take counts n more bytes. It returns an error that is ErrTooLarge if they exceed the
// limit of the connection or the budget of all connections.
func (a *account) take(n int) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil // a closed connection keeps no bytes
	case a.used+n > a.limit:
		return fmt.Errorf("%w: %d bytes are kept already", ErrTooLarge, a.used)
	case !a.budget.Take(n):
		return fmt.Errorf("%w: all connections together keep too much", ErrTooLarge)
	}
	a.used += n
	return nil
}

// give gives back n bytes that were taken.
func (a *account) give(n int) {
	if a == nil || n == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.used -= n
		a.budget.Give(n)
	}
}

// park marks n bytes that were taken as bytes of a message that waits. Waiting messages may
// use half of the limit, so that the reader can still receive others. park returns false if
// there is no room, except for the only message that waits: that one may be larger.
func (a *account) park(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting > 0 && a.waiting+n > a.limit/2 {
		return false
	}
	a.waiting += n
	return true
}

// unpark gives back n bytes of a message that has waited.
func (a *account) unpark(n int) {
	a.mu.Lock()
	a.waiting -= n
	a.mu.Unlock()
	a.give(n)
}

// close gives back all bytes that the connection has taken from the budget.
func (a *account) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		a.budget.Give(a.used)
	}
}
