package stdlib_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

const httpPrelude = "local http = require \"imd.http\"\n"

// webServer answers the requests of the tests.
func webServer(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s [%s] %s", r.Method, r.URL.RequestURI(),
			r.Header.Get("Content-Type"), body, r.Header.Get("X-Test"))
	})
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"), " ", r.Host)
	})
	mux.HandleFunc("/form", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			t.Error(err)
			return
		}
		for _, f := range []string{"a", "b"} {
			for _, h := range r.MultipartForm.File[f] {
				file, _ := h.Open()
				b, _ := io.ReadAll(file)
				fmt.Fprintf(w, "%s %s %s %q;", f, h.Filename, h.Header.Get("Content-Type"), b)
			}
		}
		fmt.Fprintf(w, "%q %d", r.MultipartForm.Value["text"], r.ContentLength)
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/echo?moved", http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop", http.StatusFound)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://forbidden.invalid/", http.StatusFound)
	})
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("id"); err == nil {
			fmt.Fprint(w, c.Value)
		}
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "7"})
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
		fmt.Fprint(w, "text of ", code)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		content := strings.NewReader(strings.Repeat("0123456789", 100_000))
		http.ServeContent(w, r, "file.bin", time.Time{}, content)
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"list":[1,null]}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// httpRequests are scripts whose requests to webServer succeed.
var httpRequests = []struct{ name, source, want string }{
	{"get", `local r = http.get(url .. "/echo")
print(r.status, r.ok, r.reason, r.url == url .. "/echo", r.seconds > 0, r.body)`,
		"200\ttrue\tOK\ttrue\ttrue\tGET /echo  [] \n"},
	{"methods", `for _, m in ipairs{ "post", "put", "patch", "delete" } do
  print(http[m](url .. "/echo", { body = m }).body)
end
print(#http.head(url .. "/echo").body, http.request("purge", url .. "/echo").body)`,
		"POST /echo  [post] \nPUT /echo  [put] \nPATCH /echo  [patch] \n" +
			"DELETE /echo  [delete] \n0\tPURGE /echo  [] \n"},
	{
		"query",
		`print(http.get(url .. "/echo?a=1", { query = { b = "x y", c = { 1, true } } }).body)`,
		"GET /echo?a=1&b=x+y&c=1&c=true  [] \n",
	},
	{"headers", `local r = http.get(url .. "/echo", { headers = { ["x-test"] = 5 } })
print(r.body, r.headers["CONTENT-type"], r.headers["x-none"], r:values("content-length")[1])`,
		"GET /echo  [] 5\ttext/plain; charset=utf-8\tnil\t15\n"},
	{"json", `print(http.post(url .. "/echo", { json = { a = { 1, null } } }).body)`,
		"POST /echo application/json [{\"a\":[1,null]}] \n"},
	{"json null and false", `print(http.post(url .. "/echo", { json = null }).body)
print(http.post(url .. "/echo", { json = false }).body)`,
		"POST /echo application/json [null] \nPOST /echo application/json [false] \n"},
	{"form", `print(http.post(url .. "/echo", { form = { a = "1&2", b = 3 } }).body)`,
		"POST /echo application/x-www-form-urlencoded [a=1%262&b=3] \n"},
	{"own content type", `local headers = { ["Content-Type"] = "text/x" }
print(http.post(url .. "/echo", { json = 1, headers = headers }).body)`,
		"POST /echo text/x [1] \n"},
	{"binary body", `print(http.post(url .. "/echo", { body = data("a\0b") }).body)`,
		"POST /echo  [a\x00b] \n"},
	{"file", `local f = fs.temp_file()
fs.write(f, "content")
print(http.put(url .. "/echo", { file = f }).body)
fs.write(f, "")
print(http.put(url .. "/echo", { file = f }).body)`,
		"PUT /echo  [content] \nPUT /echo  [] \n"},
	{"multipart", `local f = path.join(fs.temp_dir(), "x.png")
fs.write(f, "png")
print(http.post(url .. "/form", { multipart = {
  a = { path = f, type = "image/png" }, b = { content = "\0", name = "n" }, text = { "1", "2" },
} }).body:match("^(.*) %d+$"))`,
		`a x.png image/png "png";b n application/octet-stream "\x00";["1" "2"]` + "\n"},
	{"auth", `local headers = { Host = "other" }
local basic, bearer = { user = "u", password = "p" }, { bearer = "t" }
print(http.get(url .. "/auth", { auth = basic, headers = headers }).body)
print(http.get(url .. "/auth", { auth = bearer, headers = headers }).body)`,
		"Basic dTpw other\nBearer t other\n"},
	{"redirect", `local r = http.get(url .. "/moved") print(r.url == url .. "/echo?moved", r.body)`,
		"true\tGET /echo?moved  [] \n"},
	{"redirect is not followed", `local r = http.get(url .. "/moved", { redirects = 0 })
print(r.status, r.ok, r.headers.location)`, "302\tfalse\t/echo?moved\n"},
	{"status", `local r = http.get(url .. "/status/404")
print(r.status, r.ok, r.body, r)`, "404\tfalse\ttext of 404\tHTTPResponse<404 Not Found>\n"},
	{"check", `local ok, e = try(http.get, url .. "/status/500", { check = true })
print(e.code, e.details.status, e.details.body, (e.message:gsub(url, "URL")))
print(http.get(url .. "/echo", { check = true }):check().ok)`,
		"status\t500\ttext of 500\thttp: GET URL/status/500: 500 Internal Server Error: " +
			"text of 500\ntrue\n"},
	{"json of the response", `local v = http.get(url .. "/json"):json()
print(v.list[1], v.list[2] == null)`, "1\ttrue\n"},
	{"without cookies", `http.get(url .. "/cookie") print(http.get(url .. "/cookie").body)`, "\n"},
	{"client", `local c = http.client{
  base_url = url, cookies = true, headers = { ["X-Test"] = "own" }, timeout = 5,
}
c:get("/cookie")
print(c:get("cookie").body, c:get("/echo").body)
print(c:get(url .. "/echo", { headers = { ["x-test"] = "other" } }).body)`,
		"7\tGET /echo  [] own\nGET /echo  [] other\n"},
	{"stream", `local s = http.stream(url .. "/file")
print(s.status, s.ok, s.headers["content-length"], s:read(3, 5), s:read(4, 5))
local n = 7
for chunk in function() return s:read() end do n = n + #chunk end
print(n, s.ended)`, "200\ttrue\t1000000\t012\t3456\n1000000\ttrue\n"},
	{"download", `local f = path.join(fs.temp_dir(), "f")
local seen
local n = http.download(url .. "/file", f, { progress = function(done, total)
  seen = done .. " of " .. total
end, sha256 = hash.sha256(("0123456789"):rep(100000)) })
print(n, seen, fs.stat(f).size, #fs.list(path.dir(f)))`,
		"1000000\t1000000 of 1000000\t1000000\t1\n"},
	{"download with resume", `local f = path.join(fs.temp_dir(), "f")
fs.write(f .. ".part", ("0123456789"):rep(70000))
print(http.download(url .. "/file", f, { resume = true }), fs.exists(f .. ".part"))
print(fs.read(f) == ("0123456789"):rep(100000))
fs.write(f .. ".part", ("0123456789"):rep(100000))
print(http.download(url .. "/file", f, { resume = true }), fs.exists(f .. ".part"))
fs.write(f .. ".part", ("x"):rep(1000001))
print(http.download(url .. "/file", f, { resume = true }), fs.read(f, { max_size = 1000000 }):sub(1, 3))
fs.write(f .. ".part", "longer than what the server sends")
print(http.download(url .. "/json", f, { resume = true }), fs.read(f))`,
		"1000000\tfalse\ntrue\n1000000\tfalse\n1000000\t012\n17\t{\"list\":[1,null]}\n"},
	{"a download that fails leaves the file alone", `local dir = fs.temp_dir()
local f = path.join(dir, "f")
fs.write(f, "old")
local ok, e = try(http.download, url .. "/status/404", f)
print(e.code, e.details.status)
ok, e = try(http.download, url .. "/json", f, { sha256 = ("0"):rep(64) })
print(e.code)
ok, e = try(http.download, url .. "/json", f, { progress = function() error("own", 0) end })
print(e)
ok, e = try(http.download, url .. "/status/404", f, { resume = true })
print(e.code)
print(fs.read(f), #fs.list(dir))`, "status\t404\nchecksum\nown\nstatus\nold\t1\n"},
}

