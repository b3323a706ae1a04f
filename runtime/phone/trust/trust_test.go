package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/notifications"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/screen"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

// certificate makes a certificate with the fields of those of hosts: it has no names and
// the serial number 0, and it has expired.
func certificate(t testing.TB, public any) []byte {
	t.Helper()
	signer := hostKey(t)
	if public == nil {
		public = &signer.PublicKey
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(0), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

var makeHostKey = sync.OnceValues(
	func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
)

func hostKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := makeHostKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// request returns a valid PairRequest.
func request(t testing.TB, p *phone.Phone, hostID, buid string) trust.PairRequest {
	t.Helper()
	c := certificate(t, nil)
	return trust.PairRequest{HostID: hostID, SystemBUID: buid, Label: "tool", HostName: "laptop",
		HostCertificate: c, RootCertificate: c,
		DeviceCertificate: certificate(t, &p.Trust.Key().PublicKey)}
}

func wantPair(t *testing.T, p *phone.Phone, r trust.PairRequest, want error) trust.Host {
	t.Helper()
	h, err := p.Trust.Pair(r)
	if !errors.Is(err, want) {
		t.Errorf("Pair(%s of %s) = %v, want %v", r.HostID, r.SystemBUID, err, want)
	}
	if err != nil && !reflect.DeepEqual(h, trust.Host{}) {
		t.Errorf("Pair failed and returned %+v", h)
	}
	return h
}

func TestPairAccept(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	r := request(t, p, "H1", "B1")
	h := wantPair(t, p, r, nil)
	if len(h.EscrowBag) != 32 {
		t.Errorf("the escrow bag has %d bytes, want 32", len(h.EscrowBag))
	}
	if h.SystemBUID != "B1" {
		t.Errorf("host: SystemBUID = %q, want %q", h.SystemBUID, "B1")
	}
	if !bytes.Equal(h.DeviceCertificate, r.DeviceCertificate) {
		t.Error("the host has another device certificate")
	}
	r2 := request(t, p, "H1", "B1")
	r2.RootCertificate = certificate(t, nil)
	again := wantPair(t, p, r2, nil)
	if !bytes.Equal(again.EscrowBag, h.EscrowBag) {
		t.Error("a second pairing changes the escrow bag")
	}
	if !bytes.Equal(again.RootCertificate, r2.RootCertificate) {
		t.Error("a second pairing does not replace the root certificate")
	}
	other := wantPair(t, p, request(t, p, "H0", "B1"), nil)
	if bytes.Equal(other.EscrowBag, h.EscrowBag) {
		t.Error("two hosts share an escrow bag")
	}
	var ids []string
	for _, h := range p.Trust.Hosts() {
		ids = append(ids, h.HostID)
	}
	if !slices.Equal(ids, []string{"H0", "H1"}) {
		t.Errorf("hosts %q, want H0 and H1", ids)
	}
	if phonetest.Value(t, p, "", "TrustedHostAttached") != true {
		t.Error("TrustedHostAttached is not true")
	}
	if got, ok := p.Trust.Host("H1"); !ok {
		t.Error("the host H1 is not known")
	} else if !bytes.Equal(got.EscrowBag, h.EscrowBag) {
		t.Error("the host H1 has another escrow bag")
	}
}

func TestPairRefuses(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*trust.PairRequest){
		"no HostID":             func(r *trust.PairRequest) { r.HostID = "" },
		"no SystemBUID":         func(r *trust.PairRequest) { r.SystemBUID = "" },
		"no host certificate":   func(r *trust.PairRequest) { r.HostCertificate = nil },
		"no root certificate":   func(r *trust.PairRequest) { r.RootCertificate = nil },
		"no device certificate": func(r *trust.PairRequest) { r.DeviceCertificate = nil },
		"garbage certificate": func(r *trust.PairRequest) {
			r.HostCertificate = []byte("garbage")
		},
		"garbage in PEM": func(r *trust.PairRequest) {
			r.RootCertificate = pem.EncodeToMemory(
				&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")},
			)
		},
		"another device's key": func(r *trust.PairRequest) {
			r.DeviceCertificate = certificate(t,
				&foreign.PublicKey)
		},
		"another kind of key": func(r *trust.PairRequest) {
			r.DeviceCertificate = r.HostCertificate
		},
	} {
		r := request(t, p, "H", "B")
		change(&r)
		if _, err := p.Trust.Pair(r); !errors.Is(err, trust.ErrInvalidPairRecord) {
			t.Errorf("%s: %v, want ErrInvalidPairRecord", name, err)
		}
	}
	p.Screen.SetPasscode(true)
	p.Screen.Lock()
	wantPair(t, p, request(t, p, "H", "B"), screen.ErrPasswordProtected)
	if len(p.Trust.Hosts()) != 0 {
		t.Errorf("hosts %v", p.Trust.Hosts())
	}
	p.Screen.Unlock()
	wantPair(t, p, request(t, p, "H", "B"), nil)
}

func TestPairAsk(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
	o := p.Notifications.Observe()
	defer o.Close()
	o.Add(notifications.RequestPair)
	var dialogs []trust.Dialog
	p.Trust.OnDialog(func(d trust.Dialog) { dialogs = append(dialogs, d) })

	p.Trust.TapTrust() // has no effect because no dialog is shown
	wantPair(t, p, request(t, p, "H1", "B1"), trust.ErrDialogPending)
	// libimobiledevice, go-ios and tidevice send a new HostID with each attempt.
	wantPair(t, p, request(t, p, "H2", "B1"), trust.ErrDialogPending)
	want := trust.Dialog{SystemBUID: "B1", Label: "tool", HostName: "laptop"}
	if d, ok := p.Trust.ShownDialog(); !ok {
		t.Error("no dialog is shown")
	} else if d != want {
		t.Errorf("dialog %+v, want %+v", d, want)
	} else if len(dialogs) != 1 {
		t.Errorf("%d dialogs were shown, want 1", len(dialogs))
	}
	p.Trust.TapTrust()
	if got := phonetest.Heard(o); !slices.Equal(got, []string{notifications.RequestPair}) {
		t.Errorf("observers heard %v", got)
	}
	p.Trust.TapDeny() // has no effect after TapTrust
	wantPair(t, p, request(t, p, "H3", "B1"), nil)
	wantPair(t, p, request(t, p, "H4", "B1"), nil) // the machine is trusted now

	wantPair(t, p, request(t, p, "H5", "B2"), trust.ErrDialogPending)
	p.Trust.TapDeny()
	wantPair(t, p, request(t, p, "H5", "B2"), trust.ErrUserDenied)
	wantPair(t, p, request(t, p, "H5", "B2"), trust.ErrDialogPending) // shows a new dialog
	wantPair(t, p, request(t, p, "H6", "B3"), trust.ErrDialogPending) // replaces the dialog
	p.Trust.TapTrust()
	wantPair(t, p, request(t, p, "H5", "B2"), trust.ErrDialogPending)
	if len(dialogs) != 5 {
		t.Errorf("%d dialogs, want 5", len(dialogs))
	}
}

func TestPairDialogMayTap(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
	p.Trust.OnDialog(func(trust.Dialog) { p.Trust.TapTrust() })
	wantPair(t, p, request(t, p, "H", "B"), trust.ErrDialogPending)
	wantPair(t, p, request(t, p, "H", "B"), nil)
}

func TestPairDialogIsDismissed(t *testing.T) {
	t.Parallel()
	for name, dismiss := range map[string]func(*phone.Phone){
		"lock":   func(p *phone.Phone) { p.Screen.Lock() },
		"boot":   (*phone.Phone).Boot,
		"reset":  func(p *phone.Phone) { p.Trust.Reset() },
		"policy": func(p *phone.Phone) { p.Trust.SetPolicy(trust.Policy{Mode: trust.Ask}) },
	} {
		p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
		r := request(t, p, "H", "B")
		wantPair(t, p, r, trust.ErrDialogPending)
		dismiss(p)
		if _, ok := p.Trust.ShownDialog(); ok {
			t.Errorf("%s: the dialog still shows", name)
		}
		p.Trust.TapTrust()
		wantPair(t, p, r, trust.ErrDialogPending)
	}
}

func TestPairPolicies(t *testing.T) {
	t.Parallel()
	deny := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Deny}})
	r := request(t, deny, "H", "B")
	for range 2 {
		wantPair(t, deny, r, trust.ErrDialogPending)
		wantPair(t, deny, r, trust.ErrUserDenied)
	}
	ignore := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ignore}})
	for range 3 {
		wantPair(t, ignore, r, trust.ErrDialogPending)
	}
	ignore.Trust.SetPolicy(trust.Policy{})
	wantPair(t, ignore, r, nil)
}

