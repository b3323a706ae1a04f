package virtual

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/imdlua/imdlua/runtime/bonjour"
	"github.com/imdlua/imdlua/runtime/phone"
)

// Advertised returns the Bonjour services that the device advertises on the
// network at present.
func (p *Presence) Advertised() []bonjour.Service { return p.advertised(p.Ports()) }

func (p *Presence) advertised(ports Ports) []bonjour.Service {
	ph := p.machine.phone
	host := hostName(ph)
	service := func(
		t bonjour.Type, name string, port uint16, txt map[string]string,
	) bonjour.Service {
		return bonjour.Service{
			Name: name, Type: t, Host: host, Port: port, Addresses: []netip.Addr{p.opts.Address},
			TXT: txt,
		}
	}
	var list []bonjour.Service
	if ports.Untrusted != 0 {
		list = append(list, service(bonjour.Remoted, "ncm", ports.Untrusted, nil))
	}
	if ports.Lockdown != 0 && ph.Values.WiFiConnections() {
		port := ports.Lockdown
		if port == bonjour.LockdownPort {
			port = bonjour.Mobdev2Port // devices advertise this port instead of lockdown's
		}
		name, err := bonjour.Mobdev2Name(wifiAddress(ph), int(ph.Identity.RemotePairing))
		if err == nil {
			list = append(list, service(bonjour.Mobdev2, name, port, nil))
		}
	}
	if ports.Pairing != 0 {
		id := p.machine.peers.Identifier()
		txt := map[string]string{
			"identifier": id, "authTag": p.machine.peers.AuthTag(id), "name": ph.Values.Name(),
			"model": ph.Identity.ProductType,
			"flags": "0", "ver": "26", "minVer": "8",
		}
		list = append(list, service(bonjour.RemotePairing, id, ports.Pairing, txt))
	}
	return list
}

// hostName makes a DNS name from the name of the device.
func hostName(p *phone.Phone) string {
	clean := func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}
	return strings.Map(clean, p.Values.Name()) + ".local"
}

func wifiAddress(p *phone.Phone) string {
	v, _ := p.Values.Get("", "WiFiAddress")
	s, _ := v.(string)
	return s
}

// Browse returns the services that the devices of the host advertise, without
// any network traffic, so that programs in this process can find them. A device
// that is plugged in has a network interface over its cable; it is made by the
// first Browse that looks for it.
func (h *Host) Browse(ctx context.Context, q bonjour.Query) ([]bonjour.Instance, error) {
	var found []bonjour.Instance
	for _, m := range h.Devices() {
		if err := m.plugInto(q.Type, &h.browsing); err != nil {
			return nil, err
		}
		for _, p := range m.presences() {
			for _, s := range p.Advertised() {
				if s.Type == q.Type {
					found = append(found, bonjour.Instance{
						Name: s.Name, Type: s.Type, Host: s.Host, Port: s.Port,
						Addresses: s.Addresses, Interface: "virtual", TXT: s.TXT,
					})
				}
			}
		}
	}
	return found, ctx.Err()
}

// plugInto makes the network interface over the cable if t is the service that is
// advertised on it. turn keeps concurrent calls from making more than one.
func (m *Machine) plugInto(t bonjour.Type, turn *sync.Mutex) error {
	if t != bonjour.Remoted || !m.Attached() || m.phone.Identity.VersionNumber() < 1700 {
		return nil
	}
	turn.Lock()
	defer turn.Unlock()
	if m.shows(func(o NetworkOptions) bool { return o.Ethernet }) {
		return nil
	}
	_, err := m.Show(NetworkOptions{Ethernet: true})
	return err
}

// shows reports whether the device is on a network with options that match.
func (m *Machine) shows(is func(NetworkOptions) bool) bool {
	return slices.ContainsFunc(m.presences(), func(p *Presence) bool { return is(p.opts) })
}