func TestHTTPRequests(t *testing.T) {
	t.Parallel()
	prelude := "local url = " + quote(webServer(t).URL) + "\n" + httpPrelude
	for _, tc := range httpRequests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, prelude+tc.source, tc.want)
		})
	}
}

func TestHTTPRefuses(t *testing.T) {
	t.Parallel()
	prelude := "local url = " + quote(webServer(t).URL) + "\n" + httpPrelude
	for _, tc := range []struct{ name, source, code, text string }{
		{"no scheme", `http.get("example.com")`, "argument", "http or https"},
		{"other scheme", `http.get("file:///etc/passwd")`, "argument", "http or https"},
		{"no host", `http.get("http:///x")`, "argument", "no host"},
		{"not a URL", `http.get("http://a b/")`, "argument", "invalid"},
		{"not a method", `http.request("a b", url)`, "argument", "method"},
		{"misspelt option", `http.get(url, { timout = 1 })`, "argument", `did you mean "timeout"`},
		{"two bodies", `http.post(url, { body = "a", json = 1 })`, "argument", "body, json"},
		{"header name", `http.get(url, { headers = { ["a b"] = "x" } })`, "argument", `"a b"`},
		{"header value", `http.get(url, { headers = { a = "x\r\ny" } })`, "argument", `"a"`},
		{"header type", `http.get(url, { headers = { a = print } })`, "argument", `"a"`},
		{"json type", `http.post(url, { json = print })`, "value", ""},
		{"two kinds of auth", `http.get(url, { auth = { user = "u", bearer = "b" } })`,
			"argument", "auth"},
		{"proxy", `http.get(url, { proxy = "nowhere" })`, "argument", "proxy"},
		{"missing file", `http.post(url, { file = "/no/such" })`, "not_found", "/no/such"},
		{"part without content", `http.post(url, { multipart = { a = {} } })`, "argument", `"a"`},
		{"missing CA", `http.get(url, { ca = "/no/such" })`, "not_found", "/no/such"},
		{"empty CA", `http.get(url, { ca = fs.temp_file() })`, "argument", "PEM"},
		{"cert without key", `http.get(url, { cert = "/x" })`, "argument", "key"},
		{"timeout 0", `http.get(url, { timeout = 0 })`, "timeout", ""},
		{"negative redirects", `http.get(url, { redirects = -1 })`, "argument", "redirects"},
		{"redirect loop", `http.get(url .. "/loop")`, "redirects", ""},
		{"one redirect too many", `http.get(url .. "/loop", { redirects = 1 })`, "redirects", ""},
		{"large body", `http.get(url .. "/file", { max_body = 1000 })`, "too_large",
			"limit of 1000 bytes"},
		{
			"large for --max-string", `http.get(url .. "/file")`, "too_large",
			"limit of 900000 bytes",
		},
		{
			"wrong sha256", `http.download(url, fs.temp_file(), { sha256 = "abc" })`, "argument",
			"64",
		},
		{"download into no folder", `http.download(url .. "/json", "/no/such/dir/f")`, "not_found",
			""},
		{"download into a folder", `http.download(url .. "/json", fs.temp_dir())`, "argument",
			"not a plain file"},
		{
			"stream with check", `http.stream(url .. "/status/500", { check = true })`, "status",
			"500",
		},
		{"closed stream", `local s = http.stream(url .. "/file") s:close() s:read()`, "closed", ""},
		{"no TLS", `http.get((url:gsub("http", "https")))`, "tls", "HTTP response to HTTPS client"},
		{"unknown host", `http.get("http://no-such-host.invalid/")`, "no_host", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{MaxString: 900_000}, prelude+tc.source, tc.code, tc.text)
		})
	}
}

