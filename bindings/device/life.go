package device

import (
	"context"

	"github.com/imdlua/imdlua/runtime/host"
)

// Life is the time from the opening of an object to its Close. It ends the calls
// that wait on the object when another task closes it.
type Life struct {
	class string
	ctx   context.Context
	end   context.CancelFunc
}

// NewLife begins the life of an object. class is its name in error messages.
func NewLife(class string) *Life {
	ctx, end := context.WithCancel(context.Background())
	return &Life{class: class, ctx: ctx, end: end}
}

// End ends the life. It may be called more than once.
func (l *Life) End() { l.end() }

// Over reports whether the life has ended.
func (l *Life) Over() bool { return l.ctx.Err() != nil }

// Error returns the error of a call on the object. A call that failed after the
// object was closed has the code "closed". That error does not wrap err: err only
// shows that the connection was closed, and an io.EOF in it would be taken for the
// end of the data.
func (l *Life) Error(err error) error {
	if err == nil || !l.Over() {
		return err
	}
	return host.Errorf("closed", "%s was closed while a call waited in it", l.class)
}

// Bound returns a function that runs f with a context that also ends when the life
// ends.
func (l *Life) Bound(f func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := context.AfterFunc(l.ctx, cancel)
		defer stop()
		return l.Error(f(ctx))
	}
}
