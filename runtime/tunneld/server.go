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
)

// Tunnel is one established tunnel, as the server tells others of it.
type Tunnel struct {
	// UDID is the device's, as usbmuxd writes it: clients compare it to the
	// letter.
	UDID string
	// Address is the device's inside the tunnel.
	Address netip.Addr
	// RSDPort is where its list of services is.
	RSDPort uint16
	// Interface is a label of how the tunnel was made, "usbmux-UDID-USB".
	Interface string
	// Dial opens a connection to a port of the device.
	Dial func(ctx context.Context, port uint16) (net.Conn, error)
	// Done is closed when the tunnel has ended.
	Done <-chan struct{}
}

// Manager keeps tunnels; the program that runs the server is one. Its methods
// are called concurrently. Identifiers come as clients write them: SameUDID
// compares them.
type Manager interface {
	// Tunnels returns those that are established, from memory and at once.
	// One that is about to be closed must be gone from here first, so that no
	// client is sent to it.
	Tunnels() []Tunnel
	// Start returns the tunnel to a device, which Tunnels then has too. One
	// that exists is returned at once, else it is made. address and
	// connection ("usbmux", "usb", "wifi") are wishes, "" when there is none.
	// An error that is fs.ErrNotExist means that there is no such device.
	Start(ctx context.Context, udid, address, connection string) (Tunnel, error)
	// Cancel closes the tunnels to a device and reports whether there were
	// any.
	Cancel(udid string) bool
	// Clear closes all tunnels.
	Clear()
	// Ready reports whether the first scan of devices is complete.
	Ready() bool
}

const (
	// pollEvery is how often the Manager is asked for its tunnels when it does
	// not say that they have changed.
	pollEvery = time.Second
	// startTimeout bounds /start-tunnel.
	startTimeout = time.Minute
	// agentDelay is how long go-ios' /shutdown waits, as it says.
	agentDelay = time.Second
	// closeTimeout is how long requests may take to end when the server does.
	closeTimeout = 2 * time.Second
	// headerTimeout and bodyTimeout bound the reading of a request, idleTimeout
	// a connection without one.
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = time.Minute
	// maxClients is how many HTTP connections each API has at a time; more
	// wait.
	maxClients = 256
)

// Server tells other programs of a Manager's tunnels and makes them reachable
// for those programs. Fields must not change while it serves.
//
// Whoever can connect to a port on the loopback interface can use the tunnels;
// the APIs know no passwords. What web pages can make a browser send is refused.
type Server struct {
	// Manager keeps the tunnels; it must be set.
	Manager Manager
	// Token, when it is set, must come with every request, as
	// "Authorization: Bearer TOKEN", and the server may listen beyond loopback.
	// Foreign clients send none and are shut out. It guards the HTTP APIs; the
	// ports of tunnels, which are always on loopback, ask for none.
	Token string
	// Upstreams are base URLs of other servers with pymobiledevice3's API whose
	// tunnels are listed too. Clients may add and remove some.
	Upstreams []string
	// OnShutdown is called when a client has asked for the end of the server,
	// after everything is closed and right before Serve returns.
	OnShutdown func()
	// Logger is silent when nil.
	Logger *slog.Logger

	net *network // nil is the machine's own

	mu      sync.Mutex
	current *run
}

// network is where the server listens for clients of tunnels.
type network struct {
	listen func(at netip.AddrPort) (net.Listener, error)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	alias  bool // all of 127/8 can be listened on
}

// run is a Server while it serves.
type run struct {
	*Server
	log    *slog.Logger
	net    network
	ctx    context.Context // ends when the server shall
	cancel context.CancelFunc
	wg     sync.WaitGroup // HTTP servers, requests, the monitor, exposures
	wake   chan struct{}  // tunnels may have changed
	done   chan struct{}  // Serve is about to return
	python bool           // tunnels need addresses that others can dial
	relay  netip.AddrPort // go-ios' API; relays have the ports behind it

	upstream upstreams

	updating sync.Mutex // held while the Manager is asked and the answer used

	mu       sync.Mutex
	asked    bool // a client has asked for the end
	ended    bool // no request is served any more
	exposed  map[tunnelID]*exposure
	occupied map[netip.Addr]bool // aliases in use
}

// Serve answers clients of pymobiledevice3's API on one listener and those of
// go-ios' on the other, until ctx ends, Close is called or a client asks for the
// end, none of which is an error. Either listener may be nil. It closes the
// listeners, and returns when nothing runs any more.
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
	r.update() // those that are there already are on their way when clients come
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

// begin checks what Serve was given.
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

// newRun makes a run that serves nobody yet.
func (s *Server) newRun() *run {
	r := &run{
		Server: s, log: s.Logger, net: machineNetwork(), wake: make(chan struct{}, 1),
		done:    make(chan struct{}),
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

// end closes everything and waits for it.
func (r *run) end(servers []*http.Server) {
	r.cancel()
	bound, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, hs := range servers {
		// The answer to /shutdown is still on its way.
		if hs.Shutdown(bound) != nil {
			_ = hs.Close()
		}
	}
	r.mu.Lock()
	r.ended = true // from here on nothing is added to the group from outside
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

// Close ends Serve and waits until nothing runs any more. It may be called at
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

// Changed says that the Manager's tunnels are others now. It returns at once.
// Without it a new tunnel is noticed within a second.
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

// enter counts a request among what end waits for, unless it is too late.
func (r *run) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.wg.Add(1)
	}
	return !r.ended
}

// shutdown ends the server because a client wants it.
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
		sleep(r.ctx, after)
		r.cancel()
	})
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// monitor keeps the exposures as the tunnels are.
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
		ErrorLog:     slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
}
