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

// github.com/hashicorp/mdns is the foreign program on the other side of both: it was
// not written here, and many programs browse with it.

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
	if err != nil || len(entries) != 1 {
		t.Fatalf("the library finds %d entries, %v, want one", len(entries), err)
	}
	e := <-entries
	labels, _ := parseName(e.Name)
	if labels[0] != s.Name || e.Port != Mobdev2Port || !e.AddrV4.Equal(net.IPv4(127, 0, 0, 2)) ||
		!slices.Equal(e.InfoFields, []string{"ver=26"}) {
		t.Errorf("the library finds %+v, want %+v", e, s)
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
	if got.Name != "foreign" || got.Port != 7 || got.TXT["ver"] != "26" ||
		!slices.Equal(got.Addresses, addresses("127.0.0.7")) {
		t.Errorf("Browse = %+v", got)
	}
}
