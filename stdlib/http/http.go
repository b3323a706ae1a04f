// Package http is the script module imd.http: requests to web servers, and a small server for
// webhooks and mocks.
//
//	local http = require "imd.http"
//	local user = http.get("https://example.com/user", { query = { id = 7 }, check = true }):json()
package http

import (
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
	"github.com/imdlua/imdlua/stdlib/json"
)

// transportCodes lists the error codes of requests.
var transportCodes = []string{
	"timeout", "refused", "no_host", "unreachable", "tls", "disconnected", "redirects",
	"too_large", "status",
}

// Module declares the module.
func Module() *api.Module {
	p := &pool{}
	plain := &Client{pool: p}
	funcs := []*api.Func{
		api.Function("client", "Makes a client: options and cookies that several requests share.",
			"opts?", p.newClient,
			api.ParamDoc("opts", "base_url, headers, cookies, timeout and more"),
			api.Perm("none"),
			api.Example(exampleServer+`
server:on("GET /a/b", "hello")
local client = http.client{ base_url = server.url .. "/a", timeout = 5 }
return client:get("b").body -- => "hello"`)),
	}
	for _, v := range verbs() {
		funcs = append(funcs, v.function(plain))
	}
	funcs = append(funcs, serverFunction())
	return &api.Module{
		Name: "http",
		Doc: "Requests to web servers, and a small server for webhooks and mocks. A server " +
			"that cannot be reached is an error; a status such as 404 is an error only with the " +
			"option check. Proxies of the environment are used, and cookies are kept, only if an " +
			"option says so. Connections are kept for further requests until the script ends.",
		Perm: "net",
		Classes: []*api.Class{
			clientClass(), responseClass(), streamClass(), serverClass(), requestClass(),
		},
		Funcs: funcs,
		Examples: []string{`local http = require "imd.http"
local r = http.get("https://example.com/", { timeout = 5 })
print(r.status, r.headers["content-type"], #r.body)`},
	}
}

// verb is a function of the module that is a method of Client as well.
type verb struct {
	name, doc, params string
	call              func(cl *Client) any // the function
	method            any
	options           []api.Option
	example           string // with URL for the address, and path for a file
}

func (v verb) function(cl *Client) *api.Func {
	example := exampleServer + "\n" + strings.ReplaceAll(v.example, "OBJECT:", "http.")
	example = strings.ReplaceAll(example, "URL", `server.url .. "/a"`)
	return api.Function(v.name, v.doc, v.params, v.call(cl), append(v.options,
		api.Example(example))...)
}

func (v verb) declareMethod() *api.Func {
	example := exampleServer + "\nlocal client = http.client{ base_url = server.url }\n" +
		strings.ReplaceAll(v.example, "OBJECT:", "client:")
	example = strings.ReplaceAll(example, "URL", `"/a"`)
	return api.Method(v.name, v.doc, v.params, v.method, append(v.options,
		api.Example(example))...)
}

func verbs() []verb {
	common := []api.Option{
		api.ParamDoc("url", "address; with a client it may be relative to base_url"),
		api.Checks(host.AccessHost),
		api.Raises(transportCodes...),
	}
	answer := append(slices.Clone(common), api.Returns("HTTPResponse"),
		api.ParamDoc("opts", "headers, query, json, form, body, auth, timeout, check and more"))
	var out []verb
	for _, m := range []struct{ name, doc string }{
		{"get", "Sends a GET request and returns the response."},
		{"head", "Sends a HEAD request: the response has no body."},
		{"delete", "Sends a DELETE request."},
		{"post",
			"Sends a POST request. The body is one of the options json, form, body, file or " +
				"multipart."},
		{"put", "Sends a PUT request. The body is in the options, as for post."},
		{"patch", "Sends a PATCH request. The body is in the options, as for post."},
	} {
		send := func(c *api.Call, cl *Client, url string, o requestOptions) (*Response, error) {
			return cl.request(c, m.name, url, &o)
		}
		out = append(out, verb{
			name: m.name, doc: m.doc, params: "url opts?", method: send, options: answer,
			call: func(cl *Client) any {
				return func(c *api.Call, url string, o requestOptions) (*Response, error) {
					return send(c, cl, url, o)
				}
			},
			example: `server:on("` + strings.ToUpper(m.name) + ` /a", { status = 201 })
return OBJECT:` + m.name + `(URL, { timeout = 5 }).status -- => 201`,
		})
	}
	return append(out, request(answer), downloading(common), streaming(common))
}

func request(options []api.Option) verb {
	send := func(c *api.Call, cl *Client, method, url string, o requestOptions) (*Response, error) {
		return cl.request(c, method, url, &o)
	}
	return verb{
		name: "request", doc: "Sends a request with any method.", params: "method url opts?",
		method: send,
		call: func(cl *Client) any {
			return func(c *api.Call, method, url string, o requestOptions) (*Response, error) {
				return send(c, cl, method, url, o)
			}
		},
		options: append(slices.Clone(options), api.ParamDoc("method", "such as OPTIONS")),
		example: `server:on("OPTIONS /a", { status = 204 })
return OBJECT:request("OPTIONS", URL).status -- => 204`,
	}
}

