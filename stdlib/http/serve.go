package http

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// optionError returns the error of an options table that is not an argument itself.
func optionError(err error) error {
	var coded *host.Error
	if errors.As(err, &coded) {
		return coded
	}
	return host.Errorf("argument", "http: %v", err)
}

// Size visits the functions of routes, and returns the bytes of recorded requests.
func (s *Server) Size(visit func(lua.LValue)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	for _, r := range s.routes {
		if r.fn != nil {
			visit(r.fn)
		}
		if r.reply != nil {
			n += len(r.reply.body)
		}
	}
	return n
}

func on(c *api.Call, s *Server, text string, answer lua.LValue) error {
	if _, err := newPattern(text); err != nil {
		return err
	}
	if fn, ok := answer.(*lua.LFunction); ok {
		return s.addRoute(text, &route{fn: fn}, catch(text))
	}
	r, err := answerOf(c, answer)
	if err != nil {
		return err
	}
	return s.addRoute(text, &route{reply: r}, catch(text))
}

// plainFiles hides what is neither a plain file nor a folder: opening a FIFO would wait.
type plainFiles struct{ root *os.Root }

func (p plainFiles) Open(name string) (fs.File, error) {
	info, err := p.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return p.root.FS().Open(name)
}

func serveFiles(c *api.Call, s *Server, prefix, dir string) error {
	prefix = strings.Trim(prefix, "/")
	text := "GET /"
	if prefix != "" {
		text += prefix + "/"
	}
	var root *os.Root
	err := c.TryBlock(func(context.Context) (err error) {
		if root, err = os.OpenRoot(dir); err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.roots = append(s.roots, root)
		}
		return err
	})
	if err != nil {
		return failed("files", err)
	}
	handler := http.StripPrefix(strings.TrimSuffix(strings.TrimPrefix(text, "GET "), "/"),
		http.FileServerFS(plainFiles{root}))
	return s.addRoute(text, &route{files: true}, handler)
}