func TestHTTPCertificates(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello ", len(r.TLS.PeerCertificates))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "own.pem")
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(own, text, 0o600); err != nil {
		t.Fatal(err)
	}
	prints(t, "local url, ca, own = "+quote(s.URL)+", "+quote(ca)+", "+quote(own)+"\n"+httpPrelude+`
print(select(2, try(http.get, url)).code)
print(http.get(url, { ca = ca }).body, http.get(url, { insecure = true }).body)
print(http.client{ ca = ca, cert = own, key = own }:get(url).body)
print(select(2, try(http.get, url, { ca = ca, cert = ca, key = ca })).code)`,
		"tls\nhello 0\thello 0\nhello 1\nargument\n")
}

func TestHTTPProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "by proxy: ", r.URL)
	}))
	t.Cleanup(proxy.Close)
	var asked []string
	o := host.Options{
		Env: func(name string) (string, bool) { return proxy.URL, name == "HTTP_PROXY" },
		Allow: func(a host.Access, value string) error {
			asked = append(asked, string(a)+" "+value)
			return nil
		},
	}
	out, err := run(t, o, httpPrelude+`
print(http.get("http://a.invalid/x", { proxy = `+quote(proxy.URL)+` }).body)
print(http.get("http://b.invalid/y", { proxy = "env" }).body)
print(select(2, try(http.get, "http://c.invalid/")).code)`)
	if err != nil {
		t.Fatal(err)
	}
	want := "by proxy: http://a.invalid/x\nby proxy: http://b.invalid/y\nno_host\n"
	if out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	for _, text := range []string{"net a.invalid:80", "net " + proxy.URL[7:], "env HTTP_PROXY"} {
		if !strings.Contains(strings.Join(asked, "\n"), text) {
			t.Errorf("asked for %q, want %q among them", asked, text)
		}
	}
}

