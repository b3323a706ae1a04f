package stdlib_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/imdlua/imdlua/runtime/host"
)

const serverPrelude = httpPrelude + `local server = http.server()
local url = server.url
local function get(path, opts) return http.get(url .. path, opts) end
`

// httpServers are scripts that have a server.
var httpServers = []struct{ name, source, want string }{
	{"kinds of answers", `server:on("/text", "hello")
server:on("/data", data("\0"))
server:on("/status", 418)
server:on("/table", { status = 201, headers = { ["X-A"] = 1 }, json = { a = 1 } })
print(get("/text").body, get("/text").headers["content-type"])
print(#get("/data").body, get("/status").status)
local r = get("/table")
print(r.status, r.headers["x-a"], r.headers["content-type"], r.body)`,
		"hello\ttext/plain; charset=utf-8\n1\t418\n201\t1\tapplication/json\t{\"a\":1}\n"},
	{"answer from a file", `local f = fs.temp_file()
fs.write(f, "content")
server:on("/", { file = f, headers = { ["Content-Type"] = "text/x" } })
print(get("/").body, get("/").headers["content-type"])`, "content\ttext/x\n"},
	{"patterns", `server:on("GET /a/{id}", "get")
server:on("POST /a/{id}", "post")
server:on("/exact/{$}", "exact")
print(get("/a/1").body, http.post(url .. "/a/1").body, http.put(url .. "/a/1").status)
print(get("/exact/").body, get("/exact/x").status, get("/none").status)`,
		"get\tpost\t405\nexact\t404\t404\n"},
	{"another answer for the same pattern", `server:on("/", "one")
print(get("/").body)
server:on("/", "two")
print(get("/").body)`, "one\ntwo\n"},
	{"redirect to the folder", `server:on("/dir/", "below")
print(get("/dir").body, get("/dir", { redirects = 0 }).status)`, "below\t307\n"},
	{"functions", `server:on("POST /users/{id}/{rest...}", function(req)
  return { json = { id = req.params.id, rest = req.params.rest, q = req.query.q,
    h = req.headers["X-Test"], body = req:json(), method = req.method, path = req.path } }
end)
server:on("/form", function(req) return req:form().a end)
server:on("/none", function(req) end)
server:on("/own", function(req) req:reply{ status = 202 } return "not used" end)
server:start()
local headers = { ["x-test"] = "t" }
local r = http.post(url .. "/users/7/a/b?q=1", { json = { 1 }, headers = headers }):json()
print(r.id, r.rest, r.q, r.h, r.body[1], r.method, r.path)
print(http.post(url .. "/form", { form = { a = "1 2" } }).body)
print(get("/none").status, get("/own").status)`,
		"7\ta/b\t1\tt\t1\tPOST\t/users/7/a/b\n1 2\n204\t202\n"},
	{"handler for the rest", `server:on("/known", "known")
server:start(function(req) return "rest " .. req.path end)
task.sleep(0)
print(get("/known").body, get("/other").body)`, "known\trest /other\n"},
	{"for loop", `local t = task.spawn(function()
  local n = 0
  for req in server do
    n = n + 1
    req:reply{ body = n .. req.method }
    if n == 2 then return n end
  end
end)
print(get("/").body, http.post(url).body, t:join(5))`, "1GET\t2POST\t2\n"},
	{"handlers run in parallel", `local meet, n = task.event(), 0
server:on("/", function()
  n = n + 1
  if n == 3 then meet:set() end
  return meet:wait(5) and "met" or "alone"
end)
server:start()
local function one() return get("/").body end
print(table.concat(task.all{ one, one, one }, " "))`, "met met met\n"},
	{"no more than tasks", `local now, most = 0, 0
server:on("/", function()
  now = now + 1
  most = math.max(most, now)
  task.sleep(0.001)
  now = now - 1
end)
server:start(nil, { tasks = 2 })
local jobs = {}
for i = 1, 12 do jobs[i] = function() get("/") end end
task.all(jobs)
print(most)`, "2\n"},
	{"expect", `server:on("/", 200)
http.post(url .. "/hook/1", { body = "first" })
http.post(url .. "/hook/2", { body = "second" })
get("/other")
local req = server:expect("POST /hook/{n}")
print(req.body, req.params.n, req)
print(server:expect("POST /hook/2", { timeout = 0 }).body)
local list = server:requests()
print(#list, list[1].path)`,
		"first\t1\tHTTPRequest<POST /hook/1>\nsecond\n1\t/other\n"},
	{"expect waits", `server:on("/", 200)
task.spawn(function() task.sleep(0.01) http.post(url .. "/hook", { body = "late" }) end)
print(server:expect("/hook", { timeout = 5 }).body)`, "late\n"},
	{"unanswered requests are recorded", `server:on("/known", 200)
get("/unknown")
print(server:requests()[1].path)`, "/unknown\n"},
	{"files", `local dir, other = fs.temp_dir(), fs.temp_file()
fs.write(path.join(dir, "sub/a.txt"), "hello", { mkdir = true })
server:files("/static", dir)
print(get("/static/sub/a.txt").body, get("/static/none").status, get("/a.txt").status)
print(get("/static/..%2f" .. path.base(other)).status)
print(get("/static/sub/a.txt", { headers = { Range = "bytes=1-2" } }).body)`,
		"hello\t404\t404\n404\nel\n"},
	{"files of the root", `local dir = fs.temp_dir()
fs.write(path.join(dir, "a.txt"), "hello")
server:files("/", dir)
print(get("/a.txt").body)`, "hello\n"},
	{"nobody answers", `local server = http.server{ reply_timeout = 0.02 }
print(http.get(server.url).status)`, "504\n"},
	{"late reply", `local server = http.server{ reply_timeout = 1 }
local t = task.spawn(function() return http.get(server.url).status end)
for req in server do
  print(t:join(5), req:reply{ status = 200 })
  print(select(2, try(req.reply, req)).code)
  break
end`, "504\tfalse\nclosed\n"},
	{"large body", `local server = http.server{ max_body = 10 }
server:on("/", 200)
print(http.post(server.url, { body = ("x"):rep(10) }).status)
print(http.post(server.url, { body = ("x"):rep(11) }).status, #server:requests())`,
		"200\n413\t1\n"},
	{"closing ends serve", `local t = server:start()
local loop = task.spawn(function() for req in server do end return "over" end)
task.sleep(0.01)
server:close()
t:join(5)
print(loop:join(5), select(2, try(http.get, url)).code)`, "over\trefused\n"},
	{"a request that a cancelled task waited for", `local server, got = http.server(), 0
local function read(n)
  for req in server do
    req:reply{}
    got, n = got + 1, n - 1
    if n == 0 then return end
  end
end
task.spawn(read, math.huge)
for i = 1, 30 do
  local reader, client = task.spawn(read, 1), task.spawn(http.get, server.url)
  task.sleep(0)
  reader:cancel()
  client:join(20)
end
print(got)`, "30\n"},
	{"keep", `local s = scope(function() return http.server():keep() end)
s:on("/", "kept")
print(http.get(s.url).body)`, "kept\n"},
}

