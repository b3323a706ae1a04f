package tunneld

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
)

// TestProxyCurl uses the proxy with curl, as the documentation shows.
func TestProxyCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("curl is missing; on Debian: apt install curl")
	}
	if err != nil {
		t.Skip("curl is missing")
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.WriteString(w, q.Method+" "+q.URL.Path)
	}))
	defer web.Close()
	p := &Proxy{Token: "secret", Dial: func(
		ctx context.Context, host string, port uint16,
	) (net.Conn, error) {
		if host != udid || port != 8100 {
			return nil, fs.ErrNotExist
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", web.Listener.Addr().String())
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	for _, args := range [][]string{
		{"-x", "socks5h://imdlua:secret@" + l.Addr().String()},
		{"-p", "-x", "http://imdlua:secret@" + l.Addr().String()},
	} {
		c := exec.CommandContext(t.Context(), curl, append(args, "--silent", "--show-error",
			"--max-time", "60", "http://"+udid+".imdlua:8100/status")...)
		c.Env = []string{} // no proxy of the environment
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("curl %q: %v: %s", args, err, out)
		} else if string(out) != "GET /status" {
			t.Errorf("curl %q printed %q, want the answer of the device", args, out)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}
