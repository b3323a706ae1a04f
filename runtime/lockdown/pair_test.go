package lockdown

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/phone/phonetest"
	"github.com/imdlua/imdlua/runtime/phone/trust"
)

func policy(tb testing.TB, t trust.Policy) *phone.Phone {
	tb.Helper()
	p := phonetest.New(tb, phone.Options{})
	p.Trust.SetPolicy(t)
	return p
}

func TestPairAccept(t *testing.T) {
	t.Parallel()
	p := policy(t, trust.Policy{Mode: trust.Accept})
	h := newComputer(t, p)
	ctx := t.Context()
	cl := dial(t, never(p))
	r, err := cl.Pair(ctx, h.record, PairOptions{HostName: "desk"})
	if err != nil {
		t.Fatalf("Pair: %v", err)
	} else if len(r.EscrowBag) != 32 {
		t.Fatalf("Pair has an escrow bag of %d bytes, want 32", len(r.EscrowBag))
	}
	again, err := cl.Pair(ctx, h.record, PairOptions{})
	if err != nil {
		t.Errorf("second Pair: %v", err)
	} else if !bytes.Equal(again.EscrowBag, r.EscrowBag) {
		t.Errorf("second Pair has the escrow bag % x, want % x", again.EscrowBag, r.EscrowBag)
	}
	if err := cl.ValidatePair(ctx, h.record); err != nil {
		t.Error(err)
	}
	// A session can be started immediately, on the same connection.
	if err := cl.StartSession(ctx, h.id); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Get(ctx, "", "SerialNumber"); err != nil {
		t.Error(err)
	}
}

func TestPairAsk(t *testing.T) {
	t.Parallel()
	p := policy(t, trust.Policy{Mode: trust.Ask})
	h := newComputer(t, p)
	ctx := t.Context()
	cl := dial(t, never(p))
	pair := func() error {
		_, err := cl.Pair(ctx, h.record,
			PairOptions{HostName: "desk"})
		return err
	}
	wantCode(t, "first Pair", pair(), ErrPairingDialogResponsePending)
	wantCode(t, "Pair while the dialog shows", pair(), ErrPairingDialogResponsePending)
	if d, ok := p.Trust.ShownDialog(); !ok {
		t.Error("no dialog is shown")
	} else if d.SystemBUID != buid {
		t.Errorf("the dialog has the SystemBUID %q, want %q", d.SystemBUID, buid)
	} else if d.HostName != "desk" {
		t.Errorf("the dialog has the host name %q, want desk", d.HostName)
	} else if d.Label != "test" {
		t.Errorf("the dialog has the label %q, want test", d.Label)
	}
	p.Trust.TapDeny()
	err := pair()
	wantCode(t, "Pair after Don't Trust", err, ErrUserDeniedPairing)
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v is not fs.ErrPermission", err)
	}
	wantCode(t, "Pair after that", pair(), ErrPairingDialogResponsePending)
	p.Trust.TapTrust()
	// Some hosts come back with another HostID. The device recognises the computer.
	h.record["HostID"] = "AAAAAAAA-0000-4000-8000-000000000001"
	if err := pair(); err != nil {
		t.Errorf("Pair after Trust = %v", err)
	}
	if len(p.Trust.Hosts()) != 1 {
		t.Errorf("hosts = %v", p.Trust.Hosts())
	}
}

func TestPairDenyAndIgnore(t *testing.T) {
	t.Parallel()
	for mode, want := range map[trust.Mode][]Code{
		trust.Deny: {
			ErrPairingDialogResponsePending, ErrUserDeniedPairing, ErrPairingDialogResponsePending,
		},
		trust.Ignore: {
			ErrPairingDialogResponsePending, ErrPairingDialogResponsePending,
			ErrPairingDialogResponsePending,
		},
	} {
		p := policy(t, trust.Policy{Mode: mode})
		h := newComputer(t, p)
		cl := dial(t, never(p))
		for _, code := range want {
			_, err := cl.Pair(t.Context(), h.record, PairOptions{})
			wantCode(t, "Pair", err, code)
		}
		if len(p.Trust.Hosts()) != 0 {
			t.Errorf("mode %v trusts %v", mode, p.Trust.Hosts())
		}
	}
}