func TestHTTPServer(t *testing.T) {
	t.Parallel()
	for _, tc := range httpServers {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			prints(t, serverPrelude+tc.source, tc.want)
		})
	}
}

func TestHTTPServerRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, source, code, text string }{
		{"pattern", `server:on("GET", "x")`, "argument", `"GET"`},
		{"pattern without a slash", `server:on("a", "x")`, "argument", ""},
		{"conflicting patterns", `server:on("/a/{x}", 200) server:on("/{y}/b", 200)`, "argument",
			"conflict"},
		{"answer", `server:on("/", true)`, "argument", "boolean"},
		{"status", `server:on("/", 99)`, "argument", "200 to 599"},
		{"fraction", `server:on("/", 200.5)`, "argument", "200 to 599"},
		{"option", `server:on("/", { stats = 1 })`, "argument", `did you mean "status"`},
		{"two bodies", `server:on("/", { body = "x", json = 1 })`, "argument", "body, json"},
		{"missing file", `server:on("/", { file = "/no/such" })`, "not_found", "/no/such"},
		{"missing folder", `server:files("/", "/no/such")`, "not_found", ""},
		{"no tasks", `server:serve(nil, { tasks = 0 })`, "argument", "tasks"},
		{"expected request does not come", `server:on("/", 200) get("/a?b=1")
server:expect("/hook", { timeout = 0.01 })`, "timeout", `the last is GET /a?b=1`},
		{"expected at once", `server:expect("/hook", { timeout = 0 })`, "timeout", `"/hook"`},
		{"wrong pattern to expect", `server:expect("hook")`, "argument", ""},
		{"port in use", `http.server{ port = tonumber(url:match("%d+$")) }`, "address_in_use", ""},
		{"not an address", `http.server{ host = "no-such-host.invalid" }`, "no_host", ""},
		{"max_body", `http.server{ max_body = -1 }`, "argument", "max_body"},
		{"port", `http.server{ port = 70000 }`, "argument", "port"},
		{"closed", `server:close() server:on("/", 200)`, "closed", ""},
		{"expect ends when the server is closed", `
task.spawn(function() task.sleep(0.01) server:close() end)
server:expect("/", { timeout = 5 })`, "closed", ""},
		{"wrong JSON", `server:on("/", 200) http.post(url, { body = "{" })
server:expect("/"):json()`, "decode", "POST /"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fails(t, host.Options{}, serverPrelude+tc.source, tc.code, tc.text)
		})
	}
}

