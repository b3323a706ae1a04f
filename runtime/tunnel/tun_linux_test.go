package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/imdlua/imdlua/runtime/link"
)

// insideEnv tells the test binary that it runs in a network of its own.
const insideEnv = "IMDLUA_TUNNEL_NETNS"

// TestKernel runs itself in a network namespace, in which it may make interfaces that no
// other process sees.
func TestKernel(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		kernelTests(t)
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^TestKernel$", "-test.v")
	c.Env = append(os.Environ(), insideEnv+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := c.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &failed):
		t.Skipf("this machine allows no network namespace: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	case !bytes.Contains(out, []byte("--- PASS: TestKernel/cycles")):
		t.Fatalf("the test did not run:\n%s", out)
	}
}

func kernelTests(t *testing.T) {
	if f, err := os.OpenFile(tunDevice, os.O_RDWR, 0); err != nil {
		t.Skipf("the kernel forbids it: %v", err)
	} else {
		f.Close()
	}
	var host *recorder
	recorded := func(testing.TB) (net.Conn, net.Conn) {
		a, b := link.Pipe()
		host = &recorder{Conn: a}
		return host, b
	}
	tun := up(t, recorded, Options{Kernel: true},
		&Device{Open: services, RSDPort: portEcho, Faults: Faults{DropOver: sendLimit}})
	t.Run("interface", func(t *testing.T) { kernelInterface(t, tun) })
	t.Run("transfer", func(t *testing.T) { kernelTransfer(t, tun) })
	t.Run("refused", func(t *testing.T) {
		if c, err := tun.Dial(within(t), 1); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v, %v", c, err)
		}
		if c, err := tun.Dial(within(t), 0); err == nil {
			t.Errorf("port 0: %v", c)
		}
	})
	t.Run("probe", func(t *testing.T) {
		if err := tun.Probe(within(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("end", func(t *testing.T) { kernelEnds(t, tun) })
	t.Run("packets", func(t *testing.T) {
		for i, w := range host.writes[1:] {
			what := fmt.Sprintf("write %d", i)
			wantPacket(t, what, w)
			if len(w) > sendLimit {
				t.Fatalf("%s has %d bytes, want at most %d", what, len(w), sendLimit)
			}
			if w[24] == 0xff {
				t.Fatalf("%s is a packet to the multicast address % x", what, w[24:40])
			}
		}
	})
	t.Run("cycles", kernelCycles)
}

func kernelInterface(t *testing.T, tun *Tunnel) {
	i, err := net.InterfaceByName(tun.Interface())
	if err != nil {
		t.Fatal(err)
	}
	if i.MTU != tun.MTU() {
		t.Errorf("the MTU of %s is %d, want %d", i.Name, i.MTU, tun.MTU())
	}
	if i.Flags&net.FlagUp == 0 {
		t.Errorf("the interface %s is not up", i.Name)
	}
	addrs, err := i.Addrs()
	if err != nil {
		t.Errorf("the addresses of %s: %v", i.Name, err)
	}
	if want := tun.host.String(); len(addrs) != 1 || addrs[0].String() != want {
		t.Errorf("the addresses of %s are %v, want %s alone", i.Name, addrs, want)
	}
	got, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + i.Name + "/accept_ra")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(got)) != "0" {
		t.Errorf("accept_ra is %q, want 0", got)
	}
}

// kernelTransfer sends bytes through Dial and through an ordinary socket.
func kernelTransfer(t *testing.T, tun *Tunnel) {
	data := noise(4 << 20)
	plain, err := net.DialTCP("tcp6", nil,
		&net.TCPAddr{IP: tun.PeerAddress().AsSlice(), Port: portEcho})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, c := range []net.Conn{dial(t, tun, portEcho), plain} {
		go func() { c.Write(data); link.CloseWrite(c) }()
		check(t, c, data)
	}
	l, err := tun.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr().(*net.TCPAddr).IP.String() != tun.LocalAddress().String() {
		t.Errorf("listening at %v", l.Addr())
	}
	l.Close()
	_, err = l.Accept()
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v, want net.ErrClosed", err)
	}
	if errors.Is(err, ErrDown) {
		t.Errorf("Accept of a closed listener: %v matches ErrDown", err)
	}
}

// kernelEnds closes the tunnel. Every waiting call must end, and the interface must be
// removed.
func kernelEnds(t *testing.T, tun *Tunnel) {
	mute, echo := dial(t, tun, portMute), dial(t, tun, portEcho)
	l, err := tun.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(chan error)
	go func() { _, err := echo.Read(make([]byte, 1)); calls <- err }()
	go func() { _, err := io.Copy(mute, endless{}); calls <- err }()
	go func() { _, err := l.Accept(); calls <- err }()
	tun.Close()
	for range 3 {
		if err := <-calls; !errors.Is(err, ErrDown) {
			t.Errorf("a call in flight: %v", err)
		}
	}
	_, dialed := tun.Dial(within(t), portEcho)
	_, listened := tun.Listen(0)
	_, written := echo.Write([]byte("x"))
	for _, err := range []error{dialed, listened, written, tun.Probe(within(t))} {
		if !errors.Is(err, ErrDown) {
			t.Errorf("afterwards: %v", err)
		}
	}
	if i, err := net.InterfaceByName(tun.Interface()); err == nil {
		t.Errorf("the interface is still there: %+v", i)
	}
}

// kernelCycles checks that no interface, goroutine or descriptor is left.
func kernelCycles(t *testing.T) {
	one := func() {
		a, b := link.Pipe()
		result := serve(&Device{Open: services, RSDPort: 1, Faults: Faults{CutAfter: 20_000}},
			context.Background(), b)
		tun, err := Open(within(t), a, Options{Kernel: true})
		if err != nil {
			t.Fatal(err)
		}
		down(t, tun)
		if c, err := tun.Dial(within(t), portEcho); !errors.Is(err, ErrDown) {
			t.Errorf("Dial afterwards: %v, %v", c, err)
		}
		result()
	}
	one()
	noneLeft(t)
	files := descriptors(t)
	for range 5 { // the kernel needs time to remove an interface
		one()
	}
	noneLeft(t)
	if now := descriptors(t); now > files {
		t.Errorf("%d descriptors become %d", files, now)
	}
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Errorf("interfaces left: %v", list)
	}
}
