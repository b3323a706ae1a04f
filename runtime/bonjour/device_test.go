package bonjour

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// memory is a wire without sockets.
type memory struct {
	in     chan packet
	closed chan struct{}
	start  time.Time
	mu     sync.Mutex
	sent   []string
	// bytesTo returns the bytes that were sent to each address and interface.
	bytesTo map[string]int
}

func newMemory() *memory {
	return &memory{in: make(chan packet), closed: make(chan struct{}), start: time.Now(),
		bytesTo: map[string]int{}}
}

func (m *memory) read(b []byte) (packet, error) {
	select {
	case p := <-m.in:
		if p.body == nil {
			return packet{}, errors.New("read failed")
		}
		p.body = b[:copy(b, p.body)]
		return p, nil
	case <-m.closed:
		return packet{}, net.ErrClosed
	}
}

func (m *memory) note(to string, b []byte) error {
	var d dns.Msg
	if err := d.Unpack(b); err != nil {
		return err
	}
	line := fmt.Sprintf("%v %s:", time.Since(m.start), to)
	for _, rr := range slices.Concat(d.Answer, d.Extra) {
		line += fmt.Sprintf(" %s %s %d", rr.Header().Name, dns.TypeToString[rr.Header().Rrtype],
			rr.Header().Ttl)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, line)
	m.bytesTo[to] += len(b)
	return nil
}

// reset forgets what was sent and returns the number of bytes.
func (m *memory) reset() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	total := 0
	for _, n := range m.bytesTo {
		total += n
	}
	m.sent, m.bytesTo = nil, map[string]int{}
	return total
}

func (m *memory) multicast(b []byte, l link) error       { return m.note(l.Name, b) }
func (m *memory) send(b []byte, to netip.AddrPort) error { return m.note(to.String(), b) }
func (m *memory) Close() error                           { close(m.closed); return nil }
func (m *memory) deliver(p packet, body []byte)          { p.body = body; m.in <- p }
func (m *memory) expect(t *testing.T, want ...string)    { t.Helper(); m.compare(t, want) }
func (m *memory) compare(t *testing.T, want []string) {
	t.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.sent)
	slices.Sort(want)
	if !slices.Equal(m.sent, want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(m.sent, "\n"), strings.Join(want, "\n"))
	}
	m.sent = nil
}

// start starts an advertisement on two interfaces.
func start(t *testing.T, services ...Service) (*Advertisement, *memory) {
	t.Helper()
	m := newMemory()
	a := newAdvertisement(nil)
	a.ports = []port{{wire: m, v6: true, links: []link{
		testLink(2, "en0", 0, "fe80::1/64", "192.168.1.5/24"),
		testLink(3, "en1", 0, "fe80::1/64")}}}
	z, err := newZone(services)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.start(z); err != nil {
		t.Fatal(err)
	}
	return a, m
}

// ncm is the service that every phone on USB advertises.
var ncm = Service{Name: "ncm", Type: Remoted, Host: "Virtual-iPhone", Port: 58783}

func TestAnnouncements(t *testing.T) {
	const (
		onEn0 = "ncm._remoted._tcp.local. SRV 120 ncm._remoted._tcp.local. TXT 4500 Virtual-iPhone.local. A 120 Virtual-iPhone.local. AAAA 120"
		onEn1 = "ncm._remoted._tcp.local. SRV 120 ncm._remoted._tcp.local. TXT 4500 Virtual-iPhone.local. AAAA 120"
		other = "a\\@b._remoted._tcp.local. SRV 120 a\\@b._remoted._tcp.local. TXT 4500 Virtual-iPhone.local. AAAA 120"
		ptr   = " _remoted._tcp.local. PTR 4500 "
	)
	synctest.Test(t, func(t *testing.T) {
		a, m := start(t, ncm)
		m.expect(t, "0s en0:"+ptr+onEn0, "0s en1:"+ptr+onEn1)
		time.Sleep(2 * time.Second)
		m.expect(t, "1s en0:"+ptr+onEn0, "1s en1:"+ptr+onEn1)

		// Services that have not changed must not be announced again.
		second := Service{
			Name: "a@b", Type: Remoted, Host: "Virtual-iPhone.local.", Port: 1, Interface: "en1",
		}
		if err := a.Update([]Service{ncm, second}); err != nil {
			t.Fatal(err)
		}
		m.expect(t, "2s en1:"+ptr+other)
		time.Sleep(2 * time.Second)
		m.expect(t, "3s en1:"+ptr+other)

		// A service that changed within the second must be announced in its new form.
		changed := ncm
		changed.Interface, changed.Port = "en1", 2
		if err := errors.Join(a.Update([]Service{changed, second}),
			a.Update([]Service{changed})); err != nil {
			t.Fatal(err)
		}
		m.expect(t, "4s en0:"+strings.NewReplacer("4500", "0", "120", "0").Replace(ptr+onEn0),
			"4s en1:"+ptr+onEn1,
			// The host record stays on en1.
			"4s en1: _remoted._tcp.local. PTR 0 a\\@b._remoted._tcp.local. SRV 0 a\\@b._remoted._tcp.local. TXT 0")
		if err := a.Update(nil); err != nil {
			t.Fatal(err)
		}
		goodbye := "4s en1:" + strings.NewReplacer("4500", "0", "120", "0").Replace(ptr+onEn1)
		m.expect(t, goodbye)
		time.Sleep(2 * time.Second)
		m.expect(t)

		if err := a.Update([]Service{changed}); err != nil {
			t.Fatal(err)
		}
		m.expect(t, "6s en1:"+ptr+onEn1)
		if err := errors.Join(a.Close(), a.Close()); err != nil {
			t.Errorf("Close = %v", err)
		}
		m.expect(t, strings.Replace(goodbye, "4s", "6s", 1))
		if err := a.Update([]Service{ncm}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Update after Close = %v", err)
		}
	})
}