// TestHTTPHandlerFails has handlers that raise an error. The client must get 500, the error must be
// printed, and the script must fail.
func TestHTTPHandlerFails(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	h := newHost(t, host.Options{Stdout: &out, Stderr: &errs})
	err := h.Run(t.Context(), "test.lua", serverPrelude+`
server:on("/raises", function() error("own", 0) end)
server:on("/wrong", function() return true end)
server:on("/fine", function() return "fine" end)
server:start()
print(get("/raises").status, get("/wrong").status, get("/fine").body)`)
	var e *host.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want a *host.Error", err)
	}
	if e.Code != "task_failed" {
		t.Errorf("code = %q (%v), want task_failed", e.Code, err)
	}
	if want := "500\t500\tfine\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	for _, want := range []string{`"http GET /raises" failed`, "own", `"http GET /wrong" failed`} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("stderr = %q, want %q in it", errs.String(), want)
		}
	}
}

// TestHTTPHostileClients opens connections that violate the protocol while a script answers other
// requests.
func TestHTTPHostileClients(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text string }{
		{"says nothing", ""},
		{"half a header", "GET / HTTP/1.1\r\nHost: x\r\nX-"},
		{"half a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"},
		{"no HTTP", "hello\r\n\r\n"},
		{
			"endless header",
			"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Y: zzzzzzz\r\n", 20000),
		},
		{"large claim", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n"},
		{
			"two lengths",
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		},
		{"reads nothing", "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"leaves", "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, host.Options{MaxString: 1 << 20})
			h.SetGlobal("attack", h.L().NewFunction(func(L *lua.LState) int {
				c, err := net.Dial("tcp", strings.TrimPrefix(L.CheckString(1), "http://"))
				if err != nil {
					t.Error(err)
					return 0
				}
				t.Cleanup(func() { c.Close() })
				_, _ = io.WriteString(c, tc.text) // fails if the server has closed the connection
				return 0
			}))
			err := h.Run(t.Context(), "test.lua", httpPrelude+`
local server = http.server{ max_body = 1000 }
server:on("/large", ("x"):rep(1000000))
server:on("/slow", function() task.sleep(1000) end)
server:on("/", function(req) return "fine" end)
server:start()
attack(server.url)
assert(http.get(server.url, { timeout = 20 }).body == "fine")`)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHTTPServerLimits sends more requests than the server queues to a script that does not answer.
func TestHTTPServerLimits(t *testing.T) {
	t.Parallel()
	h := newHost(t, host.Options{})
	statuses := make(chan string, 200)
	h.SetGlobal("flood", h.L().NewFunction(func(L *lua.LState) int {
		for range L.CheckInt(2) {
			c, err := net.Dial("tcp", strings.TrimPrefix(L.CheckString(1), "http://"))
			if err != nil {
				t.Error(err)
				return 0
			}
			t.Cleanup(func() { c.Close() })
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			go func() {
				line, _ := bufio.NewReader(c).ReadString('\n')
				statuses <- line
			}()
		}
		return 0
	}))
	h.SetGlobal("refused", h.L().NewFunction(func(L *lua.LState) int {
		L.Push(lua.LString(<-statuses))
		return 1
	}))
	err := h.Run(t.Context(), "test.lua", httpPrelude+`
local server = http.server{ reply_timeout = 1000 }
flood(server.url, 65)
assert(refused():match("503"))`)
	if err != nil {
		t.Error(err)
	}
}

// TestHTTPFilesStayInTheFolder requests links that leave the folder, and a path that is not a plain
// file.
func TestHTTPFilesStayInTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("/etc/hostname", dir+"/link"); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("/dev/zero", dir+"/zero"); err != nil {
		t.Skip(err)
	}
	prints(t, serverPrelude+"server:files('/', "+quote(dir)+`)
print(get("/link").ok, get("/zero").ok)`, "false\tfalse\n")
}
