package dtx

import (
	"fmt"
	"sync"

	"github.com/imdlua/imdlua/runtime/link"
)

const (
	// DefaultBuffer is Options.Buffer if that is 0: the longest message, and as much
	// again that waits.
	DefaultBuffer = 2 * MaxMessage
	// DefaultServerBuffer is Server.Buffer if that is 0. Hosts send devices small
	// messages; the results that a host is slow to read are larger.
	DefaultServerBuffer = 64 << 20

	// messageOverhead is what a message takes beside its bytes, so that empty ones count
	// as well.
	messageOverhead = 256
)

// account counts the bytes that a connection keeps of what its peer sent. A nil account
// bounds nothing.
type account struct {
	mu      sync.Mutex
	used    int // all of them
	waiting int // those of messages on channels
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

// largest returns the length of the longest message that may come.
func (a *account) largest() int {
	if a == nil {
		return MaxMessage
	}
	return min(MaxMessage, a.limit)
}

// take counts n more bytes, or returns an error that is ErrTooLarge.
func (a *account) take(n int) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil // nothing is kept any more
	case a.used+n > a.limit:
		return fmt.Errorf("%w: %d bytes are kept already", ErrTooLarge, a.used)
	case !a.budget.Take(n):
		return fmt.Errorf("%w: all connections together keep too much", ErrTooLarge)
	}
	a.used += n
	return nil
}

// give returns n bytes.
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

// park counts n bytes that were taken as those of a message that waits. It reports false
// if they are too many: messages that wait may take half of the limit, so that others can
// still come. A message that waits alone may take more.
func (a *account) park(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting > 0 && a.waiting+n > a.limit/2 {
		return false
	}
	a.waiting += n
	return true
}

// unpark returns n bytes of a message that has waited.
func (a *account) unpark(n int) {
	a.mu.Lock()
	a.waiting -= n
	a.mu.Unlock()
	a.give(n)
}

// close gives back what the connection still has of the budget.
func (a *account) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.closed = true
		a.budget.Give(a.used)
	}
}
