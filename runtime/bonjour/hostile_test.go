package bonjour

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// checkBounds checks the size of what a browse has kept.
func checkBounds(t *testing.T, b *browse) {
	t.Helper()
	total := 0
	for at, s := range b.senders {
		total += len(s.told)
		if len(s.told) > maxOfSender {
			t.Fatalf("%v has %d instances", at, len(s.told))
		}
		for _, i := range s.told {
			if len(i.addresses) > maxAddresses {
				t.Fatalf("%v has %d addresses of %q", at, len(i.addresses), i.name)
			}
		}
	}
	if len(b.senders) > maxSenders {
		t.Fatalf("%d senders are kept, want at most %d", len(b.senders), maxSenders)
	}
	if total > maxInstances {
		t.Fatalf("%d instances are kept, want at most %d", total, maxInstances)
	}
	if total != b.total {
		t.Fatalf("%d instances are kept, but %d are counted", total, b.total)
	}
}

const (
	hexHeader = "0000 8400 0000 0001 0000 0000" // a response with one record
	hexMob    = "0e 5f6170706c652d6d6f6264657632 045f746370 056c6f63616c 00"
	// evil is the sender of hostile packets, and honest is the phone's address. Both
	// are on en0.
	evil   = "192.168.1.66"
	honest = "192.168.1.20"
)

// fake returns a service that a hostile sender invents.
func fake(name string, port uint16, all ...string) Service {
	return Service{
		Name: name, Type: Mobdev2, Host: "Fake", Port: port, Addresses: addresses(all...),
	}
}

// raw returns the records of a service with any addresses.
func raw(s Service, all ...string) []dns.RR {
	o, err := newOffer(s)
	if err != nil {
		panic(err)
	}
	records := []dns.RR{o.ptr(), o.srv(), o.txt()}
	for _, a := range all {
		ip := netip.MustParseAddr(a)
		if ip.Is4() {
			records = append(records, &dns.A{Hdr: header(o.host, dns.TypeA, 120), A: ip.AsSlice()})
		} else {
			records = append(records,
				&dns.AAAA{Hdr: header(o.host, dns.TypeAAAA, 120), AAAA: ip.AsSlice()})
		}
	}
	return records
}

// changed returns a packet with another body.
func changed(p packet, change func(b []byte) []byte) packet {
	p.body = change(bytes.Clone(p.body))
	return p
}

// from returns a packet with another source.
func from(p packet, source string, to netip.Addr) packet {
	p.from, p.to = netip.MustParseAddrPort(source), to
	return p
}

// prefixes returns all prefixes of a packet.
func prefixes(p packet) []packet {
	var all []packet
	for n := range p.body {
		all = append(all, changed(p, func(b []byte) []byte { return b[:n] }))
	}
	return all
}

func goodbyeOf(p packet) packet {
	return changed(p, func(b []byte) []byte {
		var m dns.Msg
		if err := m.Unpack(b); err != nil {
			panic(err)
		}
		for _, rr := range m.Answer {
			rr.Header().Ttl = 0
		}
		b, err := m.Pack()
		if err != nil {
			panic(err)
		}
		return b
	})
}

// hostileRow is a set of hostile packets that are sent in addition to a phone's.
type hostileRow struct {
	name    string
	packets []packet
	listed  []string // names that are found beside the phone
}

