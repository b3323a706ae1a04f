package link

import (
	"log/slog"
	"sync/atomic"
)

// Skipped counts what a stream received and passed over, because it could not be decoded
// or because nobody waited for it. One odd event of a peer does not end a stream. The
// zero value is ready, its methods may be called from any goroutine.
type Skipped struct{ n atomic.Uint64 }

// Add counts one event and logs it. A peer that sends nothing else does not fill the
// log: after the first event, a warning comes each time that their number has doubled.
func (s *Skipped) Add(log *slog.Logger, what string, args ...any) {
	n := s.n.Add(1)
	if n&(n-1) == 0 && log != nil {
		log.Warn(what, append(args, "count", n)...)
	}
}

// Count returns how many events were passed over.
func (s *Skipped) Count() uint64 { return s.n.Load() }