// next takes the next request that waits for the script, nil when the server was closed. It does so
// with the interpreter lock, so that no request is lost when the task is cancelled.
func (s *Server) next(c *api.Call) (*Request, error) {
	defer s.signal() // this task may be cancelled after it has taken the token
	for {
		if req := s.pop(); req != nil {
			select {
			case <-req.gone: // its client has left, or waited too long
				continue
			default:
				return req.forScript(c), nil
			}
		}
		select {
		case <-s.closed:
			return nil, nil
		default:
		}
		err := c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) error {
			select {
			case <-s.wake:
			case <-s.closed:
			case <-ctx.Done():
				return ctx.Err()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}

type serveOptions struct {
	Tasks int `lua:"tasks" doc:"how many requests at the same time" default:"8"`
}

// service is a call of serve. It belongs to the interpreter lock.
type service struct {
	s      *Server
	fn     *lua.LFunction // for requests without a route, or nil
	active int
	slot   *host.Waiter // of serve, while it waits for a handler to end
}

func serve(c *api.Call, s *Server, fn *lua.LFunction, o serveOptions) error {
	if o.Tasks < 1 {
		return c.ArgError(2, "option \"tasks\": must be at least 1")
	}
	v := &service{s: s, fn: fn}
	if fn != nil {
		s.taker(1)
		defer s.taker(-1)
	}
	for {
		v.wait(c, o.Tasks)
		req, err := s.next(c)
		if err != nil {
			return err
		}
		if req == nil {
			v.wait(c, 1) // for the handlers
			return nil
		}
		v.start(c, req)
	}
}

func (s *Server) taker(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takers += n
}

// wait returns when fewer than n handlers run.
func (v *service) wait(c *api.Call, n int) {
	for v.active >= n {
		v.slot = host.NewWaiter(c.L)
		v.slot.Wait(c.L, "server:serve", api.NoTimeout)
	}
}

// start runs the handler of a request in a task of its own.
func (v *service) start(c *api.Call, req *Request) {
	fn := v.fn
	if req.route != nil {
		fn = req.route.fn
	}
	if fn == nil {
		req.send(&reply{status: http.StatusNotFound})
		return
	}
	v.active++
	body := c.L.NewFunction(func(L *lua.LState) int {
		defer v.finished()
		v.handle(c.On(L), fn, req)
		return 0
	})
	host.Spawn(c.L, "http "+req.method+" "+req.url.Path, body)
}

func (v *service) finished() {
	v.active--
	if v.slot != nil {
		v.slot.Wake()
	}
}

// handle calls the handler and answers the request. When the handler fails, so does the task.
func (v *service) handle(c *api.Call, fn *lua.LFunction, req *Request) {
	res, err := c.PCall(fn, c.Wrap(req))
	var answer *reply
	if err == nil && !req.replied {
		result := lua.LValue(lua.LNil)
		if len(res) > 0 {
			result = res[0]
		}
		answer, err = answerOf(c, result)
	}
	if err != nil {
		answer = &reply{status: http.StatusInternalServerError}
	}
	if !req.replied {
		req.send(answer)
	}
	if err != nil {
		host.Raise(c.L, err)
	}
}

// start is serve in a task of its own.
func start(c *api.Call, s *Server, fn *lua.LFunction, o serveOptions) (*host.Task, error) {
	if o.Tasks < 1 {
		return nil, c.ArgError(2, "option \"tasks\": must be at least 1")
	}
	body := c.L.NewFunction(func(L *lua.LState) int {
		if err := serve(c.On(L), s, fn, o); err != nil {
			host.Raise(L, err)
		}
		return 0
	})
	return host.Spawn(c.L, "http server", body), nil
}

func serverFunction() *api.Func {
	return api.Function("server", "Starts a server on this computer, which ends with its scope. "+
		"It answers what on knows; other requests wait for serve, start or the for loop, or get 404 "+
		"when there are routes.",
		"opts?", newServer,
		api.ParamDoc("opts", "port, host, max_body, reply_timeout"),
		api.Checks(host.AccessHost),
		api.Raises("address_in_use", "access_denied"),
		api.Returns("HTTPServer"),
		api.Example(exampleServer+`
server:on("POST /hook", { status = 201, json = { ok = true } })
http.post(server.url .. "/hook", { body = "hello" })
return server:expect("POST /hook", { timeout = 5 }).body -- => "hello"`))
}

func serverClass() *api.Class {
	c := api.NewClass[*Server]("HTTPServer", "A server for webhooks and mocks. It keeps the last "+
		"1000 requests for expect and requests. `for req in server do req:reply(...) end` answers "+
		"them one by one.")
	c.Var, c.Perm, c.Closer, c.NextType = "server", "none", true, "HTTPRequest"
	c.Shared = "each request goes to one task"
	c.String = func(s *Server) string { return "HTTPServer<" + s.url + ">" }
	c.Next = func(c *api.Call, s *Server) (*Request, error) {
		s.looped.Do(func() { s.taker(1) }) // from now on
		return s.next(c)
	}
	c.Fields = []*api.Field{
		api.Property("url", "its address, without a slash at the end",
			func(s *Server) string { return s.url }),
		api.Property("dropped", "requests that were recorded and dropped", func(s *Server) int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.dropped
		}),
	}
	c.Methods = append(routeMethods(), serveMethods()...)
	return c
}

func routeMethods() []*api.Func {
	return []*api.Func{
		api.Method("on", "Sets the answer for the requests that a pattern fits. A table (status, "+
			"headers, body, json, file), a text or a status is sent at once. A function is called "+
			"by serve or start; it gets the request and returns such an answer, or calls reply. A "+
			"second call with the same pattern replaces the answer.",
			"pattern answer:any", on,
			api.ParamDoc("pattern", `such as "GET /users/{id}", "/exact", "/below/"`),
			api.ParamDoc("answer", "table, text, status or function"),
			api.Raises("argument"),
			api.Example(exampleServer+`
server:on("GET /users/{id}", function(req) return { json = { id = req.params.id } } end)
server:start()
return http.get(server.url .. "/users/7"):json().id -- => "7"`)),
		api.Method("files", "Serves the files of a folder. Links do not lead out of it.",
			"prefix dir", serveFiles,
			api.ParamDoc("prefix", "start of their paths, such as /static"),
			api.ParamDoc("dir", "the folder"),
			api.StringKind("dir", "path"),
			api.Access("dir", host.AccessRead),
			api.Perm("file-read"),
			api.Raises("not_found", "argument"),
			api.Example(exampleServer+`
local dir = fs.temp_dir()
fs.write(path.join(dir, "a.txt"), "hello")
server:files("/static", dir)
return http.get(server.url .. "/static/a.txt").body -- => "hello"`)),
		api.Method("expect", "Takes the oldest recorded request that a pattern fits, and waits "+
			"for it when there is none.",
			"pattern opts?", expect,
			api.ParamDoc("pattern", "as for on"),
			api.ParamDoc("opts", "timeout"),
			api.Raises("timeout", "closed"),
			api.Returns("HTTPRequest"),
			api.Example(exampleServer+`
server:on("/", 200)
http.get(server.url .. "/ready?n=1")
return server:expect("GET /ready").query.n -- => "1"`)),
		api.Method("requests", "The recorded requests that expect has not taken, oldest first.",
			"", func(c *api.Call, s *Server) []*Request {
				s.mu.Lock()
				defer s.mu.Unlock()
				out := make([]*Request, len(s.recorded))
				for i, r := range s.recorded {
					out[i] = r.forScript(c)
				}
				return out
			},
			api.Example(exampleServer+`
server:on("/", 200)
http.get(server.url)
return #server:requests() -- => 1`)),
	}
}

func serveMethods() []*api.Func {
	return []*api.Func{
		api.Method("serve", "Answers requests until the server is closed. Each handler runs in a "+
			"task of its own; when it fails, the client gets 500 and the failure is reported like "+
			"that of any task.",
			"handler?:function opts?", serve,
			api.ParamDoc("handler", "gets the requests that no route fits, and answers as in on"),
			api.ParamDoc("opts", "tasks"),
			api.Example(exampleServer+`
task.spawn(function() server:serve(function(req) return req.path end) end)
return http.get(server.url .. "/x").body -- => "/x"`)),
		api.Method("start", "Does what serve does in a task of the current scope, and returns the "+
			"task.",
			"handler?:function opts?", start,
			api.ParamDoc("handler", "gets the requests that no route fits, and answers as in on"),
			api.ParamDoc("opts", "tasks"),
			api.Returns("Task"),
			api.Example(exampleServer+`
server:start(function(req) return 404 end)
return http.get(server.url).status -- => 404`)),
	}
}
