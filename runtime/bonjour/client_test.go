package bonjour

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func testLink(index int, name string, flags net.Flags, prefixes ...string) link {
	l := link{Interface: &net.Interface{Index: index, Name: name, Flags: net.FlagUp | flags}}
	for _, p := range prefixes {
		l.prefixes = append(l.prefixes, netip.MustParsePrefix(p))
	}
	return l
}

// testLinks returns the interfaces of a machine with Wi-Fi, two devices on USB and a
// tunnel.
func testLinks() ([]link, error) {
	return []link{
		testLink(1, "lo", net.FlagLoopback, "127.0.0.1/8", "::1/128"),
		testLink(2, "en0", net.FlagMulticast, "192.168.1.5/24", "fe80::1/64", "2001:db8::5/64"),
		testLink(3, "en1", net.FlagMulticast, "fe80::1/64"),
		testLink(4, "en2", net.FlagMulticast, "169.254.3.4/16", "fe80::1/64"),
		testLink(5, "utun0", net.FlagPointToPoint, "fe80::1/64"),
	}, nil
}

// radio is a wire that answers questions with packets. in delivers packets that do not
// answer a question.
type radio struct {
	*memory
	asker asker
	air   *air
}

// air is the medium that all radios of a browse share.
type air struct {
	mu    sync.Mutex
	asked []string
	start time.Time
	// answer gets the interface and whether IPv6 is asked.
	answer func(name string, v6 bool, at time.Duration) ([]packet, error)
	radios []*radio
}

func newAir(answer func(name string, v6 bool, at time.Duration) ([]packet, error)) (*air, *MDNS) {
	a := &air{start: time.Now(), answer: answer}
	return a, &MDNS{open: a.open, links: testLinks}
}

func (a *air) open(_ context.Context, of asker) ([]wire, error) {
	r := &radio{newMemory(), of, a}
	r.in = make(chan packet, 1024)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.radios = append(a.radios, r)
	return []wire{r}, nil
}

func (r *radio) multicast(b []byte, l link) error {
	var q dns.Msg
	if err := q.Unpack(b); err != nil {
		return err
	}
	at := time.Since(r.air.start)
	r.air.mu.Lock()
	r.air.asked = append(r.air.asked,
		fmt.Sprintf("%v %s %s v6=%v", at, q.Question[0].Name, l.Name, r.asker.v6))
	r.air.mu.Unlock()
	packets, err := r.air.answer(l.Name, r.asker.v6, at)
	for _, p := range packets {
		r.in <- p
	}
	return err
}

func nothing(string, bool, time.Duration) ([]packet, error) { return nil, nil }

// phoneSender is the sender of the packets in these tests.
const phoneSender = "fe80::20"

// said returns a packet that advertises services, sent from an address on an interface.
func said(from, on string, services ...Service) packet {
	z, err := newZone(services)
	if err != nil {
		panic(err)
	}
	var all []dns.RR
	for n := range z.offers {
		all = append(all,
			z.announcement(&z.offers[n], link{Interface: &net.Interface{Name: on}})...)
	}
	return saying(from, on, all...)
}

// saying returns a packet with these records.
func saying(from, on string, all ...dns.RR) packet {
	b, err := pack(all, false)
	if err != nil {
		panic(err)
	}
	return heardPacket(from, on, b)
}

// heardPacket returns a packet to the group.
func heardPacket(from, on string, b []byte) packet {
	links, _ := testLinks()
	at := slices.IndexFunc(links, func(l link) bool { return l.Name == on })
	a := netip.MustParseAddr(from)
	p := packet{body: b, to: groupIPv4.Addr(), index: links[at].Index}
	if a.Is6() {
		a, p.to = a.WithZone(on), groupIPv6.Addr()
	}
	p.from = netip.AddrPortFrom(a, Port)
	return p
}

// phoneAt returns a phone with these addresses.
func phoneAt(all ...string) Service {
	return Service{
		Name: plainName, Type: Mobdev2, Host: "Some-iPhone", Port: 49152,
		Addresses: addresses(all...),
	}
}

