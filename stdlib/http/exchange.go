package http

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
	"github.com/imdlua/imdlua/stdlib/json"
)

// Request is a request that a server has received.
type Request struct {
	method, remote string
	url            *url.URL
	host           string
	header         http.Header
	body           string
	params         map[string]string
	handler        *handler
	replies        chan *reply   // takes one
	gone           chan struct{} // closed when the client no longer waits for a reply

	// The fields below are guarded by the interpreter lock.
	headers lua.LValue
	replied bool
}

func newRequest(r *http.Request, body []byte) *Request {
	return &Request{
		method: r.Method, remote: r.RemoteAddr, url: r.URL, host: r.Host, header: r.Header,
		body: string(body), params: map[string]string{},
		replies: make(chan *reply, 1), gone: make(chan struct{}),
	}
}

// Size returns the bytes of the body.
func (r *Request) Size(visit func(lua.LValue)) int {
	if r.headers != nil {
		visit(r.headers)
	}
	return len(r.body)
}

// forScript prepares a request for a script.
func (r *Request) forScript(c *api.Call) *Request {
	if r.headers == nil {
		r.headers = headerTable(c.L, r.header)
	}
	return r
}

// reply is a response that the server sends.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *reply) write(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // fails if the client has closed the connection
}

type replyOptions struct {
	Status  int                   `lua:"status" doc:"number of the status" default:"200"`
	Headers map[string]lua.LValue `lua:"headers" doc:"header fields"`
	Body    *[]byte               `lua:"body" doc:"string or Data"`
	JSON    lua.LValue            `lua:"json" doc:"body: this value as JSON"`
	File    string                `lua:"file" doc:"body: this file" kind:"path" access:"read"`
}

// reply returns the response that the options describe. It reads the file, if there is one.
func (o replyOptions) reply(c *api.Call) (*reply, error) {
	if o.Status < 200 || o.Status > 599 {
		return nil, host.Errorf("argument", "http: option \"status\": 200 to 599 expected, got %d",
			o.Status)
	}
	h, err := headerOf(c, nil, o.Headers)
	if err != nil {
		return nil, err
	}
	options := bodyOptions{JSON: o.JSON, Body: o.Body}
	out := &reply{status: o.Status, header: h}
	if o.Body != nil && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if o.File != "" {
		if o.JSON != nil || o.Body != nil {
			return nil, host.Errorf("argument", "http: a response has one body, not several")
		}
		out.body, err = fs.ReadFile(c, "http", o.File)
		return out, err
	}
	body, err := options.payload(c, h)
	if err != nil || body == nil {
		return out, err
	}
	r, _, err := body(context.Background()) // does not wait: the body is in memory
	if err != nil {
		return nil, err
	}
	out.body, err = io.ReadAll(r)
	return out, err
}

// answerOf returns the response for a value that a script has returned: a table of the options of
// reply, a text as the body, a status, or nil for an empty body.
func answerOf(c *api.Call, v lua.LValue) (*reply, error) {
	o := replyOptions{Status: http.StatusOK}
	switch v := v.(type) {
	case *lua.LNilType:
		o.Status = http.StatusNoContent
	case lua.LNumber:
		if v == lua.LNumber(int(v)) {
			o.Status = int(v)
		} else {
			o.Status = 0 // which reply refuses
		}
	case *lua.LTable:
		if err := c.Index().Options(c.L, v, &o); err != nil {
			return nil, optionError(err)
		}
	default:
		b, ok := host.Bytes(v)
		if !ok {
			return nil, host.Errorf("argument", "http: a response is a table, a text, a status or "+
				"nil, not a %s", v.Type())
		}
		o.Body = &b
	}
	return o.reply(c)
}

// send passes the response to the handler of the request. It returns false if the client no longer
// waits for it.
func (r *Request) send(answer *reply) bool {
	r.replied = true
	select {
	case <-r.gone:
		return false
	default:
	}
	select {
	case r.replies <- answer:
		return true
	default:
		return false
	}
}

// pattern matches requests as http.ServeMux does.
type pattern struct{ mux *http.ServeMux }

func newPattern(text string) (p *pattern, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = host.Errorf("argument", "http: the pattern %q: %v", text, fault)
		}
	}()
	p = &pattern{http.NewServeMux()}
	p.mux.Handle(text, setParams(text))
	return p, nil
}

// matches reports whether the pattern matches r. If so, it sets the values of the {names} in r.
func (p *pattern) matches(r *Request) bool {
	m := &matchWriter{ResponseWriter: discard{}, req: r}
	p.mux.ServeHTTP(m, &http.Request{Method: r.method, URL: r.url, Host: r.host})
	return m.found
}

