package http

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/net/netutil"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/link"
)

const (
	headerTime     = 10 * time.Second // for the header of a request
	ioTime         = 30 * time.Second // for a whole request, and for a whole answer
	maxServerConns = 128
	maxQueued      = 64       // requests that wait for the script
	maxRecorded    = 1000     // requests that expect and requests look at
	recordedBytes  = 64 << 20 // of their bodies
	maxRequestHead = 64 << 10 // bytes of a header
	defaultReply   = 10 * time.Second
)

// Server answers requests. Those that a script answers wait in a queue.
type Server struct {
	url      string
	listener net.Listener
	http     http.Server
	maxBody  int64
	reply    time.Duration

	closed chan struct{}
	once   sync.Once
	busy   sync.WaitGroup // handlers

	looped sync.Once // a for loop has begun

	mu       sync.Mutex
	queue    []*Request    // requests that wait for the script
	wake     chan struct{} // holds a token when there is one
	mux      *http.ServeMux
	routes   map[string]*route
	takers   int // calls that take any request
	recorded []*Request
	bytes    int
	dropped  int
	arrived  chan struct{} // closed when a request was recorded, and made anew
	roots    []*os.Root
}

type serverOptions struct {
	Host    string         `lua:"host" doc:"address to listen on; * for all" default:"127.0.0.1"`
	Port    uint16         `lua:"port" doc:"port to listen on; 0 takes a free one"`
	MaxBody int64          `lua:"max_body" doc:"bytes of a request's body" default:"8388608"`
	Reply   *time.Duration `lua:"reply_timeout" doc:"seconds for the script" default:"10"`
}

func newServer(c *api.Call, o serverOptions) (opened api.Opened[*Server], err error) {
	address := net.JoinHostPort(o.Host, strconv.Itoa(int(o.Port)))
	if err := c.Allow(host.AccessHost, address); err != nil {
		return opened, err
	}
	if o.MaxBody < 0 || o.MaxBody > c.Host().Options().MaxString {
		return opened, c.ArgError(1, "option \"max_body\": must be 0 to the limit of --max-string")
	}
	s := &Server{
		maxBody: o.MaxBody, reply: defaultReply,
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
		mux: http.NewServeMux(), routes: map[string]*route{}, arrived: make(chan struct{}),
	}
	if o.Reply != nil {
		s.reply = noTimeout(*o.Reply)
	}
	opened, err = api.Open(c, func(ctx context.Context) (*Server, error) {
		l, err := link.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		s.listen(l)
		return s, nil
	})
	if err != nil {
		return opened, failed("server on "+address, err)
	}
	return opened, nil
}

// listen starts to answer requests.
func (s *Server) listen(l net.Listener) {
	s.listener = netutil.LimitListener(l, maxServerConns)
	s.url = "http://" + l.Addr().String()
	s.http = http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       ioTime,
		WriteTimeout:      ioTime + min(s.reply, time.Hour),
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxRequestHead,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	s.busy.Go(func() { _ = s.http.Serve(s.listener) })
}

// Close closes the listener and all connections, and waits for the handlers: nothing that they wait
// for lasts longer than the connections.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.closed)
	})
	err := s.http.Close()
	s.busy.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.roots {
		err = errors.Join(err, r.Close())
	}
	s.roots = nil
	return err
}

// handle answers one request. It runs on a goroutine of the connection.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		panic(http.ErrAbortHandler) // returning would answer with 200
	default:
		s.busy.Add(1)
	}
	s.mu.Unlock()
	defer s.busy.Done()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		panic(http.ErrAbortHandler) // the client has gone, or is too slow
	}
	req := newRequest(r, body)
	s.mu.Lock()
	handler, pattern := s.mux.Handler(r)
	req.route = s.routes[pattern]
	s.mu.Unlock()
	switch {
	case req.route == nil && !s.takesAny(), req.route != nil && req.route.files:
		s.record(req)
		handler.ServeHTTP(w, r) // a file, 404, 405 for another method, or a redirect
		return
	case req.route != nil:
		m := &matched{ResponseWriter: w, req: req}
		if s.mux.ServeHTTP(m, r); !m.found {
			return
		}
	}
	s.record(req)
	s.answer(w, r, req)
}

