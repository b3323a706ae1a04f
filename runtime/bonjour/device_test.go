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
			// en1 has the host still
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
		if len(a.zone.offers) != 1 || a.zone.offers[0].name != "ncm._remoted._tcp.local." {
			t.Errorf("the services are now %+v", a.zone.offers)
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

// The source of a question, and the destination of its answer.
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

// Names on the wire.
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
		if len(r) != 1 || r[0].unicast != legacy {
			t.Fatalf("respond = %+v", r)
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

// testZone is what the tables of answers ask about.
func testZone(t testing.TB) *zone {
	t.Helper()
	z, err := newZone([]Service{
		ncm,
		{Name: "5c:52@fe80::1 (é).", Type: Mobdev2, Host: "Virtual-iPhone", Port: Mobdev2Port},
		{
			Name: "six", Type: RemotePairing, Host: "Six.local", Port: 1,
			Addresses: []netip.Addr{netip.MustParseAddr("fe80::6%en1"), netip.MustParseAddr("::6")},
		},
		{
			Name: "elsewhere", Type: RemotePairing, Host: "Else", Port: 1,
			Addresses: []netip.Addr{netip.MustParseAddr("fe80::7%en7")},
		},
		{Name: "elsewhere too", Type: RemotePairing, Host: "Else", Port: 1, Interface: "en7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

var questionLink = testLink(3, "en1", 0, "fe80::1/64", "192.168.1.5/24", "192.168.1.5/24")

func TestAnswers(t *testing.T) {
	t.Parallel()
	z := testZone(t)
	knows := func(target string, ttl uint32) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.Answer = append(m.Answer,
				&dns.PTR{Hdr: header("_REMOTED._tcp.local.", dns.TypePTR, ttl), Ptr: target},
				&dns.A{Hdr: header("x.", dns.TypeA, ttl), A: net.IPv4(1, 2, 3, 4)})
		}
	}
	again := func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0], m.Question[0]) }
	const ncmRecords = "ncm._remoted._tcp.local. SRV, ncm._remoted._tcp.local. TXT, Virtual-iPhone.local. A, Virtual-iPhone.local. AAAA"
	const mob = `5c:52\@fe80::1\ \(\195\169\)\.._apple-mobdev2._tcp.local.`
	for _, c := range []struct {
		name string
		q    []byte
		want []string // answer | extra
	}{
		{
			"type", question(t, "_remoted._TCP.Local.", dns.TypePTR),
			[]string{"_remoted._tcp.local. PTR | " + ncmRecords},
		},
		{
			"type, any", question(t, "_remoted._tcp.local.", dns.TypeANY),
			[]string{"_remoted._tcp.local. PTR | " + ncmRecords},
		},
		{
			"type, three times", question(t, "_remoted._tcp.local.", dns.TypePTR, again),
			[]string{"_remoted._tcp.local. PTR | " + ncmRecords},
		},
		{"type, known", question(t, "_remoted._tcp.local.", dns.TypePTR,
			knows("NCM._remoted._tcp.local.", 4000)), nil},
		{"type, known and old", question(t, "_remoted._tcp.local.", dns.TypePTR, knows(
			"ncm._remoted._tcp.local.",
			100,
		)), []string{"_remoted._tcp.local. PTR | " + ncmRecords}},
		{
			"type, another known",
			question(t, "_remoted._tcp.local.", dns.TypePTR, knows("x._remoted._tcp.local.", 4000)),
			[]string{"_remoted._tcp.local. PTR | " + ncmRecords},
		},
		{"type, wrong kind", question(t, "_remoted._tcp.local.", dns.TypeSRV), nil},
		{"one of an interface", question(t, "_remotepairing._tcp.local.", dns.TypePTR), []string{
			"_remotepairing._tcp.local. PTR | six._remotepairing._tcp.local. SRV, six._remotepairing._tcp.local. TXT, Six.local. AAAA, Six.local. AAAA"}},
		{"instance", question(t, "NCM._remoted._tcp.local.", dns.TypeSRV), []string{
			"ncm._remoted._tcp.local. SRV | Virtual-iPhone.local. A, Virtual-iPhone.local. AAAA",
		}},
		{
			"instance, text", question(t, "ncm._remoted._tcp.local.", dns.TypeTXT),
			[]string{"ncm._remoted._tcp.local. TXT | "},
		},
		{"instance, escaped", question(t,
			`5C:5\050\@fe80::1\032(\195\169)\.._apple-mobdev2._tcp.local.`, dns.TypeANY), []string{
			mob + " SRV, " + mob + " TXT | Virtual-iPhone.local. A, Virtual-iPhone.local. AAAA"}},
		{
			"instance, nothing such", question(t, "ncm._remoted._tcp.local.", dns.TypeA),
			[]string{"ncm._remoted._tcp.local. NSEC | "},
		},
		{
			"host", question(t, "virtual-iphone.local.", dns.TypeA),
			[]string{"Virtual-iPhone.local. A | Virtual-iPhone.local. AAAA"},
		},
		{
			"host, any", question(t, "virtual-iphone.local.", dns.TypeANY),
			[]string{"Virtual-iPhone.local. A, Virtual-iPhone.local. AAAA | "},
		},
		{
			"host, nothing such", question(t, "six.local.", dns.TypeA),
			[]string{"Six.local. NSEC | "},
		},
		{"host of elsewhere", question(t, "else.local.", dns.TypeANY), nil},
		{
			"types", question(t, metaQuery, dns.TypePTR),
			[]string{metaQuery + " PTR, " + metaQuery + " PTR, " + metaQuery + " PTR | "},
		},
		{"unknown", question(t, "_airplay._tcp.local.", dns.TypePTR), nil},
		{"other class", question(t, "_remoted._tcp.local.", dns.TypePTR,
			func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), nil},
		{"an answer", question(t, "_remoted._tcp.local.", dns.TypePTR,
			func(m *dns.Msg) { m.Response = true }), nil},
		{"an update", question(t, "_remoted._tcp.local.", dns.TypePTR,
			func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), nil},
		{"half a message", question(t, "_remoted._tcp.local.", dns.TypePTR)[:20], nil},
		{"empty", nil, nil},
		{"too long", append(question(t, "_remoted._tcp.local.", dns.TypePTR),
			make([]byte, maxPacket)...), nil},
	} {
		var got []string
		for _, r := range z.respond(c.q, false, questionLink) {
			var m dns.Msg
			if err := m.Unpack(r.message); err != nil {
				t.Fatal(err)
			}
			got = append(got, records(m.Answer)+" | "+records(m.Extra))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: answered\n%q, want\n%q", c.name, got, c.want)
		}
	}
	if r := z.respond(question(t, "six.local.", dns.TypeA), true, questionLink); r != nil {
		t.Errorf("a plain DNS client is told of what is not: %+v", r)
	}
}

func records(all []dns.RR) string {
	var out []string
	for _, rr := range all {
		out = append(out, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype])
	}
	return strings.Join(out, ", ")
}

