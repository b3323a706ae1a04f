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

	"github.com/hashicorp/mdns"
)

func testLink(index int, name string, flags net.Flags, prefixes ...string) link {
	l := link{Interface: &net.Interface{Index: index, Name: name, Flags: net.FlagUp | flags}}
	for _, p := range prefixes {
		l.prefixes = append(l.prefixes, netip.MustParsePrefix(p))
	}
	return l
}

// testLinks are a machine with Wi-Fi, two devices on USB and a tunnel.
func testLinks() ([]link, error) {
	return []link{
		testLink(1, "lo", net.FlagLoopback, "127.0.0.1/8", "::1/128"),
		testLink(2, "en0", net.FlagMulticast, "192.168.1.5/24", "fe80::1/64", "2001:db8::5/64"),
		testLink(3, "en1", net.FlagMulticast, "fe80::1/64"),
		testLink(4, "en2", net.FlagMulticast, "169.254.3.4/16", "fe80::1/64"),
		testLink(5, "utun0", net.FlagPointToPoint, "fe80::1/64"),
	}, nil
}

func entry(name string, v4 string, v6 string, text ...string) *mdns.ServiceEntry {
	e := &mdns.ServiceEntry{Name: name, Host: "Some-iPhone.local.", Port: 49152, InfoFields: text}
	if v4 != "" {
		e.AddrV4 = net.ParseIP(v4)
	}
	if v6 != "" {
		a := netip.MustParseAddr(v6)
		e.AddrV6IPAddr = &net.IPAddr{IP: a.WithZone("").AsSlice(), Zone: a.Zone()}
	}
	return e
}

// library stands in for hashicorp/mdns: it takes the whole timeout, whatever
// becomes of the context, and gives the entries that answer tells.
type library struct {
	mu    sync.Mutex
	asked []string
	start time.Time
	// answer gets the interface and whether IPv6 is asked.
	answer func(name string, v6 bool, at time.Duration) ([]*mdns.ServiceEntry, error)
}

func newLibrary(
	answer func(name string, v6 bool, at time.Duration) ([]*mdns.ServiceEntry, error),
) (*library, *MDNS) {
	l := &library{start: time.Now(), answer: answer}
	return l, &MDNS{lookup: l.lookup, links: testLinks}
}

func (l *library) lookup(_ context.Context, p *mdns.QueryParam) error {
	at := time.Since(l.start)
	l.mu.Lock()
	l.asked = append(l.asked, fmt.Sprintf("%v %s %s v6=%v for %v", at, p.Service, p.Interface.Name,
		p.DisableIPv4, p.Timeout))
	l.mu.Unlock()
	if p.DisableIPv4 == p.DisableIPv6 {
		return errors.New("both families in one query")
	}
	entries, err := l.answer(p.Interface.Name, p.DisableIPv4, at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		select {
		case p.Entries <- e:
		default:
		}
	}
	time.Sleep(p.Timeout)
	return nil
}

func nothing(string, bool, time.Duration) ([]*mdns.ServiceEntry, error) { return nil, nil }

