package bonjour

import (
	"io"
	"log"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/mdns"
)

// github.com/hashicorp/mdns is the other side in both tests.
// loopbackInterface is lo.
func loopbackInterface(t *testing.T) *net.Interface {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	return lo
}

func testForeignClient(t *testing.T) {
	s := phoneService(t, 2)
	s.TXT = map[string]string{"ver": "26"}
	advertise(t, AdvertiseOptions{NoIPv6: true}, s)
	entries := make(chan *mdns.ServiceEntry, 16)
	err := mdns.QueryContext(t.Context(), &mdns.QueryParam{
		Service: string(Mobdev2), Domain: domain, Timeout: 2 * time.Second,
		Interface: loopbackInterface(t), DisableIPv6: true,
		Entries: entries, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		t.Fatalf("hashicorp/mdns: %v", err)
	} else if len(entries) != 1 {
		t.Fatalf("hashicorp/mdns finds %d entries, want one", len(entries))
	}
	e := <-entries
	labels, _ := parseName(e.Name)
	if labels[0] != s.Name {
		t.Errorf("hashicorp/mdns finds the name %q, want %q", labels[0], s.Name)
	}
	if e.Port != Mobdev2Port {
		t.Errorf("hashicorp/mdns finds the port %d, want %d", e.Port, Mobdev2Port)
	}
	if !e.AddrV4.Equal(net.IPv4(127, 0, 0, 2)) {
		t.Errorf("hashicorp/mdns finds the address %v, want 127.0.0.2", e.AddrV4)
	}
	if !slices.Equal(e.InfoFields, []string{"ver=26"}) {
		t.Errorf("hashicorp/mdns finds the TXT record %q, want ver=26", e.InfoFields)
	}
}

func testForeignResponder(t *testing.T) {
	zone, err := mdns.NewMDNSService("foreign", string(Mobdev2), domain+".", "foreign.local.", 7,
		[]net.IP{net.IPv4(127, 0, 0, 7)}, []string{"ver=26"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := mdns.NewServer(&mdns.Config{Zone: zone, Iface: loopbackInterface(t),
		Logger: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	got := browseFor(t, 1, Query{Type: Mobdev2, Loopback: true})[0]
	if got.Name != "foreign" {
		t.Errorf("Browse finds the name %q, want foreign", got.Name)
	}
	if got.Port != 7 {
		t.Errorf("Browse finds the port %d, want 7", got.Port)
	}
	if got.TXT["ver"] != "26" {
		t.Errorf("Browse finds ver=%q, want 26", got.TXT["ver"])
	}
	if !slices.Equal(got.Addresses, addresses("127.0.0.7")) {
		t.Errorf("Browse finds the addresses %v, want 127.0.0.7", got.Addresses)
	}
}
