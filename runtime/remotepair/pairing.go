package remotepair

import (
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/tlv8"
)

// Verify proves to the device that this host is one that it trusts, and opens the
// encrypted channel. ErrNotPaired means that the device does not trust the host. The
// channel then stays open for Pair.
func (c *Client) Verify(ctx context.Context) error {
	leave, err := c.enter(ctx, "verify")
	if err != nil {
		return err
	}
	defer leave()
	return c.verify(ctx)
}

func (c *Client) verify(ctx context.Context) error {
	c.tried, c.enc = true, nil
	key, err := newKey(c.o.Rand)
	if err != nil {
		return &Error{Op: "verify", Err: err}
	}
	secret, err := c.verifyWith(ctx, key)
	if err == nil {
		c.enc = newChannel(secret)
		return nil
	}
	if c.broken != nil {
		return err
	}
	// The device requires this event before setup. It does not answer it.
	if sent := c.send(ctx,
		&Message{content: &content{kind: kindEvent, name: nameVerifyFailed}}); sent != nil {
		return &Error{Op: "verify", Err: sent}
	}
	return err
}

// verifyWith runs M1 to M4 and returns the shared secret.
func (c *Client) verifyWith(ctx context.Context, key *ecdh.PrivateKey) ([]byte, error) {
	mine := key.PublicKey().Bytes()
	m2, err := c.exchange(ctx, "verify", kindVerify, true, tlv8.List{
		tlv8.Byte(tlv8.State, 1), {Type: tlv8.PublicKey, Value: mine}}, nil)
	if err != nil {
		return nil, err
	}
	// Some devices already refuse an unknown host in M2.
	if e := pairingError("verify", m2); e != nil {
		return nil, notPaired(e)
	}
	theirs, ok := m2.list.Get(tlv8.PublicKey)
	if !ok || m2.state() != 2 {
		return nil, &Error{Op: "verify", Subject: "M2", Err: ErrProtocol}
	}
	secret, err := agree(key, theirs)
	if err != nil {
		return nil, &Error{Op: "verify", Subject: "M2", Err: err}
	}
	enc := verifyKey(secret)
	if err := c.checkPeer(m2, enc, mine, theirs); err != nil {
		return nil, &Error{Op: "verify", Subject: "M2", Err: err}
	}
	sealed, err := sealProof(enc, nonceVerify3, c.o.Identity.Identifier, c.o.Identity.PrivateKey,
		mine, theirs)
	if err != nil {
		return nil, &Error{Op: "verify", Subject: "M3", Err: err}
	}
	m4, err := c.exchange(ctx, "verify", kindVerify, false, tlv8.List{
		tlv8.Byte(tlv8.State, 3), {Type: tlv8.EncryptedData, Value: sealed}}, nil)
	if err != nil {
		return nil, err
	}
	if e := pairingError("verify", m4); e != nil {
		return nil, notPaired(e)
	}
	if m4.state() != 4 {
		return nil, &Error{Op: "verify", Subject: "M4", Err: ErrProtocol}
	}
	return secret, nil
}

// checkPeer checks that the device is the one of the record, if the record has its key.
func (c *Client) checkPeer(m2 *pairingData, key, mine, theirs []byte) error {
	r := c.o.Record
	if r == nil || len(r.PeerPublicKey) != ed25519.PublicKeySize {
		return nil
	}
	id, signature, err := openProof(m2, key, nonceVerify2)
	if err != nil {
		return err
	}
	if r.PeerIdentifier != "" && id != r.PeerIdentifier {
		return ErrAuthentication
	}
	signed := slices.Concat(theirs, []byte(id), mine)
	if !ed25519.Verify(r.PeerPublicKey, signed, signature) {
		return ErrAuthentication
	}
	return nil
}

// notPaired returns ErrNotPaired for a verify that was refused, whatever the device's
// code is.
func notPaired(e *Error) *Error {
	if !errors.Is(e.Err, ErrNotPaired) {
		e.Err = fmt.Errorf("%w: %w", ErrNotPaired, e.Err)
	}
	return e
}

// agree computes the X25519 secret. It refuses public keys of small order.
func agree(key *ecdh.PrivateKey, public []byte) ([]byte, error) {
	pub, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, ErrProtocol
	}
	secret, err := key.ECDH(pub)
	if err != nil {
		return nil, ErrProtocol
	}
	return secret, nil
}

