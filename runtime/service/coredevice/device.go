package coredevice

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/power"
	"github.com/imdlua/imdlua/runtime/remotexpc"
	"github.com/imdlua/imdlua/runtime/service"
)

const (
	// maxWaiting bounds how many invocations of a connection wait for the end
	// of a process.
	maxWaiting = 64
	// maxFiles bounds how many files wait on a connection to be fetched.
	maxFiles = 8
	// batchSize is how many elements a streaming feature sends at once.
	batchSize = 16
)

// Device is the CoreDevice services of a virtual device. There is one for all of
// them, as the terminals that one service opens are used by another. It serves
// any number of connections.
//
// A restart happens as the last act of Serve. The function that the machine gave
// to Power.OnAction runs on Serve's goroutine, so it must not wait for Serve to
// return.
type Device struct {
	// Phone answers everything; it must be set.
	Phone *phone.Phone
	// Budget bounds what hosts send on all connections; nil means no bound.
	Budget *link.Budget
	// Logger is silent when nil.
	Logger *slog.Logger

	terminals terminals
}

// Handler returns the device side of one service of the family, nil for any
// other.
func (d *Device) Handler(n service.Name) service.Handler {
	if n.Remote == OpenStdIOSocket.Remote {
		return handler(d.serveTerminal)
	}
	methods, ok := services[n.Remote]
	if !ok {
		return nil
	}
	return handler(func(ctx context.Context, c net.Conn) error { return d.serve(ctx, c, methods) })
}

type handler func(ctx context.Context, c net.Conn) error

// Serve serves one connection.
func (h handler) Serve(ctx context.Context, c net.Conn) error { return h(ctx, c) }

// method is how a device answers a feature.
type method struct {
	since int // iOS version, 2600 is 26.0; 0 is all
	// call answers at once, stream in pieces, wait in a goroutine of its own.
	call   func(ctx context.Context, s *session, in *input) (any, error)
	stream func(s *session, in *input) ([]any, error)
	wait   func(ctx context.Context, s *session, in *input) (any, error)
}

// services are the features by service, with the version of iOS that brought
// them.
var services = map[string]map[string]method{
	AppService.Remote: {
		featListApps:      {call: listApps},
		featStreamApps:    {since: 2600, stream: installedApps},
		featListProcesses: {call: listProcesses},
		featStreamProcess: {since: 2600, stream: runningProcesses},
		featLaunch:        {call: launch},
		featSpawn:         {call: spawn},
		featSignal:        {call: signal},
		featMemoryWarning: {call: warnMemory},
		featMonitor:       {wait: awaitEnd},
		featUninstall:     {call: uninstall},
		featListRoots:     {call: listRoots},
		featReboot:        {call: reboot},
	},
	DeviceInfo.Remote: {
		featDeviceInfo:  {call: deviceInfo},
		featDisplayInfo: {call: displayInfo},
		featGestalt:     {call: gestalt},
		featLockState:   {call: lockState},
	},
	Diagnostics.Remote: {
		featSysdiagnose: {call: sysdiagnose},
	},
}

// Features lists the identifiers of what a virtual device with the given version
// of iOS ("17.5.1") answers on a service, sorted.
func Features(n service.Name, productVersion string) []string {
	var list []string
	for name, m := range services[n.Remote] {
		if m.since <= versionNumber(productVersion) {
			list = append(list, FeaturePrefix+name)
		}
	}
	slices.Sort(list)
	return list
}

// versionNumber makes one number of a version, 1705 of 17.5.1.
func versionNumber(version string) int {
	parts := strings.SplitN(version+".0", ".", 3)
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	return major*100 + minor
}

func (d *Device) version() int { return versionNumber(d.Phone.Identity.Version) }

// session is one connection to a service that has features.
type session struct {
	dev     *Device
	phone   *phone.Phone
	conn    *remotexpc.Conn
	methods map[string]method
	log     *slog.Logger

	ctx     context.Context // of what outlives an invocation
	wg      sync.WaitGroup  // of that
	waiting chan struct{}   // holds a token for each that waits
	files   chan struct{}   // holds a token for each file
	fileID  uint64          // given out last
	restart bool            // the phone restarts when the connection is over
}