func TestPairAfter(t *testing.T) {
	t.Parallel()
	first := phonetest.New(t, phone.Options{})
	r := request(t, first, "H", "B") // outside of the bubble because it makes keys
	synctest.Test(t, func(t *testing.T) {
		p := phonetest.New(
			t,
			phone.Options{Trust: trust.Policy{Mode: trust.After, After: 5 * time.Second}},
		)
		o := p.Notifications.Observe()
		defer o.Close()
		o.Add(notifications.RequestPair)
		wantPair(t, p, r, trust.ErrDialogPending)
		time.Sleep(4 * time.Second)
		wantPair(t, p, r, trust.ErrDialogPending)
		begin := time.Now()
		if _, err := o.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited != time.Second {
			t.Errorf("trusted after another %v, want 1s", waited)
		}
		wantPair(t, p, r, nil)
	})
}

func TestUnpair(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{Trust: trust.Policy{Mode: trust.Ask}})
	wantPair(t, p, request(t, p, "H1", "B"), trust.ErrDialogPending)
	p.Trust.TapTrust()
	wantPair(t, p, request(t, p, "H1", "B"), nil)
	wantPair(t, p, request(t, p, "H2", "B"), nil)
	for _, id := range []string{"H1", "H2"} {
		if err := p.Trust.Unpair(id); err != nil {
			t.Errorf("Unpair(%s) = %v", id, err)
		}
		if err := p.Trust.Unpair(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("second Unpair(%s) = %v", id, err)
		}
		if id == "H1" {
			// Another record of the same machine is still trusted.
			wantPair(t, p, request(t, p, "H2", "B"), nil)
		}
	}
	wantPair(t, p, request(t, p, "H3", "B"), trust.ErrDialogPending)
	p.Trust.TapTrust()
	wantPair(t, p, request(t, p, "H3", "B"), nil)
	p.Trust.Reset()
	if len(p.Trust.Hosts()) != 0 {
		t.Errorf("hosts %v after a reset", p.Trust.Hosts())
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	a, again := phonetest.New(t, phone.Options{}), phonetest.New(t, phone.Options{})
	b := phonetest.New(t, phone.Options{Serial: 1, Profile: "ios16"})
	if !a.Trust.Key().Equal(again.Trust.Key()) {
		t.Error("a phone has another key than before")
	}
	if a.Trust.Key().Equal(b.Trust.Key()) {
		t.Error("two phones have the same key")
	}
	if n := a.Trust.Key().N.BitLen(); n != 2048 {
		t.Errorf("the key has %d bits, want 2048", n)
	}
	block, rest := pem.Decode(a.Trust.PublicKeyPEM())
	if block == nil {
		t.Fatalf("PublicKeyPEM = %q, want a PEM block", a.Trust.PublicKeyPEM())
	}
	if len(rest) != 0 {
		t.Fatalf("PublicKeyPEM has %d bytes after the block", len(rest))
	}
	k, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		t.Errorf("ParsePKCS1PublicKey: %v", err)
	} else if !k.Equal(&a.Trust.Key().PublicKey) {
		t.Error("PublicKeyPEM is not the key of the phone")
	}
}