// discard is a ResponseWriter that ignores the response.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func requestClass() *api.Class {
	c := api.NewClass[*Request]("HTTPRequest", "A request that a server has received.")
	c.Var, c.Perm = "req", "none"
	c.String = func(r *Request) string {
		return fmt.Sprintf("HTTPRequest<%s %s>", r.method, r.url.RequestURI())
	}
	c.Fields = []*api.Field{
		api.Property("method", "such as GET", func(r *Request) string { return r.method }),
		api.Property("path", "path of the URL", func(r *Request) string { return r.url.Path }),
		api.Property("query", "the first value of each name after the ?",
			func(r *Request) map[string]string { return first(r.url.Query()) }),
		api.Property("params", "values of the {names} in the pattern that matches",
			func(r *Request) map[string]string { return r.params }),
		{Name: "headers", Doc: "header fields by name, in any case", Type: "table<string, string>",
			Get: func(r *Request) lua.LValue { return r.headers }},
		api.Property("body", "the body as it is", func(r *Request) string { return r.body }),
		api.Property(
			"remote",
			"address of the client",
			func(r *Request) string { return r.remote },
		),
	}
	c.Methods = []*api.Func{
		api.Method("json", "Decodes the body.",
			"", func(c *api.Call, r *Request) (lua.LValue, error) {
				return json.Decode(c, []byte(r.body), "http: "+r.method+" "+r.url.Path)
			},
			api.Raises("decode"),
			api.Returns("any value"),
			api.Example(exampleServer+`
server:on("/", 200)
http.post(server.url, { json = { n = 1 } })
return server:expect("POST /"):json() -- => { n = 1 }`)),
		api.Method("form", "The first value of each field of a web form in the body.",
			"", func(_ *api.Call, r *Request) (map[string]string, error) {
				values, err := url.ParseQuery(r.body)
				if err != nil {
					return nil, host.Errorf("decode", "http: %v", err)
				}
				return first(values), nil
			},
			api.Raises("decode"),
			api.Example(exampleServer+`
server:on("/", 200)
http.post(server.url, { form = { a = "1 2" } })
return server:expect("POST /"):form() -- => { a = "1 2" }`)),
		api.Method("reply", "Answers the request. Returns false if the client no longer waits.",
			"opts?", replyTo,
			api.ParamDoc("opts", "status, headers, body, json, file"),
			api.Raises("closed"),
			api.Returns("boolean sent"),
			api.Example(exampleServer+`
task.spawn(function()
  for req in server do req:reply{ status = 201, body = req.method } end
end)
return http.post(server.url).body -- => "POST"`)),
	}
	return c
}

func first(values url.Values) map[string]string {
	out := make(map[string]string, len(values))
	for name := range values {
		out[name] = values.Get(name)
	}
	return out
}

func replyTo(c *api.Call, r *Request, o replyOptions) (bool, error) {
	if r.replied || r.handler != nil && r.handler.fn == nil {
		return false, host.Errorf(
			"closed",
			"http: %s %s was answered already",
			r.method,
			r.url.Path,
		)
	}
	answer, err := o.reply(c)
	if err != nil {
		return false, err
	}
	return r.send(answer), nil
}

type expectOptions struct {
	Timeout *time.Duration `lua:"timeout" doc:"seconds to wait at most" default:"10"`
}

const expectTime = 10 * time.Second

func expect(c *api.Call, s *Server, text string, o expectOptions) (*Request, error) {
	p, err := newPattern(text)
	if err != nil {
		return nil, err
	}
	limit := expectTime
	if o.Timeout != nil {
		limit = *o.Timeout
	}
	end := time.Now().Add(limit)
	for {
		req, arrived := s.take(p)
		if req != nil {
			return req.forScript(c), nil
		}
		left := limit
		if limit != api.NoTimeout {
			left = time.Until(end)
			if left <= 0 {
				return nil, s.missing(text, limit)
			}
		}
		c.Timeout(left)
		_ = c.TryBlock(func(ctx context.Context) error {
			select {
			case <-arrived:
			case <-s.closed:
			case <-ctx.Done():
			}
			return nil
		})
		select {
		case <-s.closed:
			return nil, host.Errorf("closed", "http: the server was closed")
		default:
		}
	}
}

// missing returns the error for a request that did not arrive. It names the last other request.
func (s *Server) missing(text string, limit time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := host.Errorf("timeout", "http: no request matched %q within %v", text, limit)
	if n := len(s.recorded); n > 0 {
		last := s.recorded[n-1]
		e.Message += fmt.Sprintf("; requests that arrived: %d, the last is %s %s", n, last.method,
			last.url.RequestURI())
	}
	return e
}