// Every interface and family is asked by its own, again and again until the
// time is over.
func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		name string
		q    Query
		took time.Duration
		want []string
	}{
		{"default", Query{Type: Mobdev2, NoIPv6: true, Interfaces: []string{"en0"}},
			3 * time.Second, []string{
				"0s _apple-mobdev2._tcp en0 v6=false for 1.5s",
				"1s _apple-mobdev2._tcp en0 v6=false for 2s",
				"2.5s _apple-mobdev2._tcp en0 v6=false for 500ms"}},
		{"families", Query{Type: Remoted, Timeout: time.Second, Interfaces: []string{"en0", "en0"}},
			time.Second, []string{
				"0s _remoted._tcp en0 v6=false for 1s",
				"0s _remoted._tcp en0 v6=true for 1s"}},
		{"interfaces", Query{Type: Remoted, Timeout: time.Second}, time.Second, []string{
			"0s _remoted._tcp en0 v6=false for 1s",
			"0s _remoted._tcp en0 v6=true for 1s",
			"0s _remoted._tcp en1 v6=true for 1s",
			"0s _remoted._tcp en2 v6=false for 1s",
			"0s _remoted._tcp en2 v6=true for 1s"}},
		{"loopback", Query{Type: Remoted, Timeout: time.Second, Loopback: true, NoIPv4: true},
			time.Second, []string{
				"0s _remoted._tcp en0 v6=true for 1s",
				"0s _remoted._tcp en1 v6=true for 1s",
				"0s _remoted._tcp en2 v6=true for 1s",
				"0s _remoted._tcp lo v6=true for 1s"}},
		{"long", Query{Type: Remoted, Timeout: 8 * time.Second, Interfaces: []string{"en1"}},
			8 * time.Second, []string{
				"0s _remoted._tcp en1 v6=true for 1.5s",
				"1s _remoted._tcp en1 v6=true for 2s",
				"2.5s _remoted._tcp en1 v6=true for 3s",
				"5s _remoted._tcp en1 v6=true for 3s",
				"7.5s _remoted._tcp en1 v6=true for 500ms"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, m := newLibrary(nothing)
				got, err := m.Browse(t.Context(), c.q)
				if len(got) != 0 || err != nil {
					t.Errorf("Browse = %v, %v", got, err)
				}
				if took := time.Since(l.start); took != c.took {
					t.Errorf("Browse took %v, want %v", took, c.took)
				}
				slices.Sort(l.asked)
				if !slices.Equal(l.asked, c.want) {
					t.Errorf("asked\n%q, want\n%q", l.asked, c.want)
				}
				m.Wait()
			})
		})
	}
}

const phoneName = `5c:52:84:0a:1b:2c\@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24._apple-mobdev2._tcp.local.`

func addresses(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

type answers = map[string][]*mdns.ServiceEntry // by interface and family

const plainName = "5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24"

var browseTests = []struct {
	name    string
	answers answers
	want    []Instance
}{
	{"addresses add up and are sorted", answers{
		"en0 4": {entry(phoneName, "192.168.1.20", "fe80::20", "ver=26")},
		"en0 6": {
			entry(phoneName, "17.1.2.3", "2001:db8::20"), entry(phoneName, "", "fe80::20%en0"),
			entry(phoneName, "", "2001:db9::1"),
		},
	}, []Instance{{Name: plainName, Interface: "en0",
		Addresses: addresses("192.168.1.20", "2001:db8::20", "fe80::20%en0", "2001:db9::1",
			"17.1.2.3"), TXT: map[string]string{}}}},
	{"zone of the query when the packet came by IPv4", answers{
		"en2 4": {entry(phoneName, "", "fe80::20")},
	}, []Instance{{
		Name: plainName, Interface: "en2", Addresses: addresses("fe80::20%en2"),
		TXT: map[string]string{},
	}}},
	{"same device on two interfaces", answers{
		"en1 6": {entry(phoneName, "", "fe80::20%en1")},
		"en2 6": {entry(phoneName, "", "fe80::20%en2")},
	}, []Instance{
		{
			Name: plainName, Interface: "en1", Addresses: addresses("fe80::20%en1"),
			TXT: map[string]string{},
		},
		{
			Name: plainName, Interface: "en2", Addresses: addresses("fe80::20%en2"),
			TXT: map[string]string{},
		}}},
	{"heard on another interface than asked", answers{
		"en1 6": {entry(phoneName, "", "fe80::20%en2")},
		"en2 4": {entry(phoneName, "192.168.1.20", "fe80::20")},
	}, []Instance{
		{
			Name: plainName, Interface: "en0", Addresses: addresses("192.168.1.20", "fe80::20%en0"),
			TXT: map[string]string{},
		},
		{
			Name: plainName, Interface: "en2", Addresses: addresses("fe80::20%en2"),
			TXT: map[string]string{},
		}}},
	{"an interface that was not asked", answers{
		"en1 6": {entry(phoneName, "", "fe80::20%utun0")},
		"en0 4": {entry(phoneName, "127.0.0.2", "")},
	}, nil},
	{"case of the type, text", answers{
		"en0 4": {entry(`A._APPLE-mobdev2._TCP.local.`, "192.168.1.20", "", `identifier=\000`,
			"authTag=x")},
	}, []Instance{{
		Name: "A", Interface: "en0", Addresses: addresses("192.168.1.20"),
		TXT: map[string]string{"identifier": "\x00", "authTag": "x"},
	}}},
	{"other services and nonsense", answers{
		"en0 4": {
			entry("a._airplay._tcp.local.", "192.168.1.20", ""),
			entry(`a\._apple-mobdev2._tcp.local.`, "192.168.1.20", ""),
			entry("a.b._apple-mobdev2._tcp.local.", "192.168.1.20", ""),
			entry("_apple-mobdev2._tcp.local.", "192.168.1.20", ""),
			entry("a._apple-mobdev2._tcp.example.", "192.168.1.20", ""),
			entry("Some-iPhone.local.", "192.168.1.20", ""),
			entry("a._apple-mobdev2._tcp.local.", "224.0.0.1", "ff02::1"),
			entry("b._apple-mobdev2._tcp.local.", "", ""),
			{
				Name: "c._apple-mobdev2._tcp.local.", Host: "h.local.",
				AddrV4: net.ParseIP("192.168.1.20"),
			},
			{Name: "c._apple-mobdev2._tcp.local.", Port: 1, AddrV4: net.ParseIP("192.168.1.20")},
		},
	}, nil},
}

func TestBrowse(t *testing.T) {
	for _, c := range browseTests {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, m := newLibrary(func(
					name string, v6 bool, at time.Duration,
				) ([]*mdns.ServiceEntry, error) {
					if v6 {
						return c.answers[name+" 6"], nil
					}
					return c.answers[name+" 4"], nil
				})
				got, err := m.Browse(t.Context(), Query{Type: Mobdev2, Timeout: time.Second})
				for n := range c.want {
					c.want[n].Type = Mobdev2
					c.want[n].Host, c.want[n].Port = "Some-iPhone.local", 49152
				}
				for n := range got {
					if got[n].TXT["ver"] == "26" { // which of two answers is newer is chance here
						got[n].TXT = map[string]string{}
					}
				}
				if !reflect.DeepEqual(got, c.want) || err != nil {
					t.Errorf("Browse = %+v, %v, want %+v", got, err, c.want)
				}
				m.Wait()
			})
		})
	}
}

