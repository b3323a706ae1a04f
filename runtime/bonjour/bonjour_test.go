package bonjour

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestParseType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want Type
	}{
		{"mobdev2", Mobdev2},
		{"rsd", Remoted},
		{"remoted", Remoted},
		{"RemotePairing", RemotePairing},
		{"manual-pairing", ManualPairing},
		{"_apple-mobdev2._tcp", Mobdev2},
		{"_Apple-Mobdev2._TCP.local.", Mobdev2},
		{"_remotepairing-manual-pairing._tcp.local", ManualPairing},
		{"_sleep-proxy._udp", "_sleep-proxy._udp"},
		{"", ""},
		{"usb", ""},
		{"_a._sctp", ""},
		{"a._tcp", ""},
		{"_._tcp", ""},
		{"_tcp", ""},
		{"x._a._tcp", ""},
		{`_a\.b._tcp`, ""},
		{"_a b._tcp", ""},
		{"_a._tcp..", ""},
		{"_" + strings.Repeat("a", 63) + "._tcp", ""},
	} {
		got, err := ParseType(c.in)
		if got != c.want {
			t.Errorf("ParseType(%q) = %q, want %q", c.in, got, c.want)
		}
		if (c.want == "") != errors.Is(err, ErrInvalid) {
			t.Errorf("ParseType(%q) = %v, want an error: %v", c.in, err, c.want == "")
		}
	}
}

