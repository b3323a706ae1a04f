package http

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

// Client holds the options that several requests have in common, and their cookies.
type Client struct {
	pool       *pool
	base       *url.URL
	headers    http.Header
	jar        http.CookieJar // nil if cookies are not kept
	timeout    *time.Duration
	connection connectionOptions
}

type clientOptions struct {
	connectionOptions
	BaseURL string                `lua:"base_url" doc:"start of relative addresses"`
	Headers map[string]lua.LValue `lua:"headers" doc:"header fields of every request"`
	Cookies bool                  `lua:"cookies" doc:"keep cookies and send them back"`
	Timeout *time.Duration        `lua:"timeout" doc:"seconds for a request" default:"30"`
}

func (p *pool) newClient(c *api.Call, o clientOptions) (*Client, error) {
	cl := &Client{pool: p, timeout: o.Timeout, connection: o.connectionOptions}
	if o.BaseURL != "" {
		base, err := cl.resolve(o.BaseURL)
		if err != nil {
			return nil, err
		}
		cl.base = base
	}
	var err error
	cl.headers, err = headerOf(c, nil, o.Headers)
	if err != nil {
		return nil, err
	}
	if o.Cookies {
		cl.jar, err = cookiejar.New(nil)
	}
	return cl, err
}

// sender sends one request. It is made with the interpreter lock held and sends without it.
type sender struct {
	client *Client
	host   *host.Host
	scope  *host.Scope
	key    connection
	out    *outgoing
	what   string // "GET http://..." for messages
}

func (cl *Client) sender(c *api.Call, method, address string, o *requestOptions) (*sender, error) {
	if o.Redirects < 0 {
		return nil, host.Errorf("argument", "http: option \"redirects\": must not be negative")
	}
	if o.MaxBody != nil && *o.MaxBody < 0 {
		return nil, host.Errorf("argument", "http: option \"max_body\": must not be negative")
	}
	out, err := cl.build(c, method, address, o)
	if err != nil {
		return nil, err
	}
	connect := &o.connectionOptions
	if *connect == (connectionOptions{}) {
		connect = &cl.connection
	}
	key, err := connect.key(c)
	if err != nil {
		return nil, err
	}
	return &sender{
		client: cl, host: c.Host(), scope: c.Scope(), key: key, out: out,
		what: out.method + " " + out.url.Redacted(),
	}, nil
}

// send sends the request and returns the response, whose body the caller must close. When ctx ends,
// the body ends as well.
func (s *sender) send(ctx context.Context) (*http.Response, error) {
	t, err := s.client.pool.transport(ctx, s.scope, s.key)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, s.out.method, s.out.url.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header, r.Host = s.out.header, s.out.host
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "imdlua")
	}
	if s.out.body != nil {
		body, size, err := s.out.body(ctx)
		if err != nil {
			return nil, err
		}
		r.Body, r.ContentLength = body, size
		if size == 0 {
			r.Body = http.NoBody
			_ = body.Close()
		}
		r.GetBody = func() (io.ReadCloser, error) {
			again, _, err := s.out.body(ctx)
			return again, err
		}
	}
	client := http.Client{Transport: t, Jar: s.client.jar, CheckRedirect: s.redirect}
	return client.Do(r)
}

// redirect is called before each further request, see http.Client.CheckRedirect.
func (s *sender) redirect(r *http.Request, via []*http.Request) error {
	switch {
	case s.out.redirects == 0:
		return http.ErrUseLastResponse
	case len(via) > s.out.redirects:
		return errRedirects
	}
	return s.host.Allow(host.AccessHost, hostPort(r.URL))
}

// readBody reads the body of a response up to the limit.
func (s *sender) readBody(r *http.Response) ([]byte, error) {
	if r.ContentLength > s.out.limit && s.out.method != http.MethodHead {
		return nil, s.tooLarge()
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, s.out.limit+1))
	if err == nil && int64(len(b)) > s.out.limit {
		return nil, s.tooLarge()
	}
	return b, err
}

func (s *sender) tooLarge() error {
	e := host.Errorf("too_large", "http: %s: the body is larger than the limit of %d bytes",
		s.what, s.out.limit)
	return e.WithHint("raise max_body or --max-string, or use http.download or http.stream")
}

// request sends a request and reads the whole response.
func (cl *Client) request(c *api.Call, method, address string, o *requestOptions) (
	*Response, error,
) {
	s, err := cl.sender(c, method, address, o)
	if err != nil {
		return nil, err
	}
	if s.out.timeout == 0 {
		return nil, failed(s.what, context.DeadlineExceeded)
	}
	var out *Response
	began := time.Now()
	err = c.Timeout(s.out.timeout).TryBlock(func(ctx context.Context) error {
		r, err := s.send(ctx)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		body, err := s.readBody(r)
		if err != nil {
			return err
		}
		out = newResponse(s, r, body)
		return nil
	})
	if err != nil {
		return nil, failed(s.what, err)
	}
	out.seconds = time.Since(began).Seconds()
	host.MakeString(c.L, float64(len(out.body)))
	out.headers = headerTable(c.L, out.header)
	if o.Check {
		return check(c, out)
	}
	return out, nil
}

// Response is the answer of a server.
type Response struct {
	what    string // the request, for messages
	status  int
	reason  string
	url     string
	header  http.Header
	headers lua.LValue
	body    string
	seconds float64
}

func newResponse(s *sender, r *http.Response, body []byte) *Response {
	return &Response{
		what: s.what, status: r.StatusCode, reason: http.StatusText(r.StatusCode),
		url: r.Request.URL.String(), header: r.Header, body: string(body),
	}
}

// Size returns the bytes of the body.
func (r *Response) Size(visit func(lua.LValue)) int {
	visit(r.headers)
	return len(r.body)
}

func succeeded(status int) bool { return status >= 200 && status < 300 }

// shownBody is how much of a body an error message shows.
const shownBody = 200

// statusError returns the error for a status that is not a success.
func statusError(what string, status int, body string) error {
	text := fmt.Sprintf("http: %s: %d %s", what, status, http.StatusText(status))
	if start := strings.TrimSpace(body[:min(len(body), shownBody)]); start != "" {
		text += ": " + start
	}
	e := host.Errorf("status", "%s", text)
	e.Details = map[string]any{"status": status, "body": body}
	return e
}

// check raises an error of code status unless the response is a success.
func check(_ *api.Call, r *Response) (*Response, error) {
	if !succeeded(r.status) {
		return nil, statusError(r.what, r.status, r.body)
	}
	return r, nil
}

// headerTable returns header fields as a table that ignores the case of its keys. Several values of
// a field are joined.
func headerTable(L *lua.LState, h http.Header) lua.LValue {
	t := L.CreateTable(0, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		t.RawSetString(name, lua.LString(strings.Join(h[name], ", ")))
	}
	mt := L.CreateTable(0, 1)
	mt.RawSetString("__index", L.NewFunction(func(L *lua.LState) int {
		name, ok := L.Get(2).(lua.LString)
		fields, isTable := L.Get(1).(*lua.LTable)
		if !ok || !isTable {
			return 0
		}
		L.Push(fields.RawGetString(http.CanonicalHeaderKey(string(name))))
		return 1
	}))
	t.Metatable = mt
	return t
}

// ended returns the error of ctx if ctx has ended, and err otherwise. It is for requests whose own
// context lives longer than ctx.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
