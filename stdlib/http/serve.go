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

// optionError returns the error of an options table that is not an argument of a call.
func optionError(err error) error {
	var coded *host.Error
	if errors.As(err, &coded) {
		return coded
	}
	return host.Errorf("argument", "http: %v", err)
}

// Size visits the handlers that are functions. It returns the size of the bodies of recorded
// requests and of fixed responses.
func (s *Server) Size(visit func(lua.LValue)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.bytes
	for _, h := range s.handlers {
		if h.fn != nil {
			visit(h.fn)
		}
		if h.reply != nil {
			n += len(h.reply.body)
		}
	}
	return n
}

func on(c *api.Call, s *Server, text string, answer lua.LValue) error {
	if _, err := newPattern(text); err != nil {
		return err
	}
	if fn, ok := answer.(*lua.LFunction); ok {
		return s.addHandler(text, &handler{fn: fn}, setParams(text))
	}
	r, err := answerOf(c, answer)
	if err != nil {
		return err
	}
	return s.addHandler(text, &handler{reply: r}, setParams(text))
}

// plainFiles is a file system of the plain files and folders below root. It hides everything else,
// because opening a FIFO would wait.
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
		root, err = os.OpenRoot(dir)
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.roots = append(s.roots, root)
		}
		return err
	})
	if err != nil {
		return failed("files", err)
	}
	server := http.StripPrefix(strings.TrimSuffix(strings.TrimPrefix(text, "GET "), "/"),
		http.FileServerFS(plainFiles{root}))
	return s.addHandler(text, &handler{files: true}, server)
}

// next takes the next request that waits for the script, nil if the server was closed. It takes the
// request with the interpreter lock held, so that none is lost if the task is cancelled.
func (s *Server) next(c *api.Call) (*Request, error) {
	defer s.signal() // this task may be cancelled after it has taken the token
	for {
		if req := s.pop(); req != nil {
			select {
			case <-req.gone: // its client has closed the connection, or the reply timed out
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
	Tasks int `lua:"tasks" doc:"how many requests to handle at the same time" default:"8"`
}

// service is a call of serve. It is guarded by the interpreter lock.
type service struct {
	s      *Server
	fn     *lua.LFunction // handles requests that no pattern matches, or nil
	active int
	waiter *host.Waiter // of serve, while it waits for a handler to end
}

func serve(c *api.Call, s *Server, fn *lua.LFunction, o serveOptions) error {
	if o.Tasks < 1 {
		return c.ArgError(2, "option \"tasks\": must be at least 1")
	}
	v := &service{s: s, fn: fn}
	if fn != nil {
		s.addTakers(1)
		defer s.addTakers(-1)
	}
	for {
		v.wait(c, o.Tasks)
		req, err := s.next(c)
		if err != nil {
			return err
		}
		if req == nil {
			v.wait(c, 1) // until all handlers have ended
			return nil
		}
		v.start(c, req)
	}
}

// addTakers changes the number of calls that take requests which no pattern matches.
func (s *Server) addTakers(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takers += n
}

// wait returns when fewer than n handlers run.
func (v *service) wait(c *api.Call, n int) {
	for v.active >= n {
		v.waiter = host.NewWaiter(c.L)
		v.waiter.Wait(c.L, "server:serve", api.NoTimeout)
	}
}

// start runs the handler of a request in a task of its own.
func (v *service) start(c *api.Call, req *Request) {
	fn := v.fn
	if req.handler != nil {
		fn = req.handler.fn
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
	if v.waiter != nil {
		v.waiter.Wake()
	}
}

// handle calls the handler and answers the request. If the handler raises an error, handle raises
// it again after the response.
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

// start runs serve in a task of its own.
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
		"It answers the requests for which on was called. Other requests wait for serve, start or "+
		"the for loop; if none of these runs and on was called, they get 404.",
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
		s.looped.Do(func() { s.addTakers(1) })
		return s.next(c)
	}
	c.Fields = []*api.Field{
		api.Property("url", "URL of the server, without a slash at the end",
			func(s *Server) string { return s.url }),
		api.Property("dropped", "requests that were recorded and dropped", func(s *Server) int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.dropped
		}),
	}
	c.Methods = append(handlerMethods(), serveMethods()...)
	return c
}

func handlerMethods() []*api.Func {
	return []*api.Func{
		api.Method("on", "Sets the response to the requests that match a pattern. A table (status, "+
			"headers, body, json, file), a text or a status is sent at once. A function is called "+
			"by serve or start; it gets the request and returns such a response, or calls reply. A "+
			"second call with the same pattern replaces the response.",
			"pattern answer:any", on,
			api.ParamDoc("pattern", `such as "GET /users/{id}", "/exact", "/below/"`),
			api.ParamDoc("answer", "table, text, status or function"),
			api.Raises("argument"),
			api.Example(exampleServer+`
server:on("GET /users/{id}", function(req) return { json = { id = req.params.id } } end)
server:start()
return http.get(server.url .. "/users/7"):json().id -- => "7"`)),
		api.Method("files", "Serves the files of a folder. Links that leave it are not followed.",
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
		api.Method("expect", "Takes the oldest recorded request that matches a pattern, and waits "+
			"for one if there is none.",
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

const handlerDoc = "handles the requests that match no pattern; it returns a response as for on"

func serveMethods() []*api.Func {
	return []*api.Func{
		api.Method("serve", "Answers requests until the server is closed. Each handler runs in a "+
			"task of its own. If it raises an error, the client gets 500 and the error is reported "+
			"like that of any task.",
			"handler?:function opts?", serve,
			api.ParamDoc("handler", handlerDoc),
			api.ParamDoc("opts", "tasks"),
			api.Example(exampleServer+`
task.spawn(function() server:serve(function(req) return req.path end) end)
return http.get(server.url .. "/x").body -- => "/x"`)),
		api.Method("start", "Runs serve in a task of the current scope, and returns the task.",
			"handler?:function opts?", start,
			api.ParamDoc("handler", handlerDoc),
			api.ParamDoc("opts", "tasks"),
			api.Returns("Task"),
			api.Example(exampleServer+`
server:start(function(req) return 404 end)
return http.get(server.url).status -- => 404`)),
	}
}
