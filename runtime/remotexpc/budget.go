package remotexpc

import "sync/atomic"

// Budget bounds the memory that several connections take for what they receive: the
// messages that have not come in full, those that wait, and the bytes of files. A device
// that anybody can connect to shares one among its connections. A connection that finds
// it spent ends with ErrOverflow. A nil Budget bounds nothing.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take counts n more bytes, and reports false if they are too many.
func (b *Budget) Take(n int) bool {
	if b == nil {
		return true
	}
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// Give returns n bytes.
func (b *Budget) Give(n int) {
	if b != nil {
		b.used.Add(-int64(n))
	}
}

// Used returns how many bytes are taken.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}