// After an error the old services must stay.
func TestRefusedServices(t *testing.T) {
	long := strings.Repeat("a", 64)
	with := func(change func(*Service)) []Service {
		s := ncm
		change(&s)
		return []Service{s}
	}
	synctest.Test(t, func(t *testing.T) {
		a, m := start(t, ncm)
		defer a.Close()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		m.sent = nil
		for name, services := range map[string][]Service{
			"empty name":  with(func(s *Service) { s.Name = "" }),
			"long name":   with(func(s *Service) { s.Name = long }),
			"type":        with(func(s *Service) { s.Type = "remoted" }),
			"no host":     with(func(s *Service) { s.Host = "" }),
			"long host":   with(func(s *Service) { s.Host = long }),
			"empty label": with(func(s *Service) { s.Host = "a..b" }),
			"text":        with(func(s *Service) { s.TXT = map[string]string{"a=b": ""} }),
			"no address":  with(func(s *Service) { s.Addresses = []netip.Addr{{}} }),
			"group address": with(
				func(s *Service) { s.Addresses = []netip.Addr{groupIPv6.Addr()} },
			),
			"the same twice": {
				ncm, with(func(s *Service) { s.Name = "NCM"; s.Interface = "en1" })[0],
			},
			"too many": slices.Repeat([]Service{ncm}, maxServices+1),
		} {
			var e *Error
			if err := a.Update(services); !errors.As(err, &e) {
				t.Errorf("%s: Update = %v, want an Error", name, err)
			}
		}
		m.expect(t)
		if len(a.zone.offers) != 1 {
			t.Errorf("the services are now %+v, want one", a.zone.offers)
		} else if a.zone.offers[0].name != "ncm._remoted._tcp.local." {
			t.Errorf("the service is now %q", a.zone.offers[0].name)
		}
	})
}

func question(t testing.TB, name string, kind uint16, change ...func(*dns.Msg)) []byte {
	t.Helper()
	m := dns.Msg{Question: []dns.Question{{Name: name, Qtype: kind, Qclass: dns.ClassINET}}}
	for _, c := range change {
		c(&m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestHandle varies the source of a question and compares the destination of its answer.
func TestHandle(t *testing.T) {
	const full = " _remoted._tcp.local. PTR 4500 ncm._remoted._tcp.local. SRV 120 ncm._remoted._tcp.local. TXT 4500 Virtual-iPhone.local. AAAA 120"
	legacy := strings.NewReplacer("4500", "10", "120", "10").Replace(full)
	group := groupIPv6.Addr()
	from := netip.MustParseAddrPort
	unicast := func(m *dns.Msg) { m.Question[0].Qclass |= wantsUnicast }
	q := question(t, "_remoted._tcp.local.", dns.TypePTR)
	for _, c := range []struct {
		name string
		in   packet
		body []byte
		want []string
	}{
		{
			"plain DNS client", packet{from: from("[fe80::2%en1]:4000"), to: group, index: 3}, q,
			[]string{"0s [fe80::2%en1]:4000:" + legacy},
		},
		{
			"responder", packet{from: from("[fe80::2%en1]:5353"), to: group, index: 3}, q,
			[]string{"0s en1:" + full},
		},
		{"responder that wants it itself",
			packet{from: from("[fe80::2%en1]:5353"), to: group, index: 3},
			question(t, "_REMOTED._tcp.local.", dns.TypePTR, unicast),
			[]string{"0s en1:" + full, "0s [fe80::2%en1]:5353:" + full}},
		{
			"sent to us alone",
			packet{from: from("[fe80::2%en1]:4000"), to: netip.MustParseAddr("fe80::1"), index: 3},
			q, []string{"0s [fe80::2%en1]:4000:" + legacy},
		},
		{"from far away", packet{
			from: from("[2001:db8::1]:4000"), to: netip.MustParseAddr("2001:db8::2"), index: 3,
		}, q, nil},
		{
			"interface of another", packet{from: from("[fe80::2%en5]:4000"), to: group, index: 5},
			q, nil,
		},
		{
			"system that does not tell the interface", packet{from: from("[fe80::2%en1]:4000")}, q,
			[]string{"0s [fe80::2%en1]:4000:" + legacy},
		},
		{"the same, from elsewhere", packet{from: from("[fe80::2%en5]:4000")}, q, nil},
		{
			"nonsense", packet{from: from("[fe80::2%en1]:4000"), to: group, index: 3},
			[]byte{1, 2, 3}, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, m := start(t)
				defer a.Close()
				if err := a.Update([]Service{ncm}); err != nil {
					t.Fatal(err)
				}
				m.mu.Lock()
				m.sent = nil
				m.mu.Unlock()
				m.deliver(c.in, c.body)
				m.expect(t, c.want...)
			})
		})
	}
}