// remoted does not listen on IPv4.
func TestRemotedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := newLibrary(func(string, bool, time.Duration) ([]*mdns.ServiceEntry, error) {
			return []*mdns.ServiceEntry{
				entry("ncm._remoted._tcp.local.", "192.168.1.20", "fe80::20"),
			}, nil
		})
		got, err := m.Browse(t.Context(), Query{Type: Remoted, Interfaces: []string{"en0"}})
		if err != nil || len(got) != 1 ||
			got[0].Addresses[0] != netip.MustParseAddr("fe80::20%en0") {
			t.Errorf("Browse = %+v, %v", got, err)
		}
	})
}

func TestBrowseFails(t *testing.T) {
	broken := errors.New("network is unreachable")
	one := []*mdns.ServiceEntry{entry(phoneName, "192.168.1.20", "")}
	for _, c := range []struct {
		name   string
		q      Query
		answer func(string, bool, time.Duration) ([]*mdns.ServiceEntry, error)
		found  int
		err    error
	}{
		{
			"all", Query{Type: Mobdev2},
			func(string, bool, time.Duration) ([]*mdns.ServiceEntry, error) { return nil, broken },
			0, broken,
		},
		{"all but one family", Query{Type: Mobdev2},
			func(name string, v6 bool, _ time.Duration) ([]*mdns.ServiceEntry, error) {
				if v6 || name != "en0" {
					return nil, broken
				}
				return one, nil
			}, 1, nil},
		{"at first", Query{Type: Mobdev2},
			func(_ string, _ bool, at time.Duration) ([]*mdns.ServiceEntry, error) {
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
				_, m := newLibrary(c.answer)
				got, err := m.Browse(t.Context(), c.q)
				var e *Error
				if len(got) != c.found || !errors.Is(err, c.err) ||
					c.err != nil && !errors.As(err, &e) {
					t.Errorf("Browse = %+v, %v, want %d and %v", got, err, c.found, c.err)
				}
			})
		})
	}
}

