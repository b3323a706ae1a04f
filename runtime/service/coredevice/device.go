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
	// maxWaiting bounds the invocations of a connection that wait for the end of a
	// process.
	maxWaiting = 64
	// maxFiles bounds the files of a connection that the host has not fetched.
	maxFiles = 8
	// batchSize is the number of elements in one message of a streaming feature.
	batchSize = 16
)

// Device is the device side of the CoreDevice services for a virtual device. One Device
// serves all of them, because one service opens the terminals that another one uses. It
// serves any number of connections.
//
// Serve performs a restart at its end. The function given to Power.OnAction runs on the
// goroutine of Serve, so it must not wait for Serve to return.
type Device struct {
	// Phone provides the answers to all requests. It must be set.
	Phone *phone.Phone
	// Budget bounds the data that hosts send on all connections; nil means no bound.
	Budget *link.Budget
	// Logger receives the log messages; nil means no logging.
	Logger *slog.Logger

	terminals terminals
}

// Handler returns the device side of one CoreDevice service. It returns nil for any
// other name.
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

// Unimplemented returns the device side of a service of the family of which no feature is
// implemented. It refuses every invocation.
func (d *Device) Unimplemented() service.Handler {
	return handler(func(ctx context.Context, c net.Conn) error { return d.serve(ctx, c, nil) })
}

type handler func(ctx context.Context, c net.Conn) error

// Serve serves one connection.
func (h handler) Serve(ctx context.Context, c net.Conn) error { return h(ctx, c) }

// method says how the device answers a feature.
type method struct {
	since int // version of iOS that introduced the feature, 2600 for 26.0; 0 means all
	// call answers at once, stream answers in several messages, and wait answers from a
	// goroutine of its own.
	call   func(ctx context.Context, s *session, in *input) (any, error)
	stream func(s *session, in *input) ([]any, error)
	wait   func(ctx context.Context, s *session, in *input) (any, error)
}

// services lists the features of each service.
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

// Features returns the identifiers of the features of a service that a virtual device
// with the given version of iOS ("17.5.1") supports, sorted.
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

// versionNumber returns a version as a number, 1705 for "17.5.1".
func versionNumber(version string) int {
	parts := strings.SplitN(version+".0", ".", 3)
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	return major*100 + minor
}

func (d *Device) version() int { return versionNumber(d.Phone.Identity.Version) }

// session is one connection to a service with features.
type session struct {
	dev     *Device
	phone   *phone.Phone
	conn    *remotexpc.Conn
	methods map[string]method
	log     *slog.Logger

	ctx     context.Context // context of work that continues after an invocation
	wg      sync.WaitGroup  // counts the goroutines of that work
	waiting chan struct{}   // holds a token for each invocation that waits
	files   chan struct{}   // holds a token for each file
	fileID  uint64          // last identifier that was used
	restart bool            // the phone restarts when the connection has ended
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

// run answers invocations until the host disconnects.
func (s *session) run(ctx context.Context) error {
	for !s.restart {
		m, err := s.conn.Receive(ctx)
		if err != nil {
			if s.conn.Err() == nil && ctx.Err() == nil {
				continue // one message that is malformed
			}
			return err
		}
		if err := s.answer(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// answer performs an invocation. If the host does not ask for a reply, it performs the
// invocation without a reply.
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
				_ = s.reply(s.ctx, m, i.ID, out, err) // run returns a connection error
			}
		})
		return nil
	}
	out, err := found.call(ctx, s, in)
	return s.reply(ctx, m, i.ID, out, err)
}

// reply sends a reply on stream 3, if the host asked for one.
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

// asRefusal converts any error to a refusal.
func asRefusal(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) && e.Domain != "" {
		return e
	}
	return refuse(DomainAction, actionFailed, "The action failed.")
}

// stream answers with several messages on stream 1. There is no reply on stream 3
// unless the invocation is refused.
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