// A socket that fails for a while must be read again.
func TestReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, m := start(t)
		for range 3 {
			m.in <- packet{}
		}
		if took := time.Since(m.start); took != 2*readPause {
			t.Errorf("three failed reads took %v", took)
		}
		a.Close() // in the pause
	})
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The encodings of names in the packets below.
const (
	hexType = "085f72656d6f746564 045f746370 056c6f63616c 00" // _remoted._tcp.local.
	hexHost = "0e5669727475616c2d6950686f6e65 056c6f63616c 00"
	hexAddr = "fe800000000000000000000000000001"
)

// The packets are made by hand after RFC 1035 and 6762.
func TestGoldenPackets(t *testing.T) {
	t.Parallel()
	z, err := newZone([]Service{ncm})
	if err != nil {
		t.Fatal(err)
	}
	l := testLink(3, "en1", 0, "fe80::1/64")
	query := unhex(t, "1234 0000 0001 0000 0000 0000"+hexType+"000c 0001")
	check := func(what string, got, want []byte) {
		t.Helper()
		if string(got) != string(want) {
			t.Errorf("%s = \n% x, want \n% x", what, got, want)
		}
	}
	one := func(legacy bool) []byte {
		t.Helper()
		r := z.respond(query, legacy, l)
		if len(r) != 1 {
			t.Fatalf("respond = %+v, want one message", r)
		} else if r[0].unicast != legacy {
			t.Fatalf("respond is for one receiver: %v, want %v", r[0].unicast, legacy)
		}
		return r[0].message
	}
	check("answer to a plain DNS client", one(true), unhex(t, "1234 8400 0001 0001 0000 0003"+
		hexType+"000c 0001"+ //                                                   12: question
		//                          PTR ncm._remoted._tcp.local. at 49
		"c00c 000c 0001 0000000a 0006 036e636d c00c"+
		"c031 0021 0001 0000000a 001c 0000 0000 e59f"+hexHost+ //                 SRV, host at 73
		"c031 0010 0001 0000000a 0001 00"+ //                                     TXT
		"c049 001c 0001 0000000a 0010"+hexAddr)) //                               AAAA
	check("answer to the group", one(false), unhex(t, "0000 8400 0000 0001 0000 0003"+
		hexType+
		"000c 0001 00001194 0006 036e636d c00c"+ //                       PTR, instance at 43
		"c02b 0021 8001 00000078 001c 0000 0000 e59f"+hexHost+ //                 SRV, host at 67
		"c02b 0010 8001 00001194 0001 00"+
		"c043 001c 8001 00000078 0010"+hexAddr))
	for _, goodbye := range []bool{false, true} {
		got, err := pack(z.announcement(&z.offers[0], l), goodbye)
		if err != nil {
			t.Fatal(err)
		}
		ptr, host := "00001194", "00000078"
		if goodbye {
			ptr, host = "00000000", "00000000"
		}
		check("announcement", got, unhex(t, "0000 8400 0000 0004 0000 0000"+
			hexType+"000c 0001"+ptr+"0006 036e636d c00c"+
			"c02b 0021 8001"+host+"001c 0000 0000 e59f"+hexHost+
			"c02b 0010 8001"+ptr+"0001 00"+
			"c043 001c 8001"+host+"0010"+hexAddr))
	}
}