func downloading(options []api.Option) verb {
	return verb{
		name: "download",
		doc: "Downloads a file. path has the whole file afterwards, or is unchanged after an " +
			"error. A status other than 200 raises an error of code status. Returns the size in " +
			"bytes. With resume, use sha256 as well: the file on the server may have changed.",
		params: "url path opts?",
		method: func(c *api.Call, cl *Client, url, path string, o downloadOptions) (int64, error) {
			return cl.download(c, url, path, o)
		},
		call: func(cl *Client) any {
			return func(c *api.Call, url, path string, o downloadOptions) (int64, error) {
				return cl.download(c, url, path, o)
			}
		},
		options: append(slices.Clone(options), fs.PathParam("path", "the file", host.AccessWrite),
			api.ParamDoc("opts", "progress, resume, sha256, timeout, idle_timeout and more"),
			api.Raises("checksum", "access_denied"), api.Returns("integer size")),
		example: `server:on("GET /a", ("x"):rep(1000))
local file = path.join(fs.temp_dir(), "a")
return OBJECT:download(URL, file), #fs.read(file) -- => 1000, 1000`,
	}
}

func streaming(options []api.Option) verb {
	return verb{
		name: "stream", doc: "Sends a request and returns the body as a stream of lines, such as " +
			"server-sent events. timeout limits the wait for the header.",
		params: "url opts?",
		method: func(c *api.Call, cl *Client, url string, o streamOptions) (
			api.Opened[*Stream], error,
		) {
			return cl.stream(c, url, o)
		},
		call: func(cl *Client) any {
			return func(c *api.Call, url string, o streamOptions) (api.Opened[*Stream], error) {
				return cl.stream(c, url, o)
			}
		},
		options: append(slices.Clone(options), api.Returns("HTTPStream"),
			api.ParamDoc("opts", "as for get, and method")),
		example: `server:on("GET /a", "one\ntwo\n")
local lines = {}
for line in OBJECT:stream(URL) do table.insert(lines, line) end
return lines -- => { "one", "two" }`,
	}
}

func clientClass() *api.Class {
	c := api.NewClass[*Client]("HTTPClient", "Options and cookies that several requests share.")
	c.Var = "client"
	c.String = func(cl *Client) string {
		if cl.base == nil {
			return "HTTPClient"
		}
		return "HTTPClient<" + cl.base.Redacted() + ">"
	}
	for _, v := range verbs() {
		c.Methods = append(c.Methods, v.declareMethod())
	}
	return c
}

func responseClass() *api.Class {
	c := api.NewClass[*Response]("HTTPResponse", "The response of a server.")
	c.Var, c.Perm = "resp", "none"
	c.String = func(r *Response) string {
		return "HTTPResponse<" + strings.TrimSpace(
			lua.LNumber(r.status).String()+" "+r.reason,
		) + ">"
	}
	c.Fields = []*api.Field{
		api.Property("status", "number of the status", func(r *Response) int { return r.status }),
		api.Property("ok", "whether the status is 200 to 299",
			func(r *Response) bool { return succeeded(r.status) }),
		api.Property("reason", "text of the status", func(r *Response) string { return r.reason }),
		{Name: "headers", Doc: "header fields by name, in any case", Type: "table<string, string>",
			Get: func(r *Response) lua.LValue { return r.headers }},
		api.Property("body", "the body as it is", func(r *Response) string { return r.body }),
		api.Property("url", "the address that sent the response, after redirects",
			func(r *Response) string { return r.url }),
		api.Property("seconds", "how long it took", func(r *Response) float64 { return r.seconds }),
	}
	c.Methods = []*api.Func{
		api.Method("json", "Decodes the body.",
			"", func(c *api.Call, r *Response) (lua.LValue, error) {
				return json.Decode(c, []byte(r.body), "http: "+r.what)
			},
			api.Raises("decode"),
			api.Returns("any value"),
			api.Example(exampleServer+`
server:on("/", { json = { n = 1 } })
return http.get(server.url):json() -- => { n = 1 }`)),
		api.Method("check", "Raises an error of code status unless ok. Returns the response.",
			"", check,
			api.Raises("status"),
			api.Example(exampleServer+`
server:on("/", { status = 500 })
local ok, e = try(function() http.get(server.url):check() end)
return e.code, e.details.status -- => "status", 500`)),
		api.Method("values", "All values of a header field that occurs several times.",
			"name", func(_ *api.Call, r *Response, name string) []string {
				return r.header.Values(name)
			},
			api.ParamDoc("name", "such as Set-Cookie"),
			api.Example(exampleServer+`
server:on("/", { headers = { ["Set-Cookie"] = { "a=1", "b=2" } } })
return http.get(server.url):values("set-cookie") -- => { "a=1", "b=2" }`)),
	}
	return c
}