// A unicast answer must have the id of its question.
func TestUnicastNumber(t *testing.T) {
	t.Parallel()
	q := question(t, metaQuery, dns.TypePTR,
		func(m *dns.Msg) { m.Id = 0x1234; m.Question[0].Qclass |= wantsUnicast })
	r := testZone(t).respond(q, false, questionLink)
	if len(r) != 2 || r[0].unicast || !r[1].unicast {
		t.Fatalf("respond = %+v", r)
	}
	if got := fmt.Sprintf("%x %x", r[0].message[:2], r[1].message[:2]); got != "0000 1234" {
		t.Errorf("numbers are %s", got)
	}
}

// One message must not cause many packets.
func TestReplyBound(t *testing.T) {
	t.Parallel()
	var services []Service
	for n := range maxServices {
		services = append(services, Service{Name: fmt.Sprint(n), Type: Remoted, Host: "h", Port: 1})
	}
	z, err := newZone(services)
	if err != nil {
		t.Fatal(err)
	}
	q := question(t, "_remoted._tcp.local.", dns.TypePTR, func(m *dns.Msg) {
		for _, kind := range []uint16{dns.TypeANY, dns.TypeANY, dns.TypePTR} {
			m.Question = append(m.Question,
				dns.Question{Name: "_remoted._tcp.local.", Qtype: kind, Qclass: dns.ClassINET})
		}
		for range 200 {
			m.Question = append(m.Question, dns.Question{
				Name: "0._remoted._tcp.local.", Qtype: dns.TypeSRV, Qclass: dns.ClassINET,
			})
		}
	})
	if got := len(z.respond(q, true, questionLink)); got != maxReplies {
		t.Errorf("%d messages, want %d", got, maxReplies)
	}
}

func FuzzRespond(f *testing.F) {
	f.Add(question(f, "_remoted._tcp.local.", dns.TypePTR), true)
	f.Add(question(f, `5c:52\@fe80::1\ (\195\169)\.._apple-mobdev2._tcp.local.`, dns.TypeANY),
		false)
	f.Add(question(f, metaQuery, dns.TypePTR, func(m *dns.Msg) {
		m.Question[0].Qclass |= wantsUnicast
		m.Answer = []dns.RR{
			&dns.PTR{Hdr: header(metaQuery, dns.TypePTR, 4500), Ptr: "_remoted._tcp.local."},
		}
	}), false)
	z := testZone(f)
	f.Fuzz(func(t *testing.T, b []byte, legacy bool) {
		replies := z.respond(b, legacy, questionLink)
		if len(replies) > 2*maxReplies {
			t.Fatalf("%d replies", len(replies))
		}
		for _, r := range replies {
			var m dns.Msg
			if err := m.Unpack(r.message); err != nil {
				t.Fatalf("respond(% x) = % x: %v", b, r.message, err)
			}
			if !m.Response || len(m.Answer) == 0 || legacy != (len(m.Question) > 0) ||
				legacy && !r.unicast {
				t.Fatalf("respond(% x) = %v", b, &m)
			}
			if more := z.respond(r.message, legacy, questionLink); more != nil {
				t.Fatalf("an answer is answered: %v", more)
			}
		}
	})
}
