package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// tunneldOf runs imdlua tunneld for the devices of a muxer. It waits for a tunnel to each of them,
// and returns the addresses of both APIs.
func tunneldOf(
	t *testing.T, mux string, devices int, more ...string,
) (p *program, python, goios string) {
	t.Helper()
	args := []string{
		"--usbmux", mux, "tunneld", "--no-network", "--listen", "127.0.0.1:0", "--go-ios",
		"127.0.0.1:0",
	}
	p = newProgram(t, append(args, more...)...).start(t)
	lines := strings.Fields(p.out.awaitTimes(t, "\n", 2))
	if len(lines) < 4 {
		t.Fatalf("it printed %q, want two lines of two words first", p.out)
	}
	for _, word := range []string{lines[0], lines[2]} {
		if word != "ready" {
			t.Fatalf("it printed %q, want two lines with \"ready\" first", p.out)
		}
	}
	p.errs.awaitTimes(t, " is up: ", devices)
	return p, lines[1], lines[3]
}

// get returns the answer of an API.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// reachable waits until the tunnels are listed, when other programs can reach them.
func reachable(t *testing.T, python string, udids []string) {
	t.Helper()
	for _, u := range udids {
		status, body := get(t, "http://"+python+"/start-tunnel?udid="+u)
		if status != http.StatusOK {
			t.Fatalf("start-tunnel answers %d %s", status, body)
		}
	}
}

func TestTunneld(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t, "--count", "2", "--name", "Shelf", "--echo", "7")
	slices.Sort(udids)
	p, python, goios := tunneldOf(t, mux, 2)
	reachable(t, python, udids)
	testTunneldAPIs(t, python, goios, udids)
	for _, test := range []struct {
		args   string
		code   int
		stdout string
		stderr []string
	}{
		{"--tunneld PYTHON --tunnel FIRST info -k UniqueDeviceID", 0, udids[0] + "\n", nil},
		{"--tunneld PYTHON --tunnel=SECOND info -k UniqueDeviceID", 0, udids[1] + "\n", nil},
		{"--tunneld GOIOS --tunnel SECOND info -k UniqueDeviceID", 0, udids[1] + "\n", nil},
		{
			"--tunneld PYTHON --tunnel --device SECOND info -k UniqueDeviceID", 0, udids[1] + "\n",
			nil,
		},
		{"info --tunneld PYTHON -k UniqueDeviceID --tunnel FIRST", 0, udids[0] + "\n", nil},
		{
			"--tunneld PYTHON --tunnel FIRST -e print(#device():processes()>20,device().transport)",
			0, "true\ttunnel\n", nil,
		},
		{"--tunneld PYTHON --tunnel _ -e print(#devices())", 0, "2\n", nil},
		{
			`-e local~s=device.tunneld("http://PYTHON")print(#s:devices(),s:devices()[1]==s:devices()[1])`,
			0, "2\ttrue\n", nil,
		},
		{
			`-e local~d=device.tunneld("http://GOIOS"):devices()[2]print(d.udid,#d:processes()>20)`,
			0, udids[1] + "\ttrue\n", nil,
		},
		{
			`-e print(device.tunneld("PYTHON"):device("FIRST"):battery().percent>0)`, 0, "true\n",
			nil,
		},
		{
			`-e print(#device.tunneld("PYTHON"):tunnels(),device.tunneld("GOIOS"):tunnels()[1].api)`,
			0, "2\tgo-ios\n", nil,
		},
		{
			`-e device.tunneld("PYTHON"):device("00008110-000A1B2C3D4E5F60")`, 4, "",
			[]string{"error[no_device]"},
		},
		// There are several tunnels, and no terminal for a question.
		{
			"--tunneld PYTHON --tunnel _ -e device()", 1, "",
			append([]string{"error[ambiguous]", "Shelf", "--tunnel UDID"}, udids...),
		},
		{
			"--tunneld GOIOS --tunnel info", 1, "",
			append([]string{"error[ambiguous]", "Shelf", "--tunnel UDID"}, udids...),
		},
		{
			"--tunneld PYTHON --tunnel 00008110-000A1B2C3D4E5F60 info", 4, "",
			[]string{"no tunnel to 00008110-000A1B2C3D4E5F60", "imdlua devices --tunnel"},
		},
	} {
		args := strings.Fields(strings.NewReplacer("PYTHON", python, "GOIOS", goios, "FIRST",
			strings.ToLower(udids[0]), "SECOND", udids[1]).Replace(test.args))
		for i, a := range args {
			if a == "_" {
				args[i] = ""
			}
			args[i] = strings.ReplaceAll(args[i], "~", " ")
		}
		stdout, stderr := newProgram(t, args...).check(t, test.code)
		if stdout != test.stdout {
			t.Errorf("%q printed %q, want %q", args, stdout, test.stdout)
		}
		wantIn(t, fmt.Sprintf("the standard error of %q", args), stderr, test.stderr...)
	}
	q := newProgram(t, "--tunnel", "", "devices")
	q.environment["IMD_TUNNELD"] = python
	out, _ := q.check(t, 0)
	if n := strings.Count(out, "tunnel\n"); n != 2 {
		t.Errorf("devices printed %d lines with the route tunnel, want 2:\n%s", n, out)
	}
	// The relay of the API of go-ios reaches any port of the device.
	_, addresses := forwarded(t, "--tunneld", goios, "--tunnel", udids[1], "0:7")
	if err := echoed(addresses[0], "through two programs"); err != nil {
		t.Error(err)
	}
	if status, body := get(t, "http://"+python+"/shutdown"); status != http.StatusOK {
		t.Errorf("shutdown answers %d %s", status, body)
	}
	if code := p.wait(t); code != 0 {
		t.Errorf("after /shutdown it ended with %d\n%s", code, p.errs)
	}
	for _, a := range []string{python, goios} {
		if c, err := net.Dial("tcp", a); err == nil {
			c.Close()
			t.Errorf("%s is still served", a)
		}
	}
}

