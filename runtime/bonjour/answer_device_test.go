package bonjour

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// testZone returns the zone that is asked in the tables of answers.
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
	if len(r) != 2 {
		t.Fatalf("respond = %+v, want two messages", r)
	} else if r[0].unicast {
		t.Fatalf("the first message is for one receiver: %+v", r[0])
	} else if !r[1].unicast {
		t.Fatalf("the second message is for the group: %+v", r[1])
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
			if !m.Response {
				t.Fatalf("respond(% x) = %v, which is not a response", b, &m)
			}
			if len(m.Answer) == 0 {
				t.Fatalf("respond(% x) = %v, which has no answer", b, &m)
			}
			if legacy != (len(m.Question) > 0) {
				t.Fatalf("respond(% x) = %v, want the question in it: %v", b, &m, legacy)
			}
			if legacy && !r.unicast {
				t.Fatalf("respond(% x) = %v to the group, want it for the sender alone", b, &m)
			}
			if more := z.respond(r.message, legacy, questionLink); more != nil {
				t.Fatalf("an answer is answered: %v", more)
			}
		}
	})
}
