package device_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/device"
	"github.com/imdlua/imdlua/runtime/virtual/virtualtest"
)

// The hostile responder is on the same network as the phones, with addresses of its
// own. It sends false records of the phones, records of devices that do not exist, and
// floods of packets.
const (
	poisonAddress = "10.9.1.66"
	poisonPort    = 9
	// poisonKept is how much heap a search may use for what it receives.
	poisonKept = 32 << 20
)

// liar is the hostile responder on one interface, over one family of addresses.
type liar struct{ link, address, prefix, network, group string }

// liars have addresses that the system does not choose for the phones' packets.
var liars = []liar{
	{"d1", poisonAddress, "/24 preferred_lft 0", "udp4", "224.0.0.251"},
	{"d1", "fe80::66", "/64 nodad preferred_lft 0", "udp6", "ff02::fb"},
	{"d0", "fe80::66", "/64 nodad preferred_lft 0", "udp6", "ff02::fb"},
}

// poison starts the hostile responder for these services. It ends with ctx.
func poison(ctx context.Context, services []bonjour.Service) error {
	for _, l := range liars {
		if err := runIP("addr add " + l.address + l.prefix + " dev " + l.link); err != nil {
			return err
		}
		if err := l.start(ctx, lies(services)); err != nil {
			return err
		}
	}
	return nil
}

func (l liar) start(ctx context.Context, fixed [][]byte) error {
	link, err := net.InterfaceByName(l.link)
	if err != nil {
		return err
	}
	group := &net.UDPAddr{IP: net.ParseIP(l.group), Port: bonjour.Port}
	if l.network == "udp6" {
		group.Zone = l.link
	}
	questions, err := net.ListenMulticastUDP(l.network, link, group)
	if err != nil {
		return err
	}
	hostile, err := l.socket(ctx)
	if err != nil {
		return errors.Join(err, questions.Close())
	}
	context.AfterFunc(ctx, func() {
		questions.Close()
		hostile.Close()
	})
	go func() { // until ctx ends
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			<-tick.C
			_, _ = hostile.WriteToUDP(madeUp(n), group)
			_, _ = hostile.WriteToUDP(fixed[n%len(fixed)], group)
		}
	}()
	go func() { // answers to each client
		b := make([]byte, 9000)
		for n := 1 << 20; ; n++ {
			_, from, err := questions.ReadFromUDP(b)
			if err != nil {
				return
			}
			if from.IP.Equal(net.ParseIP(l.address)) {
				continue
			}
			for i := range 50 {
				_, _ = hostile.WriteToUDP(madeUp(n+i), from)
				_, _ = hostile.WriteToUDP(fixed[i%len(fixed)], from)
			}
		}
	}()
	return nil
}

// socket is port 5353 of the hostile address.
func (l liar) socket(ctx context.Context) (*net.UDPConn, error) {
	share := func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		})
		return errors.Join(err, failed)
	}
	host := l.address
	if l.network == "udp6" {
		host += "%" + l.link
	}
	lc := net.ListenConfig{Control: share}
	at := net.JoinHostPort(host, strconv.Itoa(bonjour.Port))
	c, err := lc.ListenPacket(ctx, l.network, at)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// lies returns packets with false records of each service: a port on which nothing
// listens, addresses that do not exist, and goodbyes.
func lies(services []bonjour.Service) [][]byte {
	var packets [][]byte
	seen := map[string]bool{}
	for _, s := range services {
		id := string(s.Type) + " " + s.Name
		if seen[id] {
			continue
		}
		seen[id] = true
		packets = append(packets, tell(s.Name, s.Type, s.Host, poisonPort, 120),
			tell(s.Name, s.Type, s.Host, poisonPort, 0))
	}
	return packets
}

// madeUp returns a packet about a device that does not exist.
func madeUp(n int) []byte {
	types := []bonjour.Type{bonjour.Mobdev2, bonjour.Remoted, bonjour.RemotePairing}
	name := fmt.Sprintf("00-%d", n)
	return tell(name, types[n%len(types)], name+".local", poisonPort, 120)
}

// tell returns a packet that advertises a service at the hostile address.
func tell(name string, of bonjour.Type, host string, port uint16, ttl uint32) []byte {
	typeName := string(of) + ".local."
	escaped := ""
	for _, c := range []byte(name) {
		escaped += fmt.Sprintf(`\%03d`, c)
	}
	instance := escaped + "." + typeName
	h := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	}
	m := dns.Msg{Compress: true}
	m.Response = true
	m.Answer = []dns.RR{
		&dns.PTR{Hdr: h(typeName, dns.TypePTR), Ptr: instance},
		&dns.SRV{Hdr: h(instance, dns.TypeSRV), Port: port, Target: host + "."},
		&dns.TXT{Hdr: h(instance, dns.TypeTXT), Txt: []string{""}},
		&dns.A{Hdr: h(host+".", dns.TypeA), A: net.ParseIP(poisonAddress)},
	}
	for n := range byte(30) {
		m.Answer = append(m.Answer,
			&dns.A{Hdr: h(host+".", dns.TypeA), A: net.IPv4(10, 9, 1, 200+n)})
	}
	b, err := m.Pack()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return b
}

// testPoisoned checks that the phones are found with all their routes, and no other
// devices, while the hostile responder is running.
func (n *network) testPoisoned(t *testing.T) {
	n.find(t, oldRoutes, newRoutes)
	n.device.ask(t, "poison")
	defer n.device.ask(t, "calm")
	c := listener4(t, "h1")
	heardPoison(t, c, 100) // the responder is running
	before := heapInUse()
	n.find(t, oldRoutes, newRoutes)
	if grown := heapInUse() - before; grown > poisonKept {
		t.Errorf("the heap has grown by %d MB", grown>>20)
	} else {
		t.Logf("the heap has grown by %d KB", grown>>10)
	}
	ctx, cancel := context.WithCancel(virtualtest.Context(t))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := n.finder.List(ctx, device.Selector{Network: true})
		done <- err
	}()
	heardPoison(t, c, 500)
	cancel()
	select {
	case <-done:
	case <-virtualtest.Context(t).Done():
		t.Error("a search goes on after its context has ended")
	}
}

// listener4 is listener over IPv4.
func listener4(t *testing.T, name string) *net.UDPConn {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: bonjour.Port}
	c, err := net.ListenMulticastUDP("udp4", i, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// heardPoison waits for n packets of the hostile responder.
func heardPoison(t *testing.T, c *net.UDPConn, n int) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(virtualtest.Deadline)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 9000)
	for n > 0 {
		_, from, err := c.ReadFromUDP(b)
		if err != nil {
			t.Fatalf("the hostile responder is not heard: %v", err)
		}
		if from.IP.Equal(net.ParseIP(poisonAddress)) {
			n--
		}
	}
}

// heapInUse returns the number of bytes of the heap that are in use.
func heapInUse() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