// A browse ends at once when its context ends or Early says so, however long
// the library takes; Wait waits for the rest.
func TestBrowseEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		cancel time.Duration
		early  int // calls until it ends
		took   time.Duration
		err    error
		left   time.Duration // until the library is through, at most
	}{
		{
			"cancelled", 100 * time.Millisecond, 0, 100 * time.Millisecond, context.Canceled,
			1500 * time.Millisecond,
		},
		{
			"cancelled between queries", 1600 * time.Millisecond, 0, 1600 * time.Millisecond,
			context.Canceled, 3 * time.Second,
		},
		{"early", 0, 1, 300 * time.Millisecond, nil, time.Second},
		{"early, later", 0, 3, 1700 * time.Millisecond, nil, 2500 * time.Millisecond},
		{"never", 0, 1000, 5 * time.Second, nil, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, m := newLibrary(func(string, bool, time.Duration) ([]*mdns.ServiceEntry, error) {
					return []*mdns.ServiceEntry{entry(phoneName, "192.168.1.20", "")}, nil
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
				if took := time.Since(l.start); took != c.took || !errors.Is(err, c.err) {
					t.Errorf("Browse = %v, %v after %v, want %v after %v", got, err, took, c.err,
						c.took)
				}
				if c.err == nil && (len(got) != 1 || !got[0].Addresses[0].IsValid()) ||
					c.err != nil && got != nil {
					t.Errorf("Browse = %+v", got)
				}
				m.Wait()
				if left := time.Since(l.start); left > c.left {
					t.Errorf("Wait ended after %v, want at most %v", left, c.left)
				}
			})
		})
	}
}

// Queries that never end do not hold a browse.
func TestBrowseOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := &MDNS{
			links:  testLinks,
			lookup: func(context.Context, *mdns.QueryParam) error { <-release; return nil },
		}
		start := time.Now()
		if _, err := m.Browse(t.Context(), Query{Type: Mobdev2}); !errors.Is(err,
			context.DeadlineExceeded) {
			t.Errorf("Browse = %v, want %v", err, context.DeadlineExceeded)
		}
		if took := time.Since(start); took != DefaultTimeout+grace {
			t.Errorf("Browse took %v", took)
		}
		close(release)
		m.Wait()
	})
}

// A network full of instances is not kept whole.
func TestBrowseBounds(t *testing.T) {
	b := &browse{found: map[instanceKey]*Instance{}, askers: []asker{{link: testLink(2, "en0", 0)}}}
	for n := range 2 * maxInstances {
		i := Instance{Name: fmt.Sprint(n), Type: Mobdev2, Interface: "en0"}
		for k := range 2 * maxAddresses {
			i.Addresses = append(i.Addresses, netip.AddrFrom4([4]byte{10, 0, byte(k), 1}))
		}
		b.add(outcome{found: []Instance{i}})
	}
	all := b.list()
	if len(all) != maxInstances || len(all[0].Addresses) != maxAddresses {
		t.Errorf("kept %d instances with %d addresses", len(all), len(all[0].Addresses))
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(phoneName, "Some-iPhone.local.", 32498, "ver=26", []byte{10, 0, 0, 1}, make([]byte, 16),
		"en0")
	f.Fuzz(func(
		t *testing.T, name, host string, port int, text string, v4, v6 []byte, zone string,
	) {
		a := asker{link: testLink(2, "en0", 0), kind: Mobdev2}
		i, ok := a.instance(&mdns.ServiceEntry{Name: name, Host: host, Port: port,
			InfoFields: []string{text},
			AddrV4:     v4, AddrV6IPAddr: &net.IPAddr{IP: v6, Zone: zone}})
		if !ok {
			return
		}
		b := &browse{found: map[instanceKey]*Instance{}, askers: []asker{a}}
		b.add(outcome{asker: a, found: []Instance{i}})
		for _, got := range b.list() {
			if got.Port == 0 || got.Interface != "en0" || len(got.Name) > maxLabel {
				t.Fatalf("%+v", got)
			}
		}
	})
}
