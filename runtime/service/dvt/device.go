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

// Device is the device side of the Instruments server for a virtual device. One Device
// serves any number of connections.
type Device struct {
	Phone *phone.Phone
	// Hold delays the first message until the host has sent something, but no longer
	// than this time. It is for OldService: go-ios loses data that arrives together with
	// the end of the TLS handshake. 200 ms are long enough.
	Hold time.Duration
	// Fault, if not nil, makes a channel fail on purpose. It is called for each call
	// with the identifier of the channel and the selector.
	Fault func(identifier, selector string) Fault
	// Budget bounds the data that hosts send on the connections that share it; nil
	// means no bound.
	Budget *link.Budget
	Logger *slog.Logger // nil means no logging
}

// Fault is a failure that replaces the answer to a call.
type Fault int

// The faults of a channel.
const (
	NoFault Fault = iota
	// KillChannel closes the channel of the call.
	KillChannel
	// NeverAnswer leaves the call unanswered. The connection stays open.
	NeverAnswer
)

// faulty returns a handler that applies Fault before it calls the handler of the
// channel.
func (d *Device) faulty(ch *dtx.Channel, h dtx.Handler) dtx.Handler {
	if d.Fault == nil {
		return h
	}
	return dtx.HandlerFunc(func(ctx context.Context, in *dtx.Incoming) (any, error) {
		switch d.Fault(ch.Identifier(), in.Selector) {
		case NoFault:
			return h.Handle(ctx, in)
		case KillChannel:
			_ = ch.Close(ctx) // fails only if the connection has ended, which ends the channel too
		}
		<-ctx.Done() // the host must not get an answer
		return nil, ctx.Err()
	})
}

// session is the state of one connection.
type session struct {
	phone *phone.Phone

	mu       sync.Mutex
	releases map[string]func() // functions that undo simulations at the end of the connection
}

// Serve serves one host until the host disconnects, which is not an error, or until ctx
// ends. The simulations of the host end with the connection.
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

// hold registers the function that undoes a simulation at the end of the connection.
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

// capabilities returns the capabilities that the server publishes. Hosts store them,
// but few use them.
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

// badArguments returns the refusal of a call with missing or wrong arguments.
func badArguments(selector string) error {
	return dtx.Refuse(dtx.Domain, 1, "'"+selector+"' does not take these arguments")
}

// pidOf returns the process identifier in an argument.
func pidOf(args dtx.Args, i int, selector string) (int, error) {
	n, ok := args.Int(i)
	if !ok || n < 0 || n > 1<<31-1 {
		return 0, badArguments(selector)
	}
	return int(n), nil
}

// boolArg reads a boolean argument. Some scripts send it as a word.
func boolArg(args dtx.Args, i int) (bool, bool) {
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

// refused converts an error of the phone to a refusal. missing is the error number for
// an object that does not exist.
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
