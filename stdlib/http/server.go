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
	headerTime     = 10 * time.Second // to read the header of a request
	ioTime         = 30 * time.Second // to read a request, or to write a response
	maxServerConns = 128
	maxQueued      = 64       // requests that wait for the script
	maxRecorded    = 1000     // requests that are kept for expect and requests
	recordedBytes  = 64 << 20 // size of the bodies of these requests
	maxRequestHead = 64 << 10 // size of the header of a request
	defaultReply   = 10 * time.Second
)

// Server answers requests. Requests that the script answers wait in a queue.
type Server struct {
	url      string
	listener net.Listener
	http     http.Server
	maxBody  int64
	reply    time.Duration

	closed chan struct{}
	once   sync.Once
	busy   sync.WaitGroup // requests in handle, and the goroutine of http

	looped sync.Once // done when a for loop over the server has begun

	mu       sync.Mutex
	queue    []*Request    // requests that wait for the script
	wake     chan struct{} // holds a token if the queue is not empty
	mux      *http.ServeMux
	handlers map[string]*handler // by pattern
	takers   int                 // calls that take requests which no pattern matches
	recorded []*Request
	bytes    int
	dropped  int
	arrived  chan struct{} // closed and replaced when a request is recorded
	roots    []*os.Root
}

type serverOptions struct {
	Host    string         `lua:"host" doc:"address to listen on; * for all" default:"127.0.0.1"`
	Port    uint16         `lua:"port" doc:"port to listen on; 0 takes a free one"`
	MaxBody int64          `lua:"max_body" doc:"largest body of a request in bytes" default:"8388608"`
	Reply   *time.Duration `lua:"reply_timeout" doc:"seconds to wait for the script" default:"10"`
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
		mux: http.NewServeMux(), handlers: map[string]*handler{}, arrived: make(chan struct{}),
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

// Close closes the listener and all connections, and waits for the handlers. They end soon, because
// everything that they wait for ends with the connections.
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

// handle answers one request. It runs on the goroutine of the connection.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		panic(http.ErrAbortHandler) // a return would send status 200
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
		panic(http.ErrAbortHandler) // the client has closed the connection, or is too slow
	}
	req := newRequest(r, body)
	s.mu.Lock()
	muxHandler, pattern := s.mux.Handler(r)
	req.handler = s.handlers[pattern]
	s.mu.Unlock()
	switch {
	case req.handler == nil && !s.takesAny(), req.handler != nil && req.handler.files:
		s.record(req)
		muxHandler.ServeHTTP(w, r) // a file, 404, 405 for another method, or a redirect
		return
	case req.handler != nil:
		m := &matchWriter{ResponseWriter: w, req: req}
		s.mux.ServeHTTP(m, r)
		if !m.found {
			return
		}
	}
	s.record(req)
	s.answer(w, r, req)
}

// takesAny reports whether a request that matches no pattern waits for the script.
func (s *Server) takesAny() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takers > 0 || len(s.handlers) == 0
}

// answer sends the fixed response of the handler, or waits for that of the script.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *Request) {
	if req.handler != nil && req.handler.reply != nil {
		req.handler.reply.write(w)
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

// push adds a request to the queue. It returns false if the queue is full.
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

// pop removes the oldest request from the queue and returns it, nil if there is none.
func (s *Server) pop() *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	req := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	if len(s.queue) > 0 {
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

// take removes the oldest recorded request that matches a pattern and returns it. If there is none,
// it returns a channel that is closed when the next request is recorded.
func (s *Server) take(p *pattern) (*Request, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.recorded {
		if p.matches(r) {
			s.forget(i)
			return r, nil
		}
	}
	return nil, s.arrived
}

// matchWriter is the ResponseWriter with which a ServeMux is called to find the values of {names}.
// The handlers of setParams store them in req.
type matchWriter struct {
	http.ResponseWriter
	req   *Request
	found bool // set by setParams, but not by the handlers of the mux itself, which redirect
}

// handler answers the requests that match a pattern: with files, a fixed response, or a function.
type handler struct {
	files bool
	reply *reply
	fn    *lua.LFunction
}

// addHandler sets the handler of the requests that match a pattern. A second call replaces the
// first, except for files.
func (s *Server) addHandler(pattern string, h *handler, muxHandler http.Handler) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.handlers[pattern]; old != nil && !old.files && !h.files {
		s.handlers[pattern] = h
		return nil
	}
	defer func() {
		if text := recover(); text != nil { // a wrong pattern, or one that conflicts
			err = host.Errorf("argument", "http: the pattern %q: %v", pattern, text)
		}
	}()
	s.mux.Handle(pattern, muxHandler)
	s.handlers[pattern] = h
	return nil
}

// setParams returns a handler for a ServeMux that stores the values of {names} in the request of
// the matchWriter.
func setParams(pattern string) http.Handler {
	names := wildcards(pattern)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m, ok := w.(*matchWriter); ok {
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
		name = strings.TrimSuffix(name, "...")
		if name != "$" {
			out = append(out, name)
		}
		pattern = rest
	}
}
