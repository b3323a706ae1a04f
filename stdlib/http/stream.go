package http

import (
	"context"
	"io"
	"net/http"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/pump"
)

// Stream reads the body of a response while it arrives, for one task at a time.
type Stream struct {
	api.Turn
	pump.Reader
	status  int
	url     string
	headers lua.LValue
}

// Close ends the connection.
func (s *Stream) Close() error {
	s.End(nil)
	<-s.Gone() // a read ends with the context of the request
	return nil
}

// Size returns how many bytes have not been read.
func (s *Stream) Size(visit func(lua.LValue)) int {
	visit(s.headers)
	return s.Pump.Size()
}

// outlive sends a request whose response may be read after ctx has ended. cancel ends the response.
func (s *sender) outlive(ctx context.Context) (r *http.Response, cancel func(), err error) {
	life, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	r, err = s.send(life)
	if !stop() && err == nil {
		_ = r.Body.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, nil, ended(ctx, err)
	}
	return r, cancel, nil
}

// body is the body of a response whose errors name the request.
type body struct {
	r    io.Reader
	what string
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = failed(b.what, err)
	}
	return n, err
}

func (cl *Client) stream(c *api.Call, address string, o streamOptions) (
	opened api.Opened[*Stream], err error,
) {
	s, err := cl.sender(c, o.Method, address, &o.requestOptions)
	if err != nil {
		return opened, err
	}
	if s.out.timeout == 0 {
		return opened, failed(s.what, context.DeadlineExceeded)
	}
	var header http.Header
	limit := c.Host().Options().MaxString
	c.Timeout(s.out.timeout)
	opened, err = api.Open(c, func(ctx context.Context) (*Stream, error) {
		r, cancel, err := s.outlive(ctx)
		if err != nil {
			return nil, err
		}
		if o.Check && !succeeded(r.StatusCode) {
			cancel()
			_ = r.Body.Close()
			return nil, statusError(s.what, r.StatusCode, "")
		}
		header = r.Header
		p := pump.New(&body{r.Body, s.what}, func() {
			cancel()
			_ = r.Body.Close()
		}, pump.Waiting, false)
		go p.Run()
		return &Stream{
			Reader: pump.Reader{Pump: p, Module: "http", From: s.what, Limit: limit},
			status: r.StatusCode, url: r.Request.URL.String(), headers: lua.LNil,
		}, nil
	})
	if err != nil {
		return opened, failed(s.what, err)
	}
	opened.Value().headers = headerTable(c.L, header)
	return opened, nil
}

type streamOptions struct {
	requestOptions
	Method string `lua:"method" doc:"such as POST" default:"GET"`
}

func streamClass() *api.Class {
	c := api.NewClass[*Stream]("HTTPStream", "Reads the body of a response while it arrives: `for "+
		"line in stream do`. The server is held up while 1 MB has not been read.")
	c.Var, c.Perm, c.Closer, c.NextType = "stream", "none", true, "string"
	c.String = func(s *Stream) string { return "HTTPStream<" + s.From + ">" }
	c.Next = func(c *api.Call, s *Stream) (lua.LValue, error) {
		return s.NextLine(c, api.NoTimeout)
	}
	c.Fields = []*api.Field{
		api.Property("status", "number of the status", func(s *Stream) int { return s.status }),
		api.Property("ok", "whether the status is 200 to 299",
			func(s *Stream) bool { return succeeded(s.status) }),
		api.Property(
			"url",
			"the address that sent the response",
			func(s *Stream) string { return s.url },
		),
		{Name: "headers", Doc: "header fields by name, in any case", Type: "table<string, string>",
			Get: func(s *Stream) lua.LValue { return s.headers }},
		api.Property("ended", "whether everything has been read",
			func(s *Stream) bool { return s.AtEnd() }),
	}
	c.Methods = []*api.Func{
		api.Method("next", "The next line without its end. nil if the body has ended or the "+
			"timeout has passed.",
			"timeout?", func(c *api.Call, s *Stream, timeout *time.Duration) (lua.LValue, error) {
				return s.NextLine(c, pump.Timeout(timeout))
			},
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("disconnected", "too_large"),
			api.Returns("string? line"),
			api.Example(exampleServer+`
server:on("/", "one\ntwo\n")
return http.stream(server.url):next(5) -- => "one"`)),
		api.Method("read", "The next bytes as they are. Waits until there are some and returns "+
			"all of them. nil if the body has ended or the timeout has passed.",
			"max_size? timeout?", func(
				c *api.Call, s *Stream, most *int64, timeout *time.Duration,
			) (lua.LValue, error) {
				return s.NextBytes(c, most, pump.Timeout(timeout))
			},
			api.ParamDoc("max_size", "how many bytes at most, 65536 by default"),
			api.ParamDoc("timeout", "seconds to wait at most"),
			api.Raises("disconnected"),
			api.Returns("string? bytes"),
			api.Example(exampleServer+`
server:on("/", "abc")
return http.stream(server.url):read(2, 5) -- => "ab"`)),
	}
	return c
}

// exampleServer begins the examples, which need a server.
const exampleServer = `local http = require "imd.http"
local server = http.server()`
