package link

import (
	"context"
	"sync"
)

// Passed notes the entries of lists that were passed over during a call because they
// could not be decoded. One odd entry of a device does not hide the others; whoever
// made the call tells the user what is missing.
type Passed struct {
	mu    sync.Mutex
	count int
	first error
}

type passedKey struct{}

// WithPassed returns a context under which PassOver reports to the returned Passed.
func WithPassed(ctx context.Context) (context.Context, *Passed) {
	p := &Passed{}
	return context.WithValue(ctx, passedKey{}, p), p
}

// PassOver notes that an entry of a list is left out because of err. It does nothing
// under a context that does not come from WithPassed.
func PassOver(ctx context.Context, err error) {
	p, ok := ctx.Value(passedKey{}).(*Passed)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	if p.first == nil {
		p.first = err
	}
}

// Count returns how many entries were left out, and why the first one was.
func (p *Passed) Count() (n int, first error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, p.first
}

// DecodeList decodes the entries of a list that came in one answer. An entry that
// decode refuses is left out and noted with PassOver. If it refuses all of them, the
// answer is not the list that was asked for, and the error is that of the first entry.
func DecodeList[E, T any](
	ctx context.Context, entries []E, decode func(E) (T, error),
) ([]T, error) {
	out := make([]T, 0, len(entries))
	var first error
	for _, e := range entries {
		v, err := decode(e)
		if err != nil {
			if first == nil {
				first = err
			}
			PassOver(ctx, err)
			continue
		}
		out = append(out, v)
	}
	if len(out) == 0 && first != nil {
		return nil, first
	}
	return out, nil
}