// Every interface and family of addresses must be asked by an asker of its own, until
// the time is over.
func TestSchedule(t *testing.T) {
	const mobdev2, remoted = "_apple-mobdev2._tcp.local.", "_remoted._tcp.local."
	for _, c := range []struct {
		name string
		q    Query
		took time.Duration
		want []string
	}{
		{"default", Query{
			Type: Mobdev2, NoIPv6: true, Interfaces: []string{"en0"},
		}, 3 * time.Second, []string{
			"0s " + mobdev2 + " en0 v6=false", "1s " + mobdev2 + " en0 v6=false",
			"2.5s " + mobdev2 + " en0 v6=false"}},
		{"families", Query{Type: Remoted, Timeout: time.Second, Interfaces: []string{"en0", "en0"}},
			time.Second, []string{
				"0s " + remoted + " en0 v6=false", "0s " + remoted + " en0 v6=true"}},
		{"interfaces", Query{Type: Remoted, Timeout: time.Second}, time.Second, []string{
			"0s " + remoted + " en0 v6=false", "0s " + remoted + " en0 v6=true",
			"0s " + remoted + " en1 v6=true",
			"0s " + remoted + " en2 v6=false", "0s " + remoted + " en2 v6=true"}},
		{"loopback", Query{Type: Remoted, Timeout: time.Second, Loopback: true, NoIPv4: true},
			time.Second, []string{
				"0s " + remoted + " en0 v6=true", "0s " + remoted + " en1 v6=true",
				"0s " + remoted + " en2 v6=true", "0s " + remoted + " lo v6=true"}},
		{"long", Query{
			Type: Remoted, Timeout: 8 * time.Second, Interfaces: []string{"en1"},
		}, 8 * time.Second, []string{
			"0s " + remoted + " en1 v6=true", "1s " + remoted + " en1 v6=true",
			"2.5s " + remoted + " en1 v6=true",
			"5s " + remoted + " en1 v6=true", "7.5s " + remoted + " en1 v6=true"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, m := newAir(nothing)
				got, err := m.Browse(t.Context(), c.q)
				if len(got) != 0 {
					t.Errorf("Browse = %v, want nothing", got)
				}
				if err != nil {
					t.Errorf("Browse: %v", err)
				}
				if took := time.Since(a.start); took != c.took {
					t.Errorf("Browse took %v, want %v", took, c.took)
				}
				slices.Sort(a.asked)
				if !slices.Equal(a.asked, c.want) {
					t.Errorf("asked\n%q, want\n%q", a.asked, c.want)
				}
			})
		})
	}
}

func addresses(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

const plainName = "5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24"

type heardAnswers = map[string][]packet // by interface and family

// found is the instance that a browse returns for the phone.
func found(on, sender string, all ...string) Instance {
	s := netip.MustParseAddr(sender)
	if s.Is6() {
		s = s.WithZone(on)
	}
	return Instance{Name: plainName, Type: Mobdev2, Host: "Some-iPhone.local", Port: 49152,
		Addresses: addresses(all...), Interface: on, TXT: map[string]string{}, Sender: s}
}

var browseTests = []struct {
	name    string
	answers heardAnswers
	want    []Instance
}{
	{"one device over both families", heardAnswers{
		"en0 4": {said("192.168.1.20", "en0", phoneAt("192.168.1.20", "17.1.2.3", phoneSender))},
		"en0 6": {said(phoneSender, "en0",
			phoneAt("192.168.1.20", "2001:db8::20", phoneSender, "2001:db9::1"))},
	}, []Instance{found("en0", "192.168.1.20", "192.168.1.20", "2001:db8::20", "fe80::20%en0",
		"2001:db9::1", "17.1.2.3")}},
	{"zone of the interface when the packet came by IPv4", heardAnswers{
		"en2 4": {said("169.254.1.1", "en2", phoneAt(phoneSender))},
	}, []Instance{found("en2", "169.254.1.1", "fe80::20%en2")}},
	{"same device on two interfaces", heardAnswers{
		"en1 6": {said(phoneSender, "en1", phoneAt(phoneSender))},
		"en2 6": {said(phoneSender, "en2", phoneAt(phoneSender))},
	}, []Instance{found("en1", phoneSender,
		"fe80::20%en1"), found("en2", phoneSender, "fe80::20%en2")}},
	{"heard on another interface than asked", heardAnswers{
		"en1 6": {said(phoneSender, "en2", phoneAt(phoneSender))},
	}, nil},
	{"two devices of one name and sender", heardAnswers{
		"en1 6": {
			said(phoneSender, "en1", phoneAt(phoneSender)),
			said(phoneSender, "en1", Service{
				Name: "B", Type: Mobdev2, Host: "Some-iPhone", Port: 49152,
				Addresses: addresses("fe80::b"),
			}),
		},
	}, []Instance{found("en1", phoneSender, "fe80::20%en1"), {Name: "B", Type: Mobdev2,
		Host: "Some-iPhone.local", Port: 49152,
		Addresses: addresses("fe80::b%en1"), Interface: "en1", TXT: map[string]string{},
		Sender: netip.MustParseAddr("fe80::20%en1")}}},
	{"several in one packet", heardAnswers{
		"en1 6": {said(phoneSender, "en1", ncm, phoneAt(
			phoneSender,
		), Service{Name: "A", Type: Mobdev2, Host: "A", Port: 1, Addresses: addresses("fe80::a")})},
	}, []Instance{found("en1", phoneSender, "fe80::20%en1"), {Name: "A", Type: Mobdev2,
		Host: "A.local", Port: 1,
		Addresses: addresses("fe80::a%en1"), Interface: "en1", TXT: map[string]string{},
		Sender: netip.MustParseAddr("fe80::20%en1")}}},
	{"case of the type, text", heardAnswers{
		"en0 4": {saying("192.168.1.20", "en0",
			&dns.SRV{
				Hdr: header(`A._APPLE-mobdev2._TCP.local.`, dns.TypeSRV, 120), Port: 7,
				Target: "h.local.",
			},
			&dns.TXT{
				Hdr: header(`a._apple-mobdev2._TCP.local.`, dns.TypeTXT, 120),
				Txt: []string{`identifier=\000`, "authTag=x"},
			},
			&dns.A{Hdr: header("H.local.", dns.TypeA, 120), A: net.IPv4(192, 168, 1, 20)})},
	}, []Instance{{Name: "a", Type: Mobdev2, Host: "h.local", Port: 7,
		Addresses: addresses("192.168.1.20"), Interface: "en0",
		TXT:    map[string]string{"identifier": "\x00", "authTag": "x"},
		Sender: netip.MustParseAddr("192.168.1.20")}}},
}

func TestBrowse(t *testing.T) {
	for _, c := range browseTests {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, m := newAir(func(name string, v6 bool, at time.Duration) ([]packet, error) {
					if v6 {
						return c.answers[name+" 6"], nil
					}
					return c.answers[name+" 4"], nil
				})
				got, err := m.Browse(t.Context(), Query{Type: Mobdev2, Timeout: time.Second})
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("Browse = %+v, want %+v", got, c.want)
				}
				if err != nil {
					t.Errorf("Browse: %v", err)
				}
			})
		})
	}
}

