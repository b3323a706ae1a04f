package bonjour

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imdlua/imdlua/runtime/link/linktest"
	"github.com/miekg/dns"
)

// The tests here use real sockets and need several interfaces, and they must not
// exchange packets with the multicast DNS service of the machine. Therefore the test
// binary runs itself again in a new network namespace ("host"), which runs it once more
// in another one ("device"). Two pairs of virtual Ethernet interfaces connect the two
// namespaces. Both pairs have the same IPv6 addresses:
//
//	host   h0 fe80::1 10.9.0.1 ---- d0 fe80::d 10.9.0.2   device
//	       h1 fe80::1 10.9.1.1 ---- d1 fe80::d 10.9.1.2
const roleVariable = "IMDLUA_BONJOUR_ROLE"

const (
	roleHost   = "host"
	roleDevice = "device"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == roleDevice {
		if err := playDevice(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestNamespace(t *testing.T) {
	if os.Getenv(roleVariable) == roleHost {
		inNamespace(t)
		return
	}
	linktest.NeedNamespaces(t)
	cmd := exec.CommandContext(t.Context(), "unshare", "-rn", os.Args[0],
		"-test.run=^TestNamespace$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), roleVariable+"="+roleHost)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestNamespace/") {
		t.Fatalf("nothing was tested:\n%s", out)
	}
	t.Logf("%s", out)
}

func inNamespace(t *testing.T) {
	before := runtime.NumGoroutine()
	ip(t, "link set lo up", "link set lo multicast on")
	t.Run("no route", testNoRoute)
	ip(t, "route add 224.0.0.0/4 dev lo")
	t.Run("one instance", testOneInstance)
	t.Run("many instances", testManyInstances)
	t.Run("cancel", testCancel)
	t.Run("passive listener", testPassive)
	t.Run("questions from 5353", testFull)
	t.Run("foreign client", testForeignClient)
	t.Run("foreign responder", testForeignResponder)
	t.Run("flood", testFlood)
	t.Run("two interfaces", testTwoInterfaces)
	t.Run("beside ethernet", testBesideEthernet)
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("goroutines left:\n%s", buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

func ip(t testing.TB, lines ...string) {
	t.Helper()
	if err := runIP(lines...); err != nil {
		t.Fatal(err)
	}
}

func runIP(lines ...string) error {
	for _, l := range lines {
		if out, err := exec.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", l, err, out)
		}
	}
	return nil
}

func advertise(t *testing.T, o AdvertiseOptions, s ...Service) *Advertisement {
	t.Helper()
	a, err := Advertise(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// phoneService is the service of a virtual phone on a loopback address.
func phoneService(t *testing.T, n byte) Service {
	t.Helper()
	name, err := Mobdev2Name(fmt.Sprintf("5c:52:84:0a:1b:%02x", n), 24)
	if err != nil {
		t.Fatal(err)
	}
	return Service{Name: name, Type: Mobdev2, Host: fmt.Sprintf("Virtual-iPhone-%d", n),
		Port:      Mobdev2Port,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, n})}}
}

// browseFor browses until n instances are found.
func browseFor(t *testing.T, n int, q Query) []Instance {
	t.Helper()
	m := &MDNS{}
	q.Timeout = 10 * time.Second
	q.Early = func(all []Instance) bool { return len(all) >= n }
	found, err := m.Browse(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != n {
		t.Fatalf("found %d instances %+v, want %d", len(found), found, n)
	}
	return found
}

// testNoRoute runs on a machine without a route for multicast, as a container may be.
func testNoRoute(t *testing.T) {
	m := &MDNS{}
	advertise(t, AdvertiseOptions{}, phoneService(t, 2))
	browseFor(t, 1, Query{Type: Mobdev2, Loopback: true, NoIPv6: true})
	if _, err := m.Browse(t.Context(), Query{Type: Mobdev2}); !errors.Is(err, ErrNoInterface) {
		t.Errorf("Browse without interfaces = %v, want %v", err, ErrNoInterface)
	}
	if _, err := m.Browse(t.Context(),
		Query{Type: Mobdev2, Interfaces: []string{"none0"}}); !errors.Is(err, ErrNoInterface) {
		t.Errorf("Browse on an unknown interface = %v, want %v", err, ErrNoInterface)
	}
	if _, err := Advertise(t.Context(), nil,
		AdvertiseOptions{Interfaces: []string{"none0"}}); !errors.Is(err, ErrNoInterface) {
		t.Errorf("Advertise on an unknown interface = %v, want %v", err, ErrNoInterface)
	}
}

func testOneInstance(t *testing.T) {
	s := phoneService(t, 2)
	s.TXT = map[string]string{"identifier": "a b;\"\\", "authTag": "\x00\xff=="}
	advertise(t, AdvertiseOptions{}, s)
	got := browseFor(t, 1, Query{Type: Mobdev2, Loopback: true})[0]
	want := Instance{Name: s.Name, Type: Mobdev2, Host: "Virtual-iPhone-2.local", Port: Mobdev2Port,
		Addresses: s.Addresses, Interface: "lo", TXT: s.TXT, Sender: got.Sender}
	if !got.Sender.IsLoopback() && !got.Sender.IsUnspecified() {
		t.Errorf("Sender = %v, want an address of the loopback interface", got.Sender)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Browse = %+v, want %+v", got, want)
	}
}

// testBesideEthernet browses the loopback interface of a machine that has another one, whose
// address its questions carry. The first search may hear an announcement instead of an
// answer; the second one comes after them.
func testBesideEthernet(t *testing.T) {
	ip(t, "link add e0 type veth peer name e1", "addr add 10.8.0.1/24 dev e0", "link set e0 up")
	advertise(t, AdvertiseOptions{}, phoneService(t, 2))
	for range 2 {
		browseFor(t, 1, Query{Type: Mobdev2, Interfaces: []string{"lo"}})
	}
}

func testManyInstances(t *testing.T) {
	var all []Service
	for n := range byte(8) {
		all = append(all, phoneService(t, n+2))
	}
	other := all[0]
	other.Type = RemotePairing
	a := advertise(t, AdvertiseOptions{}, append(all, other)...)
	for n, i := range browseFor(t, len(all), Query{Type: Mobdev2, Loopback: true}) {
		if i.Name != all[n].Name {
			t.Errorf("instance %d has the name %q, want %q", n, i.Name, all[n].Name)
		}
		if !slices.Equal(i.Addresses, all[n].Addresses) {
			t.Errorf("instance %d has the addresses %v, want %v", n, i.Addresses, all[n].Addresses)
		}
	}
	if err := a.Update(all[:1]); err != nil {
		t.Fatal(err)
	}
	browseFor(t, 1, Query{Type: Mobdev2, Loopback: true})
	m := &MDNS{}
	found, err := m.Browse(t.Context(), Query{
		Type: RemotePairing, Loopback: true, Timeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Errorf("Browse for a service that is gone: %v", err)
	}
	if len(found) != 0 {
		t.Errorf("Browse for a service that is gone = %+v", found)
	}
}

func testCancel(t *testing.T) {
	m := &MDNS{}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	advertise(t, AdvertiseOptions{}, phoneService(t, 2))
	early := func([]Instance) bool { cancel(nil); return false }
	found, err := m.Browse(ctx,
		Query{Type: Mobdev2, Loopback: true, Timeout: 5 * time.Second, Early: early})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Browse = %v, want %v", err, context.Canceled)
	}
	if found != nil {
		t.Errorf("Browse returns %+v with its error", found)
	}
}

// heard reads messages until one satisfies ok.
func heard(t *testing.T, c *net.UDPConn, what string, ok func(*dns.Msg) bool) *dns.Msg {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxPacket)
	for {
		n, _, err := c.ReadFromUDP(b)
		if err != nil {
			t.Fatalf("%s was not heard: %v", what, err)
		}
		m := &dns.Msg{}
		if m.Unpack(b[:n]) == nil && m.Response && ok(m) {
			return m
		}
	}
}

// member is a socket of package net on port 5353 that is in the group.
func member(t *testing.T) *net.UDPConn {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenMulticastUDP("udp4", lo, net.UDPAddrFromAddrPort(groupIPv4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func testPassive(t *testing.T) {
	c := member(t)
	a := advertise(t, AdvertiseOptions{}, phoneService(t, 2))
	for range 2 {
		m := heard(t, c, "announcement",
			func(m *dns.Msg) bool { return m.Answer[0].Header().Ttl > 0 })
		if len(m.Answer) != 4 {
			t.Errorf("the announcement has %d answers, want 4: %v", len(m.Answer), m)
		}
		if len(m.Question) != 0 {
			t.Errorf("the announcement has a question: %v", m)
		}
		if m.Id != 0 {
			t.Errorf("the announcement has the id %d, want 0", m.Id)
		}
	}
	a.Close()
	heard(t, c, "goodbye", func(m *dns.Msg) bool { return m.Answer[0].Header().Ttl == 0 })
}

// testFull asks from port 5353, as a responder does. The answer goes to the group, and
// also to the sender if the question asks for that.
func testFull(t *testing.T) {
	a := advertise(t, AdvertiseOptions{NoIPv6: true})
	s, _, err := listen(t.Context(), false, a.ports[0].links)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := a.Update([]Service{phoneService(t, 2)}); err != nil {
		t.Fatal(err)
	}
	c := member(t)
	var q dns.Msg
	q.SetQuestion(formatName(Mobdev2.labels()...), dns.TypePTR)
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.multicast(b, a.ports[0].links[0]); err != nil {
		t.Fatal(err)
	}
	m := heard(t, c, "answer to the group", func(m *dns.Msg) bool { return len(m.Extra) > 0 })
	if len(m.Answer) != 1 {
		t.Errorf("the message has %d answers, want 1: %v", len(m.Answer), m)
	}
	if len(m.Extra) != 3 {
		t.Errorf("the message has %d additional records, want 3: %v", len(m.Extra), m)
	}
	if len(m.Question) != 0 {
		t.Errorf("the message has a question: %v", m)
	}
}

func testTwoInterfaces(t *testing.T) {
	startDevice(t)
	for _, family := range []Query{{NoIPv4: true}, {NoIPv6: true}, {}} {
		family.Type = Remoted
		found := browseFor(t, 2, family)
		for n, i := range found {
			name := fmt.Sprintf("h%d", n)
			address := netip.MustParseAddr("fe80::d%" + name)
			if i.Interface != name {
				t.Errorf("%+v finds the interface %q, want %q", family, i.Interface, name)
				continue
			}
			if i.Name != "ncm" {
				t.Errorf("%+v finds the name %q, want ncm", family, i.Name)
				continue
			}
			if !slices.Contains(i.Addresses, address) {
				t.Errorf("%+v finds the addresses %v, want %v among them", family, i.Addresses,
					address)
				continue
			}
			greeting(t, netip.AddrPortFrom(address, i.Port), fmt.Sprintf("d%d", n))
		}
	}
	one := browseFor(t, 1, Query{Type: Remoted, Interfaces: []string{"h1"}})[0]
	if one.Interface != "h1" {
		t.Errorf("browsing h1 found %+v", one)
	}
	// Static can be used in place of MDNS.
	s, err := Static{one}.Browse(t.Context(), Query{Type: Remoted})
	if err != nil {
		t.Fatalf("Static: %v", err)
	} else if len(s) != 1 {
		t.Fatalf("Static = %+v, want one instance", s)
	}
	greeting(t, s[0].Endpoints()[0], "d1")
}

// greeting dials and expects the name of the device's interface.
func greeting(t *testing.T, a netip.AddrPort, want string) {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", a.String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if string(got) != want {
		t.Errorf("%v sends %q, want %q", a, got, want)
	}
	if err != nil {
		t.Errorf("reading from %v: %v", a, err)
	}
}

const devicePort = 58783

// startDevice starts the device in its namespace and joins it to this one.
func startDevice(t *testing.T) {
	t.Helper()
	cmd := exec.Command("unshare", "-n", os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+roleDevice)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the device: %v", err)
		}
	})
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the device has ended, want the line %q", want)
		} else if lines.Text() != want {
			t.Fatalf("the device prints %q, want %q", lines.Text(), want)
		}
	}
	expect("up") // it is in its namespace now
	for n := range 2 {
		ip(t, fmt.Sprintf("link add h%d type veth peer name d%d netns %d", n, n, cmd.Process.Pid),
			fmt.Sprintf("link set h%d addrgenmode none", n),
			fmt.Sprintf("addr add 10.9.%d.1/24 dev h%d", n, n),
			fmt.Sprintf("addr add fe80::1/64 dev h%d nodad", n))
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	expect("linked")
	ip(t, "link set h0 up", "link set h1 up")
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	expect("ready")
}

// playDevice runs in the process of the device.
func playDevice() error {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("up")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	for n := range 2 {
		if err := runIP(fmt.Sprintf("link set d%d addrgenmode none", n),
			fmt.Sprintf("addr add 10.9.%d.2/24 dev d%d", n, n),
			fmt.Sprintf("addr add fe80::d/64 dev d%d nodad", n),
			fmt.Sprintf("link set d%d up", n)); err != nil {
			return err
		}
	}
	fmt.Println("linked")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	for _, name := range []string{"d0", "d1"} {
		l, err := net.Listen("tcp", fmt.Sprintf("[fe80::d%%%s]:%d", name, devicePort))
		if err != nil {
			return err
		}
		go greet(l, name)
	}
	s := Service{Name: "ncm", Type: Remoted, Host: "Virtual-iPhone", Port: devicePort}
	a, err := Advertise(context.Background(), []Service{s},
		AdvertiseOptions{Interfaces: []string{"d0", "d1"}})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, in) // until the parent is done
	return a.Close()
}

func greet(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, name)
		c.Close()
	}
}