// testTunneldAPIs checks the lists of tunnels of both APIs.
func testTunneldAPIs(t *testing.T, python, goios string, udids []string) {
	t.Helper()
	var listed map[string][]struct {
		Address string `json:"tunnel-address"`
		Port    int    `json:"tunnel-port"`
	}
	_, body := get(t, "http://"+python+"/")
	if err := json.Unmarshal([]byte(body), &listed); err != nil {
		t.Fatalf("the API of pymobiledevice3 answers %s: %v", body, err)
	}
	if len(listed) != 2 {
		t.Errorf("the API of pymobiledevice3 lists %d devices, want 2", len(listed))
	}
	for _, udid := range udids {
		tunnels := listed[udid]
		if len(tunnels) != 1 {
			t.Errorf("the API of pymobiledevice3 lists %+v for %s, want one tunnel", tunnels, udid)
		} else if tunnels[0].Port == 0 {
			t.Errorf("the API of pymobiledevice3 lists %+v for %s, want a port", tunnels, udid)
		}
	}
	var agent []struct{ UDID string }
	_, body = get(t, "http://"+goios+"/tunnels")
	if err := json.Unmarshal([]byte(body), &agent); err != nil {
		t.Fatalf("the API of go-ios answers %s: %v", body, err)
	}
	if len(agent) != 2 {
		t.Errorf("the API of go-ios lists %d tunnels, want 2", len(agent))
	}
}

// TestTunneldFollows restarts a device. Another device of the muxers has no tunnels.
func TestTunneldFollows(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t)
	old, without := serve(t, "--profile", "ios16")
	p, python, _ := tunneldOf(t, mux, 1, "--usbmux", old)
	newProgram(t, "--usbmux", mux, "-e", "device():restart()").check(t, 0)
	p.errs.awaitTimes(t, "to "+udids[0]+" is up: ", 2)
	newProgram(t, "--tunneld", python, "--tunnel", udids[0], "info", "-k", "UniqueDeviceID").
		prints(t, udids[0]+"\n")
	p.interrupt(t)
	if strings.Contains(p.errs.String(), without[0]) {
		t.Errorf("it reports a device without tunnels: %q", p.errs)
	}
}

// TestStreamThroughTunneld streams a log in another program while the device restarts three times.
// The stream must continue and count the gaps.
func TestStreamThroughTunneld(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t)
	p, python, _ := tunneldOf(t, mux, 1)
	stream := newProgram(t, "--tunneld", python, "--tunnel", udids[0], "-e", `
local log = device():syslog()
for n = 0, 3 do
  local entry = log:find(function(e) return n == 0 or e.gap end)
  print(entry.level == "gap", log.gaps, log:next(30) ~= nil)
end`).start(t)
	want := "false\t0\ttrue\n"
	stream.out.await(t, want)
	for n := 1; n <= 3; n++ {
		newProgram(t, "--usbmux", mux, "-e", "device():restart()").check(t, 0)
		want += fmt.Sprintf("true\t%d\ttrue\n", n)
		stream.out.await(t, want)
	}
	if code := stream.wait(t); code != 0 {
		t.Errorf("it ended with %d, want 0", code)
	}
	if out := stream.out.String(); out != want {
		t.Errorf("it printed\n%s, want\n%s", out, want)
	}
	if errs := stream.errs.String(); errs != "" {
		t.Errorf("it wrote %q to standard error, want nothing", errs)
	}
	p.interrupt(t)
}

