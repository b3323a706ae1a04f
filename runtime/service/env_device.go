package service

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
)

// Env holds what the device side of a service needs. A service that needs nothing else
// has a function NewDevice that takes an Env. The catalogue of the virtual device lists
// these functions.
type Env struct {
	Phone *phone.Phone
	// Logger receives each request at debug level, see Log; nil means no logging.
	Logger *slog.Logger
	// Heartbeat is the interval between the heartbeat messages of the device; 0 means
	// that of most real devices, 10 s.
	Heartbeat time.Duration
}

// Log returns the logger for the messages of a service, whose layer is the name of its
// package. It is never nil.
func (e *Env) Log(layer string) *slog.Logger {
	if e.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Logger.With("layer", layer, "udid", e.Phone.Identity.UDID)
}

// ServeRequests is the device side of a service that answers each property list with
// one or several others. It sends the messages that answer yields until the peer
// disconnects or ctx ends. After the messages of an answer that is the last one it
// returns nil, even if the peer has disconnected without reading them.
func ServeRequests(
	ctx context.Context, c *link.PlistConn, errs *Errors,
	answer func(req plist.Dict) (messages iter.Seq[plist.Dict], last bool),
) error {
	for {
		req, err := c.RecvDict(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errs.New("serve", "", err)
		}
		messages, last := answer(req)
		for m := range messages {
			err = c.Send(ctx, m)
			if err != nil {
				break
			}
		}
		if last {
			return nil
		}
		if err != nil {
			return errs.New("serve", "", err)
		}
	}
}

// One returns an answer of one message.
func One(m plist.Dict) iter.Seq[plist.Dict] {
	return func(yield func(plist.Dict) bool) { yield(m) }
}