// sealProof returns the EncryptedData of a verify message. The sender signs its own
// ephemeral key, its identifier and the peer's ephemeral key.
func sealProof(
	key []byte, nonce, id string, private ed25519.PrivateKey, mine, theirs []byte,
) ([]byte, error) {
	plain, err := tlv8.Append(nil, tlv8.List{
		tlv8.Text(tlv8.Identifier, id),
		{
			Type:  tlv8.Signature,
			Value: ed25519.Sign(private, slices.Concat(mine, []byte(id), theirs)),
		},
	})
	if err != nil {
		return nil, err
	}
	return sealPairing(key, nonce, plain), nil
}

// openProof decrypts such data. The caller knows the expected key and checks the
// signature.
func openProof(p *pairingData, key []byte, nonce string) (id string, signature []byte, err error) {
	sealed, ok := p.list.Get(tlv8.EncryptedData)
	if !ok {
		return "", nil, ErrProtocol
	}
	plain, err := openPairing(key, nonce, sealed)
	if err != nil {
		return "", nil, err
	}
	list, err := tlv8.Decode(plain)
	if err != nil {
		return "", nil, err
	}
	id, ok = list.Text(tlv8.Identifier)
	signature, signed := list.Get(tlv8.Signature)
	if !ok || !signed || len(id) > maxText {
		return "", nil, ErrProtocol
	}
	return id, signature, nil
}

// Pair makes the device trust this host. The user agrees on the device, or PIN returns
// the digits that it shows. Pair opens the encrypted channel and returns the record to
// store. Devices expect a verify before a setup, so Pair tries one.
func (c *Client) Pair(ctx context.Context) (*Record, error) {
	leave, err := c.enter(ctx, "pair")
	if err != nil {
		return nil, err
	}
	defer leave()
	if !c.tried {
		if err := c.verify(ctx); err != nil && c.broken != nil {
			return nil, err
		}
	}
	c.enc = nil
	r, secret, err := c.setup(ctx)
	if err != nil {
		return nil, err
	}
	c.enc = newChannel(secret)
	r.RemoteUnlockHostKey, err = c.unlockKey(ctx)
	if err != nil {
		// The pairing is valid without the key, which an Apple TV does not have.
		c.log.Warn("no remote unlock key", "udid", r.PeerUDID, "error", err)
	}
	return r, nil
}

// setup exchanges M1 to M6 and returns the record and the session key of SRP.
func (c *Client) setup(ctx context.Context) (*Record, []byte, error) {
	srp, err := c.setupSRP(ctx)
	if err != nil {
		return nil, nil, err
	}
	key := setupKey(srp.key)
	sealed, err := sealM5(c.o.Identity, c.o.HostName, srp.key)
	if err != nil {
		return nil, nil, &Error{Op: "pair", Subject: "M5", Err: err}
	}
	m6, err := c.exchange(ctx, "pair", kindSetup, false, tlv8.List{
		tlv8.Byte(tlv8.State, 5), {Type: tlv8.EncryptedData, Value: sealed}}, nil)
	if err != nil {
		return nil, nil, err
	}
	if e := pairingError("pair", m6); e != nil {
		return nil, nil, e
	}
	peer, err := openIntroduction(m6, 6, key, nonceSetup6, srp.key, signed6)
	if err != nil {
		return nil, nil, &Error{Op: "pair", Subject: "M6", Err: err}
	}
	return c.record(peer), srp.key, nil
}

func (c *Client) record(peer *introduction) *Record {
	id := c.o.Identity
	r := &Record{HostIdentifier: id.Identifier, HostPrivateKey: id.PrivateKey,
		HostAltIRK: id.AltIRK,
		PeerUDID:   peer.info.udid, PeerModel: peer.info.model, PeerName: peer.info.name,
		PeerAltIRK:     peer.info.altIRK,
		PeerIdentifier: peer.id, PeerPublicKey: peer.public}
	for dst, other := range map[*string]string{
		&r.PeerUDID: c.info.UDID, &r.PeerModel: c.info.Model, &r.PeerName: c.info.Name,
	} {
		if *dst == "" {
			*dst = other
		}
	}
	return r
}

