package phone

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
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// certificate makes a certificate as hosts do: no names, serial 0, expired.
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

// request is a good PairRequest from a machine.
func request(t testing.TB, p *Phone, hostID, buid string) PairRequest {
	t.Helper()
	c := certificate(t, nil)
	return PairRequest{HostID: hostID, SystemBUID: buid, Label: "tool", HostName: "laptop",
		HostCertificate: c, RootCertificate: c,
		DeviceCertificate: certificate(t, &p.Key().PublicKey)}
}

func wantPair(t *testing.T, p *Phone, r PairRequest, want error) Host {
	t.Helper()
	h, err := p.Pair(r)
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("Pair(%s of %s) = %v, want %v", r.HostID, r.SystemBUID, err, want)
	}
	if err != nil && (h.HostID != "" || h.EscrowBag != nil) {
		t.Errorf("Pair failed and returned %+v", h)
	}
	return h
}

func TestPairAccept(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	r := request(t, p, "H1", "B1")
	h := wantPair(t, p, r, nil)
	if len(h.EscrowBag) != 32 || h.SystemBUID != "B1" ||
		!bytes.Equal(h.DeviceCertificate, r.DeviceCertificate) {
		t.Errorf("host %+v", h)
	}
	r2 := request(t, p, "H1", "B1")
	r2.RootCertificate = certificate(t, nil)
	if again := wantPair(t, p, r2, nil); !bytes.Equal(again.EscrowBag, h.EscrowBag) ||
		!bytes.Equal(again.RootCertificate, r2.RootCertificate) {
		t.Error("a second pairing must keep the bag and replace the certificates")
	}
	other := wantPair(t, p, request(t, p, "H0", "B1"), nil)
	if bytes.Equal(other.EscrowBag, h.EscrowBag) {
		t.Error("two hosts share an escrow bag")
	}
	var ids []string
	for _, h := range p.Hosts() {
		ids = append(ids, h.HostID)
	}
	if !slices.Equal(ids, []string{"H0", "H1"}) || value(t, p, "", "TrustedHostAttached") != true {
		t.Errorf("hosts %v", ids)
	}
	if got, ok := p.Host("H1"); !ok || !bytes.Equal(got.EscrowBag, h.EscrowBag) {
		t.Errorf("Host = %+v, %v", got, ok)
	}
}

func TestPairRefuses(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{})
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*PairRequest){
		"no HostID":             func(r *PairRequest) { r.HostID = "" },
		"no SystemBUID":         func(r *PairRequest) { r.SystemBUID = "" },
		"no host certificate":   func(r *PairRequest) { r.HostCertificate = nil },
		"no root certificate":   func(r *PairRequest) { r.RootCertificate = nil },
		"no device certificate": func(r *PairRequest) { r.DeviceCertificate = nil },
		"garbage certificate":   func(r *PairRequest) { r.HostCertificate = []byte("garbage") },
		"garbage in PEM": func(r *PairRequest) {
			r.RootCertificate = pem.EncodeToMemory(
				&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")},
			)
		},
		"another device's key": func(r *PairRequest) {
			r.DeviceCertificate = certificate(t,
				&foreign.PublicKey)
		},
		"another kind of key": func(r *PairRequest) { r.DeviceCertificate = r.HostCertificate },
	} {
		r := request(t, p, "H", "B")
		change(&r)
		if _, err := p.Pair(r); !errors.Is(err, ErrInvalidPairRecord) {
			t.Errorf("%s: %v, want ErrInvalidPairRecord", name, err)
		}
	}
	p.SetPasscode(true)
	p.Lock()
	wantPair(t, p, request(t, p, "H", "B"), ErrPasswordProtected)
	if len(p.Hosts()) != 0 {
		t.Errorf("hosts %v", p.Hosts())
	}
	p.Unlock()
	wantPair(t, p, request(t, p, "H", "B"), nil)
}