// takesAny reports whether a request without a route waits for the script.
func (s *Server) takesAny() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takers > 0 || len(s.routes) == 0
}

// answer sends the reply of the route, or waits for that of the script.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *Request) {
	if req.route != nil && req.route.reply != nil {
		req.route.reply.write(w)
		return
	}
	if !s.push(req) {
		http.Error(w, "too many requests wait for the script", http.StatusServiceUnavailable)
		return
	}
	defer close(req.gone)
	late := time.NewTimer(s.reply)
	defer late.Stop()
	select {
	case reply := <-req.replies:
		reply.write(w)
	case <-late.C:
		http.Error(w, "the script did not answer in time; does it call server:start()?",
			http.StatusGatewayTimeout)
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-s.closed:
		panic(http.ErrAbortHandler)
	}
}

// push adds a request to those that wait. It returns false when there are too many.
func (s *Server) push(req *Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == maxQueued {
		return false
	}
	s.queue = append(s.queue, req)
	s.signal()
	return true
}

func (s *Server) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pop takes the oldest request that waits, nil if there is none.
func (s *Server) pop() *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	req := s.queue[0]
	s.queue[0] = nil
	if s.queue = s.queue[1:]; len(s.queue) > 0 {
		s.signal() // another task may wait
	}
	return req
}

// record keeps a request for expect and requests.
func (s *Server) record(r *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded = append(s.recorded, r)
	s.bytes += len(r.body)
	for len(s.recorded) > maxRecorded || s.bytes > recordedBytes && len(s.recorded) > 1 {
		s.forget(0)
		s.dropped++
	}
	close(s.arrived)
	s.arrived = make(chan struct{})
}

// forget removes a recorded request. mu is held.
func (s *Server) forget(i int) {
	s.bytes -= len(s.recorded[i].body)
	s.recorded = append(s.recorded[:i], s.recorded[i+1:]...)
}

// take removes the oldest recorded request that fits a pattern and returns it, or what is closed
// when there is another one.
func (s *Server) take(p *pattern) (*Request, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.recorded {
		if p.fits(r) {
			s.forget(i)
			return r, nil
		}
	}
	return nil, s.arrived
}

// matched leads the handler of a route to the request, so that it can set the values of {names}.
type matched struct {
	http.ResponseWriter
	req   *Request
	found bool // the handler was called, and not one of the mux's own, which redirects
}

// route is what answers the requests that a pattern fits: files, reply, or a function.
type route struct {
	files bool
	reply *reply
	fn    *lua.LFunction
}

// addRoute sets what answers the requests that a pattern fits. A second call replaces the first,
// except for files.
func (s *Server) addRoute(pattern string, r *route, handler http.Handler) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.routes[pattern]; old != nil && !old.files && !r.files {
		s.routes[pattern] = r
		return nil
	}
	defer func() {
		if text := recover(); text != nil { // a wrong pattern, or one that conflicts
			err = host.Errorf("argument", "http: the pattern %q: %v", pattern, text)
		}
	}()
	s.mux.Handle(pattern, handler)
	s.routes[pattern] = r
	return nil
}

// catch is the handler of routes: it takes the values of {names}.
func catch(pattern string) http.Handler {
	names := wildcards(pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := w.(*matched); ok {
			m.found = true
			for _, name := range names {
				m.req.params[name] = r.PathValue(name)
			}
		}
	})
}

// wildcards lists the names in a pattern such as "GET /users/{id}/{rest...}".
func wildcards(pattern string) []string {
	var out []string
	for {
		_, rest, ok := strings.Cut(pattern, "{")
		if !ok {
			return out
		}
		name, rest, ok := strings.Cut(rest, "}")
		if !ok {
			return out
		}
		if name = strings.TrimSuffix(name, "..."); name != "$" {
			out = append(out, name)
		}
		pattern = rest
	}
}
