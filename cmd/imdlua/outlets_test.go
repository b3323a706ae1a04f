package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/proxy"
)

// throughSOCKS uses an echo port of a device through a proxy.
func throughSOCKS(at, password, host string) error {
	d, err := proxy.SOCKS5("tcp", at, &proxy.Auth{User: "imdlua", Password: password}, nil)
	if err != nil {
		return err
	}
	c, err := d.Dial("tcp", host)
	if err != nil {
		return err
	}
	defer c.Close()
	return wantLine(c, c)
}

// throughCONNECT does the same with HTTP.
func throughCONNECT(at, password, host string) error {
	c, err := net.Dial("tcp", at)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	q, err := http.NewRequest(http.MethodConnect, "http://"+host, nil)
	if err != nil {
		return err
	}
	q.SetBasicAuth("imdlua", password)
	q.Header["Proxy-Authorization"] = q.Header["Authorization"]
	q.Header.Del("Authorization")
	if err := q.Write(c); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answers %s", answer.Status)
	}
	return wantLine(c, r)
}

// wantLine sends a line to an echo port and reads it back.
func wantLine(c net.Conn, r io.Reader) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	const text = "there and back\n"
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(r, got)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%q came back, want %q", got, text)
	}
	return err
}

// proxyOf returns the address and the password of the proxy that a program prints.
func proxyOf(t *testing.T, p *program, pattern string) (address, password string) {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(p.out.String())
	if m == nil {
		t.Fatalf("it printed %q, want %s", p.out, pattern)
	}
	b, err := os.ReadFile(m[2])
	if err != nil {
		t.Fatal(err)
	}
	password = strings.TrimSpace(string(b))
	if len(password) < 20 {
		t.Errorf("the password has %d characters", len(password))
	}
	if strings.Contains(p.out.String()+p.errs.String(), password) {
		t.Error("the password is printed")
	}
	st, err := os.Stat(m[2])
	if err != nil {
		t.Fatal(err)
	}
	if mode := st.Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the mode of %s is %v, want 0600", m[2], mode)
	}
	return m[1], password
}

// TestTunneldProxy reaches a port of devices that no list has: in a tunnel, and of a device
// that has no tunnels.
func TestTunneldProxy(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t, "--echo", "8100")
	old, without := serve(t, "--echo", "8100", "--profile", "ios16", "--count", "2")
	p, _, _ := tunneldOf(t, mux, 1, "--usbmux", old, "--proxy", "127.0.0.1:0")
	p.out.await(t, "proxy ")
	at, password := proxyOf(t, p, `(?m)^proxy (127\.0\.0\.1:\d+) (\S+)$`)
	for _, host := range []string{
		udids[0] + ":8100", strings.ToLower(udids[0]) + ".imdlua:8100", without[1] + ":8100",
	} {
		if err := throughSOCKS(at, password, host); err != nil {
			t.Errorf("SOCKS5 to %s: %v", host, err)
		}
		if err := throughCONNECT(at, password, host); err != nil {
			t.Errorf("CONNECT to %s: %v", host, err)
		}
	}
	for host, want := range map[string]string{
		udids[0] + ":9": "502", "00008110-000A1B2C3D4E5F60:8100": "404", "localhost:22": "404",
	} {
		err := throughCONNECT(at, password, host)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CONNECT to %s: %v, want %s", host, err, want)
		}
	}
	if err := throughSOCKS(at, "guessed", udids[0]+":8100"); err == nil {
		t.Error("a wrong password is accepted")
	}
	p.interrupt(t)
	if c, err := net.Dial("tcp", at); err == nil {
		c.Close()
		t.Error("the proxy is still served")
	}
}