func TestPairAfter(t *testing.T) {
	t.Parallel()
	keys() // made outside the bubble
	synctest.Test(t, func(t *testing.T) {
		p := policy(t, trust.Policy{Mode: trust.After, After: 3 * time.Second})
		h := newComputer(t, p)
		cl := dial(t, never(p))
		tries := 0
		for begin := time.Now(); ; time.Sleep(time.Second) {
			_, err := cl.Pair(t.Context(), h.record, PairOptions{})
			if err == nil {
				if d := time.Since(begin); d != 3*time.Second && d != 4*time.Second {
					t.Errorf("trusted after %v", d)
				}
				break
			}
			wantCode(t, "Pair", err, ErrPairingDialogResponsePending)
			tries++
			if tries > 10 {
				t.Fatal("never trusted")
			}
		}
		if tries < 3 {
			t.Errorf("trusted after %d tries", tries)
		}
	})
}

func TestPairLockedAndWireless(t *testing.T) {
	t.Parallel()
	p := phonetest.New(t, phone.Options{})
	h := newComputer(t, p)
	p.Screen.SetPasscode(true)
	p.Screen.Lock()
	_, err := dial(t, never(p)).Pair(t.Context(), h.record, PairOptions{})
	wantCode(t, "Pair on a locked phone", err, ErrPasswordProtected)
	p.Screen.Unlock()
	d := never(p)
	d.Network = true
	_, err = dial(t, d).Pair(t.Context(), h.record, PairOptions{})
	wantCode(t, "Pair over Wi-Fi", err, ErrPairingProhibitedOverThisConnection)
	if len(p.Trust.Hosts()) != 0 {
		t.Errorf("hosts = %v", p.Trust.Hosts())
	}
}

func TestValidatePair(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	ctx := t.Context()
	cl := dial(t, never(p))
	if err := cl.ValidatePair(ctx, plist.Dict{"HostID": hostID}); err != nil {
		t.Error(err)
	}
	bad := h.record.Clone()
	bad["HostCertificate"] = certify(t, &keys()[2].PublicKey, keys()[0], false)
	wantCode(t, "another certificate", cl.ValidatePair(ctx, bad), ErrInvalidPairRecord)
	bad["HostCertificate"] = "text"
	wantCode(t, "certificate of another type", cl.ValidatePair(ctx, bad), ErrInvalidPairRecord)
	p.Screen.SetPasscode(true)
	p.Screen.Lock()
	wantCode(t, "locked", cl.ValidatePair(ctx, h.record), ErrPasswordProtected)
}

func TestUnpair(t *testing.T) {
	t.Parallel()
	p, h, _ := paired(t)
	ctx := t.Context()
	cl := dial(t, never(p))
	if err := cl.Unpair(ctx, plist.Dict{"HostID": hostID}); err != nil {
		t.Fatal(err)
	}
	err := cl.Unpair(ctx, plist.Dict{"HostID": hostID})
	wantCode(t, "second Unpair", err, ErrInvalidHostID)
	if got, want := err.Error(), `lockdown: Unpair "`+hostID+`": InvalidHostID`; got != want {
		t.Errorf("text = %s, want %s", got, want)
	}
	wantCode(t, "StartSession", cl.StartSession(ctx, h.id), ErrInvalidHostID)
	// The connection can still be used to pair again.
	if _, err := cl.Pair(ctx, h.record, PairOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := cl.StartSession(ctx, h.id); err != nil {
		t.Fatal(err)
	}
	if err := cl.ResetPairing(ctx); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "StartSession after a reset", dial(t, never(p)).StartSession(ctx, h.id),
		ErrInvalidHostID)
}

// A new Pair with a known HostID replaces the certificates. In the next session the device
// presents the device certificate of that request.
func TestPairReplacesCertificates(t *testing.T) {
	t.Parallel()
	p, _, _ := paired(t)
	second := newComputer(t, p)
	second.record["DeviceCertificate"] = certify(t, &p.Trust.Key().PublicKey, keys()[2], true)
	c, _ := serve(t, never(p))
	cl := New(c, Options{})
	if _, err := cl.Pair(t.Context(), second.record, PairOptions{}); err != nil {
		t.Fatal(err)
	}
	talk(t, c, plist.Dict{"Request": "StartSession", "HostID": hostID})
	cfg := clientTLS(second.id, false)
	var shown []byte
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		shown = s.PeerCertificates[0].Raw
		return nil
	}
	if _, err := link.ClientTLS(t.Context(), c, cfg); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown, certificateDER(second.record["DeviceCertificate"].([]byte))) {
		t.Error("device shows the certificate of an earlier pairing")
	}
}
