package virtual_test

import (
	"context"
	"io/fs"
	"sync"
	"testing"

	"github.com/imdlua/imdlua/runtime/pair"
	"github.com/imdlua/imdlua/runtime/phone/trust"
	"github.com/imdlua/imdlua/runtime/virtual"
)

// hostKeys are the keys of every host in these tests. They are made once, because that may
// take a second.
var hostKeys = sync.OnceValues(
	func() (*pair.Keys, error) { return pair.NewKeys(context.Background()) },
)

const thisHost = "30142955-444094379208051516"

// trusted stores pair records in memory.
type trusted map[string]*pair.Record

func (s trusted) BUID(context.Context) (string, error) { return thisHost, nil }

func (s trusted) Load(_ context.Context, udid string) (*pair.Record, error) {
	if r, ok := s[udid]; ok {
		return r, nil
	}
	return nil, fs.ErrNotExist
}

func (s trusted) Save(_ context.Context, udid string, r *pair.Record) error {
	s[udid] = r
	return nil
}

func (s trusted) Delete(_ context.Context, udid string) error {
	delete(s, udid)
	return nil
}

// trustHost has the devices trust this host for lockdown and returns the records.
func trustHost(t testing.TB, devices ...*virtual.Machine) trusted {
	t.Helper()
	keys, err := hostKeys()
	if err != nil {
		t.Fatal(err)
	}
	s := trusted{}
	for _, m := range devices {
		p := m.Phone()
		address, _ := p.Values.Get("", "WiFiAddress")
		mac, _ := address.(string)
		r, err := pair.WithKeys(keys, pair.Params{
			DevicePublicKey: p.Trust.PublicKeyPEM(), WiFiAddress: mac, SystemBUID: thisHost,
		})
		if err != nil {
			t.Fatal(err)
		}
		h, err := p.Trust.Pair(trust.PairRequest{
			HostID: r.HostID, SystemBUID: r.SystemBUID, Label: "test", HostName: "test",
			HostCertificate: r.HostCertificate, RootCertificate: r.RootCertificate,
			DeviceCertificate: r.DeviceCertificate,
		})
		if err != nil {
			t.Fatal(err)
		}
		r.EscrowBag = h.EscrowBag
		s[p.Identity.UDID] = r
	}
	return s
}