// TestHTTPPermission refuses hosts and files.
func TestHTTPPermission(t *testing.T) {
	t.Parallel()
	s := webServer(t)
	address := strings.TrimPrefix(s.URL, "http://")
	for _, tc := range []struct{ name, refuse, source string }{
		{"host", "net " + address, `http.get(url)`},
		{"client", "net " + address, `http.client{ base_url = url }:post("/x")`},
		{"stream", "net " + address, `http.stream(url)`},
		{"redirect", "net forbidden.invalid:80", `http.get(url .. "/away")`},
		{"download", "net " + address, `http.download(url, file)`},
		{"written file", "write", `http.download(url, file)`},
		{"sent file", "read", `http.post(url, { file = file })`},
		{"part", "read", `http.post(url, { multipart = { a = { path = file } } })`},
		{"certificate", "read", `http.get(url, { ca = file })`},
		{
			"proxy", "net proxy.invalid:8080",
			`http.get(url, { proxy = "http://proxy.invalid:8080" })`,
		},
		{"proxy of the environment", "env HTTP_PROXY", `http.get(url, { proxy = "env" })`},
		{"server", "net 127.0.0.1:0", `http.server()`},
		{"served folder", "read", `http.server():files("/", file)`},
		{"answer", "read", `http.server():on("/", { file = file })`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := host.Options{Allow: func(a host.Access, value string) error {
				if text := string(a) + " " + value; strings.HasPrefix(text, tc.refuse) {
					return host.Errorf("permission", "no %s", text)
				}
				return nil
			}}
			file := filepath.Join(t.TempDir(), "file")
			source := "local url, file = " + quote(s.URL) + ", " + quote(file) + "\n" + httpPrelude
			fails(t, o, source+tc.source, "permission", "no "+tc.refuse)
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file was written: %v", err)
			}
		})
	}
}

// TestHTTPConnections makes requests one after the other. They must share a connection, which must
// be closed at the end of the script.
func TestHTTPConnections(t *testing.T) {
	t.Parallel()
	var made, closed atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			made.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	h := newHost(t, host.Options{})
	for range 2 {
		err := h.Run(t.Context(), "test.lua", "local url = "+quote(s.URL)+"\n"+httpPrelude+`
scope(function() http.get(url) end)
task.spawn(http.get, url):join()
http.client():get(url)`)
		if err != nil {
			t.Fatal(err)
		}
	}
	if !settles(func() bool { return closed.Load() == 2 }) {
		t.Errorf("%d connections were closed, want 2", closed.Load())
	}
	if made.Load() != 2 {
		t.Errorf("%d connections were made, want 2: one for each script", made.Load())
	}
}

// TestHTTPOfStoppedTasks stops tasks at different moments. It is not parallel, because it counts
// the descriptors and goroutines of the process.
func TestHTTPOfStoppedTasks(t *testing.T) {
	before := descriptors(t)
	h := newHost(t, host.Options{})
	h.SetGlobal("silent", lua.LString(hostile(t, silent)))
	h.SetGlobal("endless", lua.LString(hostile(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		forever("xxxxxxxxxxxxxx\n")(c)
	})))
	err := h.Run(t.Context(), "test.lua", httpPrelude+`
local dir = fs.temp_dir()
local file = path.join(dir, "file")
for i = 1, 60 do
  try(task.timeout, i * 1e-4, function()
    local server = http.server()
    server:on("/", function(req) return "answer" end)
    server:start()
    http.get(server.url)
    local stream = http.stream(endless)
    stream:next()
    task.spawn(http.download, endless, file)
    task.spawn(http.get, endless)
    http.get(silent)
  end)
end
assert(#fs.list(dir) == 0)`)
	if err != nil {
		t.Fatal(err)
	}
	rest := func() int { return stacksOf("stdlib/http") + stacksOf("stdlib/pump") }
	few := func() bool { return len(descriptors(t)) <= len(before)+4 } // two listeners of the test
	if !settles(func() bool { return few() && rest() == 0 }) {
		t.Errorf(
			"%d files are open, want about %d; %d goroutines",
			len(descriptors(t)),
			len(before),
			rest(),
		)
	}
}