// A browse for remoted must return no IPv4 addresses, because remoted does not listen on
// IPv4.
func TestRemotedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Service{
			Name: "ncm", Type: Remoted, Host: "h", Port: 1,
			Addresses: addresses("192.168.1.20", phoneSender),
		}
		_, m := newAir(func(string, bool, time.Duration) ([]packet, error) {
			return []packet{said(phoneSender, "en0", s)}, nil
		})
		got, err := m.Browse(t.Context(), Query{Type: Remoted, Interfaces: []string{"en0"}})
		if err != nil {
			t.Fatalf("Browse: %v", err)
		}
		if len(got) != 1 {
			t.Fatalf("Browse = %+v, want one instance", got)
		}
		if want := netip.MustParseAddr("fe80::20%en0"); got[0].Addresses[0] != want {
			t.Errorf("the first address = %v, want %v", got[0].Addresses[0], want)
		}
	})
}

func TestBrowseFails(t *testing.T) {
	broken := errors.New("network is unreachable")
	one := []packet{said(phoneSender, "en0", phoneAt(phoneSender))}
	for _, c := range []struct {
		name   string
		q      Query
		answer func(string, bool, time.Duration) ([]packet, error)
		found  int
		err    error
	}{
		{
			"all", Query{Type: Mobdev2},
			func(string, bool, time.Duration) ([]packet, error) { return nil, broken }, 0, broken,
		},
		{"all but one family", Query{Type: Mobdev2},
			func(name string, v6 bool, _ time.Duration) ([]packet, error) {
				if v6 || name != "en0" {
					return nil, broken
				}
				return one, nil
			}, 1, nil},
		{"at first", Query{Type: Mobdev2},
			func(_ string, _ bool, at time.Duration) ([]packet, error) {
				if at < 2*time.Second {
					return nil, broken
				}
				return one, nil
			}, 1, nil},
		{"type", Query{Type: "x"}, nothing, 0, ErrInvalid},
		{
			"interface", Query{Type: Mobdev2, Interfaces: []string{"en9"}}, nothing, 0,
			ErrNoInterface,
		},
		{"no family", Query{Type: Mobdev2, NoIPv4: true, NoIPv6: true}, nothing, 0, ErrNoInterface},
		{
			"family not there", Query{Type: Mobdev2, NoIPv6: true, Interfaces: []string{"en1"}},
			nothing, 0, ErrNoInterface,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, m := newAir(c.answer)
				got, err := m.Browse(t.Context(), c.q)
				var e *Error
				if len(got) != c.found {
					t.Errorf("Browse = %+v, want %d instances", got, c.found)
				}
				if !errors.Is(err, c.err) {
					t.Errorf("Browse = %v, want %v", err, c.err)
				}
				if c.err != nil && !errors.As(err, &e) {
					t.Errorf("Browse = %v, want an Error", err)
				}
			})
		})
	}
}