// setupSRP exchanges M1 to M4.
func (c *Client) setupSRP(ctx context.Context) (*srpClient, error) {
	consent, closed := false, func() {}
	wait := c.o.ConsentTimeout
	if wait == 0 {
		wait = consentTimeout
	}
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m2, err := c.exchange(asking, "pair", kindSetup, true, tlv8.List{
		tlv8.Byte(tlv8.Method, 0), tlv8.Byte(tlv8.State, 1)}, func(ev *content) error {
		if ev.name == nameConsent && !consent {
			consent = true
			if c.o.OnConsent != nil {
				closed = c.o.OnConsent()
			}
		}
		return nil
	})
	closed()
	if err != nil {
		return nil, err
	}
	if e := pairingError("pair", m2); e != nil {
		return nil, e
	}
	salt, _ := m2.list.Get(tlv8.Salt)
	public, ok := m2.list.Get(tlv8.PublicKey)
	if !ok || len(salt) == 0 || len(salt) > maxText || m2.state() != 2 {
		return nil, &Error{Op: "pair", Subject: "M2", Err: ErrProtocol}
	}
	pin, err := c.pin(ctx, consent)
	if err != nil {
		return nil, &Error{Op: "pair", Subject: "PIN", Err: err}
	}
	srp, err := newSRPClient(srpUser, pin, salt, public, randomExponent(c.o.Rand))
	if err != nil {
		return nil, &Error{Op: "pair", Subject: "M2", Err: err}
	}
	m4, err := c.exchange(ctx, "pair", kindSetup, false, tlv8.List{
		tlv8.Byte(tlv8.State, 3), {Type: tlv8.PublicKey, Value: srp.public},
		{Type: tlv8.Proof, Value: srp.proof}}, nil)
	if err != nil {
		return nil, err
	}
	if e := pairingError("pair", m4); e != nil {
		if e.Code == tlv8.CodeAuthentication {
			e.Err = ErrWrongPIN
		}
		return nil, e
	}
	if theirs, _ := m4.list.Get(tlv8.Proof); m4.state() != 4 || !srp.confirms(theirs) {
		return nil, &Error{Op: "pair", Subject: "M4", Err: ErrAuthentication}
	}
	return srp, nil
}

// pin returns the PIN for SRP. A device that showed a dialog, or that pairs without
// one, has no PIN. An Apple TV always has one, even if it sends allowsPinlessPairing.
func (c *Client) pin(ctx context.Context, consent bool) (string, error) {
	if consent || c.info.AllowsPinlessPairing && !strings.Contains(c.info.Model, "AppleTV") {
		return pinless, nil
	}
	if c.o.PIN == nil {
		return "", ErrPINNeeded
	}
	pin, err := c.o.PIN(ctx)
	return strings.TrimSpace(pin), err
}

// introduction is the content of M5 and M6, in which each side introduces itself.
type introduction struct {
	id     string
	public ed25519.PublicKey
	info   peerInfo
}

func sealM5(id *Identity, hostName string, secret []byte) ([]byte, error) {
	signature := ed25519.Sign(id.PrivateKey, signed5(secret, id.Identifier, id.public()))
	return sealIntroduction(introduction{id.Identifier, id.public(), hostInfo(id, hostName)},
		signature, setupKey(secret), nonceSetup5)
}

func sealIntroduction(i introduction, signature, key []byte, nonce string) ([]byte, error) {
	info, err := i.info.encode()
	if err != nil {
		return nil, err
	}
	plain, err := tlv8.Append(nil, tlv8.List{
		tlv8.Text(tlv8.Identifier, i.id),
		{Type: tlv8.PublicKey, Value: i.public},
		{Type: tlv8.Signature, Value: signature},
		{Type: tlv8.Info, Value: info},
	})
	if err != nil {
		return nil, err
	}
	return sealPairing(key, nonce, plain), nil
}

// openIntroduction decrypts M5 or M6 and checks its signature.
func openIntroduction(p *pairingData, state byte, key []byte, nonce string, secret []byte,
	signed func(k []byte, id string, pub ed25519.PublicKey) []byte) (*introduction, error) {
	sealed, ok := p.list.Get(tlv8.EncryptedData)
	if !ok || p.state() != state {
		return nil, ErrProtocol
	}
	plain, err := openPairing(key, nonce, sealed)
	if err != nil {
		return nil, err
	}
	list, err := tlv8.Decode(plain)
	if err != nil {
		return nil, err
	}
	i := &introduction{}
	i.id, _ = list.Text(tlv8.Identifier)
	i.public, _ = list.Get(tlv8.PublicKey)
	signature, _ := list.Get(tlv8.Signature)
	if i.id == "" || len(i.id) > maxText || len(i.public) != ed25519.PublicKeySize {
		return nil, ErrProtocol
	}
	if !ed25519.Verify(i.public, signed(secret, i.id, i.public), signature) {
		return nil, ErrAuthentication
	}
	if b, ok := list.Get(tlv8.Info); ok {
		i.info, err = parseInfo(b)
		if err != nil {
			return nil, err
		}
	}
	return i, nil
}
