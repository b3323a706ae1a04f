package host

import "io"

// lockedWriter keeps what bindings write apart from what scripts print.
type lockedWriter struct {
	h *Host
	w io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.h.out.Lock()
	defer l.h.out.Unlock()
	return l.w.Write(p)
}

// Stderr returns the host's error output for bindings; it may be written from
// any goroutine.
func (h *Host) Stderr() io.Writer { return lockedWriter{h, h.o.Stderr} }
