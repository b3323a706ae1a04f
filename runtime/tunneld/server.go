package tunneld

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// Tunnel is an established tunnel that a Manager keeps.
type Tunnel struct {
	// UDID is the device's, spelt as usbmuxd does: foreign clients compare it byte by
	// byte.
	UDID string
	// Address is the device's address inside the tunnel.
	Address netip.Addr
	// RSDPort is the port of the device's list of services.
	RSDPort uint16
	// Interface is a label of how the tunnel was made, "usbmux-UDID-USB".
	Interface string
	// Dial opens a connection to a port of the device.
	Dial func(ctx context.Context, port uint16) (net.Conn, error)
	// Done is closed when the tunnel has ended.
	Done <-chan struct{}
}

// Manager keeps tunnels. The program that runs the server implements it. Its methods
// are called concurrently. Clients may spell a UDID differently, so a Manager compares
// them with SameUDID.
type Manager interface {
	// Tunnels returns the established tunnels. It must not wait. A tunnel that is about
	// to be closed must be removed from this list first, so that no client is sent to
	// it.
	Tunnels() []Tunnel
	// Start returns the tunnel to a device, and makes one if there is none. Tunnels
	// must list it when Start returns. address and connection ("usbmux", "usb", "wifi")
	// are preferences, and "" is no preference. The error matches fs.ErrNotExist if
	// there is no such device.
	Start(ctx context.Context, udid, address, connection string) (Tunnel, error)
	// Cancel closes the tunnels to a device and reports whether there were any. No
	// tunnel is made to the device before it is connected again or Start is called.
	Cancel(udid string) bool
	// Restart closes the tunnels to a device and reports whether there were any. A new
	// tunnel is made if the device is still connected. Restart does not wait for it.
	Restart(udid string) bool
	// Clear closes all tunnels.
	Clear()
	// Ready reports whether the first scan of devices is complete.
	Ready() bool
}

const (
	// pollEvery is how often the Manager is asked for its tunnels if Changed is not
	// called.
	pollEvery = time.Second
	// startTimeout bounds /start-tunnel.
	startTimeout = time.Minute
	// agentDelay is the delay that go-ios' /shutdown announces in its answer.
	agentDelay = time.Second
	// closeTimeout bounds the time that requests have to finish when the server ends.
	closeTimeout = 2 * time.Second
	// headerTimeout and bodyTimeout bound the reading of a request. idleTimeout bounds
	// the time that a connection stays open without one.
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = time.Minute
	// maxClients is the maximum number of HTTP connections of each API. Further ones
	// wait.
	maxClients = 256
)

// Server lists the tunnels of a Manager for other programs, and makes them reachable
// for them. Its fields must not change while it serves.
//
// Every program that can connect to the loopback interface can use the tunnels, since
// the APIs have no authentication. Requests that a web page makes through a browser are
// refused.
type Server struct {
	// Manager keeps the tunnels; it must be set.
	Manager Manager
	// Token, if it is not "", must be in every request as "Authorization: Bearer
	// TOKEN". The server may then listen beyond loopback. Foreign clients do not send
	// one and are refused. The token protects the HTTP APIs only; the ports of tunnels
	// are always on loopback and do not ask for it.
	Token string
	// Upstreams are the base URLs of other servers with pymobiledevice3's API. Their
	// tunnels are listed as well. Clients may add and remove upstreams.
	Upstreams []string
	// OnShutdown is called when a client has shut the server down, after everything is
	// closed and just before Serve returns.
	OnShutdown func()
	// Logger is silent when nil.
	Logger *slog.Logger

	net *network // nil means machineNetwork

	mu      sync.Mutex
	current *run
}

