package dvt

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/nskeyed"
	"github.com/imdlua/imdlua/runtime/dtx"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/usage"
)

// Device is Instruments' server of a virtual device. One Device serves any
// number of connections.
type Device struct {
	Phone *phone.Phone
	// Hold delays the first message until the host has sent something, for
	// OldService: 200 ms suit hosts that lose what comes with the end of TLS.
	Hold time.Duration
	// Fault makes a channel misbehave: it is asked for each call, with the
	// channel's identifier and the selector. Nil is not a fault.
	Fault func(identifier, selector string) Fault
	// Budget bounds what hosts send on this device's connections and on others that share
	// it; nil means no bound.
	Budget *link.Budget
	Logger *slog.Logger // nil = silent
}

// Fault is what becomes of a call instead of an answer.
type Fault int

// The faults of a channel.
const (
	NoFault Fault = iota
	// KillChannel ends the channel that the call came on.
	KillChannel
	// NeverAnswer takes the call and says nothing, while the connection lives.
	NeverAnswer
)

// faulty puts Fault in front of a channel's handler.
func (d *Device) faulty(ch *dtx.Channel, h dtx.Handler) dtx.Handler {
	if d.Fault == nil {
		return h
	}
	return dtx.HandlerFunc(func(ctx context.Context, in *dtx.Incoming) (any, error) {
		switch d.Fault(ch.Identifier(), in.Selector) {
		case NoFault:
			return h.Handle(ctx, in)
		case KillChannel:
			_ = ch.Close(ctx) // a connection that is gone has no channels either
		}
		<-ctx.Done() // an answer would be no fault
		return nil, ctx.Err()
	})
}

// session is one connection.
type session struct {
	phone *phone.Phone

	mu       sync.Mutex
	releases map[string]func() // what the end of the connection undoes
}

// Serve serves one host until it leaves, which is not an error, or ctx ends. What
// the host simulated ends with the connection.
func (d *Device) Serve(ctx context.Context, c net.Conn) error {
	s := &session{phone: d.Phone, releases: map[string]func(){}}
	defer s.release()
	table := map[string]func(*dtx.Channel) dtx.Handler{}
	for _, row := range channels() {
		table[row.identifier] = func(ch *dtx.Channel) dtx.Handler {
			return d.faulty(ch, row.serve(s, ch))
		}
	}
	server := dtx.Server{
		Capabilities: capabilities(d.Phone), Channels: table, Hold: d.Hold, Classes: classes(),
		Budget: d.Budget, Logger: d.Logger,
	}
	if err := server.Serve(ctx, c); err != nil {
		return &Error{Op: "serve", Err: err}
	}
	return nil
}

// hold remembers what undoes a simulation when the connection ends.
func (s *session) hold(what string, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releases[what] = release
}

func (s *session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.releases {
		f()
	}
}

// capabilities is what the server publishes. Hosts store it, few look.
func capabilities(p *phone.Phone) nskeyed.Dict {
	hw := p.Usage.Hardware()
	d := nskeyed.Dict{
		{Key: dtx.CapabilityCompression, Value: int64(2)},
		{Key: dtx.CapabilityConnection, Value: int64(1)},
		{Key: "com.apple.instruments.target.ios", Value: int64(1)},
		{Key: "com.apple.instruments.target.logical-cpus", Value: int64(hw.LogicalCPUs)},
		{Key: "com.apple.instruments.target.mtb.denom", Value: int64(hw.TimebaseDenom)},
		{Key: "com.apple.instruments.target.mtb.numer", Value: int64(hw.TimebaseNumer)},
		{Key: "com.apple.instruments.target.physical-cpus", Value: int64(hw.PhysicalCPUs)},
		{Key: "com.apple.instruments.target.user-page-size", Value: int64(usage.PageSize)},
	}
	for _, name := range published() {
		d = append(d, nskeyed.Pair{Key: name, Value: int64(1)})
	}
	return d
}

// badArguments refuses a call that lacks arguments or has others.
func badArguments(selector string) error {
	return dtx.Refuse(dtx.Domain, 1, "'"+selector+"' does not take these arguments")
}

// pidOf returns the process that a call names.
func pidOf(args dtx.Args, i int, selector string) (int, error) {
	n, ok := args.Int(i)
	if !ok || n < 0 || n > 1<<31-1 {
		return 0, badArguments(selector)
	}
	return int(n), nil
}

// truth reads a flag. Some scripts send the word.
func truth(args dtx.Args, i int) (bool, bool) {
	if word, ok := args.String(i); ok {
		switch strings.ToLower(word) {
		case "true", "yes", "1":
			return true, true
		case "false", "no", "0":
			return false, true
		}
		return false, false
	}
	return args.Bool(i)
}

// refused turns a failure of the model into a refusal; missing is the number
// for what does not exist.
func refused(err error, missing int64) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return refusePOSIX(missing)
	case errors.Is(err, fs.ErrPermission) && missing == codeENOENT:
		return refusePOSIX(codeEACCES)
	case errors.Is(err, fs.ErrPermission):
		return refusePOSIX(codeEPERM)
	case errors.Is(err, fs.ErrInvalid):
		return refusePOSIX(codeEINVAL)
	}
	return dtx.Refuse(dtx.Domain, 1, err.Error())
}