func TestPairAsk(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
	o := p.ObserveNotifications()
	defer o.Close()
	o.Add(NoteRequestPair)
	var dialogs []Dialog
	p.OnDialog(func(d Dialog) { dialogs = append(dialogs, d) })

	p.TapTrust() // no dialog: nothing
	wantPair(t, p, request(t, p, "H1", "B1"), ErrDialogPending)
	wantPair(t, p, request(t, p, "H2", "B1"), ErrDialogPending) // some hosts change at each attempt
	if d, ok := p.ShownDialog(); !ok || d != (Dialog{"B1", "tool", "laptop"}) || len(dialogs) != 1 {
		t.Errorf("dialog %+v %v, shown %d times", d, ok, len(dialogs))
	}
	p.TapTrust()
	if got := heard(o); !slices.Equal(got, []string{NoteRequestPair}) {
		t.Errorf("observers heard %v", got)
	}
	p.TapDeny() // too late
	wantPair(t, p, request(t, p, "H3", "B1"), nil)
	wantPair(t, p, request(t, p, "H4", "B1"), nil) // the machine is trusted now

	wantPair(t, p, request(t, p, "H5", "B2"), ErrDialogPending)
	p.TapDeny()
	wantPair(t, p, request(t, p, "H5", "B2"), ErrUserDenied)
	wantPair(t, p, request(t, p, "H5", "B2"), ErrDialogPending) // asks anew
	wantPair(t, p, request(t, p, "H6", "B3"), ErrDialogPending) // takes the dialog over
	p.TapTrust()
	wantPair(t, p, request(t, p, "H5", "B2"), ErrDialogPending)
	if len(dialogs) != 5 {
		t.Errorf("%d dialogs, want 5", len(dialogs))
	}
}

func TestPairDialogMayTap(t *testing.T) {
	t.Parallel()
	p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
	p.OnDialog(func(Dialog) { p.TapTrust() })
	wantPair(t, p, request(t, p, "H", "B"), ErrDialogPending)
	wantPair(t, p, request(t, p, "H", "B"), nil)
}

func TestPairDialogIsDismissed(t *testing.T) {
	t.Parallel()
	for name, dismiss := range map[string]func(*Phone){
		"lock": func(p *Phone) { p.Lock() }, "boot": (*Phone).Boot, "reset": (*Phone).ResetPairing,
		"policy": func(p *Phone) { p.SetTrust(TrustPolicy{Mode: TrustAsk}) },
	} {
		p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
		r := request(t, p, "H", "B")
		wantPair(t, p, r, ErrDialogPending)
		dismiss(p)
		if _, ok := p.ShownDialog(); ok {
			t.Errorf("%s: the dialog still shows", name)
		}
		p.TapTrust()
		wantPair(t, p, r, ErrDialogPending)
	}
}

func TestPairPolicies(t *testing.T) {
	t.Parallel()
	deny := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustDeny}})
	r := request(t, deny, "H", "B")
	for range 2 {
		wantPair(t, deny, r, ErrDialogPending)
		wantPair(t, deny, r, ErrUserDenied)
	}
	ignore := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustIgnore}})
	for range 3 {
		wantPair(t, ignore, r, ErrDialogPending)
	}
	ignore.SetTrust(TrustPolicy{})
	wantPair(t, ignore, r, nil)
}

