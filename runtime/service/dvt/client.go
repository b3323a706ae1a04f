package dvt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// callTimeout bounds a call whose context has no deadline.
	callTimeout = 60 * time.Second
	// closeTimeout bounds the messages to the device when a stream is closed.
	closeTimeout = 2 * time.Second

	defaultMaxChannels = 64
)

// Options are the options of a session. The zero value works.
type Options struct {
	// MaxChannels is how many channels may be open at the same time; 0 means 64.
	MaxChannels int
	// Logger receives the log messages; nil means no logging.
	Logger *slog.Logger
}

// Session is a connection to the Instruments server. Its methods may be called from any
// goroutine.
type Session struct {
	conn *dtx.Conn
	log  *slog.Logger
	max  int
	wg   sync.WaitGroup // counts the goroutines of the feeds

	mu     sync.Mutex
	open   int
	shared map[string]*link.Lazy[shared] // by identifier; the channels end with conn
	closed bool                          // no new feed may start
}

// shared is a channel that all calls use.
type shared struct{ *dtx.Channel }

// Close closes the channel. With it shared implements link.Ending.
func (c shared) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return c.Channel.Close(ctx)
}

// classes returns the decoders of the archived classes that the services send.
var classes = sync.OnceValue(
	func() *nskeyed.Classes { return nskeyed.NewClasses(nskeyed.Instruments()...) },
)

// Connect opens a session with a device of any version.
func Connect(ctx context.Context, o service.Opener, opts Options) (*Session, error) {
	c, err := o.Open(ctx, Service)
	if errors.Is(err, fs.ErrNotExist) {
		// The device is older than iOS 14, or no developer image is mounted. In the
		// second case the first error is the one to return.
		var old error
		c, old = o.Open(ctx, OldService)
		if old == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, &Error{Op: "connect", Err: err}
	}
	return New(c, opts), nil
}

// New returns a session on a connection to the service. Close closes c.
func New(c net.Conn, o Options) *Session {
	caps := append(dtx.DefaultCapabilities(), nskeyed.Pair{Key: capTermination, Value: int64(1)})
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Session{
		max: o.MaxChannels, shared: map[string]*link.Lazy[shared]{},
		log: o.Logger.With("layer", "dvt"),
	}
	if s.max <= 0 {
		s.max = defaultMaxChannels
	}
	s.conn = dtx.New(c, dtx.Options{Capabilities: caps, Classes: classes(), Logger: o.Logger})
	return s
}

// Close closes the connection and ends all calls and streams.
func (s *Session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.conn.Close()
	s.wg.Wait()
	return err
}

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.conn.Done() }

// Err returns the reason why the session has ended, or nil while it is open.
func (s *Session) Err() error { return s.conn.Err() }

// Capabilities waits until the device has published its capabilities, and returns them
// with their versions.
func (s *Session) Capabilities(ctx context.Context) (nskeyed.Dict, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	caps, err := s.conn.Capabilities(ctx)
	if err != nil {
		return nil, &Error{Op: "capabilities", Err: err}
	}
	return caps, nil
}

// bounded returns a context with a deadline, if ctx has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// Channel returns the channel with an identifier that all calls share. The first call
// opens it. Messages that the device sends on it without a request are dropped, so
// streams need Open. The caller must not close the channel.
func (s *Session) Channel(ctx context.Context, identifier string) (*dtx.Channel, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s.mu.Lock()
	l := s.shared[identifier]
	if l == nil {
		l = link.NewLazy(func(ctx context.Context) (shared, error) {
			ch, err := s.Open(ctx, identifier, dtx.ChannelOptions{Handler: dtx.Methods{}})
			return shared{ch}, err
		})
		s.shared[identifier] = l
	}
	s.mu.Unlock()
	ch, err := l.Get(ctx)
	if err != nil {
		return nil, &Error{Op: "open channel", Subject: identifier, Err: inner(err)}
	}
	return ch.Channel, nil
}

// Open opens a channel for the caller only. The caller has to close it.
func (s *Session) Open(
	ctx context.Context, identifier string, o dtx.ChannelOptions,
) (*dtx.Channel, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s.mu.Lock()
	full := s.open >= s.max
	if !full {
		s.open++
	}
	s.mu.Unlock()
	if full {
		return nil, &Error{Op: "open channel", Subject: identifier, Err: ErrTooManyChannels}
	}
	leave := func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}
	ch, err := s.conn.Open(ctx, identifier, o)
	if err != nil {
		leave()
		return nil, &Error{Op: "open channel", Subject: identifier, Err: err}
	}
	context.AfterFunc(ch.Context(), leave)
	return ch, nil
}

// Call calls any method of any channel and returns its value, or nil if there is none.
// It archives the arguments, except nil and values of type dtx.Arg.
func (s *Session) Call(ctx context.Context, identifier, selector string, args ...any) (any, error) {
	return s.call(ctx, "call", selector, identifier, selector, args...)
}

// call calls a method for this package. The error names the operation and its subject.
func (s *Session) call(
	ctx context.Context, op, subject, identifier, selector string, args ...any,
) (any, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	ch, err := s.Channel(ctx, identifier)
	if err != nil {
		return nil, &Error{Op: op, Subject: subject, Err: inner(err)}
	}
	v, err := ch.Call(ctx, selector, args...)
	if err != nil {
		return nil, &Error{Op: op, Subject: subject, Err: err}
	}
	return v, nil
}

// inner removes an *Error of this package around an error.
func inner(err error) error {
	if e, ok := err.(*Error); ok {
		return e.Err
	}
	return err
}

// unexpected returns the error for an answer of the wrong form.
func unexpected(op, subject string, v any) error {
	return &Error{Op: op, Subject: subject, Err: malformed(v)}
}

// malformed returns the cause for a value of the wrong type.
func malformed(v any) error { return fmt.Errorf("%w: %T", ErrProtocol, v) }

// ask calls a method whose value has the type T.
func ask[T any](
	ctx context.Context, s *Session, op, subject, identifier, selector string, args ...any,
) (T, error) {
	var zero T
	v, err := s.call(ctx, op, subject, identifier, selector, args...)
	if err != nil {
		return zero, err
	}
	got, ok := v.(T)
	if !ok {
		return zero, unexpected(op, subject, v)
	}
	return got, nil
}

// question holds the arguments of call for a request for a list.
type question struct {
	op, subject, identifier, selector string
	args                              []any
}

// askList calls a method that returns a list, and decodes the entries. It leaves out
// entries that decode refuses, see link.PassOver.
func askList[E, T any](
	ctx context.Context, s *Session, q question, decode func(E) (T, error),
) ([]T, error) {
	list, err := ask[[]any](ctx, s, q.op, q.subject, q.identifier, q.selector, q.args...)
	if err != nil {
		return nil, err
	}
	return decodeList(ctx, q.op, q.subject, list, decode)
}

// decodeList reads the entries of a list with decode.
func decodeList[E, T any](
	ctx context.Context, op, subject string, list []any, decode func(E) (T, error),
) ([]T, error) {
	return link.DecodeList(ctx, list, func(v any) (T, error) {
		var zero T
		e, ok := v.(E)
		if !ok {
			return zero, unexpected(op, subject, v)
		}
		return decode(e)
	})
}

// askStrings calls a method that returns a list of strings.
func askStrings(
	ctx context.Context, s *Session, op, identifier, selector string,
) ([]string, error) {
	q := question{op: op, identifier: identifier, selector: selector}
	return askList(ctx, s, q, same[string])
}

func same[T any](v T) (T, error) { return v, nil }
