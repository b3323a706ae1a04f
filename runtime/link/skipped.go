package link

import (
	"log/slog"
	"sync/atomic"
)

// Skipped counts the events of a stream that were left out, because they could not be
// decoded or because nothing waited for them. One malformed event does not end a
// stream. The zero value is ready to use. The methods may be called from any goroutine.
type Skipped struct{ n atomic.Uint64 }

// Add counts one event and may log it. It logs a warning for the first event and each
// time that the number has doubled, so that a peer that sends nothing else does not
// fill the log.
func (s *Skipped) Add(log *slog.Logger, what string, args ...any) {
	n := s.n.Add(1)
	if n&(n-1) == 0 && log != nil {
		log.Warn(what, append(args, "count", n)...)
	}
}

// Count returns the number of events that were left out.
func (s *Skipped) Count() uint64 { return s.n.Load() }