func hostileRows(t *testing.T) []hostileRow {
	const badName = "\x1b]0;owned\x07\n\x00.\\\u202e\xff"
	phone := phoneAt(honest)
	good := said(evil, "en0", fake("fake", 7, evil))
	hand := func(hex string) []packet { return []packet{heardPacket(evil, "en0", unhex(t, hex))} }
	counts := func(n uint16) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint16(b[6:], n); return b }
	}
	other := fake("other", 7, evil)
	other.Type = "_airplay._tcp"
	var rows []hostileRow
	add := func(name string, packets []packet, listed ...string) {
		rows = append(rows, hostileRow{name, packets, listed})
	}
	add("a pointer to itself", hand(hexHeader+"c00c 000c 0001 00001194 0002 c00c"))
	add("pointers to each other", hand(hexHeader+"c00e c00c 000c 0001 00001194 0002 c00c"))
	add("a pointer past the end", hand(hexHeader+"ffff 000c 0001 00001194 0002 c00c"))
	add("a name of 255 labels",
		hand(hexHeader+strings.Repeat("0161", 255)+"00 000c 0001 00001194 0002 c00c"))
	add("a reserved label type", hand(hexHeader+"8061 00 000c 0001 00001194 0002 c00c"))
	add("a length past the end", hand(hexHeader+hexMob+"0010 0001 00001194 ffff 00"))
	add("a length too short", hand(hexHeader+hexMob+"0021 0001 00001194 0001 00"))
	add("an address of three bytes", hand(hexHeader+hexMob+"0001 0001 00001194 0003 0a0000"))
	add("a count too high", []packet{changed(good, counts(65535))})
	add("a count too low", []packet{changed(good, counts(1))})
	add("nothing", []packet{heardPacket(evil, "en0", nil), heardPacket(evil, "en0", []byte{0})}[1:])
	add("every beginning of a packet", prefixes(good))
	add("terminal sequences", []packet{said(evil, "en0", fake(badName, 7, evil))}, badName)
	add("a TXT record of 64 KB", []packet{changed(good, func(b []byte) []byte {
		return append(b, make([]byte, 65_000-len(b))...)
	})})
	long := fake("fake", 7)
	records := raw(long, evil)
	records[2].(*dns.TXT).Txt = slices.Repeat([]string{strings.Repeat("a", 250)}, 32)
	add("a TXT record of 8 KB", []packet{saying(evil, "en0", records...)})
	for _, a := range []string{"0.0.0.0", "0.1.2.3", "224.0.0.251", "255.255.255.255", "240.0.0.1",
		"127.0.0.1", "::", "::1", "ff02::1", "::ffff:192.168.1.9", "::ffff:127.0.0.1"} {
		add("address "+a, []packet{saying(evil, "en0", raw(fake("fake", 7), a)...)})
	}
	add("port 0", []packet{saying(evil, "en0", raw(fake("fake", 0), evil)...)})
	add("a goodbye for itself", []packet{good, goodbyeOf(good)})
	add("a goodbye for the phone", []packet{goodbyeOf(said(evil, "en0", phone))})
	add("a goodbye for addresses of nobody", []packet{goodbyeOf(saying(evil, "en0",
		raw(fake("fake", 7), "10.0.0.1", "10.0.0.2")[3:]...))})
	add("what nobody asked for", []packet{said(evil, "en0", other)})
	add("a question with answers",
		[]packet{changed(good, func(b []byte) []byte { b[2] &^= 0x80; return b })})
	add("another class", []packet{saying(evil, "en0", func() []dns.RR {
		all := raw(fake("fake", 7), evil)
		for _, rr := range all {
			rr.Header().Class = dns.ClassCHAOS
		}
		return all
	}()...)})
	add("from far away",
		[]packet{from(good, "203.0.113.1:5353", netip.MustParseAddr("192.168.1.5"))})
	add("from another port", []packet{from(good, evil+":5354", groupIPv4.Addr())})
	phone.Port = 9
	add("the phone's name with another port", []packet{said(evil, "en0", phone)}, plainName)
	phone = phoneAt(honest)
	phone.TXT = map[string]string{"identifier": "x"}
	var dead []string
	for n := range 60 {
		dead = append(dead, fmt.Sprintf("192.168.1.%d", 100+n))
	}
	add("the phone's name with other addresses",
		[]packet{saying(evil, "en0", raw(phone, append(dead, honest)...)...)}, plainName)
	return rows
}

// TestHostileResponder sends packets that no device sends. A browse must end in its
// time, and must return the phone as the phone has described itself.
func TestHostileResponder(t *testing.T) {
	for _, c := range hostileRows(t) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				air, m := newAir(func(_ string, _ bool, at time.Duration) ([]packet, error) {
					all := slices.Clone(c.packets)
					if at == 0 {
						all = append(all, said(honest, "en0", phoneAt(honest)))
					}
					return append(all, c.packets...), nil
				})
				got, err := m.Browse(t.Context(),
					Query{Type: Mobdev2, Interfaces: []string{"en0"}, NoIPv6: true})
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(air.start); took != DefaultTimeout {
					t.Errorf("it took %v", took)
				}
				want := found("en0", honest, honest)
				at := slices.IndexFunc(got,
					func(i Instance) bool { return i.Sender == want.Sender })
				if at < 0 {
					t.Fatalf("Browse = %+v, want the phone", got)
				}
				if p := fmt.Sprintf("%+v", got[at]); p != fmt.Sprintf("%+v", want) {
					t.Errorf("the phone is %s, want %+v", p, want)
				}
				var names []string
				for _, i := range slices.Delete(got, at, at+1) {
					names = append(names, i.Name)
				}
				if !slices.Equal(names, c.listed) {
					t.Errorf("beside the phone it found %q, want %q", names, c.listed)
				}
			})
		})
	}
}

// floodFrom returns a packet that advertises one more instance, from one of n senders.
func floodFrom(i, n int) packet {
	sender := fmt.Sprintf("192.168.1.%d", 100+i%n)
	return said(sender, "en0", fake(fmt.Sprintf("flood-%d", i), 7, sender))
}

// TestFloodBounds advertises 100,000 instances before and after the phone's.
func TestFloodBounds(t *testing.T) {
	const entries = 100_000
	for _, c := range []struct {
		name    string
		senders int
	}{{"one sender", 1}, {"many senders", 100}} {
		t.Run(c.name, func(t *testing.T) {
			l := testLink(2, "en0", 0, "192.168.1.5/24")
			a := asker{link: l, kind: Mobdev2}
			b := newBrowse(Mobdev2, []asker{a})
			before := used()
			hear := func(p packet) {
				b.add(outcome{
					heard: answer{link: "en0", sender: p.from.Addr(), facts: a.facts(p.body)},
				})
			}
			for i := range entries {
				if i == entries/2 {
					hear(said(honest, "en0", phoneAt(honest)))
				}
				hear(floodFrom(i, c.senders))
			}
			checkBounds(t, b)
			if grown := used() - before; grown > 8<<20 {
				t.Errorf("the heap has grown by %d MB", grown>>20)
			} else {
				t.Logf("the heap has grown by %d KB", grown>>10)
			}
			has := func(i Instance) bool { return i.Name == plainName }
			if all := b.list(); !slices.ContainsFunc(all, has) {
				t.Errorf("the phone is not among the %d that were found", len(all))
			}
		})
	}
}