func TestPairAfter(t *testing.T) {
	t.Parallel()
	first := newPhone(t, Options{})
	r := request(t, first, "H", "B") // outside of the bubble: it makes keys
	synctest.Test(t, func(t *testing.T) {
		p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAfter, After: 5 * time.Second}})
		o := p.ObserveNotifications()
		defer o.Close()
		o.Add(NoteRequestPair)
		wantPair(t, p, r, ErrDialogPending)
		time.Sleep(4 * time.Second)
		wantPair(t, p, r, ErrDialogPending)
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
	p := newPhone(t, Options{Trust: TrustPolicy{Mode: TrustAsk}})
	wantPair(t, p, request(t, p, "H1", "B"), ErrDialogPending)
	p.TapTrust()
	wantPair(t, p, request(t, p, "H1", "B"), nil)
	wantPair(t, p, request(t, p, "H2", "B"), nil)
	for _, id := range []string{"H1", "H2"} {
		if err := p.Unpair(id); err != nil {
			t.Errorf("Unpair(%s) = %v", id, err)
		}
		if err := p.Unpair(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("second Unpair(%s) = %v", id, err)
		}
		if id == "H1" {
			wantPair(t, p, request(t, p, "H2", "B"), nil) // another record holds the trust
		}
	}
	wantPair(t, p, request(t, p, "H3", "B"), ErrDialogPending)
	p.TapTrust()
	wantPair(t, p, request(t, p, "H3", "B"), nil)
	p.ResetPairing()
	if len(p.Hosts()) != 0 {
		t.Errorf("hosts %v after a reset", p.Hosts())
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	a, again := newPhone(t, Options{}), newPhone(t, Options{})
	b := newPhone(t, Options{Serial: 1, Profile: "ios16"})
	if !a.Key().Equal(again.Key()) {
		t.Error("a phone has another key than before")
	}
	if a.Key().Equal(b.Key()) {
		t.Error("two phones have the same key")
	}
	if n := a.Key().N.BitLen(); n != 2048 {
		t.Errorf("the key has %d bits, want 2048", n)
	}
	block, rest := pem.Decode(a.PublicKeyPEM())
	if block == nil || len(rest) != 0 {
		t.Fatalf("PublicKeyPEM = %q", a.PublicKeyPEM())
	}
	if k, err := x509.ParsePKCS1PublicKey(block.Bytes); err != nil || !k.Equal(&a.Key().PublicKey) {
		t.Errorf("ParsePKCS1PublicKey: %v", err)
	}
}

// TestManyHosts pairs more hosts than a phone keeps. A machine that comes with a new
// HostID each time replaces its oldest record; another one is refused.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	p, err := New(Options{LogRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	cert, device := certificate(t, nil), certificate(t, &p.Key().PublicKey)
	ask := func(id, buid string) error {
		_, err := p.Pair(PairRequest{
			HostID: id, SystemBUID: buid, Label: strings.Repeat("x", 1<<20),
			HostCertificate: cert, RootCertificate: cert, DeviceCertificate: device,
		})
		return err
	}
	if err := ask("friend", "friend"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxHosts {
		if err := ask(fmt.Sprint("host ", i), "one machine"); err != nil {
			t.Fatalf("host %d: %v", i, err)
		}
	}
	if n := len(p.Hosts()); n != maxHosts {
		t.Errorf("%d hosts are trusted, want %d", n, maxHosts)
	}
	if h, ok := p.Host("friend"); !ok || len(h.Label) > maxLabel {
		t.Errorf("the other machine's record: %v, label of %d bytes", ok, len(h.Label))
	}
	if _, ok := p.Host(fmt.Sprint("host ", 2*maxHosts-1)); !ok {
		t.Error("the newest record is gone")
	}
	if err := ask("stranger", "stranger"); !errors.Is(err, ErrTooManyHosts) {
		t.Errorf("Pair = %v, want %v", err, ErrTooManyHosts)
	}
	if err := p.Unpair("friend"); err != nil {
		t.Fatal(err)
	}
	if err := ask("stranger", "stranger"); err != nil {
		t.Errorf("Pair after Unpair: %v", err)
	}
	long := strings.Repeat("x", maxHostID+1)
	for _, id := range [][2]string{{long, "b"}, {"a", long}} {
		if err := ask(id[0], id[1]); !errors.Is(err, ErrInvalidPairRecord) {
			t.Errorf("Pair with a long identifier = %v, want %v", err, ErrInvalidPairRecord)
		}
	}
	cert = append(cert, make([]byte, maxCertificate)...)
	if err := ask("a", "b"); !errors.Is(err, ErrInvalidPairRecord) {
		t.Errorf("Pair with a long certificate = %v, want %v", err, ErrInvalidPairRecord)
	}
}