func (d *Device) serve(ctx context.Context, c net.Conn, methods map[string]method) error {
	log := d.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	restart := false
	x := &remotexpc.Device{Options: remotexpc.Options{
		MaxMessage: MaxRequest, Buffer: MaxRequest, Budget: d.Budget, Logger: log,
	}, Handle: func(ctx context.Context, c *remotexpc.Conn) error {
		ctx, cancel := context.WithCancel(ctx)
		s := &session{dev: d, phone: d.Phone, conn: c, methods: methods,
			log: log.With("layer", "coredevice"), ctx: ctx,
			waiting: make(chan struct{}, maxWaiting), files: make(chan struct{}, maxFiles)}
		defer s.wg.Wait()
		defer cancel()
		err := s.run(ctx)
		restart = s.restart
		return err
	}}
	err := x.Serve(ctx, c)
	if restart && ctx.Err() == nil {
		log.Debug("power", "layer", "coredevice", "udid", d.Phone.Identity.UDID, "action",
			power.Restart.String())
		d.Phone.Power.Do(power.Restart)
		return nil
	}
	if err != nil && ctx.Err() == nil {
		return &Error{Op: "serve", Err: err}
	}
	return err
}

// run answers invocations until the host leaves.
func (s *session) run(ctx context.Context) error {
	for !s.restart {
		m, err := s.conn.Receive(ctx)
		if err != nil {
			if s.conn.Err() == nil && ctx.Err() == nil {
				continue // one message that is none
			}
			return err
		}
		if err := s.answer(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// answer carries an invocation out. A host that wants no reply gets none, and
// what it asks for happens.
func (s *session) answer(ctx context.Context, m *remotexpc.Message) error {
	i, err := DecodeInvocation(m.Body)
	if err != nil {
		return s.reply(ctx, m, "", nil,
			refuse(DomainAction, actionFailed, "Value for key "+keyFeature+" not found"))
	}
	found, ok := s.methods[strings.TrimPrefix(i.Feature, FeaturePrefix)]
	if !ok || found.since > s.dev.version() || !strings.HasPrefix(i.Feature, FeaturePrefix) {
		return s.reply(ctx, m, i.ID, nil, refuse(DomainAction, actionNotImplemented,
			"Action '"+clip(i.name())+"' is not implemented."))
	}
	body, _ := i.Input.(xpc.Dict)
	in := newInput(body)
	switch {
	case found.stream != nil:
		return s.stream(ctx, m, i, in, found)
	case found.wait != nil:
		select {
		case s.waiting <- struct{}{}:
		default:
			return s.reply(ctx, m, i.ID, nil,
				refuse(DomainAction, actionFailed, "Too many invocations are pending."))
		}
		s.wg.Go(func() {
			defer func() { <-s.waiting }()
			out, err := found.wait(s.ctx, s, in)
			if s.ctx.Err() == nil {
				_ = s.reply(s.ctx, m, i.ID, out, err) // run notices what breaks the connection
			}
		})
		return nil
	}
	out, err := found.call(ctx, s, in)
	return s.reply(ctx, m, i.ID, out, err)
}

// reply answers on stream 3, if the host wants that.
func (s *session) reply(
	ctx context.Context, m *remotexpc.Message, id string, out any, err error,
) error {
	s.log.Debug("answered", "invocation", clip(id), "err", err)
	if !m.WantsReply() {
		return nil
	}
	if err != nil {
		return s.conn.Reply(ctx, m, encodeFailure(id, asRefusal(err)))
	}
	return s.conn.Reply(ctx, m, encodeOutput(id, out))
}

// asRefusal makes a refusal of whatever went wrong.
func asRefusal(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) && e.Domain != "" {
		return e
	}
	return refuse(DomainAction, actionFailed, "The action failed.")
}

// stream answers in pieces on stream 1. There is no reply on stream 3 unless the
// invocation is refused.
func (s *session) stream(
	ctx context.Context, m *remotexpc.Message, i *Invocation, in *input, found method,
) error {
	channel, ok := in.sub(keyProxy).d.UUID(keyChannel)
	actual := in.sub(keyActualInput)
	if in.err() == nil && !ok {
		in.sub(keyProxy).missing(keyChannel)
	}
	if err := in.err(); err != nil {
		return s.reply(ctx, m, i.ID, nil, err)
	}
	elements, err := found.stream(s, actual)
	if err != nil {
		return s.reply(ctx, m, i.ID, nil, err)
	}
	for batch := range slices.Chunk(elements, batchSize) {
		if err := s.conn.Send(ctx,
			(&push{channel: channel, elements: batch}).encode()); err != nil {
			return err
		}
	}
	return s.conn.Send(ctx, (&push{channel: channel, finished: true}).encode())
}
