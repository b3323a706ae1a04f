package http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/net/http/httpguts"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/json"
)

// requestOptions are the options of every request.
type requestOptions struct {
	bodyOptions
	connectionOptions
	Headers   map[string]lua.LValue `lua:"headers" doc:"header fields"`
	Query     map[string]lua.LValue `lua:"query" doc:"added to the URL; a list repeats a name"`
	Auth      *authOptions          `lua:"auth" doc:"{user=, password=} or {bearer=}"`
	Timeout   *time.Duration        `lua:"timeout" doc:"seconds for all of it" default:"30"`
	Redirects int                   `lua:"redirects" doc:"how many to follow" default:"10"`
	MaxBody   *int64                `lua:"max_body" doc:"bytes; --max-string at most"`
	Check     bool                  `lua:"check" doc:"raise code status unless resp.ok"`
}

type bodyOptions struct {
	JSON      lua.LValue            `lua:"json" doc:"body: this value as JSON"`
	Form      map[string]lua.LValue `lua:"form" doc:"body: fields as a web form sends them"`
	Body      *[]byte               `lua:"body" doc:"body: string or Data"`
	File      string                `lua:"file" doc:"body: this file" kind:"path" access:"read"`
	Multipart map[string]lua.LValue `lua:"multipart" doc:"body: texts, {path=} or {content=}"`
}

type authOptions struct {
	User     string `lua:"user" doc:"name, for basic authentication"`
	Password string `lua:"password" doc:"its password"`
	Bearer   string `lua:"bearer" doc:"token"`
}

// outgoing is a request that can be sent. It has no Lua values, so that it can be used without the
// interpreter lock.
type outgoing struct {
	method    string
	url       *url.URL
	header    http.Header
	host      string // value of the header Host, empty for the host of the URL
	body      payload
	redirects int
	limit     int64
	timeout   time.Duration
}

// payload opens the body of a request and returns its size. A nil payload means no body.
type payload func(ctx context.Context) (body io.ReadCloser, size int64, err error)

func bytesPayload(b []byte) payload {
	return func(context.Context) (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
	}
}

// build checks the options of a request and the permission for its host.
func (cl *Client) build(c *api.Call, method, address string, o *requestOptions) (
	*outgoing, error,
) {
	u, err := cl.resolve(address)
	if err != nil {
		return nil, err
	}
	out := &outgoing{method: strings.ToUpper(method), url: u, redirects: o.Redirects}
	if !httpguts.ValidHeaderFieldName(out.method) {
		return nil, host.Errorf("argument", "http: %q is not a method", method)
	}
	out.header, err = headerOf(c, cl.headers, o.Headers)
	if err != nil {
		return nil, err
	}
	out.host = out.header.Get("Host")
	out.header.Del("Host")
	if err := addQuery(c, u, o.Query); err != nil {
		return nil, err
	}
	if err := o.Auth.add(out.header); err != nil {
		return nil, err
	}
	out.body, err = o.payload(c, out.header)
	if err != nil {
		return nil, err
	}
	out.limit = c.Host().Options().MaxString
	if o.MaxBody != nil {
		out.limit = min(out.limit, *o.MaxBody)
	}
	switch {
	case o.Timeout != nil:
		out.timeout = *o.Timeout
	case cl.timeout != nil:
		out.timeout = *cl.timeout
	default:
		out.timeout = c.Host().Options().CallTimeout
	}
	return out, c.Allow(host.AccessHost, hostPort(u))
}

// resolve returns the URL of a request. It may be relative to the client's base_url.
func (cl *Client) resolve(address string) (*url.URL, error) {
	if cl.base != nil && !strings.Contains(address, "://") {
		address = strings.TrimSuffix(cl.base.String(), "/") + "/" + strings.TrimPrefix(address, "/")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, host.Errorf("argument", "http: %v", err)
	case u.Scheme != "http" && u.Scheme != "https":
		e := host.Errorf("argument", "http: %q is not an address of http or https", address)
		return nil, e.WithHint("write it with http:// or https://")
	case u.Hostname() == "":
		return nil, host.Errorf("argument", "http: the address %q has no host", address)
	}
	return u, nil
}