func TestTunneldAddressTaken(t *testing.T) {
	t.Parallel()
	mux, _ := serve(t)
	p, python, goios := tunneldOf(t, mux, 1)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, test := range []struct {
		flag, address, who string
	}{
		{"--listen", python, "imdlua (pymobiledevice3 API) answers there already"},
		{"--listen", goios, "imdlua (go-ios API) answers there already"},
		{"--go-ios", goios, "imdlua (go-ios API) answers there already"},
		{"--listen", silent.Addr().String(), "in use: unknown program answers there already"},
	} {
		args := []string{
			"--usbmux", mux, "tunneld", "--listen", "", "--go-ios", "", test.flag, test.address,
		}
		newProgram(t, args...).fails(t, 1, test.who)
	}
	p.interrupt(t)
}

// TestTunneldToken runs a tunneld that other computers can reach.
func TestTunneldToken(t *testing.T) {
	t.Parallel()
	mux, udids := serve(t)
	args := []string{
		"--usbmux", mux, "tunneld", "--no-network", "--listen", "0.0.0.0:0", "--go-ios", "",
	}
	newProgram(t, args...).fails(t, 2, "IMD_TUNNELD_TOKEN")
	p := newProgram(t, args...)
	p.environment["IMD_TUNNELD_TOKEN"] = "open sesame"
	p.start(t)
	_, port, err := net.SplitHostPort(
		strings.TrimSpace(strings.TrimPrefix(p.out.await(t, "\n"), "ready ")),
	)
	if err != nil {
		t.Fatalf("it printed %q: %v", p.out, err)
	}
	p.errs.await(t, " is up: ")
	address := net.JoinHostPort("127.0.0.1", port)
	if status, _ := get(t, "http://"+address+"/"); status != http.StatusUnauthorized {
		t.Errorf("a request without the token is answered with %d", status)
	}
	for token, code := range map[string]int{"": 1, "guessed": 1, "open sesame": 0} {
		q := newProgram(t, "--tunneld", address, "--tunnel", udids[0], "-e",
			"print(device().udid, #device():processes() > 20)")
		q.environment["IMD_TUNNELD_TOKEN"] = token
		out, stderr := q.check(t, code)
		if want := udids[0] + "\ttrue\n"; code == 0 && out != want {
			t.Errorf("with token %q it printed %q, want %q", token, out, want)
		}
		if code != 0 {
			wantIn(t, fmt.Sprintf("the standard error with token %q", token), stderr,
				"error[unauthorized]", "IMD_TUNNELD_TOKEN")
		}
		if strings.Contains(out+stderr+p.out.String()+p.errs.String(), "sesame") {
			t.Errorf("the token is printed: %q %q %q", out, stderr, p.errs)
		}
	}
	p.interrupt(t)
}

// TestTunneldWithoutMuxer checks that tunneld reports that the muxer is missing, and continues.
func TestTunneldWithoutMuxer(t *testing.T) {
	t.Parallel()
	p := newProgram(t, "tunneld", "--no-network", "--listen", "127.0.0.1:0", "--go-ios",
		"").start(t)
	p.errs.await(t, "usbmux: list: ")
	p.interrupt(t)
	wantIn(t, "the output", p.out.String(), "ready 127.0.0.1:")
	wantIn(t, "the standard error", p.errs.String(), "waiting for it")
}

// TestTunneldEnds interrupts tunneld while it waits for a device.
func TestTunneldEnds(t *testing.T) {
	t.Parallel()
	mux, _ := serve(t, "--trust", "never")
	p := newProgram(t, "--usbmux", mux, "tunneld", "--no-network", "--listen", "127.0.0.1:0",
		"--go-ios", "").start(t)
	p.errs.await(t, "tap Trust")
	p.signals <- os.Interrupt
	if code := p.wait(t); code != 0 {
		t.Errorf("it ended with %d\n%s", code, p.errs)
	}
}