// used returns the number of bytes on the heap that are in use.
func used() int64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestShares checks that a sender cannot have its packets read without end.
func TestShares(t *testing.T) {
	t.Parallel()
	s := shares{limit: 1000}
	a, b := netip.MustParseAddr(evil), netip.MustParseAddr(honest)
	for range 10 {
		if !s.take(a, 100, 1) {
			t.Fatal("a sender does not get its share")
		}
	}
	if s.take(a, 1, 1) {
		t.Error("a sender gets more than its share")
	}
	if !s.take(b, 1000, 1) {
		t.Error("another sender has no share")
	}
	if !s.take(a, 1000, 2) {
		t.Error("the next round has no share")
	}
	for n := range 2 * maxSenders {
		s.take(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 1, 3)
	}
	if len(s.taken) != maxSenders {
		t.Errorf("%d senders are kept, want %d", len(s.taken), maxSenders)
	}
}

// TestHostileQuerier sends questions without end. No sender may get more than a share, and a
// client that asks once must be answered.
func TestHostileQuerier(t *testing.T) {
	group := groupIPv6.Addr()
	at := netip.MustParseAddrPort
	var services []Service
	for n := range maxServices {
		services = append(services, Service{Name: fmt.Sprint(n), Type: Remoted, Host: "h", Port: 1})
	}
	everything := question(t, "_remoted._tcp.local.", dns.TypeANY, func(m *dns.Msg) {
		for n := range maxQuestions {
			m.Question = append(m.Question,
				dns.Question{Name: fmt.Sprintf("%d._remoted._tcp.local.", n),
					Qtype: dns.TypeANY, Qclass: dns.ClassINET | wantsUnicast})
		}
	})
	known := question(t, "_remoted._tcp.local.", dns.TypePTR, func(m *dns.Msg) {
		for n := range 200 {
			m.Answer = append(m.Answer,
				&dns.PTR{Hdr: header("_remoted._tcp.local.", dns.TypePTR, 4500),
					Ptr: fmt.Sprintf("%d._remoted._tcp.local.", 1000+n)})
		}
	})
	for _, c := range []struct {
		name string
		in   packet
		body []byte
	}{
		{"everything", packet{from: at("[fe80::66%en1]:4000"), to: group, index: 3}, everything},
		{
			"everything, as a responder",
			packet{from: at("[fe80::66%en1]:5353"), to: group, index: 3}, everything,
		},
		{"many known answers", packet{from: at("[fe80::66%en1]:5353"), to: group, index: 3}, known},
		{"pointers in a circle", packet{from: at("[fe80::66%en1]:5353"), to: group, index: 3},
			unhex(t, "0000 0000 0001 0000 0000 0000 c00c 000c 0001")},
		{"lying counts", packet{from: at("[fe80::66%en1]:5353"), to: group, index: 3},
			unhex(t, "0000 0000 ffff ffff ffff ffff")},
		{
			"a victim far away", packet{from: at("[2001:db8::66]:4000"), to: group, index: 3},
			everything,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, m := start(t, services...)
				defer a.Close()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				m.reset()
				for range 200 {
					m.deliver(c.in, c.body)
				}
				synctest.Wait()
				victim := c.in.from.String()
				if n := m.bytesTo[victim]; n > 0 && c.in.from.Addr().Zone() == "" {
					t.Errorf("it sent %d bytes to %s", n, victim)
				}
				if n := m.reset(); n > maxAnswered {
					t.Errorf("it sent %d bytes, want at most %d", n, maxAnswered)
				}
				asks := packet{from: at("[fe80::2%en1]:4000"), to: group, index: 3}
				m.deliver(asks, question(t, "0._remoted._tcp.local.", dns.TypeSRV))
				synctest.Wait()
				if m.reset() == 0 {
					t.Error("who asks once is not answered")
				}
			})
		})
	}
}

// TestHostileBeginnings asks with every prefix of a question.
func TestHostileBeginnings(t *testing.T) {
	t.Parallel()
	q := question(t, "_remoted._tcp.local.", dns.TypePTR, func(m *dns.Msg) {
		m.Answer = []dns.RR{&dns.A{Hdr: header("x.", dns.TypeA, 1), A: net.IPv4(1, 2, 3, 4)}}
	})
	z := testZone(t)
	for n := range q {
		if r := z.respond(q[:n], false, questionLink); r != nil {
			t.Errorf("%d bytes of a question are answered", n)
		}
	}
}