// TestManyHosts pairs more hosts than a phone keeps. A machine that comes with a new
// HostID each time replaces its oldest record; another one is refused.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	p, err := phone.New(phone.Options{LogRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	cert, device := certificate(t, nil), certificate(t, &p.Trust.Key().PublicKey)
	ask := func(id, buid string) error {
		_, err := p.Trust.Pair(trust.PairRequest{
			HostID: id, SystemBUID: buid, Label: strings.Repeat("x", 1<<20),
			HostCertificate: cert, RootCertificate: cert, DeviceCertificate: device,
		})
		return err
	}
	if err := ask("friend", "friend"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * trust.MaxHosts {
		if err := ask(fmt.Sprint("host ", i), "one machine"); err != nil {
			t.Fatalf("host %d: %v", i, err)
		}
	}
	if n := len(p.Trust.Hosts()); n != trust.MaxHosts {
		t.Errorf("%d hosts are trusted, want %d", n, trust.MaxHosts)
	}
	if h, ok := p.Trust.Host("friend"); !ok {
		t.Error("the record of the other machine is gone")
	} else if len(h.Label) > trust.MaxLabel {
		t.Errorf("the label has %d bytes, want at most %d", len(h.Label), trust.MaxLabel)
	}
	if _, ok := p.Trust.Host(fmt.Sprint("host ", 2*trust.MaxHosts-1)); !ok {
		t.Error("the newest record is gone")
	}
	if err := ask("stranger", "stranger"); !errors.Is(err, trust.ErrTooManyHosts) {
		t.Errorf("Pair = %v, want %v", err, trust.ErrTooManyHosts)
	}
	if err := p.Trust.Unpair("friend"); err != nil {
		t.Fatal(err)
	}
	if err := ask("stranger", "stranger"); err != nil {
		t.Errorf("Pair after Unpair: %v", err)
	}
	long := strings.Repeat("x", trust.MaxHostID+1)
	for _, id := range [][2]string{{long, "b"}, {"a", long}} {
		if err := ask(id[0], id[1]); !errors.Is(err, trust.ErrInvalidPairRecord) {
			t.Errorf("Pair with a long identifier = %v, want %v", err, trust.ErrInvalidPairRecord)
		}
	}
	cert = append(cert, make([]byte, trust.MaxCertificate)...)
	if err := ask("a", "b"); !errors.Is(err, trust.ErrInvalidPairRecord) {
		t.Errorf("Pair with a long certificate = %v, want %v", err, trust.ErrInvalidPairRecord)
	}
}