// hostPort returns the address for which permission is asked.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	if h := u.Hostname(); strings.Contains(h, ":") {
		return "[" + h + "]:" + port
	}
	return u.Hostname() + ":" + port
}

// headerOf returns the header fields of a request. The fields in own replace those in base.
func headerOf(c *api.Call, base http.Header, own map[string]lua.LValue) (http.Header, error) {
	out := base.Clone()
	if out == nil {
		out = http.Header{}
	}
	for name, v := range own {
		values, err := texts(c, "headers", name, v)
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, host.Errorf("argument", "http: option \"headers\": %q is not a name", name)
		}
		out.Del(name)
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return nil, host.Errorf("argument", "http: option \"headers\": the value of %q "+
					"has characters that a header cannot have", name)
			}
			out.Add(name, value)
		}
	}
	return out, nil
}

// texts returns a value of an option as texts, several if the value is a list.
func texts(c *api.Call, option, name string, v lua.LValue) ([]string, error) {
	switch v := v.(type) {
	case lua.LString, lua.LNumber, lua.LBool:
		return []string{host.ToString(c.L, v)}, nil
	case *lua.LTable:
		out := make([]string, 0, v.Len())
		for i := 1; i <= v.Len(); i++ {
			item := v.RawGetInt(i)
			if _, isTable := item.(*lua.LTable); !isTable {
				one, err := texts(c, option, name, item)
				if err != nil {
					return nil, err
				}
				out = append(out, one...)
			}
		}
		if len(out) == v.Len() && len(out) > 0 {
			return out, nil
		}
	}
	return nil, host.Errorf("argument", "http: option %q: %q is not a text, number or boolean, or "+
		"a list of these", option, name)
}

// valuesOf returns the fields of a form or query.
func valuesOf(c *api.Call, option string, m map[string]lua.LValue) (url.Values, error) {
	out := url.Values{}
	for name, v := range m {
		list, err := texts(c, option, name, v)
		if err != nil {
			return nil, err
		}
		out[name] = list
	}
	return out, nil
}

func addQuery(c *api.Call, u *url.URL, m map[string]lua.LValue) error {
	if len(m) == 0 {
		return nil
	}
	values, err := valuesOf(c, "query", m)
	if err != nil {
		return err
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += values.Encode()
	return nil
}

func (a *authOptions) add(h http.Header) error {
	switch {
	case a == nil:
	case a.Bearer != "" && a.User != "":
		return host.Errorf("argument", "http: option \"auth\" must have user or bearer, not both")
	case a.Bearer != "":
		if !httpguts.ValidHeaderFieldValue(a.Bearer) {
			return host.Errorf("argument", "http: option \"auth\": bearer is not a token")
		}
		h.Set("Authorization", "Bearer "+a.Bearer)
	default:
		r := http.Request{Header: h}
		r.SetBasicAuth(a.User, a.Password)
	}
	return nil
}

// payload returns the body that the options describe. It sets Content-Type unless h has it already.
func (o *bodyOptions) payload(c *api.Call, h http.Header) (payload, error) {
	given := map[string]bool{
		"json": o.JSON != nil && o.JSON != lua.LNil, "form": o.Form != nil, "body": o.Body != nil,
		"file": o.File != "", "multipart": o.Multipart != nil,
	}
	var names []string
	for name, ok := range given {
		if ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > 1 {
		slices.Sort(names)
		return nil, host.Errorf("argument", "http: a request has one body, not several: %s",
			strings.Join(names, ", "))
	}
	contentType := func(text string) {
		if h.Get("Content-Type") == "" {
			h.Set("Content-Type", text)
		}
	}
	switch names[0] {
	case "json":
		text, err := json.Encode(c, o.JSON)
		contentType("application/json")
		return bytesPayload(text), err
	case "form":
		values, err := valuesOf(c, "form", o.Form)
		contentType("application/x-www-form-urlencoded")
		return bytesPayload([]byte(values.Encode())), err
	case "body":
		return bytesPayload(bytes.Clone(*o.Body)), nil
	case "file":
		return filePayload(o.File), nil
	}
	parts, boundary, err := multipartOf(c, o.Multipart)
	contentType(fmt.Sprintf("multipart/form-data; boundary=%s", boundary))
	return parts, err
}
