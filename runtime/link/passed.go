package link

import (
	"context"
	"sync"
)

// Passed collects the entries of lists that were left out during a call because they
// could not be decoded. One malformed entry does not hide the others, and the caller
// can tell the user what is missing.
type Passed struct {
	mu    sync.Mutex
	count int
	first error
}

type passedKey struct{}

// WithPassed returns a context with which PassOver reports to the returned Passed.
func WithPassed(ctx context.Context) (context.Context, *Passed) {
	p := &Passed{}
	return context.WithValue(ctx, passedKey{}, p), p
}

// PassOver records that an entry of a list is left out because of err. It does nothing
// if the context does not come from WithPassed.
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

// Count returns the number of entries that were left out, and the reason for the first
// one.
func (p *Passed) Count() (n int, first error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, p.first
}

// DecodeList decodes the entries of a list. An entry that decode refuses is left out
// and recorded with PassOver. If decode refuses all entries, the answer is not the
// expected list, and the error is that of the first entry.
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