// network is where the server listens for clients of tunnels.
type network struct {
	listen func(at netip.AddrPort) (net.Listener, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	alias  bool // whether it can listen on all of 127/8
}

// run is a Server while it serves.
type run struct {
	*Server
	log    *slog.Logger
	net    network
	ctx    context.Context // ends when the server is to end
	cancel context.CancelFunc
	wg     sync.WaitGroup // HTTP servers, requests, the monitor, exposures
	wake   chan struct{}  // tunnels may have changed
	done   chan struct{}  // Serve is about to return
	// python reports whether pymobiledevice3's API is served, whose clients dial tunnels
	// themselves.
	python bool
	relay  netip.AddrPort // address of go-ios' API; relays listen on the ports after it

	upstream upstreams
	bridges  chan struct{} // holds a token for each WebSocket

	updating sync.Mutex // held from asking the Manager until its answer has been used

	mu       sync.Mutex
	asked    bool // whether a client has asked for the end
	ended    bool // whether requests are refused
	exposed  map[tunnelID]*exposure
	occupied map[netip.Addr]bool // aliases in use
}

// Serve answers clients of pymobiledevice3's API on one listener and those of go-ios'
// API on the other. Either listener may be nil. Serve returns nil when ctx ends, Close
// is called or a client shuts the server down. It closes the listeners, and returns
// when all its goroutines have ended.
func (s *Server) Serve(ctx context.Context, python, goios net.Listener) error {
	r, err := s.begin(ctx, python, goios)
	if err != nil {
		for _, l := range []net.Listener{python, goios} {
			if l != nil {
				_ = l.Close()
			}
		}
		return err
	}
	failed := make(chan error, 2)
	var servers []*http.Server
	serve := func(l net.Listener, h http.Handler) {
		hs := r.httpServer(h)
		servers = append(servers, hs)
		r.wg.Go(func() {
			if err := hs.Serve(newLimited(l, maxClients)); !errors.Is(err, http.ErrServerClosed) {
				failed <- &Error{Op: "serve", Address: l.Addr().String(), Err: err}
			}
		})
	}
	r.update() // begins to open the existing tunnels before the first client asks
	if python != nil {
		serve(python, r.guard(python.Addr(), refusePython, r.pythonAPI()))
	}
	if goios != nil {
		serve(goios, r.guard(goios.Addr(), refuseGoIOS, r.goiosAPI()))
	}
	r.wg.Go(r.monitor)
	select {
	case <-r.ctx.Done():
	case err = <-failed:
	}
	r.end(servers)
	return err
}

// begin checks the arguments of Serve and returns a run for them.
func (s *Server) begin(ctx context.Context, python, goios net.Listener) (*run, error) {
	fail := func(err error) (*run, error) { return nil, &Error{Op: "serve", Err: err} }
	if s.Manager == nil || python == nil && goios == nil {
		return fail(errors.New("nothing to serve"))
	}
	for _, l := range []net.Listener{python, goios} {
		if l != nil && s.Token == "" && !onLoopback(l.Addr()) {
			return nil, &Error{Op: "serve", Address: l.Addr().String(), Err: ErrNotLoopback}
		}
	}
	r := s.newRun()
	r.python = python != nil
	if goios != nil {
		r.relay = relayBase(goios.Addr())
	}
	var own []net.Addr
	for _, l := range []net.Listener{python, goios} {
		if l != nil {
			own = append(own, l.Addr())
		}
	}
	r.upstream.init(own...)
	for _, u := range s.Upstreams {
		if err := r.upstream.add(u); err != nil {
			return fail(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return fail(errors.New("serves already"))
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	s.current = r
	return r, nil
}

// newRun makes a run that does not serve anything yet.
func (s *Server) newRun() *run {
	r := &run{
		Server: s, log: s.Logger, net: machineNetwork(), wake: make(chan struct{}, 1),
		done: make(chan struct{}), bridges: make(chan struct{}, maxBridges),
		exposed: map[tunnelID]*exposure{}, occupied: map[netip.Addr]bool{},
	}
	if s.net != nil {
		r.net = *s.net
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.log = r.log.With("layer", "tunneld")
	return r
}

// end closes everything and waits until it is closed.
func (r *run) end(servers []*http.Server) {
	r.cancel()
	bound, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, hs := range servers {
		// The answer to /shutdown may still be on its way.
		if hs.Shutdown(bound) != nil {
			_ = hs.Close()
		}
	}
	r.mu.Lock()
	r.ended = true // no request adds to the group after this
	r.mu.Unlock()
	r.wg.Wait()
	r.Server.mu.Lock()
	r.Server.current = nil
	r.Server.mu.Unlock()
	close(r.done)
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if asked && r.OnShutdown != nil {
		r.OnShutdown()
	}
}

// Close ends Serve and waits until all its goroutines have ended. It may be called at
// any time.
func (s *Server) Close() error {
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
	return nil
}

// Changed tells the server that the Manager's tunnels have changed. It does not wait.
// If it is not called, a change is noticed within a second.
func (s *Server) Changed() {
	s.mu.Lock()
	r := s.current
	s.mu.Unlock()
	if r != nil {
		r.changed()
	}
}

func (r *run) changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// enter counts a request that end waits for. It returns false if the server has ended.
func (r *run) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.wg.Add(1)
	}
	return !r.ended
}

// shutdown ends the server on behalf of a client.
func (r *run) shutdown(after time.Duration) {
	r.mu.Lock()
	first := !r.asked
	r.asked = true
	r.mu.Unlock()
	if !first {
		return
	}
	r.log.Debug("shutdown")
	r.wg.Go(func() {
		_ = link.Sleep(r.ctx, after) // the end of ctx also ends the run
		r.cancel()
	})
}

// monitor updates the exposures when tunnels change.
func (r *run) monitor() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		r.update()
		select {
		case <-tick.C:
		case <-r.wake:
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *run) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: startTimeout + bodyTimeout,
		BaseContext:  func(net.Listener) context.Context { return r.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
}