// TestNames compares names with the presentation forms that miekg/dns returns.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want []string
	}{
		{
			`5c:52:84:0a:1b:2c\@fe80::1._apple-mobdev2._tcp.local.`,
			[]string{"5c:52:84:0a:1b:2c@fe80::1", "_apple-mobdev2", "_tcp", "local"},
		},
		{`Bob\'s\ \(old\)\ iPhone\.x.local`, []string{"Bob's (old) iPhone.x", "local"}},
		{`Z\195\188rich\000.local.`, []string{"Zürich\x00", "local"}},
		{"", nil},
		{".", nil},
		{"a..b.", nil},
		{`a\`, nil},
		{`a\25`, nil},
		{`a\256`, nil},
		{`a\2x5`, nil},
		{strings.Repeat("a", 63) + ".", []string{strings.Repeat("a", 63)}},
		{strings.Repeat("a", 64) + ".", nil},
		{strings.Repeat("abcdefg.", 31), slices.Repeat([]string{"abcdefg"}, 31)},
		{strings.Repeat("abcdefg.", 32), nil},
	} {
		got, ok := parseName(c.in)
		if ok != (c.want != nil) || ok && !slices.Equal(got, c.want) {
			t.Errorf("parseName(%q) = %q, %v, want %q", c.in, got, ok, c.want)
		}
	}
	if got := formatName("a@b.c\\\xff", "_tcp"); got != `a\064b\046c\092\255._tcp.` {
		t.Errorf("formatName = %s", got)
	}
	if nameKey([]string{"aB", "Ä"}) != nameKey([]string{"Ab", "Ä"}) {
		t.Error("nameKey differs for names that differ only in case")
	}
	if nameKey([]string{"a", "b"}) == nameKey([]string{"a.b"}) {
		t.Error("nameKey is the same for two labels and for one label with a dot")
	}
	if labels, _ := parseName(metaQuery); nameKey(labels) != metaKey {
		t.Errorf("metaKey = %q, want %q", metaKey, nameKey(labels))
	}
}

func FuzzName(f *testing.F) {
	f.Add(`5c:52\@fe80::1._apple-mobdev2._tcp.local.`)
	f.Add(`\000\255\.`)
	f.Fuzz(func(t *testing.T, in string) {
		labels, ok := parseName(in)
		if !ok {
			return
		}
		out := formatName(labels...)
		again, ok := parseName(out)
		if !ok || !slices.Equal(again, labels) {
			t.Fatalf("parseName(%q) = %q, formatted %q and parsed %q, %v", in, labels, out, again,
				ok)
		}
		if _, ok := dns.IsDomainName(out); !ok {
			t.Fatalf("%q is not a name to miekg/dns", out)
		}
	})
}

func TestText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\x00", 253)
	for _, c := range []struct {
		fields []string
		want   map[string]string
	}{
		{nil, map[string]string{}},
		{[]string{""}, map[string]string{}},
		{
			[]string{"ver=26", "flags=", "bare", "=x", "VER=1"},
			map[string]string{"ver": "26", "flags": "", "bare": ""},
		},
		{[]string{`authTag=kXjl\=\000\255=`}, map[string]string{"authTag": "kXjl=\x00\xff="}},
		{[]string{`a=\`, `b=\999`, "c=1"}, map[string]string{"c": "1"}},
	} {
		if got := parseText(c.fields); !maps.Equal(got, c.want) {
			t.Errorf("parseText(%q) = %q, want %q", c.fields, got, c.want)
		}
	}
	for _, c := range []struct {
		text map[string]string
		want []string
	}{
		{nil, []string{""}},
		{map[string]string{"b": `"\`, "a": ""}, []string{"a=", `b=\034\092`}},
		{map[string]string{"k": long}, []string{"k=" + strings.Repeat(`\000`, 253)}},
		{map[string]string{"k": long + "x"}, nil},
		{map[string]string{"": "x"}, nil},
		{map[string]string{"a=b": "x"}, nil},
		{map[string]string{"ä": "x"}, nil},
		{map[string]string{"a": long, "b": long, "c": long, "d": long}, nil},
	} {
		if got, ok := formatText(c.text); !slices.Equal(got, c.want) {
			t.Errorf("formatText(%q) = %q, want %q", c.text, got, c.want)
		} else if ok != (c.want != nil) {
			t.Errorf("formatText(%q) reports %v, want %v", c.text, ok, c.want != nil)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("ver=26", `a=\255`)
	f.Fuzz(func(t *testing.T, a, b string) {
		text := parseText([]string{a, b})
		fields, ok := formatText(text)
		if !ok {
			return
		}
		if again := parseText(fields); !maps.Equal(again, text) {
			t.Fatalf("%q became %q and then %q", text, fields, again)
		}
	})
}

func TestInstanceText(t *testing.T) {
	t.Parallel()
	i := Instance{TXT: map[string]string{"authTag": "x", "Ver": "26", "VER": "27"}}
	for _, c := range []struct {
		key, want string
		ok        bool
	}{{
		"authTag", "x", true,
	}, {"AUTHTAG", "x", true}, {"Ver", "26", true}, {"ver", "27", true}, {"flags", "", false}} {
		if got, ok := i.Text(c.key); got != c.want || ok != c.ok {
			t.Errorf("Text(%q) = %q, %v, want %q, %v", c.key, got, ok, c.want, c.ok)
		}
	}
}

func TestMobdev2Name(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mac     string
		version int
		want    string // that of a device with this address
	}{
		{"5c:52:84:0a:1b:2c", 24, "5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24"},
		{"5C:52:84:0A:1B:2C", 0, "5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c"},
		{"5c-52-84-0a-1b-2c-00-00", 0, ""},
		{"5c:52:84:0a:1b", 0, ""},
		{"", 0, ""},
	} {
		got, err := Mobdev2Name(c.mac, c.version)
		if got != c.want {
			t.Errorf("Mobdev2Name(%q, %d) = %q, want %q", c.mac, c.version, got, c.want)
		}
		if (c.want == "") != errors.Is(err, ErrInvalid) {
			t.Errorf("Mobdev2Name(%q, %d) = %v, want an error: %v", c.mac, c.version, err,
				c.want == "")
		}
	}
	for _, c := range []struct {
		name    string
		kind    Type
		mac     string
		version int
		ok      bool
	}{
		{
			"5c:52:84:0a:1b:2c@fe80::5e52:84ff:fe0a:1b2c-supportsRP-24", Mobdev2,
			"5c:52:84:0a:1b:2c", 24, true,
		},
		{"5C:52:84:0A:1B:2C@fe80::1-supportsRP", Mobdev2, "5c:52:84:0a:1b:2c", 0, true},
		{"5c:52:84:0a:1b:2c@fe80::1", Mobdev2, "5c:52:84:0a:1b:2c", 0, false},
		{"5c:52:84:0a:1b:2c@fe80::1-supportsRP-x", Mobdev2, "5c:52:84:0a:1b:2c", 0, false},
		{"5c:52:84:0a:1b:2c@fe80::1-supportsRP24", Mobdev2, "5c:52:84:0a:1b:2c", 0, false},
		{"5c:52:84:0a:1b:2c", Mobdev2, "", 0, false},
		{"phone@home", Mobdev2, "", 0, false},
		{"5c:52:84:0a:1b:2c@fe80::1-supportsRP-24", Remoted, "", 0, false},
		{"", Mobdev2, "", 0, false},
	} {
		i := Instance{Name: c.name, Type: c.kind}
		version, ok := i.SupportsRP()
		if mac := i.MAC(); mac != c.mac {
			t.Errorf("%q has MAC %q, want %q", c.name, mac, c.mac)
		}
		if version != c.version {
			t.Errorf("%q has the version %d, want %d", c.name, version, c.version)
		}
		if ok != c.ok {
			t.Errorf("%q supports remote pairing: %v, want %v", c.name, ok, c.ok)
		}
	}
}

// The vector is used by the public unit tests of clients of this protocol.
func TestAuthTag(t *testing.T) {
	t.Parallel()
	const host = "00112233-4455-6677-8899-AABBCCDDEEFF"
	const identifier, tag = "unit-test-bonjour-identifier", "xdSd/bWDo4g="
	if got := AuthTag(host, identifier); got != tag {
		t.Errorf("AuthTag = %q, want %q", got, tag)
	}
	for _, c := range []struct {
		kind Type
		text map[string]string
		want bool
	}{
		{Mobdev2, map[string]string{"identifier": identifier, "authTag": tag}, true},
		{Mobdev2, map[string]string{
			"Identifier": identifier, "authtag": "AAAA", "AuthTag#2": " " + tag + "\n",
		}, true},
		{
			Mobdev2,
			map[string]string{"identifier": identifier, "authTag": "AAAA", "authTagged": tag},
			false,
		},
		{Mobdev2, map[string]string{"identifier": "other", "authTag": tag}, false},
		{Mobdev2, map[string]string{"authTag": tag}, false},
		{Mobdev2, map[string]string{"identifier": identifier, "authTag": "%"}, false},
		{RemotePairing, map[string]string{"identifier": identifier, "authTag": tag}, false},
		{Mobdev2, nil, false},
	} {
		if got := (Instance{Type: c.kind, TXT: c.text}).Recognises(host); got != c.want {
			t.Errorf("%s %q recognises %v, want %v", c.kind, c.text, got, c.want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	i := Instance{Type: Mobdev2, Port: Mobdev2Port, Addresses: []netip.Addr{
		netip.MustParseAddr("fe80::1%en0"), netip.MustParseAddr("10.0.0.2"),
	}}
	want := []netip.AddrPort{
		netip.MustParseAddrPort("[fe80::1%en0]:62078"), netip.MustParseAddrPort("10.0.0.2:62078"),
	}
	if got := i.Endpoints(); !slices.Equal(got, want) {
		t.Errorf("Endpoints of mobdev2 = %v, want %v", got, want)
	}
	i.Port = 40123
	if got := i.Endpoints()[1]; got != netip.MustParseAddrPort("10.0.0.2:40123") {
		t.Errorf("Endpoints of mobdev2 at a port of its own = %v", got)
	}
	i.Type, i.Port = RemotePairing, 49152
	if got := i.Endpoints()[1]; got != netip.MustParseAddrPort("10.0.0.2:49152") {
		t.Errorf("Endpoints of remotepairing = %v", got)
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	s := Static{
		{
			Name: "b", Type: Remoted, Interface: "en1",
			Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%en1")},
		},
		{Name: "b", Type: Remoted, Interface: "en0"},
		{Name: "a", Type: Remoted},
		{Name: "c", Type: Mobdev2},
	}
	for _, c := range []struct {
		q    Query
		want []Instance
	}{
		{Query{Type: Remoted}, []Instance{s[2], s[1], s[0]}},
		{Query{Type: "_REMOTED._tcp", Interfaces: []string{"en1"}}, []Instance{s[2], s[0]}},
		{Query{Type: Mobdev2}, []Instance{s[3]}},
		{Query{Type: ManualPairing}, nil},
	} {
		got, err := s.Browse(t.Context(), c.q)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("Browse(%+v) = %+v, want %+v", c.q, got, c.want)
		}
		if err != nil {
			t.Errorf("Browse(%+v): %v", c.q, err)
		}
	}
	got, _ := s.Browse(t.Context(), Query{Type: Remoted, Interfaces: []string{"en1"}})
	got[1].Addresses[0] = netip.Addr{}
	if !s[0].Addresses[0].IsValid() {
		t.Error("Browse gave the list itself away")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := s.Browse(ctx, Query{Type: Remoted}); !errors.Is(err, context.Canceled) {
		t.Errorf("Browse after the end = %v, want %v", err, context.Canceled)
	} else if got != nil {
		t.Errorf("Browse after the end returns %v", got)
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	_, err := ParseType("usb")
	if got, want := err.Error(), `bonjour: parse type "usb": invalid`; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	_, err = newZone([]Service{{Name: "a", Type: "x"}})
	if got, want := err.Error(), `bonjour: advertise "a": invalid type "x"`; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
}
