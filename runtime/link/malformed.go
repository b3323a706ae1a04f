package link

import (
	"log/slog"
	"sync/atomic"
)

// Malformed counts what a stream received and could not decode. One odd event of a peer
// does not end a stream: it is passed over, counted and logged. The zero value is ready,
// its methods may be called from any goroutine.
type Malformed struct{ n atomic.Uint64 }

// Pass counts one event and logs why. A peer that sends nothing else does not fill the
// log: after the first event, a warning comes each time that their number has doubled.
func (m *Malformed) Pass(log *slog.Logger, err error, args ...any) {
	n := m.n.Add(1)
	if n&(n-1) == 0 && log != nil {
		log.Warn("malformed event passed over", append(args, "err", err, "count", n)...)
	}
}

// Count returns how many events were passed over.
func (m *Malformed) Count() uint64 { return m.n.Load() }
