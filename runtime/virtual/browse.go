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

// Advertised is what the device tells by Bonjour while it is on the network.
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
	if ports.Lockdown != 0 {
		port := ports.Lockdown
		if port == bonjour.LockdownPort {
			port = bonjour.Mobdev2Port // as devices do
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

// hostName makes a name for DNS of the device's.
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

// Browse returns what the devices of the host advertise, as if it had been
// heard: that is how devices in this process are found without a network. A
// device that is plugged in has the network interface that its cable makes,
// from the first time on that somebody looks for it.
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

// plugInto makes the interface of the cable if that is what is looked for. Of
// several who look at once one makes it.
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

// shows reports whether the device is on a network in some way.
func (m *Machine) shows(is func(NetworkOptions) bool) bool {
	return slices.ContainsFunc(m.presences(), func(p *Presence) bool { return is(p.opts) })
}