// Sockets that cannot be opened must be tried again.
func TestBrowseOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no buffer space available")
		a, m := newAir(func(string, bool, time.Duration) ([]packet, error) {
			return []packet{said(phoneSender, "en1", phoneAt(phoneSender))}, nil
		})
		q := Query{Type: Mobdev2, Interfaces: []string{"en1"}}
		m.open = func(ctx context.Context, of asker) ([]wire, error) {
			if time.Since(a.start) == 0 {
				return nil, broken
			}
			return a.open(ctx, of)
		}
		if got, err := m.Browse(t.Context(), q); len(got) != 1 {
			t.Errorf("Browse = %+v, want one instance", got)
		} else if err != nil {
			t.Errorf("Browse: %v", err)
		}
		m.open = func(context.Context, asker) ([]wire, error) { return nil, broken }
		if got, err := m.Browse(t.Context(), q); got != nil {
			t.Errorf("Browse returns %+v with its error", got)
		} else if !errors.Is(err, broken) {
			t.Errorf("Browse = %v, want %v", err, broken)
		}
	})
}

// A browse must end at once when its context ends or Early returns true.
func TestBrowseEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		cancel time.Duration
		early  int // calls until it ends
		took   time.Duration
		err    error
	}{
		{"cancelled", 100 * time.Millisecond, 0, 100 * time.Millisecond, context.Canceled},
		{
			"cancelled between questions", 1600 * time.Millisecond, 0, 1600 * time.Millisecond,
			context.Canceled,
		},
		{"early", 0, 1, earlyPause, nil},
		{"early, later", 0, 3, 2500*time.Millisecond + earlyPause, nil},
		{"never", 0, 1000, 5 * time.Second, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, m := newAir(func(string, bool, time.Duration) ([]packet, error) {
					return []packet{said("192.168.1.20", "en0", phoneAt("192.168.1.20"))}, nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				q := Query{
					Type: Mobdev2, Timeout: 5 * time.Second, Interfaces: []string{"en0"},
					NoIPv6: true,
				}
				calls := 0
				if c.early > 0 {
					q.Early = func(all []Instance) bool {
						calls++
						all[0].Addresses[0] = netip.Addr{} // it is a copy
						return calls >= c.early
					}
				}
				got, err := m.Browse(ctx, q)
				if took := time.Since(a.start); took != c.took {
					t.Errorf("Browse took %v, want %v", took, c.took)
				} else if !errors.Is(err, c.err) {
					t.Errorf("Browse = %v, want %v", err, c.err)
				}
				switch {
				case c.err != nil:
					if got != nil {
						t.Errorf("Browse returns %+v with its error", got)
					}
				case len(got) != 1:
					t.Errorf("Browse = %+v, want one instance", got)
				case !got[0].Addresses[0].IsValid():
					t.Error("Early has changed the instances that Browse returns")
				}
			})
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, p := range []packet{said(phoneSender, "en0", phoneAt(phoneSender, "10.0.0.1"), ncm)} {
		f.Add(p.body)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		a := asker{link: testLink(2, "en0", 0), kind: Mobdev2}
		b := newBrowse(Mobdev2, []asker{a})
		sender := netip.MustParseAddr(phoneSender)
		for range 2 {
			b.add(outcome{heard: answer{link: a.Name, sender: sender, facts: a.facts(packet)}})
		}
		checkBounds(t, b)
		for _, got := range b.list() {
			if got.Port == 0 {
				t.Fatalf("%+v has no port", got)
			}
			if got.Interface != "en0" {
				t.Fatalf("%+v is not on en0", got)
			}
			if len(got.Name) > maxLabel {
				t.Fatalf("%+v has a name of %d bytes, want at most %d", got, len(got.Name),
					maxLabel)
			}
			if len(got.Addresses) == 0 {
				t.Fatalf("%+v has no address", got)
			}
		}
	})
}
