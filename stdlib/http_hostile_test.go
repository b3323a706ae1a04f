package stdlib_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/imdlua/imdlua/runtime/host"
)

// hostile starts a server that reads the header of a request and passes the connection to f.
func hostile(t *testing.T, f func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for line := "x"; strings.TrimSpace(line) != ""; {
					line, err = r.ReadString('\n')
					if err != nil {
						return
					}
				}
				f(c)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/"
}

// forever writes text until the client closes the connection.
func forever(text string) func(c net.Conn) {
	return func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

// silent waits until the client closes the connection.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// sends writes text and calls then.
func sends(text string, then func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		then(c)
	}
}

// hangUp closes the connection.
func hangUp(net.Conn) {}

const statusOK = "HTTP/1.1 200 OK\r\n"

// hostileServers violate the protocol. The source must raise an error of the code.
var hostileServers = []struct {
	name   string
	server func(net.Conn)
	source string
	code   string
}{
	{"never answers", silent, `http.get(url, { timeout = 0.05 })`, "timeout"},
	{"never answers, deadline around", silent, `task.timeout(0.05, http.get, url)`, "timeout"},
	{"never answers a stream", silent, `http.stream(url, { timeout = 0.05 })`, "timeout"},
	{"never answers a download", silent,
		`http.download(url, fs.temp_file(), { idle_timeout = 0.05 })`, "timeout"},
	{"stops in the body", sends(statusOK+"Content-Length: 9\r\n\r\nabc", silent),
		`http.get(url, { timeout = 0.05 })`, "timeout"},
	{"stops in the body of a download", sends(statusOK+"Content-Length: 9\r\n\r\nabc", silent),
		`http.download(url, fs.temp_file(), { idle_timeout = 0.05 })`, "timeout"},
	// The headers must arrive in time, also on a busy machine.
	{"stops in the body of an error", sends("HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n", silent),
		`http.download(url, fs.temp_file(), { idle_timeout = 3 })`, "status"},
	{"stops in the body of a range error",
		sends("HTTP/1.1 416 No\r\nContent-Length: 9\r\n\r\n", silent),
		`local f = fs.temp_file()
fs.write(f .. ".part", "abc")
http.download(url, f, { idle_timeout = 3, resume = true })`, "status"},
	{"a download with a deadline", sends(statusOK+"\r\n", forever("x")),
		`http.download(url, fs.temp_file(), { timeout = 0.05 })`, "timeout"},
	{"hangs up", hangUp, `http.get(url)`, "disconnected"},
	{"hangs up in the body", sends(statusOK+"Content-Length: 9\r\n\r\nabc", hangUp),
		`http.get(url)`,
		"disconnected"},
	{"hangs up in a stream", sends(statusOK+"Content-Length: 9\r\n\r\nabc", hangUp),
		`for line in http.stream(url) do end`, "disconnected"},
	{"hangs up in a download", sends(statusOK+"Content-Length: 9\r\n\r\nabc", hangUp),
		`http.download(url, fs.temp_file())`, "disconnected"},
	{
		"endless body",
		sends(statusOK+"\r\n", forever("xxxxxxxxxxxxxxxx")),
		`http.get(url)`,
		"too_large",
	},
	{"claims a huge body", sends(statusOK+"Content-Length: 999999999999\r\n\r\n", silent),
		`http.get(url)`, "too_large"},
	{"endless line", sends(statusOK+"\r\n", forever("xxxxxxxxxxxxxxxx")),
		`for line in http.stream(url) do end`, "too_large"},
	{"endless header", sends(statusOK, forever("X-Y: zzzzzzzzzzzzzzzzz\r\n")), `http.get(url)`,
		"error"},
	{"no HTTP", sends("hello\r\n", hangUp), `http.get(url)`, "error"},
	{"wrong length", sends(statusOK+"Content-Length: x\r\n\r\n", hangUp), `http.get(url)`, "error"},
	{
		"wrong chunk",
		sends(statusOK+"Transfer-Encoding: chunked\r\n\r\nzz\r\n", hangUp),
		`http.get(url)`,
		"error",
	},
}

// TestHTTPHostile sends requests to servers that violate the protocol.
func TestHTTPHostile(t *testing.T) {
	t.Parallel()
	for _, tc := range hostileServers {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			source := "local url = " + quote(hostile(t, tc.server)) + "\n" + httpPrelude + tc.source
			fails(t, host.Options{MaxString: 1 << 20}, source, tc.code, "")
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		source := httpPrelude + `http.get("http://` + l.Addr().String() + `")`
		fails(t, host.Options{}, source, "refused", "")
	})
}
