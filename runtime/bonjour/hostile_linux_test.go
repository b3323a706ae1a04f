package bonjour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// floodEntries is the number of instances that a hostile responder invents.
const floodEntries = 100_000

// floodTimes is how often it sends them, each time under new names. Most packets are
// lost.
const floodTimes = 10

// rename gives each instance of a packet another name.
func rename(b []byte, letter byte) {
	for at := 0; ; at++ {
		next := bytes.Index(b[at:], []byte("flood-"))
		if next < 0 {
			return
		}
		at += next
		b[at+len("flood-")] = letter
	}
}

// hostileAddress is the address of the hostile responder. Nothing else on the loopback
// interface uses it.
const hostileAddress = "127.0.0.66"

// floodMargin is how much heap a browse may use for a flood.
const floodMargin = 16 << 20

// flood returns packets that name n instances, as many per packet as fit.
func flood(t testing.TB, n int) [][]byte {
	t.Helper()
	var packets [][]byte
	typeName := formatName(Mobdev2.labels()...)
	const each = 150
	for first := 0; first < n; first += each {
		m := dns.Msg{Compress: true}
		m.Response, m.Authoritative = true, true
		for i := first; i < min(first+each, n); i++ {
			name := fmt.Sprintf("flood-%09d", i) + "." + typeName
			m.Answer = append(m.Answer, &dns.PTR{
				Hdr: header(typeName, dns.TypePTR, serviceTTL), Ptr: name,
			})
		}
		b, err := m.Pack()
		if err != nil {
			t.Fatalf("packing: %v", err)
		} else if len(b) > maxPacket {
			t.Fatalf("a packet has %d bytes, want at most %d", len(b), maxPacket)
		}
		packets = append(packets, b)
	}
	return packets
}

// floodComplete returns packets with all records of n instances, one instance per
// packet.
func floodComplete(t testing.TB, n int) [][]byte {
	t.Helper()
	var packets [][]byte
	for i := range n {
		z, err := newZone([]Service{{Name: fmt.Sprintf("flood-%09d", i), Type: Mobdev2,
			Host: fmt.Sprintf("flood-%09d", i), Port: 9,
			Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.66")}}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := pack(z.announcement(&z.offers[0], link{}), false)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, b)
	}
	return packets
}

// hostileSocket returns a socket on port 5353 of the hostile address.
func hostileSocket(t testing.TB) *net.UDPConn {
	t.Helper()
	share := func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		})
		return errors.Join(err, failed)
	}
	lc := net.ListenConfig{Control: share}
	at := netip.AddrPortFrom(netip.MustParseAddr(hostileAddress), Port)
	c, err := lc.ListenPacket(t.Context(), "udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// asked waits for a question to the group and returns its sender.
func asked(t *testing.T, c *net.UDPConn) netip.AddrPort {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxPacket)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatalf("no question was heard: %v", err)
		}
		m := &dns.Msg{}
		if m.Unpack(b[:n]) == nil && !m.Response && from.Port() != Port {
			return from
		}
	}
}

// testFlood runs a responder that invents instances, sent to the group and to each
// client, while another one advertises a phone.
func testFlood(t *testing.T) {
	for _, c := range []struct {
		name    string
		packets [][]byte
		times   int
	}{
		{"names alone", flood(t, floodEntries), floodTimes},
		{"complete", floodComplete(t, floodEntries), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			advertise(t, AdvertiseOptions{NoIPv6: true}, phoneService(t, 2))
			group, hostile := member(t), hostileSocket(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			m := &MDNS{}
			type result struct {
				found []Instance
				err   error
			}
			results := make(chan result, 1)
			want := phoneService(t, 2).Name
			has := func(i Instance) bool { return i.Name == want }
			var over atomic.Bool
			before := used()
			go func() {
				found, err := m.Browse(ctx, Query{Type: Mobdev2, Loopback: true, NoIPv6: true,
					Timeout: 30 * time.Second, Early: func(all []Instance) bool {
						return over.Load() && slices.ContainsFunc(all, has)
					}})
				results <- result{found, err}
			}()
			who := asked(t, group)
			for n := range c.times {
				for _, b := range c.packets {
					rename(b, byte('a'+n))
					_, _ = hostile.WriteToUDPAddrPort(b, who)
					_, _ = hostile.WriteToUDPAddrPort(b, groupIPv4)
				}
			}
			grown := used() - before
			over.Store(true)
			t.Logf("the heap has grown by %d KB", grown>>10)
			if grown > floodMargin {
				t.Errorf("the heap has grown by %d MB, want at most %d", grown>>20, floodMargin>>20)
			}
			r := <-results
			if r.err != nil {
				t.Errorf("Browse: %v", r.err)
			}
			if !slices.ContainsFunc(r.found, has) {
				t.Errorf("Browse finds %d instances, want %s among them", len(r.found), want)
			}
			runtime.KeepAlive(c.packets)
		})
	}
}