// TestTunnelProxy reaches a port that is not listed through the command tunnel, and uses
// the password of the environment.
func TestTunnelProxy(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t, "--echo", "8100")
	p := newProgram(t, "--usbmux", mux, "tunnel", "--proxy", "127.0.0.1:0").start(t)
	p.out.await(t, "use ")
	at, password := proxyOf(t, p, `(?m)^proxy +(127\.0\.0\.1:\d+) (\S+)$`)
	if err := throughSOCKS(at, password, udids[0]+":8100"); err != nil {
		t.Error(err)
	}
	if err := throughSOCKS(at, password, "00008110-000A1B2C3D4E5F60:8100"); err == nil {
		t.Error("another device is reached")
	}
	p.interrupt(t)

	q := newProgram(t, "--usbmux", mux, "tunnel", "--json", "--proxy", "127.0.0.1:0")
	q.environment["IMD_TUNNELD_TOKEN"] = "open sesame"
	q.start(t)
	j := tunnelLines(t, q.out.await(t, "\n"))[0]
	if j.TokenFile != "" {
		t.Errorf("the token is in %s, want none", j.TokenFile)
	}
	if err := throughSOCKS(j.Proxy, "open sesame", udids[0]+":8100"); err != nil {
		t.Error(err)
	}
	q.interrupt(t)
}

// TestProxyRefused covers what keeps a proxy from being opened.
func TestProxyRefused(t *testing.T) {
	t.Parallel()
	mux, _ := serve(t)
	args := []string{"--usbmux", mux, "tunneld", "--listen", "", "--go-ios", "", "--proxy"}
	newProgram(t, append(args, "1080")...).fails(t, 2, "--proxy takes HOST:PORT")
	newProgram(t, append(args, "0.0.0.0:0")...).fails(t, 2, "IMD_TUNNELD_TOKEN")
	if runtime.GOOS == "windows" {
		return // files have no modes there
	}
	for content, want := range map[string]string{
		"x\n": "can be read by other users", "": "has no token",
	} {
		p := newProgram(t, append(args, "127.0.0.1:0")...)
		file := (&cli{app: p.app}).stateFile("proxy-token")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if content != "" {
			mode = 0o644
		}
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		p.fails(t, 2, want)
	}
}

// TestTunneldMuxer reaches devices of two muxers at a third.
func TestTunneldMuxer(t *testing.T) {
	t.Parallel()
	first, udids := serve(t, "--echo", "8100")
	second, others := serve(t, "--echo", "8100", "--profile", "ios16", "--count", "3")
	p := newProgram(t, "--usbmux", first, "--usbmux", second, "tunneld", "--no-network",
		"--listen", "", "--go-ios", "", "--muxer", "127.0.0.1:0").start(t)
	at := strings.TrimSpace(strings.TrimPrefix(p.out.await(t, "\n"), "muxer "))
	for _, udid := range []string{udids[0], others[2]} {
		newProgram(t, "--usbmux", at, "-e", `print(device.wait{ udid = "`+udid+`" }.udid)`).
			prints(t, udid+"\n")
		_, addresses := forwarded(t, "--usbmux", at, "--device", udid, "0:8100")
		if err := echoed(addresses[0], "through two muxers"); err != nil {
			t.Error(err)
		}
	}
	newProgram(t, "--usbmux", at, "tunneld", "--listen", "", "--go-ios", "", "--muxer", at).
		fails(t, 2, "is the usbmuxd whose devices it is to have")
	newProgram(t, "--usbmux", at, "tunneld", "--listen", "", "--go-ios", "").
		fails(t, 2, "tunneld needs an address")
	newProgram(t, "--usbmux", at, "tunneld", "--muxer", "nowhere").fails(t, 2, "--muxer:")
	p.interrupt(t)
}

// TestTunneldRestarts deletes a tunnel at the API of go-ios, after which it is made again,
// and cancels it at that of pymobiledevice3, after which it is not.
func TestTunneldRestarts(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t)
	p, python, goios := tunneldOf(t, mux, 1)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodDelete,
		"http://"+goios+"/tunnel/"+udids[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE answers %s, want 204", answer.Status)
	}
	p.errs.await(t, "tunnel 2 to "+udids[0]+" is up")
	reachable(t, python, udids)
	if status, body := get(t, "http://"+python+"/cancel?udid="+udids[0]); status != http.StatusOK {
		t.Errorf("cancel answers %d %s", status, body)
	}
	if _, body := get(t, "http://"+python+"/"); body != "{}" {
		t.Errorf("after cancel it lists %s, want nothing", body)
	}
	reachable(t, python, udids) // asks for a tunnel
	p.errs.await(t, "tunnel 3 to "+udids[0]+" is up")
	p.interrupt(t)
	if n := strings.Count(p.errs.String(), "is up"); n != 3 {
		t.Errorf("it made %d tunnels, want 3\n%s", n, p.errs)
	}
}
